"""The staged events: each once, with the time of the event."""

from __future__ import annotations

from ayla_provider.domain.tables import TEXT
from ayla_provider.models.parts import HOUR, SECOND, Parts

ZERO_UUID = "'00000000-0000-0000-0000-000000000000'"


class Events(Parts):
    """The selects of the staged events."""

    def datapoints(self) -> str:
        """Return the datapoints: each once, also discarded ones."""
        kind = "datapoint"
        names = (
            "oem_id",
            "oem_model",
            "dsn",
            "property_name",
            "base_type",
            "time_uuid",
            "direction",
            "echo",
            "discarded",
            "closed",
            "user_uuid",
        )
        value, text = self._value(kind)
        raw = (
            f"select {self._columns(kind, names)}, {value} as value, {text} as value_text, "
            f"{self._micros(self._column(kind, 'created_at'))} as second_at, "
            f"{self._uuid_micros(self._column(kind, 'time_uuid'))} as uuid_at, "
            f"{self._standing(kind)} as standing "
            f"from {self._source(kind)} where t.{self.quote('dsn')} is not null{self._created_in_window(kind)} "
            f"and {self._counts(kind)}"
        )
        timed = (
            f"select *, {self._event_time('second_at', 'uuid_at')} as happened from ({raw}) as raw "
            "where (standing = 1 or time_uuid is null) and second_at is not null"
        )
        is_value = (
            "property_name is not null and time_uuid is not null and not coalesce(discarded, false) "
            "and (base_type is null or base_type not in ('file', 'message') or coalesce(closed, false))"
        )
        return (
            f"select {', '.join(names)}, value, value_text, happened, {self._day('happened')} as day, "
            f"case when {is_value} then 1 else 0 end as is_value from ({timed}) as timed "
            f"where {self._of_window('happened', whole_hours=True)}"
        )

    def _created_in_window(self, event_type: str) -> str:
        """Return the condition that leaves out datapoints that are much older, or newer, than the window."""
        if self.window is None:
            return ""
        created = self._column(event_type, "created_at")
        first, end = self._moment(self.window.reads - HOUR), self._moment(self.window.reads_to + HOUR)
        return f" and ({created} is null or ({created} >= {first} and {created} < {end}))"

    def _standing(self, event_type: str) -> str:
        """Return the rank of a row among those with its id: 1 is the newest."""
        updated = self._column(event_type, "updated_at")
        return (
            f"row_number() over (partition by t.{self.quote('dsn')}, {self._column(event_type, 'time_uuid')} "
            f"order by case when {updated} is null then 1 else 0 end, {updated} desc, "
            f"t.{self.quote('folder_hour')} desc, t.{self.quote('source_object')} desc)"
        )

    def acks(self) -> str:
        """Return the answers of devices: each once, with the time of the command and of the answer."""
        kind = "datapoint_ack"
        names = (
            "oem_id",
            "oem_model",
            "dsn",
            "property_name",
            "base_type",
            "time_uuid",
            "user_uuid",
            "ack_id",
            "ack_status",
            "ack_message",
        )
        value, text = self._value(kind)
        created, acked = self._column(kind, "created_at"), self._column(kind, "acked_at")
        raw = (
            f"select {self._columns(kind, names)}, {value} as value, {text} as value_text, "
            f"{self._micros(created)} as second_at, {self._micros(acked)} as acked_second_at, "
            f"{self._uuid_micros(self._column(kind, 'time_uuid'))} as uuid_at, "
            f"{self._uuid_micros(self._column(kind, 'ack_id'))} as acked_uuid_at, "
            f"{self._standing(kind)} as standing "
            f"from {self._source(kind)} where t.{self.quote('dsn')} is not null and {self._counts(kind)}"
        )
        sent = f"case when second_at is not null then {self._event_time('second_at', 'uuid_at')} end"
        acked_at = (
            f"case when acked_second_at is not null then {self._event_time('acked_second_at', 'acked_uuid_at')} end"
        )
        timed = (
            f"select *, {sent} as sent_at, coalesce({acked_at}, {sent}) as happened from ({raw}) as raw "
            "where standing = 1 or time_uuid is null"
        )
        # An answer counts on its own day, and with the command on the day of that.
        bound = "true"
        if self.window is not None:
            bound = f"({self._of_window('sent_at')} or {self._of_window('happened')})"
        return (
            f"select {', '.join(names)}, value, value_text, sent_at, happened, {self._day('happened')} as day "
            f"from ({timed}) as timed where happened is not null and {bound}"
        )

    def connections(self) -> str:
        """Return the messages about connections, each in its second."""
        kind = "connection"
        names = ("oem_id", "oem_model", "dsn")
        happened = self._floor(self._micros(self._column(kind, "event_time")), SECOND)
        raw = (
            f"select {self._columns(kind, names)}, lower({self._column(kind, 'status')}) as state, "
            f"{happened} as happened from {self._source(kind)} "
            f"where t.{self.quote('dsn')} is not null and {self._column(kind, 'event_time')} is not null "
            f"and {self._counts(kind)}"
        )
        return (
            f"select distinct oem_id, oem_model, dsn, state, happened, {self._day('happened')} as day from "
            f"({raw}) as raw "
            f"where {self._of_window('happened')}"
        )

    def registrations(self) -> str:
        """Return all registrations of the devices in the scope, however old they are: each once."""
        kind = "registration"
        names = ("oem_id", "oem_model", "dsn", "registered", "registration_type")
        on, off = self._column(kind, "registered_at"), self._column(kind, "unregistered_at")
        ((happened, _),) = self._times(kind)
        user = self._column(kind, "user_uuid")
        text = f"cast({user} as {self.macros.types[TEXT]})"
        return (
            f"select distinct {self._columns(kind, names)}, {user} as row_user, "
            f"case when {text} = {ZERO_UUID} then null else {user} end as user_uuid, "
            f"{on} as registered_at, {off} as unregistered_at, {self._micros(happened)} as happened, "
            f"{self._day(self._micros(happened))} as day "
            f"from {self.name(kind)} as t{self._of_scope('t')} "
            f"where t.{self.quote('dsn')} is not null and {happened} is not null and {self._counts(kind)}"
        )

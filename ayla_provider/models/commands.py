"""The models of commands and their answers."""

from __future__ import annotations

from ayla_provider.domain.tables import NUMBER
from ayla_provider.models import tables
from ayla_provider.models.parts import HOUR, SECOND, Parts


class Commands(Parts):
    """The selects of commands."""

    def command_sent(self) -> str:
        """Return :data:`~ayla_provider.models.tables.SENT`."""
        sent, acks, runs = self.name("datapoints"), self.name("acks"), self.name("runs")
        names = "oem_model, property_name, base_type, user_uuid, value, value_text"
        of_sent = ", ".join(f"sent.{name}" for name in names.split(", "))
        of_acks = ", ".join(f"acks.{name}" for name in names.split(", "))
        answers = "acks.ack_id, acks.happened as acked_at, acks.ack_status, acks.ack_message, acks.dsn as acked_by"
        is_command = (
            "sent.direction = 'input' and not coalesce(sent.echo, false) and not coalesce(sent.discarded, false) "
            "and sent.property_name is not null and sent.time_uuid is not null"
        )
        same = "sent.dsn = acks.dsn and sent.time_uuid = acks.time_uuid"
        rows = (
            f"select sent.dsn, sent.time_uuid, {of_sent}, sent.happened as commanded_at, {answers} from {sent} as sent "
            f"left join {acks} as acks on {same} where {is_command}"
        )
        alone = (
            f"select acks.dsn, acks.time_uuid, {of_acks}, acks.sent_at, {answers} from {acks} as acks "
            f"left join {sent} as sent on {same} "
            "where sent.dsn is null and acks.sent_at is not null and acks.time_uuid is not null"
        )
        both = f"{rows} union all {alone}"
        if self.window is not None:
            both = f"select * from ({both}) as every_command where {self._of_window('commanded_at')}"
        number, moment = self.macros.types[NUMBER], self.macros.moment
        known = f"runs.ends is not null and runs.ends >= {self._floor('sent.commanded_at', HOUR)} + {2 * HOUR}"
        late = "case when sent.acked_at > sent.commanded_at then sent.acked_at - sent.commanded_at else 0 end"
        return (
            "select sent.dsn, sent.time_uuid, sent.oem_model, sent.property_name, sent.base_type, sent.user_uuid, "
            f"{moment('sent.commanded_at')} as commanded_at, sent.value, sent.value_text, sent.ack_id, "
            f"{moment('sent.acked_at')} as acked_at, "
            f"case when sent.acked_by is not null then cast({late} as {number}) / {SECOND} end as latency_seconds, "
            "sent.ack_status, sent.ack_message, "
            "case when sent.acked_by is not null and sent.ack_status between 200 and 299 then 'acknowledged' "
            "when sent.acked_by is not null then 'refused' "
            f"when {known} then 'unanswered' else 'unknown' end as outcome "
            f"from ({both}) as sent left join {runs} as runs on runs.event_type = 'datapoint_ack' "
            "and sent.commanded_at >= runs.starts and sent.commanded_at < runs.ends"
        )

    def acked_property(self) -> str:
        """Return :data:`~ayla_provider.models.tables.ACKED`."""
        return f"select distinct oem_model, property_name from ({self.acked_hours()}) as acked"

    def acked_hours(self) -> str:
        """Return the properties that were answered in each hour of a folder."""
        kind = "datapoint_ack"
        return (
            f"select distinct t.{self.quote('folder_hour')} as folder_hour, "
            f"{self._columns(kind, ('oem_model', 'property_name'))} from {self.name(kind)} as t "
            f"where t.{self.quote('dsn')} is not null "
            f"and coalesce({self._column(kind, 'acked_at')}, {self._column(kind, 'created_at')}) is not null "
            f"and {self._counts(kind)}"
        )

    def command(self) -> str:
        """Return :data:`~ayla_provider.models.tables.COMMAND`."""
        return (
            f"select {', '.join(f'sent.{name}' for name in tables.SENT.names)} from "
            f"{self.name('command_sent')} as sent "
            f"where exists (select 1 from {self.name('acked_property')} as acked "
            "where acked.oem_model is not distinct from sent.oem_model "
            "and acked.property_name is not distinct from sent.property_name)"
        )

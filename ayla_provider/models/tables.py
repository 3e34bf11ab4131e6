"""The tables of the fleet models: columns, keys, and what they mean, for comments, documents, and dbt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ayla_provider.domain.tables import (
    BOOLEAN,
    DATE,
    INTEGER,
    NUMBER,
    TEXT,
    TIMESTAMP,
    UUID,
    Column,
    ColumnType,
    Table,
)


@dataclass(frozen=True, slots=True)
class Model(Table):
    """
    A table of the fleet models.

    :param key: the columns that identify a row
    :param day: the column that says on which day of a device a row is: a day, or a moment; empty if it is on none
    """

    key: tuple[str, ...] = ()
    day: str = ""

    @property
    def name(self) -> str:
        """The name without prefix."""
        return self.event_type

    def with_types(self, types: Mapping[str, ColumnType]) -> Model:
        """
        Return the model with other types.

        :param types: the types of columns that aren't those of the canonical tables, such as hashed UUIDs
        """
        columns = (replace(column, type=types.get(column.name, column.type)) for column in self.columns)
        return replace(self, columns=tuple(columns))


C = Column
_DSN = C("dsn", TEXT, "The serial number of the device.")
_DAY = C("day", DATE, "The day in the time zone of the models.")
_PROPERTY_NAME = C("property_name", TEXT, "The name of the device's property.")
_MODEL = C("oem_model", TEXT, "The model of the device.")
_BASE_TYPE = C("base_type", TEXT, "What the property's values are, as the datapoint says.")
_DIRECTION = C("direction", TEXT, "output: from the device; input: to the device.")
_VALUE = C("value", NUMBER, "The value as a number; true is 1 and false is 0; empty if it is a text.")
_VALUE_TEXT = C("value_text", TEXT, "The value if it is a text.")

ACTIVITY = Model(
    "device_activity",
    "For each device, day, and model: when events happened, and how many. The other models are made from it.",
    (
        _DSN,
        _DAY,
        C("oem_id", TEXT, "The OEM whose device it is."),
        _MODEL,
        C("first_at", TIMESTAMP, "The first event of any type."),
        C("last_at", TIMESTAMP, "The last event of any type."),
        C("heard_at", TIMESTAMP, "The last event that the device itself caused."),
        C("datapoints", INTEGER, "Datapoints, also discarded ones."),
        C("discarded", INTEGER, "Discarded datapoints."),
        C("registered", INTEGER, "Registrations."),
        C("unregistered", INTEGER, "How often the device was given up."),
    ),
    key=("dsn", "day", "oem_id", "oem_model"),
    day="day",
)

DEVICE_OWNER = Model(
    "device_owner",
    "A row for each time that a user owned a device.",
    (
        _DSN,
        C("owned_from", TIMESTAMP, "When the user registered the device."),
        C("owned_to", TIMESTAMP, "When the ownership ended; empty while it is open."),
        C("user_uuid", UUID, "The user; empty if the registration names none."),
        C("registration_type", TEXT, "How the device was registered."),
    ),
    key=("dsn", "owned_from"),
)

DEVICE = Model(
    "device",
    "A row for each device.",
    (
        _DSN,
        C("oem_id", TEXT, "The OEM whose device it is, of the latest event."),
        C("oem_model", TEXT, "The model, of the latest event."),
        C("first_seen", TIMESTAMP, "The first event of any type."),
        C("last_seen", TIMESTAMP, "The last event of any type."),
        C(
            "last_heard",
            TIMESTAMP,
            "The last event that the device itself caused: a value, an answer, or coming online.",
        ),
        C("activated_at", TIMESTAMP, "When the serial number was first given to a device. Only streams say that."),
        C("first_registered_at", TIMESTAMP, "When the device was first registered."),
        C("registered_at", TIMESTAMP, "The start of the current ownership, or of the last one."),
        C("unregistered_at", TIMESTAMP, "The end of the last ownership; empty if it is open."),
        C("registered", BOOLEAN, "Whether somebody owns the device; empty if no registration was seen."),
        C("user_uuid", UUID, "The current owner."),
        C("owner_count", INTEGER, "How many users ever owned the device."),
        C("registrations", INTEGER, "How many ownerships there were."),
    ),
    key=("dsn",),
)

DEVICE_DAY = Model(
    "device_day",
    "A row for each device and day: how long it was online, offline, or in a state that nobody knows.",
    (
        _DSN,
        _DAY,
        C("oem_model", TEXT, "The model at the end of the day."),
        C("user_uuid", UUID, "The owner at the end of the day."),
        C("day_seconds", INTEGER, "The length of the day: online + offline + unknown."),
        C("online_seconds", INTEGER, "How long the device was online."),
        C("offline_seconds", INTEGER, "How long the device was offline."),
        C("unknown_seconds", INTEGER, "How long nobody knows, because hours are missing or no state was seen yet."),
        C("sessions", INTEGER, "Sessions that began on the day."),
        C("flaps", INTEGER, "How often the device came back within a minute, or changed twice within a second."),
        C("connection_events", INTEGER, "Different messages about the connection."),
        C("uptime_share", NUMBER, "Online / (online + offline); empty if nothing is known."),
        C("unknown_share", NUMBER, "Unknown / day."),
        C("state_at_end", TEXT, "online, offline, or unknown, just before the end of the day."),
        C("state_since", TIMESTAMP, "Since when the device was in this state; empty if it is unknown."),
    ),
    key=("dsn", "day"),
    day="day",
)

PROPERTY_VALUE = Model(
    "property_value",
    "A row for each value of a property, with the time in which it was valid.",
    (
        _DSN,
        _PROPERTY_NAME,
        C("time_uuid", UUID, "Identifies the datapoint."),
        C("valid_from", TIMESTAMP, "When the property took the value."),
        C("valid_to", TIMESTAMP, "When the value ended, or when nobody knows any more; empty if it is still valid."),
        _VALUE,
        _VALUE_TEXT,
        _BASE_TYPE,
        _DIRECTION,
        _MODEL,
        C("echo", BOOLEAN, "Whether the device only repeats a value that the cloud sent to it."),
        C("is_change", BOOLEAN, "Whether the value before was another one, or is unknown."),
    ),
    key=("dsn", "property_name", "time_uuid"),
    day="valid_from",
)

PROPERTY_HOUR = Model(
    "property_hour",
    "A row for each property and hour with at least one value.",
    (
        _DSN,
        _PROPERTY_NAME,
        C("hour", TIMESTAMP, "The hour of the values, UTC."),
        _MODEL,
        _BASE_TYPE,
        _DIRECTION,
        C("observations", INTEGER, "How many values."),
        C("echoes", INTEGER, "How many of them are echoes."),
        C("numbers", INTEGER, "How many of them are numbers."),
        C("first_value", NUMBER, "The first value."),
        C("last_value", NUMBER, "The last value."),
        C("first_text", TEXT, "The first value, if it is a text."),
        C("last_text", TEXT, "The last value, if it is a text."),
        C("first_at", TIMESTAMP, "When the first value came."),
        C("last_at", TIMESTAMP, "When the last value came."),
        C("min_value", NUMBER, "The least value."),
        C("max_value", NUMBER, "The greatest value."),
        C("sum_value", NUMBER, "The sum of the values."),
        C("mean_value", NUMBER, "sum_value / numbers."),
        C("carried_value", NUMBER, "The value at the start of the hour, from an earlier hour."),
        C("carried_text", TEXT, "The same, if it is a text."),
        C("is_carried", BOOLEAN, "Whether a value was valid at the start of the hour."),
        C("weighted_seconds", NUMBER, "How long a number was valid within the hour."),
        C("weighted_sum", NUMBER, "The sum of each number, times the seconds in which it was valid."),
        C("weighted_mean", NUMBER, "weighted_sum / weighted_seconds."),
    ),
    key=("dsn", "property_name", "hour"),
    day="hour",
)

STATE_DURATION = Model(
    "state_duration",
    "How long a boolean, integer, or string property had each value on each day.",
    (
        _DSN,
        _PROPERTY_NAME,
        _DAY,
        _VALUE,
        _VALUE_TEXT,
        C("seconds", NUMBER, "How long the value was valid on the day."),
        C("entries", INTEGER, "How often the property took the value on the day."),
    ),
    key=("dsn", "property_name", "day", "value", "value_text"),
    day="day",
)

SENT = Model(
    "command_sent",
    "A row for each value that was sent to a device, also of properties that no device answers. See command.",
    (
        _DSN,
        C("time_uuid", UUID, "Identifies the datapoint."),
        _MODEL,
        _PROPERTY_NAME,
        _BASE_TYPE,
        C("user_uuid", UUID, "The user of the datapoint."),
        C("commanded_at", TIMESTAMP, "When the value was sent."),
        _VALUE,
        _VALUE_TEXT,
        C("ack_id", UUID, "Identifies the answer."),
        C("acked_at", TIMESTAMP, "When the device answered."),
        C("latency_seconds", NUMBER, "From the command to the answer."),
        C("ack_status", INTEGER, "The status that the device answered with, such as 200."),
        C("ack_message", INTEGER, "What the device answered: a number that the OEM defines."),
        C("outcome", TEXT, "acknowledged, refused, unanswered, or unknown if the hours of answers are missing."),
    ),
    key=("dsn", "time_uuid"),
    day="commanded_at",
)

ACKED = Model(
    "acked_property",
    "The properties of each model that were ever answered. Only their commands can be unanswered.",
    (_MODEL, _PROPERTY_NAME),
    key=("oem_model", "property_name"),
)

COMMAND = Model(
    "command",
    "A row for each value that was sent to a device, of the properties that are answered.",
    SENT.columns,
    key=SENT.key,
    day=SENT.day,
)

MODEL_DAY = Model(
    "model_day",
    "A row for each model and day: the fleet. Sums, which can be added up again.",
    (
        _MODEL,
        _DAY,
        C("devices", INTEGER, "Devices that exist."),
        C("devices_online", INTEGER, "Devices that were online at least for a second."),
        C("day_seconds", INTEGER, "Devices times the length of the day."),
        C("online_seconds", INTEGER, "How long devices were online."),
        C("offline_seconds", INTEGER, "How long devices were offline."),
        C("unknown_seconds", INTEGER, "How long nobody knows."),
        C("sessions", INTEGER, "Sessions that began on the day."),
        C("flaps", INTEGER, "Flaps, as in device_day."),
        C("uptime_share", NUMBER, "Online / (online + offline)."),
        C("unknown_share", NUMBER, "Unknown / day."),
        C("datapoints", INTEGER, "Datapoints, also discarded ones."),
        C("discarded", INTEGER, "Discarded datapoints."),
        C("commands", INTEGER, "Commands to properties that are answered."),
        C("acknowledged", INTEGER, "Commands that the device accepted."),
        C("refused", INTEGER, "Commands that the device answered otherwise."),
        C("unanswered", INTEGER, "Commands without an answer."),
        C("latency_seconds", NUMBER, "The sum of the latencies of answered commands."),
        C("mean_latency_seconds", NUMBER, "latency_seconds / (acknowledged + refused)."),
        C("registered", INTEGER, "Registrations."),
        C("unregistered", INTEGER, "How often a device was given up."),
    ),
    key=("oem_model", "day"),
)

OF_DAYS = (ACTIVITY, DEVICE_DAY, PROPERTY_VALUE, PROPERTY_HOUR, STATE_DURATION, SENT)
"""The tables that an operator makes day by day, for one device after the other."""

STORED = (ACTIVITY, DEVICE_OWNER, DEVICE, *OF_DAYS[1:], ACKED, MODEL_DAY)
"""All tables that an operator fills."""

MODELS = (*STORED, COMMAND)
"""All tables and views for analysts."""

CHANGES = Model(
    "fleet_changes",
    "The days of devices that a run of the models changed, so that reports can be restated.",
    (
        C("run_id", TEXT, "The run."),
        C("changed_at", TIMESTAMP, "When the run changed it."),
        _DSN,
        _DAY,
    ),
    key=("run_id", "dsn", "day"),
)

HOURS_SEEN = Model(
    "fleet_hours",
    "The hours of the tables that the models were made from.",
    (
        C("event_type", TEXT, "The event type."),
        C("folder_hour", TIMESTAMP, "The hour of the export's folder."),
        C("signature", TEXT, "Names the hour's rows."),
        C("made", TEXT, "The time zone of the days, and how the models are made."),
        C("known", INTEGER, "1 if the hour is there as a whole, or certainly empty; otherwise 0."),
    ),
    key=("event_type", "folder_hour"),
)

HOUR_DAYS = Model(
    "fleet_hour_days",
    "On which days the rows of each hour are.",
    (
        C("event_type", TEXT, "The event type."),
        C("folder_hour", TIMESTAMP, "The hour of the export's folder."),
        _DAY,
    ),
    key=("event_type", "folder_hour", "day"),
)

PENDING = Model(
    "fleet_pending",
    "The days of devices that a run of the models has still to make.",
    (
        C("dsn", TEXT, "The serial number of the device; empty for all devices."),
        C("day", DATE, "The first day to make."),
        C("last_day", DATE, "The last day to make."),
    ),
    key=("dsn", "day"),
)

INTERNAL = (CHANGES, HOURS_SEEN, HOUR_DAYS, PENDING)
"""What the operator keeps for itself, and the list of changes."""

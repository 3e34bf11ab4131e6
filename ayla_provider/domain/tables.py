"""
The canonical tables: one for each event type, the same for all layouts and all warehouses.

The descriptions follow Ayla's documents on device events, https://docs.aylanetworks.com.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class ColumnType(StrEnum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    """64 bits, signed."""
    NUMBER = "number"
    """A double."""
    BOOLEAN = "boolean"
    UUID = "uuid"
    """In Parquet its canonical text, because most readers turn Parquet's own type into bytes."""
    TIMESTAMP = "timestamp"
    """A moment, in microseconds, UTC."""
    DATE = "date"
    """A day. Only the fleet models have it."""


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column of a canonical table.

    :param description: for people, and for the warehouse's comment
    :param personal: whether it can identify a person
    :param part_of: the column with the same content, whose treatment by a privacy policy this one shares
    """

    name: str
    type: ColumnType
    description: str
    personal: bool = False
    part_of: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """
    A canonical table.

    :param identity: the column that identifies a row; of several, the one with the latest ``updated_at`` counts; None
        means that the whole row does
    :param complete: False if a privacy policy drops a column of the rows, so that equal rows can be different events
    """

    event_type: str
    description: str
    columns: tuple[Column, ...]
    identity: str | None = None
    complete: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(column.name for column in self.columns)

    @property
    def data(self) -> tuple[Column, ...]:
        """The columns that come from the vendor's rows."""
        return tuple(column for column in self.columns if column.name not in _PROVENANCE)

    def column(self, name: str) -> Column:
        """
        Return the column of a name.

        :raises KeyError: if there is none
        """
        return {column.name: column for column in self.columns}[name]

    def with_columns(self, more: tuple[Column, ...]) -> Table:
        """Return the table with further columns from the vendor's rows, ahead of the provenance."""
        new = {column.name: column for column in more if column.name not in self.names}
        return replace(self, columns=(*self.data, *new.values(), *PROVENANCE))


TEXT, INTEGER, NUMBER = ColumnType.TEXT, ColumnType.INTEGER, ColumnType.NUMBER
BOOLEAN, UUID, TIMESTAMP = ColumnType.BOOLEAN, ColumnType.UUID, ColumnType.TIMESTAMP
DATE = ColumnType.DATE

PROVENANCE = (
    Column("folder_hour", TIMESTAMP, "The hour of the export's folder that brought the row: the key of a load."),
    Column("source_object", TEXT, "The file's name in Ayla's bucket."),
    Column("source_generation", INTEGER, "The file's generation there; another one means that Ayla replaced it."),
)
"""The last columns of every table: where a row comes from."""

_PROVENANCE = {column.name for column in PROVENANCE}

_OEM_ID = Column("oem_id", TEXT, "The OEM whose device it is.")
_OEM_MODEL = Column("oem_model", TEXT, "The model of the device.")
_DSN = Column("dsn", TEXT, "The serial number of the device.", personal=True)
_USER = Column("user_uuid", UUID, "The user whose device it is; all zeros or empty without one.", personal=True)
_DEVICE = (_OEM_ID, _OEM_MODEL, _DSN)

_PROPERTY = (
    Column("property_name", TEXT, "The name of the device's property."),
    Column("display_name", TEXT, "The property's name for people, decoded."),
    Column("display_name_raw", TEXT, "The same as it is in the file: base64.", part_of="display_name"),
    Column("base_type", TEXT, "What the property's values are: integer, decimal, string, boolean, file, message."),
    Column("time_uuid", UUID, "Identifies the datapoint; a UUID of version 1, which holds a time."),
    Column("created_at_from_device", TIMESTAMP, "When the device says that the datapoint was made."),
    Column("updated_at", TIMESTAMP, "When the datapoint was last changed in Ayla's cloud."),
    Column("created_at", TIMESTAMP, "When the datapoint was made in Ayla's cloud."),
    _USER,
    Column("echo", BOOLEAN, "Whether the device only repeats a value that the cloud sent to it."),
    Column("closed", BOOLEAN, "Whether the datapoint, of a file or message property, is complete."),
    Column("discarded", BOOLEAN, "Whether the datapoint was discarded."),
    Column("scope", TEXT, "The scope of the property: user or oem."),
    Column("val_int", INTEGER, "The value of an integer property."),
    Column("val_decimal", NUMBER, "The value of a decimal property."),
    Column("val_float", NUMBER, "The value of a float property."),
    Column("val_boolean", BOOLEAN, "The value of a boolean property."),
    Column("val_string", TEXT, "The value of a string, file or message property, decoded.", personal=True),
    Column("value_raw", TEXT, "The value as it is in the file, for any type.", personal=True, part_of="val_string"),
    Column("metadata", TEXT, "What an app or a rule added to the datapoint, decoded; mostly JSON.", personal=True),
    Column("metadata_raw", TEXT, "The same as it is in the file: base64.", personal=True, part_of="metadata"),
)

TABLES = {
    table.event_type: table
    for table in (
        Table(
            "datapoint",
            "A row for each value that a property of a device took.",
            (
                *_DEVICE,
                *_PROPERTY,
                Column("direction", TEXT, "output: from the device; input: to the device."),
                *PROVENANCE,
            ),
            identity="time_uuid",
        ),
        Table(
            "datapoint_ack",
            "A row for each answer of a device to a value that it was sent.",
            (
                *_DEVICE,
                *_PROPERTY,
                Column("ack_message", INTEGER, "What the device answered: a number that the OEM defines."),
                Column("ack_status", INTEGER, "The status that the device answered with, such as 200."),
                Column("ack_id", UUID, "Identifies the answer."),
                Column("acked_at", TIMESTAMP, "When the device answered."),
                *PROVENANCE,
            ),
            identity="time_uuid",
        ),
        Table(
            "connection",
            "A row for each time that a device came online or went offline.",
            (
                *_DEVICE,
                Column("event_time", TIMESTAMP, "When it did."),
                _USER,
                Column("status", TEXT, "Online or Offline."),
                *PROVENANCE,
            ),
        ),
        Table(
            "location",
            "A row for each change of a device's place.",
            (
                *_DEVICE,
                Column("ip", TEXT, "The address that the device was seen at.", personal=True),
                Column("lat", NUMBER, "Latitude, degrees.", personal=True),
                Column("long", NUMBER, "Longitude, degrees.", personal=True),
                Column("provider", TEXT, "What the place was found out from: ip-based, user-based."),
                _USER,
                Column("created_at", TIMESTAMP, "When it was found out."),
                *PROVENANCE,
            ),
        ),
        Table(
            "registration",
            "A row for each time that a user registered a device or gave it up.",
            (
                *_DEVICE,
                _USER,
                Column("registered", BOOLEAN, "Whether the device was registered; false: it was given up."),
                Column("registration_type", TEXT, "How: Same-LAN, Button-Push, AP-Mode, Display, Dsn, ..."),
                Column("registered_at", TIMESTAMP, "When it was registered."),
                Column("unregistered_at", TIMESTAMP, "When it was given up."),
                *PROVENANCE,
            ),
        ),
    )
}
"""Event type of the export to its table."""

STREAM_TABLES = TABLES | {
    "activation": Table(
        "activation",
        "A row for each time that a serial number was first given to a device. Only streams have them.",
        (
            *_DEVICE,
            Column("activation_id", UUID, "Identifies the activation; often all zeros."),
            Column("device_type", TEXT, "What kind of device it is, such as Wifi."),
            Column("status", TEXT, "Activated."),
            Column("event_time", TIMESTAMP, "When it was; often empty."),
            *PROVENANCE,
        ),
    )
}
"""Event type of a stream to its table."""


def table_like(event_type: str, columns: tuple[Column, ...], identity: str | None, *, complete: bool = True) -> Table:
    """Return the table of an event type, which may be one that isn't documented, with these columns."""
    known = STREAM_TABLES.get(event_type)
    description = known.description if known else f"A row for each {event_type} event."
    return Table(event_type, description, columns, identity, complete)

"""
The columns of the export's CSV files, from Ayla's documents and from files that Ayla published.

The published files have no header, so only its place identifies a column. A layout lists the names in the order of the
file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ayla_provider.domain.tables import Column, ColumnType


@dataclass(frozen=True)
class ColumnLayout:
    """
    The columns of one kind of CSV file.

    :param event_type: the event type whose files look like this
    :param name: unique among all layouts
    :param columns: the names of the columns, in order
    :param base64_columns: the columns that are always base64 of UTF-8 text
    :param base64_strings: the columns that are base64 only in a row whose ``base_type`` is one of
        :data:`STRING_BASE_TYPES`
    :param identity: the column that identifies a row; None means that the whole row does
    :param confirmed: whether such files were seen, or are documented as files
    :param own: the columns that the canonical table doesn't have; they are loaded, too
    :param streamed: whether these are the cells of a stream's records: no text is base64, ``value`` is that of any base
        type, and times may be milliseconds since 1970
    """

    event_type: str
    name: str
    columns: tuple[str, ...]
    base64_columns: tuple[str, ...] = ()
    base64_strings: tuple[str, ...] = ()
    identity: str | None = None
    confirmed: bool = True
    own: tuple[Column, ...] = ()
    # A layout's text is part of a receipt's version, and those of files mustn't change.
    streamed: bool = field(default=False, repr=False)


STRING_BASE_TYPES = ("string", "file", "message")
"""The base types of a property whose value is text."""

_DEVICE = ("oem_id", "oem_model", "dsn")
_PROPERTY = (*_DEVICE, "property_name", "display_name", "base_type")

DATAPOINT_22 = ColumnLayout(
    event_type="datapoint",
    name="datapoint-22",
    columns=(
        *_PROPERTY,
        "time_uuid",
        "created_at_from_device",
        "updated_at",
        "created_at",
        "user_uuid",
        "echo",
        "closed",
        "discarded",
        "scope",
        "val_int",
        "val_decimal",
        "val_float",
        "val_boolean",
        "val_string",
        "metadata",
        "direction",
    ),
    base64_columns=("display_name", "val_string", "metadata"),
    identity="time_uuid",
)
"""As in raw files and in a document of 2017: one column for the values of each base type."""

DATAPOINT_17 = ColumnLayout(
    event_type="datapoint",
    name="datapoint-17",
    columns=(
        *_PROPERTY,
        "id",
        "updated_at",
        "created_at",
        "user_uuid",
        "echo",
        "closed",
        "discarded",
        "scope",
        "value",
        "metadata",
        "direction",
    ),
    base64_columns=("display_name", "metadata"),
    base64_strings=("value",),
    identity="id",
)
"""As documented for the stream service: one column for the values of all base types."""

DATAPOINT_ACK_24 = ColumnLayout(
    event_type="datapoint_ack",
    name="datapoint_ack-24",
    columns=(*DATAPOINT_22.columns[1:-1], "ack_message", "ack_status", "ack_id", "acked_at"),
    base64_columns=DATAPOINT_22.base64_columns,
    identity=DATAPOINT_22.identity,
)
"""As documented in 2017: the columns of a datapoint without ``oem_id`` and ``direction``. No raw file was seen."""

CONNECTION_6 = ColumnLayout(
    event_type="connection",
    name="connection-6",
    columns=(*_DEVICE, "event_time", "user_uuid", "status"),
)
"""As in raw files and documents."""

LOCATION_9 = ColumnLayout(
    event_type="location",
    name="location-9",
    columns=(*_DEVICE, "ip", "lat", "long", "provider", "user_uuid", "created_at"),
)
"""As in raw files and documents; ``lat`` may begin with a space."""

REGISTRATION_8 = ColumnLayout(
    event_type="registration",
    name="registration-8",
    columns=(
        *_DEVICE,
        "user_uuid",
        "registered",
        "registration_type",
        "registered_at",
        "unregistered_at",
    ),
)
"""As in raw files."""

REGISTRATION_8_2020 = replace(
    REGISTRATION_8,
    name="registration-8-2020",
    columns=(*REGISTRATION_8.columns[:-2], "unregistered_at", "registered_at"),
    confirmed=False,
)
"""As a document of 2020 lists the columns of a file: the last two in the other order. No raw file was seen."""

RESOURCE_TAGS = Column("resource_tags", ColumnType.TEXT, "The tags of the device.", personal=True)

CONNECTION_8_2018 = ColumnLayout(
    event_type="connection",
    name="connection-8-2018",
    columns=(*_DEVICE, "resource_tags", "event_type", "event_time", "user_uuid", "status"),
    confirmed=False,
    own=(RESOURCE_TAGS,),
)
"""
As a document of 2018 lists the keys of a record. It isn't known whether files ever looked like this.

The same holds for the other layouts of 2018. Their ``event_type`` is the same in all rows, and isn't loaded.
"""

DATAPOINT_17_2018 = ColumnLayout(
    event_type="datapoint",
    name="datapoint-17-2018",
    columns=(
        *_PROPERTY,
        "resource_tags",
        "event_type",
        "id",
        "created_at_from_device",
        "updated_at",
        "created_at",
        "user_uuid",
        "echo",
        "closed",
        "value",
        "metadata",
    ),
    base64_columns=("metadata",),
    base64_strings=("value",),
    identity="id",
    confirmed=False,
    own=(RESOURCE_TAGS,),
)
"""The document shows ``display_name`` as plain text."""

DATAPOINT_ACK_21_2018 = ColumnLayout(
    event_type="datapoint_ack",
    name="datapoint_ack-21-2018",
    columns=(
        "ack_id",
        "ack_message",
        "ack_status",
        "acked_at",
        "base_type",
        "closed",
        "created_at_from_device",
        "created_at",
        "display_name",
        "dsn",
        "echo",
        "event_type",
        "id",
        "metadata",
        "oem_id",
        "oem_model",
        "property_name",
        "resource_tags",
        "updated_at",
        "user_uuid",
        "value",
    ),
    base64_columns=("metadata",),
    base64_strings=("value",),
    identity="id",
    confirmed=False,
    own=(RESOURCE_TAGS,),
)
"""Almost in alphabetical order."""

LOCATION_11_2018 = ColumnLayout(
    event_type="location",
    name="location-11-2018",
    columns=(
        "created_at",
        "dsn",
        "event_type",
        "ip",
        "lat",
        "long",
        "oem_id",
        "oem_model",
        "provider",
        "resource_tags",
        "user_uuid",
    ),
    confirmed=False,
    own=(RESOURCE_TAGS,),
)

REGISTRATION_9_2018 = ColumnLayout(
    event_type="registration",
    name="registration-9-2018",
    columns=(
        "dsn",
        "event_type",
        "oem_id",
        "oem_model",
        "registered",
        "registration_type",
        "resource_tags",
        "unregistered_at",
        "user_uuid",
    ),
    confirmed=False,
    own=(RESOURCE_TAGS,),
)

COLUMN_LAYOUTS = (
    DATAPOINT_22,
    DATAPOINT_17,
    DATAPOINT_17_2018,
    DATAPOINT_ACK_24,
    DATAPOINT_ACK_21_2018,
    CONNECTION_6,
    CONNECTION_8_2018,
    LOCATION_9,
    LOCATION_11_2018,
    REGISTRATION_8,
    REGISTRATION_8_2020,
    REGISTRATION_9_2018,
)
"""Every layout that was seen in raw files, or is documented in any way."""

ORDERED_BY_DATES = (REGISTRATION_8, REGISTRATION_8_2020)
"""Layouts that differ only in the order of two dates. Without a header, only what the rows say decides between them."""

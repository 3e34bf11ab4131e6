"""Names of the export's objects, and the paths of their copies in the destination."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from urllib.parse import quote, unquote

from ayla_provider.domain.events import EventType, parse_event_type
from ayla_provider.domain.hour import ExportHour, FolderStyle, format_folder, hour_of, parse_folder
from ayla_provider.domain.json_fields import CONTROL
from ayla_provider.errors import AylaConfigError, AylaUnsafeNameError

MANIFESTS = "_manifests"
"""The folder of the manifests, beside the event types: a glob over an event type reads CSV files only."""

FAILURES = "_failures"
"""The folder of the notes about hours that couldn't be copied."""

ERASED = "_erased"
"""The folder of the marks that somebody erased an hour's files on purpose."""

ERASURES = "_erasures"
"""The folder of the erasure ledger: what must not come back."""

POSITIONS = "_verify"
"""The folder of the documents that say how far the files were read by verifications."""

OLDEST = "_oldest"
"""The folder of the records of the source's oldest hours."""

FRESHNESS = "_freshness"
"""The folder of what is known of the age of the newest complete hours, and of alerts."""

VOLUMES = "_volumes"
"""The folder of how many lines and rows hours had, and what is unusual about them."""

COMPLETENESS = "_completeness"
"""The folder of the results of comparisons with the export, in the archive of a stream."""

TYPED_ROWS = "parquet"
"""The folder of the typed rows, by default: next to the archive's event types."""

TYPED_RECEIPTS = "_typed"
"""The folder of the receipts of typed rows, next to their event types."""

LAYOUTS = "_layouts"
"""The folder of the lists of layouts that files have had, next to the typed rows' event types."""

DIGESTS = "_digests"
"""The end of the names of the assets that tell the page *Ayla export* about many hours. No object has this path."""

PARTS = "_parts"
"""The folder of the parts of hours that several tasks type, in the archive and next to the typed rows' event types. It
is empty unless a task is at work, or has failed."""

QUARANTINE = "_quarantine"
"""The folder of the lines that couldn't be read. It is in the archive, because they are the vendor's bytes."""

STREAM_POSITION = "_stream/position.json"
"""The path of the document that says how far a stream was read, relative to the stream's destination."""

UNREADABLE_RECORDS = "_unreadable"
"""The folder of a stream's records that aren't events of a known type, beside the event types."""

EXTRACTS = "_extracts"
"""The folder of what the data of a person or a device was extracted into."""

_PRIVATE = {PARTS, QUARANTINE, UNREADABLE_RECORDS, ERASURES, EXTRACTS}
"""The folders with personal data that no analyst needs to read."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One object of the export: one CSV file, in one generation."""

    event_type: EventType
    folder_time: datetime
    """The time that its folder states, aware, UTC."""
    style: FolderStyle
    """How its folder writes that time."""
    file: str
    """The rest of the name, below the folder."""
    name: str
    """The object's whole name in the vendor's bucket."""
    size: int
    """Bytes."""
    crc32c: str | None
    """Base64 of the big-endian CRC32C, as Cloud Storage states it; None where listings don't state it."""
    generation: int
    created: datetime
    """When this generation was created: aware, UTC."""
    etag: str = ""
    """Identifies this content in requests, where a request can't name a generation."""

    @property
    def hour(self) -> ExportHour:
        """The hour that the file belongs to: the folder decides, not the events in the file."""
        return ExportHour(self.event_type, hour_of(self.folder_time))

    @property
    def description(self) -> str:
        """Event type, folder and object, for messages."""
        return f"{self.event_type}, folder {format_folder(self.folder_time, self.style)}, object {self.name!r}"


class Layout(StrEnum):
    """How the path of a copy follows from the object's name."""

    PARTITIONED = "partitioned"
    """``event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-Datapoints.csv``: without spaces and colons.
    Spark, BigQuery and DuckDB read the partition columns from the path."""
    MIRROR = "mirror"
    """The object's own name: ``<oem_id>/Datapoint/2024-05-09 02:00:00/Datapoints.csv``."""


def source_prefix(root: str, folder: str) -> str:
    """
    Return the prefix that all objects of an event folder share.

    It ends with a slash, because ``Datapoint Ack`` also begins with ``Datapoint``.

    :param root: the prefix of the event folders: ``<oem_id>/`` or nothing
    """
    return f"{root}{folder}/"


def source_window(prefix: str, start: datetime, end: datetime) -> tuple[str, str]:
    """
    Return the start offset (inclusive) and end offset (exclusive) of a listing that holds every folder of an interval.

    A space sorts before a hyphen. So the folders of one date in both styles are neighbours, and one listing from
    the first hour with a space to the last hour with a hyphen holds both. It can also hold other hours of the first
    and of the last date; the caller must leave them out.

    :param prefix: the event folder's, see :func:`source_prefix`
    :param start: the first hour, aware
    :param end: the end of the last hour, aware
    """
    last = hour_of(end.astimezone(UTC) - datetime.resolution)
    return prefix + hour_text(start, FolderStyle.SPACE), f"{prefix}{last.date().isoformat()}-{last.hour + 1:02}"


def hour_text(hour: datetime, style: FolderStyle) -> str:
    """Return how the names of all folders of an hour begin: ``2024-05-09 02``."""
    return format_folder(hour, style)[: len("2024-05-09 02")]


def parse_source(name: str, prefix: str) -> tuple[datetime, FolderStyle, str] | None:
    """
    Return the folder's time and style and the file of an object's name; None if it isn't a file in a dated folder.

    :param name: the object's name
    :param prefix: the event folder's, see :func:`source_prefix`
    """
    if not name.startswith(prefix):
        return None
    folder, slash, file = name[len(prefix) :].partition("/")
    parsed = parse_folder(folder)
    if not slash or not file or file.endswith("/") or parsed is None:
        return None
    return (*parsed, file)


def destination_path(file: ExportFile, layout: Layout) -> str:
    """
    Return the path of a file's copy, relative to the destination.

    :raises AylaUnsafeNameError: if the object's name could lead out of the destination, or can't be a path
    """
    _refuse_unsafe(file)
    if layout is Layout.MIRROR:
        return file.name
    return partitioned_path(file.event_type, file.folder_time, file.style, file.file)


def layout_of(path: str) -> Layout:
    """Return the layout of a copy's path."""
    return Layout.PARTITIONED if parse_partitioned_path(path) else Layout.MIRROR


_PARTITIONED = re.compile(
    r"event_type=(?P<event_type>[a-z0-9_]+)/date=\d{4}-\d{2}-\d{2}/hour=\d{2}/"
    r"(?P<day>\d{8})(?P<separator>[T-])(?P<time>\d{6})Z-(?P<file>[^/]+)",
    re.ASCII,
)


def partitioned_path(event_type: EventType, folder_time: datetime, style: FolderStyle, file: str) -> str:
    """
    Return the partitioned path of a file: the inverse of :func:`parse_partitioned_path`.

    The name begins with the folder's time, because two folders of one hour can hold the same file name. All
    characters except letters, digits and ``_.-~`` are percent-encoded.
    """
    # isoformat pads years below 1000, which strftime doesn't.
    day, time = folder_time.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat("T").split("T")
    separator = "T" if style is FolderStyle.SPACE else "-"
    name = f"{day.replace('-', '')}{separator}{time.replace(':', '')}Z-{quote(file, safe='')}"
    return f"event_type={event_type}/date={day}/hour={time[:2]}/{name}"


def parse_partitioned_path(path: str) -> tuple[EventType, datetime, FolderStyle, str] | None:
    """Return event type, folder time, style and file of a partitioned path; None if it isn't one."""
    match = _PARTITIONED.fullmatch(path)
    if not match:
        return None
    try:
        time = datetime.strptime(match["day"] + match["time"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        file = unquote(match["file"], errors="strict")
        style = FolderStyle.SPACE if match["separator"] == "T" else FolderStyle.HYPHEN
        parsed = (EventType(match["event_type"]), time, style, file)
        # On a disk, a name can have bytes that aren't UTF-8.
        return parsed if partitioned_path(*parsed) == path else None
    except ValueError:
        return None


def manifest_path(hour: ExportHour) -> str:
    """Return the path of an hour's manifest, relative to the destination."""
    return f"{MANIFESTS}/{hour.partition}.json"


_RECORD = re.compile(
    r"event_type=(?P<event_type>[a-z0-9_]+)/date=(?P<day>\d{4}-\d{2}-\d{2})/hour=(?P<hour>\d{2})\.json", re.ASCII
)


def parse_manifest_path(path: str, root: str = MANIFESTS) -> ExportHour | None:
    """
    Return the hour whose manifest has this path, the inverse of :func:`manifest_path`; None if it isn't one.

    :param root: the folder of the manifests, or of another kind of record
    """
    match = _RECORD.fullmatch(path.removeprefix(f"{root}/")) if path.startswith(f"{root}/") else None
    if not match:
        return None
    try:
        start = datetime.fromisoformat(f"{match['day']}T{match['hour']}:00:00+00:00")
    except ValueError:
        return None
    return ExportHour(EventType(match["event_type"]), start)


def hour_of_path(path: str) -> ExportHour | None:
    """Return the hour that a copy's path states, in either layout; None if it states none."""
    partitioned = parse_partitioned_path(path)
    if partitioned:
        event_type, time, _, _ = partitioned
        return ExportHour(event_type, hour_of(time))
    folders = path.split("/")[:-1]
    for event_folder, folder in pairwise(folders):
        parsed = parse_folder(folder)
        if parsed:
            with contextlib.suppress(AylaConfigError):
                return ExportHour(parse_event_type(event_folder), hour_of(parsed[0]))
    return None


def typed_rows_url(archive: str, parquet: str = "") -> str:
    """
    Return the URL of the destination of the typed rows.

    :param archive: the archive's URL
    :param parquet: the URL that the user gives for them; empty for the default
    """
    return parquet or f"{str(archive).strip().rstrip('/')}/{TYPED_ROWS}"


def stream_path(event_type: EventType | None, hour: datetime, batch: int) -> str:
    """
    Return the path of a file of a stream, relative to the stream's destination.

    :param event_type: None for records that aren't events of a known type
    :param hour: the start of the hour, aware
    :param batch: the number of the batch
    """
    utc = hour.astimezone(UTC)
    folder = UNREADABLE_RECORDS if event_type is None else f"event_type={event_type}"
    return f"{folder}/date={utc.date().isoformat()}/hour={utc.hour:02}/{batch:010}.jsonl.gz"


_STREAM_FILE = re.compile(
    rf"(?:{UNREADABLE_RECORDS}|event_type=(?P<event_type>[a-z0-9_]+))/"
    r"date=(?P<day>\d{4}-\d{2}-\d{2})/hour=(?P<hour>\d{2})/(?P<batch>\d{10,})\.jsonl\.gz",
    re.ASCII,
)


def parse_stream_path(path: str) -> tuple[EventType | None, datetime, int] | None:
    """Return event type, hour and batch of a path, the inverse of :func:`stream_path`; None if it isn't one."""
    match = _STREAM_FILE.fullmatch(path)
    if not match:
        return None
    try:
        hour = datetime.fromisoformat(f"{match['day']}T{match['hour']}:00:00+00:00")
    except ValueError:
        return None
    event_type = EventType(match["event_type"]) if match["event_type"] else None
    parsed = (event_type, hour, int(match["batch"]))
    return parsed if stream_path(*parsed) == path else None


def failure_path(hour: ExportHour) -> str:
    """Return the path of the note about an hour that couldn't be copied, relative to the destination."""
    return f"{FAILURES}/{hour.partition}.json"


def erased_path(hour: ExportHour) -> str:
    """Return the path of the mark that somebody erased an hour's files on purpose. Its content doesn't matter."""
    return f"{ERASED}/{hour.partition}.json"


def position_path(event_type: EventType) -> str:
    """Return the path of the document that says how far an event type's files were read by verifications."""
    return f"{POSITIONS}/event_type={event_type}.json"


def volumes_path(event_type: EventType) -> str:
    """Return the path of the numbers of an event type's hours, relative to the destination."""
    return f"{VOLUMES}/event_type={event_type}.json"


def oldest_path(event_type: EventType) -> str:
    """Return the path of the record of an event type's oldest hours at the source, relative to the destination."""
    return f"{OLDEST}/event_type={event_type}.json"


def is_private(path: str) -> bool:
    """
    Return whether an object has personal data that no analyst needs to read.

    :param path: relative to the destination
    """
    return path.partition("/")[0] in _PRIVATE


def unsafe_reason(path: str) -> str:
    """Return why a path can't be used in a destination, as the end of a sentence; empty if it can."""
    if CONTROL.search(path):
        return "contains a control character"
    if "\\" in path:
        return "contains a backslash"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "contains an empty part, '.' or '..', which could lead out of the destination"
    return ""


def _refuse_unsafe(file: ExportFile) -> None:
    if reason := unsafe_reason(file.name):
        raise AylaUnsafeNameError(
            f"{file.event_type}, folder {format_folder(file.folder_time, file.style)}: the object "
            f"{file.name!r} {reason}, so it isn't copied. Ask Ayla support to rename or remove it."
        )

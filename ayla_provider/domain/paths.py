"""Object names of the export, and where a copy of each stands in the destination."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import quote, unquote

from ayla_provider.domain.hour import FolderStyle, format_folder, hour_of, parse_folder
from ayla_provider.errors import AylaUnsafeNameError

MANIFESTS = "_manifests"
"""The folder of the manifests, beside the event types: a glob over an event type reads CSV files only."""

FAILURES = "_failures"
"""The folder of the notes on hours that couldn't be copied."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One object of the export: one CSV file, in one generation."""

    event_type: str
    folder_time: datetime
    """The time that its folder states, aware, UTC."""
    style: FolderStyle
    """How its folder writes that time."""
    file: str
    """What stands below the folder."""
    name: str
    """The object's whole name in the vendor's bucket."""
    size: int
    """Bytes."""
    crc32c: str | None
    """Base64 of the big-endian CRC32C, as Cloud Storage states it; None where listings don't."""
    generation: int
    created: datetime
    """When this generation was created: aware, UTC."""
    etag: str = ""
    """What a request for this content names, where generations can't be asked for."""

    @property
    def hour(self) -> datetime:
        """The UTC hour that the file belongs to: its folder's, whatever the events inside say."""
        return hour_of(self.folder_time)


class Layout(StrEnum):
    """How a copy's path is made from its source."""

    PARTITIONED = "partitioned"
    """``event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-Datapoints.csv``: without spaces and colons,
    with partition columns that Spark, BigQuery and DuckDB read from the path."""
    MIRROR = "mirror"
    """The object's own name: ``<oem_id>/Datapoint/2024-05-09 02:00:00/Datapoints.csv``."""


def source_prefix(root: str, folder: str) -> str:
    """
    Return the prefix that all objects of an event folder share.

    It ends with a slash, since ``Datapoint`` is also how ``Datapoint Ack`` begins.

    :param root: what stands before the event folders: ``<oem_id>/`` or nothing
    """
    return f"{root}{folder}/"


def source_window(prefix: str, start: datetime, end: datetime) -> tuple[str, str]:
    """
    Return the start offset (inclusive) and end offset (exclusive) of a listing that holds every folder of an interval.

    A space sorts before a hyphen, so the folders of one date in both styles are neighbours, and one listing from
    the first hour with a space to the last hour with a hyphen holds both. What it holds besides, at most the rest
    of the first and of the last date, is for the caller to leave out.

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
    Return where the copy of a file stands, relative to the destination.

    :raises AylaUnsafeNameError: if the object's name could lead out of the destination, or can't be a path
    """
    _refuse_unsafe(file)
    if layout is Layout.MIRROR:
        return file.name
    return partitioned_path(file.event_type, file.folder_time, file.style, file.file)


_PARTITIONED = re.compile(
    r"event_type=(?P<event_type>[a-z0-9_]+)/date=\d{4}-\d{2}-\d{2}/hour=\d{2}/"
    r"(?P<day>\d{8})(?P<separator>[T-])(?P<time>\d{6})Z-(?P<file>[^/]+)",
    re.ASCII,
)


def partitioned_path(event_type: str, folder_time: datetime, style: FolderStyle, file: str) -> str:
    """
    Return the partitioned path of a file: the inverse of :func:`parse_partitioned_path`.

    The folder's time stands in the name, since two folders of one hour can hold the same file name; everything but
    letters, digits and ``_.-~`` is percent-encoded.
    """
    # isoformat pads years below 1000, which strftime doesn't.
    day, time = folder_time.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat("T").split("T")
    separator = "T" if style is FolderStyle.SPACE else "-"
    name = f"{day.replace('-', '')}{separator}{time.replace(':', '')}Z-{quote(file, safe='')}"
    return f"event_type={event_type}/date={day}/hour={time[:2]}/{name}"


def parse_partitioned_path(path: str) -> tuple[str, datetime, FolderStyle, str] | None:
    """Return event type, folder time, style and file of a partitioned path; None if it is no such path."""
    match = _PARTITIONED.fullmatch(path)
    if not match:
        return None
    try:
        time = datetime.strptime(match["day"] + match["time"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        file = unquote(match["file"], errors="strict")
    except ValueError:
        return None
    style = FolderStyle.SPACE if match["separator"] == "T" else FolderStyle.HYPHEN
    parsed = (match["event_type"], time, style, file)
    return parsed if partitioned_path(*parsed) == path else None


def manifest_path(event_type: str, hour: datetime) -> str:
    """Return where the manifest of an hour stands, relative to the destination."""
    return _beside(MANIFESTS, event_type, hour)


def failure_path(event_type: str, hour: datetime) -> str:
    """Return where the note on an hour that couldn't be copied stands, relative to the destination."""
    return _beside(FAILURES, event_type, hour)


def _beside(folder: str, event_type: str, hour: datetime) -> str:
    utc = hour.astimezone(UTC)
    return f"{folder}/event_type={event_type}/date={utc.date().isoformat()}/hour={utc.hour:02}.json"


_CONTROL = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, lone surrogates, line and paragraph separators."""


def _refuse_unsafe(file: ExportFile) -> None:
    reason = None
    if any(unicodedata.category(character) in _CONTROL for character in file.name):
        reason = "holds a control character"
    elif "\\" in file.name:
        reason = "holds a backslash"
    elif any(part in ("", ".", "..") for part in file.name.split("/")):
        reason = "holds an empty part, '.' or '..', which could lead out of the destination"
    if reason:
        raise AylaUnsafeNameError(
            f"{file.event_type}, folder {format_folder(file.folder_time, file.style)}: the object "
            f"{file.name!r} {reason}, and isn't copied. Ask Ayla support to rename or remove it."
        )

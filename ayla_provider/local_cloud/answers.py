"""The answer key: the facts about each hour of the made-up export, to compare with what a client made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ayla_provider.domain.hour import hour_of
from ayla_provider.local_cloud.contents import crc32c_of
from ayla_provider.local_cloud.objects import microseconds
from ayla_provider.local_cloud.rows import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Generation:
    """
    One generation of a file.

    :param visible_at: the time from which it exists
    :param crc32c: in base64, as in the API
    :param rows: the number of lines, valid or not
    :param distinct_rows: the number of rows without duplicates and malformed rows
    :param malformed_rows: the number of rows with a wrong number of columns or without valid UTF-8
    """

    generation: int
    visible_at: datetime
    size: int
    crc32c: str
    rows: int
    distinct_rows: int
    malformed_rows: int


@dataclass(frozen=True)
class FileAnswer:
    """A file of the export and all its generations."""

    object_name: str
    folder_time: datetime
    file_name: str
    generations: tuple[Generation, ...]

    @property
    def final(self) -> Generation:
        """The last generation, which replaces the others."""
        return self.generations[-1]


@dataclass(frozen=True)
class HourAnswer:
    """
    All files of one event type and hour. The hour may have no files.

    :param distinct_rows: the number of rows without duplicates and malformed rows, in the last generations of all files
    """

    event_type: str
    hour: datetime
    files: tuple[FileAnswer, ...]
    distinct_rows: int

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types. A file has the facts of its last generation, and a list of all generations."""
        files = []
        for file in self.files:
            generations = [_plain(asdict(generation)) for generation in file.generations]
            about = {"object_name": file.object_name, "file_name": file.file_name, "folder_time": file.folder_time}
            files.append(_plain(about) | generations[-1] | {"generations": generations})
        return {
            "event_type": self.event_type,
            "hour": self.hour.isoformat(),
            "distinct_rows": self.distinct_rows,
            "files": files,
        }


@dataclass(frozen=True)
class FleetFile:
    """A file and the bytes of each of its generations."""

    answer: FileAnswer
    contents: tuple[bytes, ...]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in values.items()}


def generation_of(event_type: str, created: datetime, data: bytes) -> Generation:
    """Return the facts about a file's bytes that exist from a time on."""
    identities, malformed = _identities(event_type, data)
    created, rows = created.astimezone(UTC), data.count(b"\r\n")
    return Generation(microseconds(created), created, len(data), crc32c_of(data), rows, len(identities), malformed)


def _identities(event_type: str, data: bytes) -> tuple[set[bytes], int]:
    """Return the identities of the well-formed rows of a file, and the number of malformed rows."""
    layout = LAYOUTS[event_type]
    column = layout.columns.index(layout.identity) if layout.identity else None
    identities, malformed = set(), 0
    for line in data.split(b"\r\n")[:-1]:
        fields = line.split(b",")
        if len(fields) != len(layout.columns) or not _is_utf8(line):
            malformed += 1
        else:
            identities.add(line if column is None else fields[column])
    return identities, malformed


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def answer_of(event_type: str, hour: datetime, files: Sequence[FleetFile]) -> HourAnswer:
    """Return the facts about an hour with these files."""
    identities: set[bytes] = set()
    for file in files:
        identities |= _identities(event_type, file.contents[-1])[0]
    return HourAnswer(event_type, hour_of(hour), tuple(file.answer for file in files), len(identities))

"""The receipt of one hour, written last: what was copied, proven file by file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar, cast

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.hour import describe_hour
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.units import files_text, size_text
from ayla_provider.errors import AylaConfigError, AylaDestinationError

T = TypeVar("T")

FORMAT = "ayla-export-manifest/1"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file that stands complete in the destination."""

    source: str
    """The object's name in the vendor's bucket."""
    generation: int
    """The object's generation there."""
    size: int
    """Bytes."""
    crc32c: str
    """Base64 of the big-endian CRC32C."""
    created: str
    """When the vendor created this generation, ISO 8601."""
    path: str
    """Where the copy stands, relative to the destination."""
    lines: int | None = field(default=None, compare=False)
    """Line ends, and one more if the last line has none; None if nobody counted. It makes no file another one."""

    @classmethod
    def of(cls, file: ExportFile, path: str, crc32c: str, lines: int | None = None) -> ManifestFile:
        """
        Return the entry of a file that stands at a path.

        :param crc32c: of what stands there
        :param lines: None if nobody counted them
        """
        return cls(file.name, file.generation, file.size, crc32c, file.created.isoformat(), path, lines)

    def is_of(self, file: ExportFile, path: str) -> bool:
        """Whether this is the entry of a file, in the very generation, at a path."""
        return self == ManifestFile.of(file, path, file.crc32c or self.crc32c)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The receipt of one event type and hour."""

    event_type: str
    hour: datetime
    """The hour's start, aware, UTC."""
    state: HourState
    """The hour's state when it was copied."""
    revision: int
    """1 at first; raised whenever files were added or replaced."""
    files: tuple[ManifestFile, ...]
    written_at: str
    """ISO 8601, UTC."""
    written_by: Mapping[str, str] = field(default_factory=dict)
    """Which run wrote it: ``dag_id``, ``run_id``, ``task_id``, ``try_number``."""
    export: str = ""
    """The URL of the OEM's export, see :attr:`~ayla_provider.source.export.Export.url`; empty if nobody knows."""

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def lines(self) -> int | None:
        """The lines of all files; None if those of one aren't known."""
        known = [file.lines for file in self.files if file.lines is not None]
        return sum(known) if len(known) == len(self.files) else None

    @property
    def newest(self) -> str | None:
        """When the vendor created the newest file, ISO 8601; None without files."""
        return max((file.created for file in self.files), default=None)

    def refuse_other(self, export: str) -> None:
        """
        Let an archive be that of one OEM: of another one's hour nothing is to be touched, nor taken for its own.

        An OEM's export may move to another bucket, and to another cloud.

        :param export: the URL of the export that the hour is compared with
        :raises AylaConfigError: if this is the manifest of another OEM's hour
        """
        known, asked = _oem_of(self.export), _oem_of(export)
        if self.export and known[0] == asked[0] and known != asked:
            raise AylaConfigError(
                f"{self.event_type} {describe_hour(self.hour)}: the destination is the archive of the export "
                f"{self.export}, and the connection leads to {export}. Give each OEM a destination of its own."
            )

    def dumps(self) -> str:
        """Return the manifest as JSON text: the inverse of :func:`loads`."""
        document = {
            "format": FORMAT,
            "export": self.export,
            "event_type": self.event_type,
            "hour": self.hour.isoformat(),
            "state": self.state.value,
            "revision": self.revision,
            "total_files": len(self.files),
            "total_bytes": self.size,
            "total_lines": self.lines,
            "written_at": self.written_at,
            "written_by": dict(self.written_by),
            "files": [asdict(file) for file in self.files],
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def loads(text: str | bytes, where: str) -> Manifest:
    """
    Return the manifest that a JSON text holds.

    :param where: the manifest's URL, for the error
    :raises AylaDestinationError: if the text is no manifest of this format
    """
    try:
        document: dict[str, Any] = json.loads(text)
        _require(document["format"] == FORMAT, f"its format is {document['format']!r}")
        manifest = Manifest(
            event_type=_typed(document, "event_type", str),
            hour=datetime.fromisoformat(document["hour"]),
            state=HourState(document["state"]),
            revision=_typed(document, "revision", int),
            files=tuple(_file(entry) for entry in _typed(document, "files", list)),
            written_at=_typed(document, "written_at", str),
            written_by=_typed(document, "written_by", dict),
            # Manifests of earlier versions don't have it.
            export=_typed({"export": "", **document}, "export", str),
        )
        _require(manifest.hour.tzinfo is not None, "its hour has no time zone")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AylaDestinationError(
            f"{where} is no manifest of format {FORMAT} ({type(error).__name__}: {error}). Move it away and clear "
            "the task: the hour's files are then verified anew and the manifest is written again."
        ) from error
    return manifest


def _file(entry: Any) -> ManifestFile:
    file = ManifestFile(
        source=_typed(entry, "source", str),
        generation=_typed(entry, "generation", int),
        size=_typed(entry, "size", int),
        crc32c=_typed(entry, "crc32c", str),
        created=_typed(entry, "created", str),
        path=_typed(entry, "path", str),
        # Manifests of earlier versions don't have it.
        lines=None if entry.get("lines") is None else _typed(entry, "lines", int),
    )
    _require(file.size >= 0 and (file.lines or 0) >= 0, "a size is negative")
    _require(not {"", ".", ".."} & set(file.path.split("/")), "a path leads out of the destination")
    return file


def _typed(document: Any, name: str, kind: type[T]) -> T:
    value = document[name]
    _require(type(value) is kind, f"{name} is {type(value).__name__}, not {kind.__name__}")
    return cast("T", value)


def _oem_of(export: str) -> tuple[str, str]:
    """Return the cloud, and what in it is one OEM's alone: a folder of Ayla's bucket, or in S3 the bucket."""
    return export.partition(":")[0], export.rstrip("/").rpartition("/")[2]


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def revise(
    previous: Manifest | None,
    event_type: str,
    hour: datetime,
    state: HourState,
    copied: Iterable[ManifestFile],
    *,
    written_at: datetime,
    written_by: Mapping[str, str],
    export: str = "",
) -> Manifest:
    """
    Return the manifest of an hour whose files now stand in the destination; ``previous`` itself if nothing changed.

    A file that the previous manifest holds and the source no longer shows has expired there: it stays. That lines were
    counted which weren't before is no change: nobody has to read the hour again for it.

    :param copied: every file that the source shows for the hour, each proven to stand in the destination
    :param export: the URL of the export
    """
    copied, before = list(copied), previous.files if previous else ()
    # An export that moved from one bucket to another may show a file in both: one copy stands for both.
    paths = {file.path: file.source for file in copied}
    by_source = {file.source: file for file in before if paths.get(file.path, file.source) == file.source}
    by_content = {(file.path, file.size, file.crc32c): file.lines for file in before}
    for file in copied:
        # What wasn't moved again wasn't counted again, either.
        if file.lines is None:
            file = replace(file, lines=by_content.get((file.path, file.size, file.crc32c)))
        by_source[file.source] = file
    files = tuple(by_source[source] for source in sorted(by_source))
    if files and state in (HourState.EMPTY, HourState.EXPIRED):
        state = HourState.LANDED
    elif previous and state is HourState.EXPIRED:
        state = previous.state
    if previous and previous.files == files:
        if previous.state is state:
            return previous
        return replace(
            previous,
            state=state,
            files=files,
            written_at=written_at.isoformat(),
            written_by=written_by,
            export=export,
        )
    return Manifest(
        event_type=event_type,
        hour=hour,
        state=state,
        revision=previous.revision + 1 if previous else 1,
        files=files,
        written_at=written_at.isoformat(),
        written_by=written_by,
        export=export,
    )


def describe(manifest: Manifest) -> str:
    """Return a line for the log."""
    lines = "" if manifest.lines is None else f", {manifest.lines:,} line{'' if manifest.lines == 1 else 's'}"
    return (
        f"{manifest.event_type} {describe_hour(manifest.hour)}: {manifest.state.value}, "
        f"{files_text(len(manifest.files))}, {size_text(manifest.size)}{lines}, revision {manifest.revision}"
    )

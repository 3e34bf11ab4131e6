"""The manifest of one hour: which files were copied and verified. It is written last, and commits the hour."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.json_fields import UNREADABLE, refuse_newer, require, time_field, typed_field
from ayla_provider.domain.paths import ExportFile, unsafe_reason
from ayla_provider.domain.units import counted, files_text, size_text
from ayla_provider.errors import AylaConfigError, AylaDestinationError

FORMAT = "ayla-export-manifest/1"

LOST_FORMAT = "ayla-export-manifest/2"
"""The format of hours with lost or removed files, and only of these: earlier versions of this package refuse it."""


ERASED_FORMAT = "ayla-export-manifest/3"
"""The format of hours with erased lines, and only of these. A reader of an older format would call their files
damaged, and copy the lines again."""


STREAM_FORMAT = "ayla-stream-manifest/1"
"""The format of the hours of a stream. What reads an export's archive refuses it, and the other way round."""

ERASED_STREAM_FORMAT = "ayla-stream-manifest/2"
"""The format of the hours of a stream with erased lines."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure left of a file."""

    lines: int
    """How many lines of the vendor's file the copy doesn't have."""
    size: int
    """Bytes of the copy."""
    crc32c: str
    """Of the copy: base64 of the big-endian CRC32C."""
    by: tuple[str, ...]
    """The ids of the entries in the erasure ledger, sorted."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file that is complete in the destination, or that was, and is lost."""

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
    """The path of the copy, relative to the destination."""
    lines: int | None = field(default=None, compare=False)
    """The number of lines, also counting a last line without a line end; None if unknown. Ignored in comparisons."""
    version: str = field(default="", compare=False)
    """The copy's version when it was verified: a generation, an ETag, or an inode and a modification time. Empty if
    unknown. Ignored in comparisons."""
    lost: str = field(default="", compare=False)
    """When a copy found that neither the destination nor the vendor has the file any more, ISO 8601; empty if it isn't
    lost. Ignored in comparisons."""
    erased: Erased | None = field(default=None, compare=False)
    """What an erasure left of the copy; None if the copy is the vendor's file. Ignored in comparisons."""
    removed: str = field(default="", compare=False)
    """When a rule of the customer's removed the copy because of its age, ISO 8601; empty if none did. Ignored in
    comparisons."""
    sha256: str = field(default="", compare=False)
    """SHA-256 of the vendor's file, in hexadecimal; empty if unknown. Ignored in comparisons."""

    @classmethod
    def of(
        cls,
        file: ExportFile,
        path: str,
        crc32c: str,
        lines: int | None = None,
        version: str = "",
        erased: Erased | None = None,
        sha256: str = "",
    ) -> ManifestFile:
        """
        Return the entry of a file whose copy is at a path.

        :param crc32c: of the vendor's file
        :param lines: of the vendor's file; None if unknown
        :param version: of the copy; empty if unknown
        :param erased: what an erasure left of the copy
        :param sha256: of the vendor's file; empty if unknown
        """
        created = file.created.isoformat()
        return cls(
            file.name, file.generation, file.size, crc32c, created, path, lines, version, erased=erased, sha256=sha256
        )

    @property
    def held_size(self) -> int:
        """Bytes of the copy."""
        return self.erased.size if self.erased else self.size

    @property
    def held_crc32c(self) -> str:
        """The copy's checksum: base64 of the big-endian CRC32C."""
        return self.erased.crc32c if self.erased else self.crc32c

    def is_of(self, file: ExportFile, path: str) -> bool:
        """Whether this is the entry of exactly this generation of a file, at a path."""
        return self == ManifestFile.of(file, path, file.crc32c or self.crc32c)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the destination has of one hour."""

    hour: ExportHour
    state: HourState
    """The hour's state when it was copied."""
    revision: int
    """1 at first; one more whenever files are added or replaced."""
    files: tuple[ManifestFile, ...]
    """All files of the hour, also those that are lost."""
    written_at: str
    """ISO 8601, UTC."""
    written_by: Mapping[str, str] = field(default_factory=dict)
    """Which run wrote it: ``dag_id``, ``run_id``, ``task_id``, ``try_number``."""
    export: str = ""
    """The URL of the OEM's export, see :attr:`~ayla_provider.source.export.Export.url`; empty if unknown. Of an hour of
    a stream: the stream's URL."""
    is_stream: bool = False
    """Whether it is an hour of a stream. Its files are gzipped JSON lines: of each, ``source`` is the path of the copy,
    ``generation`` is the number of the batch, and ``created`` is when the batch was read."""

    @property
    def present(self) -> tuple[ManifestFile, ...]:
        """The files that the destination has."""
        return tuple(file for file in self.files if not file.lost and not file.removed)

    @property
    def removed(self) -> tuple[ManifestFile, ...]:
        """The files that a rule removed because of their age. Nobody copies them again."""
        return tuple(file for file in self.files if file.removed)

    @property
    def copied(self) -> tuple[ManifestFile, ...]:
        """The files that the destination has, and those that it had until a rule removed them."""
        return tuple(file for file in self.files if not file.lost)

    @property
    def lost(self) -> tuple[ManifestFile, ...]:
        """The files that neither the destination nor the vendor has any more."""
        return tuple(file for file in self.files if file.lost)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def lines(self) -> int | None:
        """The lines of all files; None if those of any file are unknown."""
        known = [file.lines for file in self.files if file.lines is not None]
        return sum(known) if len(known) == len(self.files) else None

    @property
    def newest(self) -> str | None:
        """When the vendor created the newest file, ISO 8601; None without files."""
        return max((file.created for file in self.files), default=None)

    @property
    def erased_lines(self) -> int:
        """How many lines of the vendor's files were erased."""
        return sum(file.erased.lines for file in self.files if file.erased)

    @property
    def _format(self) -> str:
        has_erased = any(file.erased for file in self.files)
        if self.is_stream:
            return ERASED_STREAM_FORMAT if has_erased else STREAM_FORMAT
        if has_erased:
            return ERASED_FORMAT
        return LOST_FORMAT if self.lost or self.removed else FORMAT

    def refuse_other(self, export: str) -> None:
        """
        Refuse to mix the archives of two OEMs.

        The export of one OEM may move to another bucket, and to another cloud.

        :param export: the URL of the export that the connection leads to
        :raises AylaConfigError: if this manifest is of another OEM's export, or of a stream
        """
        self.refuse_stream()
        if self.export and not _may_be_of_one_oem(self.export, export):
            raise AylaConfigError(
                f"{self.hour}: the destination is the archive of the export {self.export!r}, and the connection leads "
                f"to {export}. Give each OEM its own destination."
            )

    def refuse_stream(self) -> None:
        """
        Refuse to take an hour of a stream for one of an export.

        :raises AylaConfigError: if this manifest is of a stream
        """
        if self.is_stream:
            raise AylaConfigError(
                f"{self.hour}: the destination is the archive of the stream {self.export}, and not of an export. Give "
                "the export a destination, or a prefix, of its own, or correct this task's destination."
            )

    def dumps(self) -> str:
        """Return the manifest as JSON text: the inverse of :func:`loads`."""
        lost, removed, erased = len(self.lost), len(self.removed), self.erased_lines
        document = {
            "format": self._format,
            "export": self.export,
            "event_type": self.hour.event_type,
            "hour": self.hour.start.isoformat(),
            "state": self.state.value,
            "revision": self.revision,
            "total_files": len(self.files),
            "total_bytes": self.size,
            "total_lines": self.lines,
            **({"lost_files": lost} if lost else {}),
            **({"removed_files": removed} if removed else {}),
            **({"erased_lines": erased} if erased else {}),
            "written_at": self.written_at,
            "written_by": dict(self.written_by),
            "files": [_document(file) for file in self.files],
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_OF_EXPORTS = (FORMAT, LOST_FORMAT, ERASED_FORMAT)
_OF_STREAMS = (STREAM_FORMAT, ERASED_STREAM_FORMAT)


def _document(file: ManifestFile) -> dict[str, Any]:
    """Return a file's entry for JSON, without what is empty: an entry of an earlier version stays as it is."""
    document = asdict(file)
    for name in ("version", "lost", "removed", "erased", "sha256"):
        if not document[name]:
            del document[name]
    return document


def loads(text: str | bytes, where: str) -> Manifest:
    """
    Return the manifest that a JSON text holds.

    :param where: the manifest's URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if the text isn't a manifest of this format
    """
    try:
        document: dict[str, Any] = json.loads(text)
        refuse_newer(document["format"], ERASED_FORMAT, where)
        refuse_newer(document["format"], ERASED_STREAM_FORMAT, where)
        require(document["format"] in (*_OF_EXPORTS, *_OF_STREAMS), f"its format is {document['format']!r}")
        manifest = Manifest(
            hour=_hour(document),
            state=HourState(document["state"]),
            revision=typed_field(document, "revision", int),
            files=tuple(_file(entry) for entry in typed_field(document, "files", list)),
            written_at=typed_field(document, "written_at", str),
            written_by=typed_field(document, "written_by", dict),
            # Manifests of earlier versions don't have it.
            export=typed_field({"export": "", **document}, "export", str),
            is_stream=document["format"] in _OF_STREAMS,
        )
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} is not a valid manifest of format {FORMAT} ({type(error).__name__}: {error!s:.200}). Move it "
            "away and clear the task: it then verifies the hour's files and writes the manifest again."
        ) from error
    return manifest


def _hour(document: Mapping[str, Any]) -> ExportHour:
    start = datetime.fromisoformat(document["hour"])
    require(start.tzinfo is not None, "its hour has no time zone")
    return ExportHour(EventType(typed_field(document, "event_type", str)), start)


def _file(entry: Any) -> ManifestFile:
    file = ManifestFile(
        source=typed_field(entry, "source", str),
        generation=typed_field(entry, "generation", int),
        size=typed_field(entry, "size", int),
        crc32c=typed_field(entry, "crc32c", str),
        created=typed_field(entry, "created", str),
        path=typed_field(entry, "path", str),
        # Manifests of earlier versions don't have it.
        lines=None if entry.get("lines") is None else typed_field(entry, "lines", int),
        version=typed_field({"version": "", **entry}, "version", str),
        lost=typed_field({"lost": "", **entry}, "lost", str),
        erased=_erased(entry["erased"]) if "erased" in entry else None,
        removed=typed_field({"removed": "", **entry}, "removed", str),
        sha256=typed_field({"sha256": "", **entry}, "sha256", str),
    )
    require(file.size >= 0 and (file.lines or 0) >= 0, "a size is negative")
    time_field(entry, "created")
    if file.sha256:
        require(_SHA256.fullmatch(file.sha256) is not None, "sha256 isn't one")
    if file.lost:
        time_field(entry, "lost")
    if file.removed:
        time_field(entry, "removed")
    reason = unsafe_reason(file.path)
    require(not reason, f"a path {reason}")
    return file


def _erased(document: Any) -> Erased:
    erased = Erased(
        lines=typed_field(document, "lines", int),
        size=typed_field(document, "size", int),
        crc32c=typed_field(document, "crc32c", str),
        by=tuple(typed_field(document, "by", list)),
    )
    require(erased.lines > 0 and erased.size >= 0, "erased has a number that is too small")
    require(all(isinstance(each, str) for each in erased.by), "erased names something else than entries")
    return erased


def _may_be_of_one_oem(one: str, other: str) -> bool:
    """
    Return whether two URLs can lead to the export of one OEM.

    In S3, an OEM has a bucket. In Cloud Storage, an OEM has a folder of Ayla's bucket. Its export can move to a folder
    inside this folder, or get a folder around it.
    """
    (cloud, bucket, folders), (other_cloud, other_bucket, other_folders) = _parts_of(one), _parts_of(other)
    if cloud != other_cloud:
        return True
    has_own_bucket = cloud == "s3" or not folders or not other_folders
    if has_own_bucket and bucket != other_bucket:
        return False
    shorter, longer = sorted((folders, other_folders), key=len)
    return f"/{'/'.join(shorter)}/" in f"/{'/'.join(longer)}/" or not shorter


def _parts_of(export: str) -> tuple[str, str, list[str]]:
    """Return the cloud, the bucket, and the folders of an export's URL."""
    cloud, _, place = export.partition("://")
    bucket, *folders = place.rstrip("/").split("/")
    return cloud, bucket, folders


def revise(
    previous: Manifest | None,
    hour: ExportHour,
    state: HourState,
    copied: Iterable[ManifestFile],
    *,
    written_at: datetime,
    written_by: Mapping[str, str],
    export: str = "",
    lost: Collection[ManifestFile] = (),
) -> Manifest:
    """
    Return the manifest of an hour whose files are now in the destination; ``previous`` itself if nothing changed.

    A file of the previous manifest that the source no longer shows has expired there, and stays in the manifest.
    A newly known number of lines isn't a change: nobody has to read the hour again because of it. Neither is a lost
    file, because nobody should read again what is left of the hour.

    :param previous: None if the hour has no manifest yet
    :param copied: every file that the source shows for the hour, and perhaps others; each is verified in the
        destination
    :param export: the URL of the export
    :param lost: the files of the previous manifest that neither the destination nor the source has any more. No other
        file stays marked as lost
    """
    copied, before = list(copied), previous.files if previous else ()
    # An export that moved to another bucket may show a file in both: one entry for each path.
    source_at = {file.path: file.source for file in copied}
    by_source = {file.source: file for file in before if source_at.get(file.path, file.source) == file.source}
    known_of = {(file.path, file.size, file.crc32c): file for file in before}
    found_lost = {file.source for file in lost}
    for source, file in by_source.items():
        mark = (file.lost or written_at.isoformat()) if source in found_lost else ""
        by_source[source] = replace(file, lost=mark)
    for file in copied:
        # A file that wasn't copied again wasn't counted again either.
        known = known_of.get((file.path, file.size, file.crc32c))
        if file.lines is None and known:
            file = replace(file, lines=known.lines, sha256=known.sha256)
        by_source[file.source] = file
    files = tuple(by_source[source] for source in sorted(by_source))
    if files and state in (HourState.EMPTY, HourState.EXPIRED):
        state = HourState.LANDED
    elif previous and state is HourState.EXPIRED:
        state = previous.state
    if previous and previous.files == files and _same_erased(previous.files, files):
        # A copy that was written again, with the same bytes, has another version.
        pairs = list(zip(files, previous.files, strict=True))
        rewritten = any(file.version not in ("", old.version) for file, old in pairs)
        marked = any(file.lost != old.lost for file, old in pairs)
        if previous.state is state and not rewritten and not marked:
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
        hour=hour,
        state=state,
        revision=previous.revision + 1 if previous else 1,
        files=files,
        written_at=written_at.isoformat(),
        written_by=written_by,
        export=export,
    )


def _same_erased(one: Iterable[ManifestFile], other: Iterable[ManifestFile]) -> bool:
    return all(file.erased == old.erased for file, old in zip(one, other, strict=True))


def after_removal(manifest: Manifest, removed_at: datetime, written_by: Mapping[str, str]) -> Manifest:
    """
    Return the manifest of an hour whose copies a rule removes; ``manifest`` itself if it says so already.

    The revision stays: nobody should read the hour again because of it.

    :param removed_at: aware
    """
    at = removed_at.isoformat()
    files = tuple(file if file.lost or file.removed else replace(file, removed=at) for file in manifest.files)
    if all(old.removed == new.removed for old, new in zip(manifest.files, files, strict=True)):
        return manifest
    return replace(manifest, files=files, written_at=at, written_by=written_by)


def describe(manifest: Manifest) -> str:
    """Return a line for the log."""
    parts = [manifest.state.value, files_text(len(manifest.files)), size_text(manifest.size)]
    if manifest.lines is not None:
        parts.append(f"{manifest.lines:,} {'line' if manifest.lines == 1 else 'lines'}")
    parts.append(f"revision {manifest.revision}")
    if manifest.lost:
        parts.append(files_text(len(manifest.lost), "lost"))
    if manifest.erased_lines:
        parts.append(f"{counted(manifest.erased_lines, 'line', 'lines')} erased")
    if manifest.removed:
        parts.append(f"{files_text(len(manifest.removed), 'removed')} by rule")
    return f"{manifest.hour}: {', '.join(parts)}"

"""The receipt of an hour's typed rows, written last: the files they were made from, and what became of each line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.recognition import NAME_PATTERN
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.json_fields import CONTROL, UNREADABLE, refuse_newer, require, time_field, typed_field
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.new_columns import OnNewColumn
from ayla_provider.domain.paths import LAYOUTS, QUARANTINE, TYPED_RECEIPTS
from ayla_provider.domain.privacy import PrivacyPolicy, drops_from
from ayla_provider.domain.tables import Column, ColumnType, Table, table_like
from ayla_provider.errors import AylaDestinationError, AylaRemovedError

FORMAT = "ayla-export-typed/1"
"""Of an hour with one Parquet file, or none."""

FORMAT_OF_SETS = "ayla-export-typed/2"
"""Of an hour with several Parquet files. A reader of the older format would take the first one for all."""

FORMAT_OF_REMOVED = "ayla-export-typed/3"
"""Of an hour whose Parquet files a rule has removed. A reader of the older formats would make them again."""


MOST_MODELS = 50
"""How many models a receipt names."""

LONGEST_MODEL = 100
"""Characters of the name of a model that a receipt names."""


def shallow(record: Any) -> dict[str, Any]:
    """Return a record's fields. For thousands of files, ``asdict`` takes as long as to read them."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


@dataclass(frozen=True, slots=True)
class TypedFile:
    """What became of the lines of one file: lines = loaded + duplicates + quarantined."""

    source: str
    """The object's name in the vendor's bucket."""
    generation: int
    layout: str
    """Empty for a file without lines."""
    columns: tuple[str, ...]
    """The names of the file's columns, in their order."""
    header: bool
    """Whether its first line names them; it isn't counted."""
    lines: int
    loaded: int
    duplicates: int
    """Lines left out because another line of the hour is the same, or newer with the same identity."""
    quarantined: int


@dataclass(frozen=True, slots=True)
class RowsFile:
    """One Parquet file of an hour."""

    path: str
    """Relative to the typed rows."""
    size: int
    """In bytes."""
    crc32c: str
    """Base64 of the big-endian CRC32C."""
    rows: int


@dataclass(frozen=True, slots=True)
class TypedManifest:
    """The receipt of one event type and hour in its typed form."""

    hour: ExportHour
    version: str
    """See :func:`version_of`."""
    path: str
    """The first Parquet file's path, relative to the typed rows; empty if the hour has no files."""
    size: int
    """Bytes of the first Parquet file."""
    crc32c: str
    """The first Parquet file's checksum: base64 of the big-endian CRC32C."""
    columns: tuple[Column, ...]
    identity: str | None
    files: tuple[TypedFile, ...]
    quarantine: str
    """The path of the malformed lines, relative to the archive; empty if there are none."""
    privacy: Mapping[str, str]
    """The policy that was applied: column to its treatment."""
    written_at: str
    """ISO 8601, UTC."""
    written_by: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    """The objects' names of the hour's files that were lost before the rows were made, so that these lack them."""
    parts: tuple[RowsFile, ...] = ()
    """All Parquet files of the hour if it has several, the first one included; empty otherwise."""
    removed: str = ""
    """When a rule of the customer's removed the Parquet files because of their age, ISO 8601; empty if none did."""
    models: Mapping[str, int] | None = None
    """Each ``oem_model`` to its rows, the largest :data:`MOST_MODELS`; the rows of all others are the difference to
    ``rows``. None if nobody counted them, or if a policy doesn't keep the column."""

    @property
    def rows_files(self) -> tuple[RowsFile, ...]:
        """The Parquet files that the hour has: none, one, or several."""
        return () if self.removed else self.made_files

    @property
    def made_files(self) -> tuple[RowsFile, ...]:
        """The Parquet files that were made of the hour, also those that a rule has removed."""
        if self.parts or not self.path:
            return self.parts
        return (RowsFile(self.path, self.size, self.crc32c, self.rows),)

    @property
    def bytes(self) -> int:
        """Bytes of all Parquet files."""
        return sum(file.size for file in self.rows_files)

    @property
    def lines(self) -> int:
        """All lines of all files."""
        return sum(file.lines for file in self.files)

    @property
    def rows(self) -> int:
        """Rows in the Parquet files."""
        return sum(file.loaded for file in self.files)

    @property
    def duplicates(self) -> int:
        """Lines that were left out."""
        return sum(file.duplicates for file in self.files)

    @property
    def quarantined(self) -> int:
        """Lines that couldn't be read."""
        return sum(file.quarantined for file in self.files)

    @property
    def table(self) -> Table:
        """The rows' table."""
        complete = not drops_from(self.hour.event_type, self.privacy)
        return table_like(self.hour.event_type, self.columns, self.identity, complete=complete)

    def dumps(self) -> str:
        """Return the receipt as JSON text: the inverse of :func:`parse_typed_manifest`."""
        document = {
            "format": FORMAT_OF_REMOVED if self.removed else FORMAT_OF_SETS if self.parts else FORMAT,
            "event_type": self.hour.event_type,
            "hour": self.hour.start.isoformat(),
            **{name: value for name, value in shallow(self).items() if name != "hour"},
            "columns": [
                {"name": column.name, "type": column.type.value, "description": column.description}
                for column in self.columns
            ],
            "lines": self.lines,
            "rows": self.rows,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "privacy": dict(self.privacy),
            "written_by": dict(self.written_by),
        }
        if not self.lost:
            del document["lost"]
        if not self.removed:
            del document["removed"]
        if self.models is None:
            del document["models"]
        if self.parts:
            del document["path"], document["size"], document["crc32c"]
            document["parts"] = [shallow(part) for part in self.parts]
        else:
            del document["parts"]
        # The files last, because they are the long part.
        del document["files"]
        document["files"] = [shallow(file) for file in self.files]
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def parse_typed_manifest(text: str | bytes, where: str, hour: ExportHour) -> TypedManifest:
    """
    Return the receipt in a JSON text: the inverse of :meth:`TypedManifest.dumps`.

    Who may write receipts needn't have rights in the warehouse. So nothing of a receipt becomes a path or a name there
    unless it is as this package writes it.

    :param where: the receipt's URL, for the error
    :param hour: the event type and hour that were asked for
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if the text isn't a valid receipt of this format, or is that of another hour
    """
    try:
        document: dict[str, Any] = json.loads(text)
        refuse_newer(document["format"], FORMAT_OF_REMOVED, where)
        known = (FORMAT, FORMAT_OF_SETS, FORMAT_OF_REMOVED)
        require(document["format"] in known, f"its format is {document['format']!r}")
        is_removed = document["format"] == FORMAT_OF_REMOVED
        is_set = document["format"] == FORMAT_OF_SETS or (is_removed and "parts" in document)
        parts = _parts(document, hour) if is_set else ()
        if parts:
            document |= {name: value for name, value in shallow(parts[0]).items() if name != "rows"}
        named = ExportHour(EventType(typed_field(document, "event_type", str)), time_field(document, "hour"))
        require(named == hour, f"it is that of {str(named)[:80]!r}, not {hour}")
        path, quarantine = typed_field(document, "path", str), typed_field(document, "quarantine", str)
        require(path in ("", parquet_path(hour)), "path isn't that of the hour")
        require(quarantine in ("", quarantine_path(hour)), "quarantine isn't that of the hour")
        identity = document["identity"]
        files = tuple(map(parse_typed_file, typed_field(document, "files", list)))
        if parts:
            stated, loaded = sum(part.rows for part in parts), sum(file.loaded for file in files)
            require(stated == loaded, "its Parquet files have another number of rows than was loaded")
        return TypedManifest(
            hour=hour,
            version=typed_field(document, "version", str),
            path=path,
            size=typed_field(document, "size", int),
            crc32c=typed_field(document, "crc32c", str),
            columns=tuple(map(_column, typed_field(document, "columns", list))),
            identity=None if identity is None else typed_field(document, "identity", str),
            files=files,
            quarantine=quarantine,
            privacy=typed_field(document, "privacy", dict),
            written_at=typed_field(document, "written_at", str),
            written_by=typed_field(document, "written_by", dict),
            # Only the receipts of such hours have it.
            lost=tuple(typed_field({"lost": [], **document}, "lost", list)),
            parts=parts,
            removed=time_field(document, "removed").isoformat() if is_removed else "",
            models=_models(document),
        )
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} isn't a valid receipt of format {FORMAT_OF_REMOVED} or older ({type(error).__name__}: "
            f"{error!s:.200}). Move it away and clear the task: the hour is then typed again."
        ) from error


def _models(document: Any) -> Mapping[str, int] | None:
    """Return the rows of each model. Receipts of earlier versions don't have them."""
    if "models" not in document:
        return None
    models = typed_field(document, "models", dict)
    require(len(models) <= MOST_MODELS, "it has too many models")
    for name in models:
        require(0 < len(name) <= LONGEST_MODEL and CONTROL.search(name) is None, "the name of a model isn't one")
        require(typed_field(models, name, int) > 0, "a model has no rows")
    return models


def _parts(document: Any, hour: ExportHour) -> tuple[RowsFile, ...]:
    parts = tuple(
        RowsFile(
            path=typed_field(each, "path", str),
            size=typed_field(each, "size", int),
            crc32c=typed_field(each, "crc32c", str),
            rows=typed_field(each, "rows", int),
        )
        for each in typed_field(document, "parts", list)
    )
    require(len(parts) > 1, "it has no set of Parquet files")
    for number, part in enumerate(parts):
        require(part.path == parquet_path(hour, number), "a path isn't that of the hour")
    return parts


def _column(document: Any) -> Column:
    name, column_type = typed_field(document, "name", str), ColumnType(typed_field(document, "type", str))
    require(re.fullmatch(f"{NAME_PATTERN}(_raw)?", name) is not None, "a column has a name that isn't valid")
    return Column(name, column_type, typed_field(document, "description", str))


def parse_typed_file(document: Any) -> TypedFile:
    """
    Return what became of a file's lines, from its JSON document.

    :raises ValueError: if a field isn't valid; other errors of :data:`~ayla_provider.domain.json_fields.UNREADABLE`
    """
    return TypedFile(
        source=typed_field(document, "source", str),
        generation=typed_field(document, "generation", int),
        layout=typed_field(document, "layout", str),
        columns=tuple(typed_field(document, "columns", list)),
        header=typed_field(document, "header", bool),
        lines=typed_field(document, "lines", int),
        loaded=typed_field(document, "loaded", int),
        duplicates=typed_field(document, "duplicates", int),
        quarantined=typed_field(document, "quarantined", int),
    )


_REVISIONS = {
    # 2: the columns of registrations can be in another order.
    "registration": 2,
}
"""
Event type to its revision; 1 if it isn't here.

Increase it when the same files give other rows than before. Loaded hours then count as changed.
"""


_STREAM_REVISION = "s1"
"""The same for the hours of a stream. They are typed in another way than files."""


def version_of(manifest: Manifest, recipe: str = "") -> str:
    """
    Return the identifier of an hour's content: the same for the same files of the archive, treated in the same way.

    Files that are lost don't count, but that there are any does: ``1f2e3d4c5b6a7988.1.lost``. Files that a rule removed
    count as before, so that nobody loads the hour again.

    :param recipe: see :func:`recipe_of`
    """
    # What an erasure left of a file is other content.
    facts = "\n".join(sorted(f"{file.source}\t{file.generation}\t{file.held_crc32c}" for file in manifest.copied))
    revision = _STREAM_REVISION if manifest.is_stream else _REVISIONS.get(manifest.hour.event_type, 1)
    files = f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.{revision}" if manifest.copied else "empty"
    if manifest.lost:
        files += ".lost"
    return f"{files}-{recipe}" if recipe else files


def recipe_of(
    event_type: EventType,
    policy: PrivacyPolicy,
    layouts: Iterable[ColumnLayout],
    ignored: Sequence[str] = (),
    on_new_column: OnNewColumn = OnNewColumn.EVOLVE,
) -> str:
    """
    Return the identifier of how users want the files of an event type treated; empty without a wish.

    :param layouts: the layouts that files may have; only the declared ones count
    :param ignored: the objects' names of the hour's files that aren't export data
    :param on_new_column: what becomes of new columns
    """
    own = [layout for layout in layouts if layout.event_type == event_type and layout not in COLUMN_LAYOUTS]
    declared = hashlib.sha256(repr(own).encode()).hexdigest()[:8] if own else ""
    without = hashlib.sha256("\n".join(ignored).encode()).hexdigest()[:8] if ignored else ""
    # An hour that fails has no version.
    new = f"new_{on_new_column}" if on_new_column in (OnNewColumn.DROP, OnNewColumn.QUARANTINE) else ""
    return "-".join(filter(None, (policy.fingerprint, declared, without, new)))


def new_columns_in(version: str) -> OnNewColumn:
    """Return what became of new columns in an hour of this version. Of an hour that could have failed: ``evolve``."""
    parts = version.partition("-")[2].split("-")
    words = [part.removeprefix("new_") for part in parts if part.startswith("new_")]
    return OnNewColumn(words[0]) if words and words[0] in list(OnNewColumn) else OnNewColumn.EVOLVE


def largest_models(counts: Mapping[str, int]) -> dict[str, int]:
    """Return what a receipt names of the rows of each model: the largest ones whose names can be stored."""
    named = {
        name: rows for name, rows in counts.items() if name and len(name) <= LONGEST_MODEL and not CONTROL.search(name)
    }
    largest = sorted(named.items(), key=lambda item: (-item[1], item[0]))[:MOST_MODELS]
    return dict(sorted(largest))


def leaves_columns_out(version: str) -> bool:
    """Return whether rows of this version may lack new columns that their files have."""
    return new_columns_in(version) in (OnNewColumn.DROP, OnNewColumn.QUARANTINE)


def same_files(version: str, manifest: Manifest) -> bool:
    """Return whether a version is of a manifest's files, however users want them treated."""
    return version.partition("-")[0] == version_of(manifest)


def refuse_removed(manifest: TypedManifest) -> None:
    """
    Refuse to load an hour whose Parquet files a rule has removed: without them it would have no rows.

    :raises AylaRemovedError: naming the receipt
    """
    if manifest.removed:
        raise AylaRemovedError(
            f"{manifest.hour}: a rule removed its Parquet files on {manifest.removed[:10]}, and the target doesn't "
            f"have its rows. To make them again from the archive, if it still has the hour, remove the receipt "
            f"{typed_manifest_path(manifest.hour)}, and clear the task."
        )


def typed_manifest_path(hour: ExportHour) -> str:
    """Return the path of an hour's receipt, relative to the typed rows."""
    return f"{TYPED_RECEIPTS}/{hour.partition}.json"


def parquet_path(hour: ExportHour, number: int = 0) -> str:
    """
    Return the path of an hour's Parquet file, relative to the typed rows.

    :param number: which one, from 0, if the hour has several
    """
    return f"{hour.partition}/rows-{number + 1:04}.parquet" if number else f"{hour.partition}/rows.parquet"


def further_parquet(hour: ExportHour, paths: Iterable[str]) -> list[str]:
    """Return, of the paths in an hour's folder, those of its Parquet files after the first one, in their order."""
    return sorted(path for path in paths if _FURTHER.fullmatch(path.removeprefix(f"{hour.partition}/")))


_FURTHER = re.compile(r"rows-\d{4,}\.parquet", re.ASCII)


def quarantine_path(hour: ExportHour) -> str:
    """Return the path of an hour's malformed lines, relative to the archive."""
    return f"{QUARANTINE}/{hour.partition}.parquet"


def layouts_path(event_type: EventType) -> str:
    """Return the path of the list of layouts that an event type's files have had, relative to the typed rows."""
    return f"{LAYOUTS}/event_type={event_type}.json"

"""The receipt of one hour's typed rows, written last: from which files they were made, and what became of each line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import Column, ColumnType, Table, table_like
from ayla_provider.errors import AylaDestinationError

FORMAT = "ayla-export-typed/1"

PARQUET = "parquet"
"""The folder of the typed rows, beside the event types of the archive."""

TYPED = "_typed"
"""The folder of the receipts, beside the event types of the typed rows."""

QUARANTINE = "_quarantine"
"""The folder of the lines that couldn't be read: in the archive, since they are the vendor's bytes."""

LAYOUTS = "_layouts"
"""The folder of what is known of the files' layouts."""


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
    """Lines left out since another one of the hour says the same, or something newer of the same."""
    quarantined: int


@dataclass(frozen=True, slots=True)
class TypedManifest:
    """The receipt of one event type and hour in its typed form."""

    hour: ExportHour
    version: str
    """See :func:`version_of`."""
    path: str
    """Where the Parquet file stands, relative to the typed rows; empty if the hour has no files."""
    size: int
    """Bytes of the Parquet file."""
    crc32c: str
    """Of the Parquet file: base64 of the big-endian CRC32C."""
    columns: tuple[Column, ...]
    identity: str | None
    files: tuple[TypedFile, ...]
    quarantine: str
    """Where the malformed lines stand, relative to the archive; empty if there are none."""
    privacy: Mapping[str, str]
    """The policy that was applied: column to its treatment."""
    written_at: str
    """ISO 8601, UTC."""
    written_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        """All lines of all files."""
        return sum(file.lines for file in self.files)

    @property
    def rows(self) -> int:
        """Rows in the Parquet file."""
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
        """The table that the rows are of."""
        return table_like(self.hour.event_type, self.columns, self.identity)

    def dumps(self) -> str:
        """Return it as JSON text: the inverse of :func:`loads`."""
        document = {
            "format": FORMAT,
            "event_type": self.hour.event_type,
            "hour": self.hour.start.isoformat(),
            **{name: value for name, value in asdict(self).items() if name != "hour"},
            "columns": [
                {"name": one.name, "type": one.type.value, "description": one.description} for one in self.columns
            ],
            "lines": self.lines,
            "rows": self.rows,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "privacy": dict(self.privacy),
        }
        # The files last, since they are what grows.
        document["files"] = document.pop("files")
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def loads(text: str | bytes, where: str) -> TypedManifest:
    """
    Return the receipt that a JSON text holds.

    :param where: its URL, for the error
    :raises AylaDestinationError: if the text is no receipt of this format
    """
    try:
        document: dict[str, Any] = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}")
        files = tuple(TypedFile(**{**file, "columns": tuple(file["columns"])}) for file in document["files"])
        columns = tuple(Column(one["name"], ColumnType(one["type"]), one["description"]) for one in document["columns"])
        return TypedManifest(
            **{name: document[name] for name in _PLAIN},
            hour=ExportHour(document["event_type"], datetime.fromisoformat(document["hour"]).astimezone(UTC)),
            columns=columns,
            files=files,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AylaDestinationError(
            f"{where} is no receipt of format {FORMAT} ({type(error).__name__}: {error}). Move it away and clear the "
            "task: the hour is then typed anew."
        ) from error


_PLAIN = (
    "version",
    "path",
    "size",
    "crc32c",
    "identity",
    "quarantine",
    "privacy",
    "written_at",
    "written_by",
)
"""The fields that JSON holds as they are."""


REVISION = 1
"""Raised where the same files become other rows than before; hours that were loaded then count as changed."""


def version_of(manifest: Manifest, recipe: str = "") -> str:
    """
    Return what names an hour's content: the same for the same files of the archive, treated alike.

    :param recipe: see :func:`recipe_of`
    """
    facts = "\n".join(sorted(f"{file.source}\t{file.generation}\t{file.crc32c}" for file in manifest.files))
    files = f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.{REVISION}" if manifest.files else "empty"
    return f"{files}-{recipe}" if recipe else files


def recipe_of(event_type: EventType, policy: PrivacyPolicy, layouts: Iterable[ColumnLayout]) -> str:
    """
    Return what names how users want the files of an event type treated; empty if they said nothing about it.

    :param layouts: those that files may have, of which the declared ones count
    """
    own = [layout for layout in layouts if layout.event_type == event_type and layout not in COLUMN_LAYOUTS]
    declared = hashlib.sha256(repr(own).encode()).hexdigest()[:8] if own else ""
    return "-".join(filter(None, (policy.fingerprint, declared)))


def same_files(version: str, manifest: Manifest) -> bool:
    """Whether a version is of the files that a manifest has, however users wanted them treated."""
    return version.partition("-")[0] == version_of(manifest)


def typed_manifest_path(hour: ExportHour) -> str:
    """Return where the receipt of an hour stands, relative to the typed rows."""
    return f"{TYPED}/{hour.partition}.json"


def parquet_path(hour: ExportHour) -> str:
    """Return where the typed rows of an hour stand, relative to the typed rows."""
    return f"{hour.partition}/rows.parquet"


def quarantine_path(hour: ExportHour) -> str:
    """Return where the malformed lines of an hour stand, relative to the archive."""
    return f"{QUARANTINE}/{hour.partition}.parquet"


def layouts_path(event_type: EventType) -> str:
    """Return where it stands which layouts an event type's files have had, relative to the typed rows."""
    return f"{LAYOUTS}/event_type={event_type}.json"

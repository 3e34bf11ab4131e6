"""An export and a stream whose typed rows the tests make up, without files of events."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records, write_json
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import STREAM_EVENT_TYPES, EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import STREAM_POSITION
from ayla_provider.domain.stream import Gap, KnownGap, ShardPosition, StreamPosition
from ayla_provider.domain.tables import PROVENANCE, Column, ColumnType
from ayla_provider.domain.typed_manifest import (
    TypedFile,
    TypedManifest,
    parquet_path,
    quarantine_path,
    typed_manifest_path,
    version_of,
)
from ayla_provider.rows.completeness import Side
from ayla_provider.rows.duck import connect
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.transport.checksum import Crc32c

KINDS = {
    ColumnType.TEXT: "varchar",
    ColumnType.UUID: "varchar",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIMESTAMP: "timestamptz",
}


class MadeSide:
    """An archive on disk with typed rows."""

    def __init__(self, root: Path, *, is_stream: bool) -> None:
        self.root = root
        self._is_stream = is_stream
        self.archive = FileDestination(root)
        self.rows = FileDestination(root / "parquet")

    @property
    def side(self) -> Side:
        return Side(self.archive, self.rows)

    def put(
        self,
        hour: ExportHour,
        columns: Sequence[Column],
        rows: Iterable[Mapping[str, Any]] | str,
        *,
        identity: str | None = None,
        quarantined: int = 0,
        lines: Sequence[bytes] = (),
        state: HourState = HourState.LANDED,
        typed: bool = True,
    ) -> None:
        """
        Write an hour, in place of another one.

        :param rows: column to value; or a query of them
        :param quarantined: how many lines couldn't be read, of which nobody kept the bytes
        :param lines: the lines that couldn't be read
        """
        manifest = self.put_manifest(hour, state)
        columns = (*columns, *PROVENANCE)
        path = self.root / "rows.parquet"
        count = _write(_duck(), columns, rows, hour, path)
        data = path.read_bytes()
        self._put(parquet_path(hour), data)
        quarantined = quarantined or len(lines)
        file = TypedFile("made", 1, "made", (), False, count + quarantined, count, 0, quarantined)
        receipt = TypedManifest(
            hour,
            version_of(manifest),
            parquet_path(hour),
            len(data),
            Crc32c(data).base64,
            tuple(columns),
            identity,
            (file,),
            self._put_lines(hour, lines),
            {},
            hour.start.isoformat(),
        )
        if typed:
            self._put(typed_manifest_path(hour), receipt.dumps().encode())

    def _put_lines(self, hour: ExportHour, lines: Sequence[bytes]) -> str:
        """Keep malformed lines as a load does, and return their path."""
        if not lines:
            return ""
        path = self.root / quarantine_path(hour)
        path.parent.mkdir(parents=True, exist_ok=True)
        with Quarantine(self.root / "lines") as quarantine:
            for number, line in enumerate(lines, start=1):
                quarantine.add("made", 1, number, 0, "made", line)
            quarantine.write_parquet(_duck(), path)
        return quarantine_path(hour)

    def put_manifest(self, hour: ExportHour, state: HourState = HourState.LANDED, revision: int = 1) -> Manifest:
        """Write the manifest of an hour, in place of another one."""
        files = [ManifestFile("made", revision, 1, "AAAAAA==", hour.end.isoformat(), "made.csv")]
        manifest = Manifest(
            hour,
            state,
            revision,
            () if state is HourState.EMPTY else tuple(files),
            hour.end.isoformat(),
            is_stream=self._is_stream,
        )
        records = Records(self.archive)
        records.write_manifest(manifest, records.read_manifest(hour)[1])
        return manifest

    def lose(self, hour: ExportHour) -> None:
        """Mark the file of an hour as lost."""
        records = Records(self.archive)
        manifest, stored = records.read_manifest(hour)
        assert manifest is not None
        lost = replace(manifest.files[0], lost=hour.end.isoformat())
        records.write_manifest(replace(manifest, files=(lost,)), stored)

    def put_position(
        self,
        started_at: datetime | None = datetime(2026, 1, 1, tzinfo=UTC),
        event_types: Sequence[str] = STREAM_EVENT_TYPES,
        gaps: Sequence[Gap] = (),
    ) -> None:
        """Write what of the stream was read."""
        since = started_at or datetime(2026, 1, 1, tzinfo=UTC)
        position = StreamPosition(
            "kinesis://eu-west-1/made",
            since,
            since,
            since,
            shards={"shard-1": ShardPosition(read_to=since)} if started_at else {},
            event_types=tuple(map(EventType, event_types)),
            gaps=tuple(map(KnownGap, gaps)),
        )
        found = self.archive.read(STREAM_POSITION)
        write_json(self.archive, STREAM_POSITION, position.dumps(), found[1] if found else None)

    def _put(self, path: str, data: bytes) -> None:
        stored = self.rows.folder(path.rpartition("/")[0]).get(path)
        self.rows.write(
            path, io.BytesIO(data), size=len(data), crc32c=Crc32c(data).base64, replaces=stored, content_type="x/y"
        )


@functools.cache
def _duck() -> duckdb.DuckDBPyConnection:
    """To open a database takes longer than to write an hour."""
    return connect()


def _write(
    duck: duckdb.DuckDBPyConnection,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]] | str,
    hour: ExportHour,
    path: Path,
) -> int:
    declared = ", ".join(f'"{column.name}" {KINDS[column.type]}' for column in columns)
    duck.execute(f"create or replace temp table made ({declared})")
    if isinstance(rows, str):
        duck.execute(f"insert into made by name {rows}")
    else:
        given = {"folder_hour": hour.start, "source_object": "made", "source_generation": 1}
        values = [[(given | row).get(column.name) for column in columns] for row in rows]
        if values:
            row = f"({', '.join('?' * len(columns))})"
            duck.execute(
                f"insert into made values {', '.join([row] * len(values))}", [cell for one in values for cell in one]
            )
    duck.execute(f"copy made to '{path}' (format parquet)")
    return int(duck.execute("select count(*) from made").fetchall()[0][0])

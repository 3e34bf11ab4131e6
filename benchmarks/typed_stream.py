"""From a stream's archive to typed rows: this package, and the program that reads row by row with orjson."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.tables import STREAM_TABLES, ColumnType
from ayla_provider.domain.typed_manifest import parquet_path
from ayla_provider.rows.duck import MEMORY
from ayla_provider.rows.typed_archive import TypedArchive
from benchmarks.results import Result, compared
from benchmarks.stream_rows import HOUR, RESPELLED, make_archive

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = 1_000_000

_BATCH = 50_000
_PEER = "row by row: gzip, orjson, pyarrow"
HOW = {
    _PEER: "each line with `orjson.loads`, its cells checked and typed in Python, repeated ids left out, and a Parquet "
    "file of pyarrow with zstd; where orjson would change a number, the line is read with `json`; the rows are those "
    "of ours, which is checked"
}


def measure(rounds: int) -> list[Result]:
    """Type an hour of a stream in both ways, alternately."""
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        folder = Path(name)
        make_archive(folder / "archive", ROWS)
        took: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
        for _ in range(rounds):
            for engine in ENGINES:
                took[engine].append(_run(engine, folder))
        _compare(folder)
    return _results(f"an hour of {ROWS:,} records of a stream, 1 in {RESPELLED} respelled, to typed Parquet", took)


def _results(what: str, took: dict[str, list[dict[str, float]]]) -> list[Result]:
    ours_took, theirs = took["ours"], took["row_by_row"]
    results = compared(
        what,
        "records/s",
        [ROWS / each["seconds"] for each in ours_took],
        {_PEER: [ROWS / each["seconds"] for each in theirs]},
    )
    for name, unit in (("cpu", "s"), ("peak", "MB")):
        figure = {"cpu": "CPU of both cores", "peak": f"peak memory, memory={MEMORY}"}[name]
        results += compared(
            f"{what}: {figure}", unit, [each[name] for each in ours_took], {_PEER: [each[name] for each in theirs]}
        )
    return results


def _run(engine: str, folder: Path) -> dict[str, float]:
    """Measure an engine in its own process, to measure its memory."""
    command = [sys.executable, "-m", "benchmarks.typed_stream", engine, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {engine}: {took['seconds']:.1f} s, {took['cpu']:.1f} s of CPU, {took['peak']:,.0f} MB", flush=True)
    return took


def _hour() -> ExportHour:
    return ExportHour(EventType("datapoint"), HOUR)


def _parquet(folder: Path, engine: str) -> Path:
    return folder / (f"rows/{parquet_path(_hour())}" if engine == "ours" else "row_by_row.parquet")


def _compare(folder: Path) -> None:
    """
    Compare the rows of both engines.

    :raises ValueError: if they differ
    """
    mine, theirs = (f"read_parquet('{_parquet(folder, engine)}', hive_partitioning = false)" for engine in ENGINES)
    # Of two equal records, either can be kept, and they can be in different files.
    columns = "* exclude (source_object, source_generation)"
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
        found = connection.execute(
            f"select count(*) from ((select {columns} from {mine} except all select {columns} from {theirs}) union all "
            f"(select {columns} from {theirs} except all select {columns} from {mine}))"
        ).fetchall()
    if found != [(0,)]:
        raise ValueError(f"{found[0][0]:,} rows differ")


def ours(folder: Path) -> None:
    """Make the typed rows of the hour as an operator does."""
    TypedArchive(FileDestination(folder / "archive"), FileDestination(folder / "rows")).ensure(_hour(), {})


_IS_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_BOOLEANS = {"0": False, "1": True, "false": False, "true": True}
_METADATA = {"oem_id", "oem_model", "dsn", "property_name", "display_name", "base_type", "event_type"}
_BODY = {
    *("id", "created_at_from_device", "updated_at", "created_at", "user_uuid", "echo", "closed", "discarded"),
    *("scope", "value", "metadata", "direction"),
}


class _Reader:
    """Reads line by line, as a program does that is written for these records alone."""

    def __init__(self) -> None:
        import orjson

        self._load, self._dump = orjson.loads, orjson.dumps
        self._seen: set[str] = set()

    def row(self, line: bytes, source: str, generation: int) -> tuple[Any, ...] | None:
        """
        Return a line's row; None if the line repeats a record.

        :raises ValueError: if a cell isn't of its type, or a key is unknown
        """
        event = self._load(line)["event"]
        metadata, body = event["metadata"], event["datapoint"]
        if not (metadata.keys() <= _METADATA and body.keys() <= _BODY) or metadata["event_type"] != "datapoint":
            raise ValueError("an unknown record")
        identity, user = body["id"].lower(), body["user_uuid"].lower()
        if not _IS_UUID(identity) or not _IS_UUID(user):
            raise ValueError("not a UUID")
        if identity in self._seen:
            return None
        self._seen.add(identity)
        value, more = body["value"], body["metadata"]
        text = value if type(value) is str else self._spelled(line, value, "value")
        extra = more if type(more) is str else self._spelled(line, more, "metadata")
        kind = metadata["base_type"]
        return (
            metadata["oem_id"],
            metadata["oem_model"],
            metadata["dsn"],
            metadata["property_name"],
            metadata["display_name"],
            metadata["display_name"],
            kind,
            identity,
            _time(body.get("created_at_from_device")),
            _time(body["updated_at"]),
            _time(body["created_at"]),
            user,
            body["echo"],
            body["closed"],
            body["discarded"],
            body["scope"],
            int(text) if kind == "integer" else None,
            float(text) if kind == "decimal" else None,
            float(text) if kind == "float" else None,
            _BOOLEANS[text] if kind == "boolean" else None,
            text if kind == "string" else None,
            text,
            extra,
            extra,
            body["direction"],
            HOUR,
            source,
            generation,
        )

    def _spelled(self, line: bytes, value: object, key: str) -> str:
        """Return the text of a value as the record spells it."""
        text: bytes = self._dump(value)
        if b'"%s":%s,' % (key.encode(), text) in line:
            return text.decode()
        exact = json.loads(line, parse_int=str, parse_float=str)["event"]["datapoint"][key]
        return exact if isinstance(exact, str) else json.dumps(exact, separators=(",", ":"))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def row_by_row(folder: Path) -> None:
    """Read each line with orjson, and write the rows that aren't repeated."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        ColumnType.TEXT: pa.string(),
        ColumnType.UUID: pa.string(),
        ColumnType.INTEGER: pa.int64(),
        ColumnType.NUMBER: pa.float64(),
        ColumnType.BOOLEAN: pa.bool_(),
        ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(column.name, kinds[column.type]) for column in STREAM_TABLES["datapoint"].columns])
    path = _parquet(folder, "row_by_row")
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for rows in _batches(folder):
            arrays = [pa.array(cells, field.type) for cells, field in zip(zip(*rows, strict=True), schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _batches(folder: Path) -> Iterator[Sequence[tuple[Any, ...]]]:
    reader, rows = _Reader(), []
    manifest, _ = Records(FileDestination(folder / "archive")).read_manifest(_hour())
    for file in manifest.files if manifest else ():
        with gzip.open(folder / "archive" / file.path) as lines:
            for line in lines:
                row = reader.row(line, file.source, file.generation)
                if row:
                    rows.append(row)
                if len(rows) >= _BATCH:
                    yield rows
                    rows = []
    if rows:
        yield rows


ENGINES = {engine.__name__: engine for engine in (ours, row_by_row)}


def main() -> None:
    """Run one engine on an archive, and print its seconds, those of CPU, and the peak memory in MB."""
    engine, name = sys.argv[1:]
    folder = Path(name)
    # Rows that exist aren't made again.
    for path in sorted((folder / "rows").rglob("*")) if engine == "ours" else ():
        if path.is_file():
            path.unlink()
    start, cpu = time.perf_counter(), time.process_time()
    ENGINES[engine](folder)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": used, "peak": _peak()}))


def _peak() -> float:
    """Return the peak memory of this process in MB. What getrusage says begins with that of its parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()

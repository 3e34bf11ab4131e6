"""From the CSV file of an hour to typed rows: this package, DuckDB's own scan, pandas and dlt."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, DATAPOINT_22
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.rows.duck import connect
from ayla_provider.rows.intake import fetch_good_lines
from ayla_provider.rows.parquet import type_hour
from ayla_provider.rows.quarantine import Quarantine
from benchmarks.results import Result, compared
from benchmarks.rows import make_file

MEMORY = "512MB"
HOUR = datetime(2020, 2, 5, 12, tzinfo=UTC)
_DATES = ("created_at_from_device", "updated_at", "created_at")
_FLAGS = ("echo", "closed", "discarded", "val_boolean")

_PEERS = {
    "duckdb_scan": "DuckDB's typed scan alone",
    "pandas": "pandas: typed, decoded, deduplicated",
    "dlt": "dlt: text into DuckDB, not typed",
}

HOW = {
    _PEERS["duckdb_scan"]: "`select count(*), max(...) from read_csv(...)` with types: nothing is checked, decoded, "
    "deduplicated or written",
    _PEERS["pandas"]: "`read_csv`, `drop_duplicates`, `to_datetime`, `to_numeric`, `to_parquet`, once",
    _PEERS["dlt"]: "a pipeline of Arrow tables into DuckDB, all columns as text, once",
}


def measure(rows: int, rounds: int) -> list[Result]:
    """Type an hour of datapoints with each engine, alternately."""
    speed: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    peak: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        file = Path(name) / "hour.csv"
        lines = make_file(file, rows)
        print(f"  an hour of {lines:,} lines, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
        for number in range(rounds):
            # Run the slow engines once. Their ratios are far from any limit.
            for engine in ENGINES if number == 0 else ("ours", "duckdb_scan"):
                took = _run(engine, file)
                speed[engine].append(lines / took["seconds"])
                peak[engine].append(took["peak"])
    what = f"an hour of {lines:,} lines to typed, deduplicated Parquet"
    return [
        *compared(what, "lines/s", speed["ours"], {description: speed[peer] for peer, description in _PEERS.items()}),
        *compared(
            f"{what}: peak memory, memory={MEMORY}",
            "MB",
            peak["ours"],
            {description: peak[peer] for peer, description in _PEERS.items()},
            max,
        ),
    ]


def _run(engine: str, file: Path) -> dict[str, float]:
    """Measure an engine in its own process, to measure its memory."""
    command = [sys.executable, "-m", "benchmarks.typed", engine, str(file), MEMORY]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {engine}: {took['rows']:,} rows in {took['seconds']:.1f} s, {took['peak']:,.0f} MB", flush=True)
    return took


def ours(file: Path, memory: str) -> int:
    """Check, type, decode and deduplicate the file into Parquet, like an operator, and return the number of rows."""
    # Known in advance, from the archive's manifest.
    source, size = "oem/Datapoint/2020-02-05 12:00:00/f.csv", file.stat().st_size
    facts = ManifestFile(source, 1, size, file.with_suffix(".crc32c").read_text(), "", file.name)
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name)
        with (
            Quarantine(folder / "quarantine") as quarantine,
            closing(connect(memory=memory, folder=folder)) as connection,
        ):
            taken = fetch_good_lines(
                FileDestination(file.parent),
                facts,
                folder / "good.csv",
                event_type="datapoint",
                layouts=COLUMN_LAYOUTS,
                quarantine=quarantine,
            )
            typed = type_hour(
                connection,
                ExportHour(EventType("datapoint"), HOUR),
                [taken],
                file.with_suffix(".parquet"),
                quarantine=quarantine,
                policy=PrivacyPolicy(),
            )
    return typed.rows


def duckdb_scan(file: Path, memory: str) -> int:
    """Let DuckDB type the columns while it reads them. It doesn't check, decode, deduplicate or write anything."""
    types = dict.fromkeys(DATAPOINT_22.columns, "VARCHAR")
    types |= dict.fromkeys(_DATES, "TIMESTAMP") | dict.fromkeys(_FLAGS, "BOOLEAN")
    types |= {
        "time_uuid": "UUID",
        "user_uuid": "UUID",
        "val_int": "BIGINT",
        "val_decimal": "DOUBLE",
        "val_float": "DOUBLE",
    }
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
    every = ", ".join(f"max({name})" for name in types)
    with duckdb.connect() as connection:
        connection.execute(f"set memory_limit = '{memory}'; set enable_progress_bar = false")
        rows, *_ = connection.execute(
            f"select count(*), {every} from read_csv('{file}', auto_detect=false, header=false, "
            f" delim=',', quote='', escape='', new_line='\\r\\n', columns={{{columns}}}, "
            "timestampformat='%a %b %d %H:%M:%S UTC %Y', nullstr='')"
        ).fetchone() or (0,)
    return int(rows)


def pandas(file: Path, memory: str) -> int:
    """Type, decode and deduplicate with pandas, all in memory, into Parquet."""
    import base64

    import pandas as pd

    names = list(DATAPOINT_22.columns)
    frame = pd.read_csv(file, header=None, names=names, dtype=str, keep_default_na=False, quoting=3)
    frame = frame.sort_values("updated_at").drop_duplicates("time_uuid", keep="last")
    for name in _DATES:
        frame[name] = pd.to_datetime(frame[name], format="%a %b %d %H:%M:%S UTC %Y", utc=True)
    for name in ("val_int", "val_decimal", "val_float"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    for name in _FLAGS:
        frame[name] = frame[name].map({"true": True, "1": True, "false": False, "0": False})
    for name in DATAPOINT_22.base64_columns:
        frame[f"{name}_raw"] = frame[name]
        frame[name] = [base64.b64decode(text).decode() for text in frame[name]]
    frame.to_parquet(file.with_suffix(".pandas.parquet"), compression="zstd")
    return len(frame)


def dlt(file: Path, memory: str) -> int:
    """Load the file's text into DuckDB with dlt, which doesn't type, decode or deduplicate it."""
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    import dlt as library
    import pyarrow as pa
    import pyarrow.csv as reader

    names = list(DATAPOINT_22.columns)

    def tables() -> Iterable[pa.Table]:
        options = reader.ReadOptions(column_names=names)
        convert = reader.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        for batch in reader.open_csv(file, options, reader.ParseOptions(quote_char=False), convert):
            yield pa.Table.from_batches([batch])

    folder = file.parent / "dlt"
    pipeline = library.pipeline(
        "bench",
        pipelines_dir=str(folder),
        destination=library.destinations.duckdb(str(file.with_suffix(".dlt.duckdb"))),
        dataset_name="ayla",
    )
    pipeline.run(tables(), table_name="datapoint", write_disposition="replace", loader_file_format="parquet")
    with duckdb.connect(str(file.with_suffix(".dlt.duckdb"))) as connection:
        ((rows,),) = connection.execute("select count(*) from ayla.datapoint").fetchall()
    return int(rows)


ENGINES = {engine.__name__: engine for engine in (ours, duckdb_scan, pandas, dlt)}


def main() -> None:
    """Run one engine on one file, and print the rows, the seconds and the peak memory in MB."""
    engine, file, memory = sys.argv[1:]
    start = time.perf_counter()
    rows = ENGINES[engine](Path(file), memory)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    main()

"""
How long a load takes as a table of Iceberg or Delta gets older: ``python -m benchmarks.commits --format delta``.

Each load is a real one of an hour, as a task does it: it connects, reads the ledger, writes a Parquet file, and
commits. After every 24 loads upkeep runs, unless ``--without-upkeep`` is given. The rows are few, because the time of a
commit doesn't depend on them. The table is on this disk, and Iceberg's catalog is in SQLite.

It prints the median of every hundred loads, and that of the last 100 in relation to that of loads 100 to 200.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.base import Load, Warehouse

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=2)
"""After today, so that upkeep takes files that were just replaced for old ones."""

DATAPOINT = TABLES["datapoint"]
LOOKBACK = timedelta(days=7)
ROWS = 3

Connect = Callable[[], Warehouse]
Tend = Callable[[datetime], None]


def iceberg(folder: Path) -> tuple[Connect, Tend]:
    """Return what connects to Iceberg tables in a folder, and what looks after them."""
    from pyiceberg.catalog.sql import SqlCatalog

    from ayla_provider.warehouse.iceberg import IcebergWarehouse
    from ayla_provider.warehouse.iceberg_upkeep import Upkeep

    def connect() -> IcebergWarehouse:
        return IcebergWarehouse(
            lambda: SqlCatalog("test", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/tables"),
            lambda _: FileDestination("/"),
            namespace="ayla",
        )

    def tend(now: datetime) -> None:
        with connect() as warehouse:
            Upkeep(warehouse, now=now, lookback=LOOKBACK).run("datapoint")

    return connect, tend


def delta(folder: Path) -> tuple[Connect, Tend]:
    """Return what connects to Delta tables in a folder, and what looks after them."""
    from ayla_provider.warehouse.delta import DeltaWarehouse
    from ayla_provider.warehouse.delta_upkeep import upkeep

    def connect() -> DeltaWarehouse:
        return DeltaWarehouse(FileDestination(folder))

    def tend(now: datetime) -> None:
        with connect() as warehouse:
            upkeep(warehouse, "datapoint", now, lookback=LOOKBACK)

    with connect() as warehouse:
        warehouse.prepare(DATAPOINT)
        # Replaced files are forgotten at once, because a year passes here in minutes.
        table = warehouse.existing("datapoint")
        table.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 1 seconds"})
    return connect, tend


FORMATS = {"iceberg": iceberg, "delta": delta}


def measured(connect: Connect, folder: Path, number: int) -> tuple[float, float]:
    """
    Load an hour.

    :returns: seconds of the load, and of the processor during it
    """
    hour = START + number * ONE_HOUR
    load = made_up(folder / "rows.parquet", hour)
    begun, worked = time.perf_counter(), time.process_time()
    with connect() as warehouse:
        warehouse.loaded("datapoint", hour, hour + ONE_HOUR)
        warehouse.prepare(DATAPOINT)
        warehouse.replace(load)
    return time.perf_counter() - begun, time.process_time() - worked


def made_up(parquet: Path, hour: datetime) -> Load:
    """Return the load of an hour with three rows, which are written into a file."""
    rows: dict[str, pa.Array] = {
        "dsn": pa.array([f"AC{at:013}" for at in range(ROWS)]),
        "created_at": pa.array([hour] * ROWS, pa.timestamp("us", "UTC")),
        "folder_hour": pa.array([hour] * ROWS, pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(rows), parquet)
    return Load(DATAPOINT, hour, "v1", ROWS, ROWS, 0, 0, parquet, hour, "benchmark")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commits", description=__doc__)
    parser.add_argument("--format", choices=FORMATS, default="iceberg")
    parser.add_argument("--commits", type=int, default=8760)
    parser.add_argument("--without-upkeep", action="store_true")
    arguments = parser.parse_args(argv)
    loads: list[float] = []
    works: list[float] = []
    upkeep = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        connect, tend = FORMATS[arguments.format](folder)
        for number in range(arguments.commits):
            seconds, work = measured(connect, folder, number)
            loads.append(seconds)
            works.append(work)
            if number % 24 == 23 and not arguments.without_upkeep:
                worked = time.process_time()
                tend(START + (number + 1) * ONE_HOUR)
                upkeep = time.process_time() - worked
            if number % 100 == 99:
                print(
                    f"{number + 1}: load {statistics.median(loads[-100:]):.3f} s, of the processor "
                    f"{statistics.median(works[-100:]):.3f} s, at most {max(works[-100:]):.3f} s; upkeep "
                    f"{upkeep:.2f} s of the processor",
                    flush=True,
                )
        with connect() as warehouse:
            held = warehouse.held("datapoint", START, START + arguments.commits * ONE_HOUR)
        if [entry.counted for entry in held.values()] != [ROWS] * arguments.commits:
            raise SystemExit("The table doesn't have what was loaded.")
    if len(loads) >= 300:
        for what, times in (("load", loads), ("processor", works)):
            early, late = statistics.median(times[100:200]), statistics.median(times[-100:])
            print(f"{what}: 100 to 200: {early:.3f} s; the last 100: {late:.3f} s; {late / early:.2f} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())

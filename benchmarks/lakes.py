"""Loads of an hour into tables of Iceberg and Delta, beside the libraries' own writers, PostgreSQL, and DuckDB."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.base import Load, Warehouse
from benchmarks.copying import peak_of_this_process
from benchmarks.postgres import HOUR, made_up
from benchmarks.results import Result, compared
from tests.support.postgres_server import USER, binaries, running

ROWS = 1_000_000

_OVERWRITE = "pyiceberg: overwrite(arrow)"
_WRITE_DELTALAKE = "deltalake: write_deltalake(arrow)"
_INTO_POSTGRES = "this package into PostgreSQL"
_INTO_DUCKDB = "this package into DuckDB"

HOW = {
    _OVERWRITE: "`pyarrow.parquet.read_table`, then `table.overwrite` with a filter on the hour, into the same kind of "
    "table: a SQLite catalog, files on disk",
    _WRITE_DELTALAKE: "`pyarrow.parquet.read_table`, then `write_deltalake` with a predicate on the hour, into the "
    "same kind of table on disk",
    _INTO_POSTGRES: "the same hour, by the load into PostgreSQL",
    _INTO_DUCKDB: "the same hour, by the load into a DuckDB file",
}


def measure(rounds: int, rows: int = ROWS) -> list[Result]:
    """
    Load an hour that a table holds already, with each engine alternately, each in a process of its own.

    The time begins when the hour's Parquet file exists and ends when readers see the new rows.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    whole: dict[str, list[float]] = defaultdict(list)
    peak: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        parquet = Path(name) / "rows.parquet"
        made_up(parquet, TABLES["datapoint"], rows)
        with _postgres() as socket:
            engines = [engine for engine in ENGINES if socket or engine != "postgres"]
            for number in range(rounds):
                for engine in engines:
                    folder = Path(name) / f"{engine}-{number}"
                    folder.mkdir()
                    took = _run(engine, parquet, rows, folder, socket)
                    shutil.rmtree(folder)
                    seconds[engine].append(took["seconds"])
                    whole[engine].append(took["whole"])
                    peak[engine].append(took["peak"])
    results = []
    for ours, others in PEERS.items():
        peers = {engine: peer for engine, peer in others.items() if engine in engines}
        what = f"{ours.capitalize()}: replace an hour, {rows:,} rows"
        for of, unit, figures in (
            ("", "s", seconds),
            (", with imports, connection and preparation", "s", whole),
            (": peak memory", "MB", peak),
        ):
            middle = {"middle": max} if unit == "MB" else {}
            results += compared(
                what + of, unit, figures[ours], {peer: figures[engine] for engine, peer in peers.items()}, **middle
            )
    return results


def _postgres() -> AbstractContextManager[str]:
    if binaries() is None:
        print("PostgreSQL isn't installed, and isn't measured (Debian: postgresql)")
        return nullcontext("")
    return running()


def _run(engine: str, parquet: Path, rows: int, folder: Path, socket: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.lakes", engine, str(parquet), str(rows), str(folder), socket]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"  {engine}: {took['seconds']:.2f} s from the file to the commit, {took['whole']:.2f} s in all, "
        f"{took['cpu']:.2f} s of CPU, {took['peak']:,.0f} MB",
        flush=True,
    )
    return took


def _load(parquet: Path, rows: int, version: str) -> Load:
    return Load(TABLES["datapoint"], HOUR, version, rows, rows, 0, 0, parquet, datetime.now(UTC), "benchmark")


Loading = AbstractContextManager[Callable[[], None]]
"""Gives what loads the hour."""


@contextmanager
def _into(warehouse: Warehouse, parquet: Path, rows: int) -> Iterator[Callable[[], None]]:
    """Connect as a task does, and give what loads."""
    with warehouse:
        warehouse.loaded("datapoint", HOUR, HOUR + timedelta(hours=1))
        warehouse.prepare(TABLES["datapoint"])
        # Another version of the hour each time.
        yield lambda: warehouse.replace(_load(parquet, rows, datetime.now(UTC).isoformat()))


def iceberg(parquet: Path, rows: int, folder: Path, socket: str) -> Loading:
    """Load into Iceberg, with a SQLite catalog and files on disk."""
    from pyiceberg.catalog import load_catalog

    from ayla_provider.archive.local import FileDestination
    from ayla_provider.warehouse.iceberg import IcebergWarehouse

    properties = _catalog(folder)
    warehouse = IcebergWarehouse(
        lambda: load_catalog("bench", **properties),
        lambda url: FileDestination(Path(url.removeprefix("file://"))),
        namespace="ayla",
    )
    return _into(warehouse, parquet, rows)


def delta(parquet: Path, rows: int, folder: Path, socket: str) -> Loading:
    """Load into Delta Lake on disk."""
    from ayla_provider.archive.local import FileDestination
    from ayla_provider.warehouse.delta import DeltaWarehouse

    return _into(DeltaWarehouse(FileDestination(folder / "lake")), parquet, rows)


def postgres(parquet: Path, rows: int, folder: Path, socket: str) -> Loading:
    """Load into PostgreSQL."""
    import psycopg

    from ayla_provider.warehouse.postgres import PostgresWarehouse

    dsn = f"host={socket} dbname=postgres user={USER}"
    schema = f"lakes_{folder.name.replace('-', '_')}"
    return _into(PostgresWarehouse(lambda: psycopg.connect(dsn), schema=schema), parquet, rows)


def duckdb(parquet: Path, rows: int, folder: Path, socket: str) -> Loading:
    """Load into a DuckDB file."""
    from ayla_provider.warehouse.duckdb import DuckDBWarehouse

    return _into(DuckDBWarehouse(folder / "ayla.duckdb"), parquet, rows)


@contextmanager
def overwrite(parquet: Path, rows: int, folder: Path, socket: str) -> Iterator[Callable[[], None]]:
    """Let pyiceberg read the file and overwrite the hour."""
    import pyarrow.parquet as pq
    from pyiceberg.catalog import load_catalog
    from pyiceberg.expressions import EqualTo
    from pyiceberg.transforms import DayTransform

    catalog = load_catalog("bench", **_catalog(folder))
    catalog.create_namespace_if_not_exists("ayla")
    if not catalog.table_exists("ayla.datapoint"):
        table = catalog.create_table("ayla.datapoint", pq.read_schema(parquet))
        with table.update_spec() as spec:
            spec.add_field("folder_hour", DayTransform(), "day")

    def load() -> None:
        hour = EqualTo("folder_hour", HOUR.isoformat())
        catalog.load_table("ayla.datapoint").overwrite(pq.read_table(parquet), overwrite_filter=hour)

    yield load


@contextmanager
def write_deltalake(parquet: Path, rows: int, folder: Path, socket: str) -> Iterator[Callable[[], None]]:
    """Let deltalake write the file's rows in place of the hour's."""
    import deltalake
    import pyarrow as pa
    import pyarrow.parquet as pq

    place, day = str(folder / "lake"), pa.field("date", pa.date32())
    if not deltalake.DeltaTable.is_deltatable(place):
        schema = deltalake.Schema.from_arrow(pq.read_schema(parquet).append(day))
        deltalake.DeltaTable.create(place, schema, partition_by=["date"])

    def load() -> None:
        table = pq.read_table(parquet)
        table = table.append_column(day, pa.repeat(pa.scalar(HOUR.date(), pa.date32()), table.num_rows))
        predicate = f"date = '{HOUR:%Y-%m-%d}' and folder_hour = '{HOUR.isoformat()}'"
        deltalake.write_deltalake(place, table, mode="overwrite", predicate=predicate)

    yield load


def _catalog(folder: Path) -> dict[str, str]:
    return {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/lake"}


Engine = Callable[[Path, int, Path, str], Loading]

ENGINES: dict[str, Engine] = {
    engine.__name__: engine for engine in (iceberg, delta, overwrite, write_deltalake, postgres, duckdb)
}

PEERS = {
    "iceberg": {"overwrite": _OVERWRITE, "postgres": _INTO_POSTGRES, "duckdb": _INTO_DUCKDB},
    "delta": {"write_deltalake": _WRITE_DELTALAKE, "postgres": _INTO_POSTGRES, "duckdb": _INTO_DUCKDB},
}
"""What each of ours is compared with, and its name in the results."""


def main() -> None:
    """
    Run one engine, and print the seconds of the load, those with imports and connection, and the peak memory in MB.

    A process of its own loads the hour for the first time, so that its rows are there to be replaced.
    """
    engine, parquet, rows, folder, socket, *first = sys.argv[1:]
    if not first:
        subprocess.run([sys.executable, "-m", "benchmarks.lakes", *sys.argv[1:], "first"], check=True)
    start = time.perf_counter()
    cpu = time.process_time()
    with ENGINES[engine](Path(parquet), int(rows), Path(folder), socket) as load:
        ready = time.perf_counter()
        load()
        end = time.perf_counter()
    if not first:
        took = {"seconds": end - ready, "whole": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        print(json.dumps({**took, "peak": peak_of_this_process() / 1024}))


if __name__ == "__main__":
    main()

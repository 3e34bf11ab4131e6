"""
How long a commit takes as an Iceberg table gets older: ``python -m benchmarks.commits --commits 8760``.

Each commit is a real load of an hour, as a task does it: it connects, reads the ledger, writes a Parquet file, and
commits. After every 24 loads upkeep runs, unless ``--without-upkeep`` is given. The rows are few, because the time of a
commit doesn't depend on them.

It prints the median of every hundred commits, and that of the last 100 in relation to that of commits 100 to 200.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from tests.warehouse.made_loads import made_load

START = datetime(2026, 1, 1, tzinfo=UTC)
DATAPOINT = TABLES["datapoint"]


def measured(folder: Path, number: int) -> tuple[float, float]:
    """
    Load an hour.

    :returns: seconds of the commit, and of the processor during it
    """
    hour = START + number * ONE_HOUR
    load = made_load(folder, "datapoint", hour, [{"dsn": f"AC{at:013}", "created_at": hour} for at in range(3)])
    found: list[tuple[float, float]] = []
    with connected(folder) as warehouse:
        warehouse.loaded("datapoint", hour, hour + ONE_HOUR)
        warehouse.prepare(DATAPOINT)
        commit_loads = warehouse._commit_loads

        def commit(*arguments: Any) -> None:
            begun, worked = time.perf_counter(), time.process_time()
            commit_loads(*arguments)
            found.append((time.perf_counter() - begun, time.process_time() - worked))

        warehouse._commit_loads = commit  # type: ignore[method-assign]
        warehouse.replace(load)
    _remove(load)
    return found[0]


def connected(folder: Path) -> IcebergWarehouse:
    """Return the tables in a folder."""
    return IcebergWarehouse(
        lambda: SqlCatalog("test", uri=f"sqlite:///{folder / 'catalog.db'}", warehouse=f"file://{folder / 'tables'}"),
        lambda _: FileDestination("/"),
        namespace="ayla",
    )


def _remove(load: Load) -> None:
    if load.parquet:
        load.parquet.unlink()


def tend(folder: Path, number: int) -> float:
    """Look after the table, at the time of an hour. Return how many seconds it took."""
    started = time.perf_counter()
    with connected(folder) as warehouse:
        Upkeep(warehouse, now=START + number * ONE_HOUR, lookback=timedelta(days=7)).run("datapoint")
    return time.perf_counter() - started


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commits", description=__doc__)
    parser.add_argument("--commits", type=int, default=8760)
    parser.add_argument("--without-upkeep", action="store_true")
    arguments = parser.parse_args(argv)
    commits: list[float] = []
    works: list[float] = []
    upkeep: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(arguments.commits):
            seconds, work = measured(folder, number)
            commits.append(seconds)
            works.append(work)
            if number % 24 == 23 and not arguments.without_upkeep:
                upkeep.append(tend(folder, number + 1))
            if number % 100 == 99:
                last = f"upkeep {upkeep[-1]:.2f} s" if upkeep else "no upkeep"
                print(
                    f"{number + 1}: commit {statistics.median(commits[-100:]):.3f} s, "
                    f"of the processor {statistics.median(works[-100:]):.3f} s, {last}",
                    flush=True,
                )
        with connected(folder) as warehouse:
            held = warehouse.held("datapoint", START, START + arguments.commits * ONE_HOUR)
        if [entry.counted for entry in held.values()] != [3] * arguments.commits:
            raise SystemExit("The table doesn't have what was loaded.")
    if len(commits) >= 300:
        for what, times in (("commit", commits), ("processor", works)):
            early, late = statistics.median(times[100:200]), statistics.median(times[-100:])
            print(f"{what}: 100 to 200: {early:.3f} s; the last 100: {late:.3f} s; {late / early:.2f} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())

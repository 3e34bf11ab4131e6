"""
What runs of the fleet models in Iceberg and Delta take as the tables grow: ``python -m benchmarks.fleet_lakes``.

For each number of days it makes a lake in SeaweedFS, whose days have one hour with rows each, and the last one 23. It
makes the models. Then it runs them again without anything new, and with one new hour. It prints seconds of wall and of
the processor, and the requests that the storage got. The catalog of Iceberg is a file on this disk: its requests aren't
counted.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.tables import TABLES
from ayla_provider.rows.duck import literal
from ayla_provider.warehouse.base import FoundHour, Load
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from benchmarks.fleet import START, fill, timed
from harness.seaweedfs import SeaweedFS, seaweedfs
from tests.support.lakes import Lake, s3_facts

BUCKET = "lake"

_COUNTED = re.compile(r"^SeaweedFS_s3_request_total\{.*\} (\S+)$", re.MULTILINE)


def requests(server: SeaweedFS) -> int:
    """Return how many requests of S3 a server has answered."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:  # noqa: S310 - it is http
        return sum(int(float(number)) for number in _COUNTED.findall(answer.read().decode()))


@contextmanager
def measured(server: SeaweedFS, what: str) -> Iterator[None]:
    """Print what something takes."""
    before = requests(server)
    with timed(what):
        yield
    print(f"  {requests(server) - before:,} requests", flush=True)


def lake(server: SeaweedFS, kind: Any, folder: Path, days: int) -> Lake:
    """Return a lake of its own."""
    root = f"s3://{BUCKET}/{kind}-{days}"
    catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": root}
    return Lake(kind, root, catalog | server.storage_properties(), s3_facts(server.url))


def made_up(folder: Path, numbers: Sequence[int], devices: int) -> Iterator[Load]:
    """Yield the rows of some hours, each of all event types."""
    with DuckDBWarehouse(folder / f"{numbers[0]}.duckdb") as rows:
        rows.prepare_missing(TABLES.values())
        for number in numbers:
            hour = START + number * ONE_HOUR
            fill(rows, number, 1, devices)
            rows._run(
                f"insert into {rows._relation('registration')} by name select '1a2b3c4d' as oem_id, 'M1' as oem_model, "
                f"'LC' || lpad('{number % devices}', 12, '0') as dsn, gen_random_uuid() as user_uuid, "
                f"true as registered, timestamptz '{hour}' as registered_at, timestamptz '{hour}' as folder_hour, "
                "'a.csv' as source_object"
            )
            for event_type, table in TABLES.items():
                relation, parquet = rows._relation(event_type), folder / f"{event_type}-{number}.parquet"
                of_hour = f"from {relation} where folder_hour = timestamptz '{hour}'"
                rows._run(f"copy (select * {of_hour}) to {literal(str(parquet))} (format parquet)")
                ((count,),) = rows._fetch(f"select count(*) {of_hour}")
                yield Load(table, hour, "v1", count, count, 0, 0, parquet if count else None, hour, "bench")


def grow(warehouse: Any, folder: Path, days: int, devices: int) -> int:
    """Load days, of which each has one hour with rows, and the last one 23. Return the number of the next hour."""
    newest = days * 24 - 2
    numbers = [*range(12, newest - 22, 24), *range(newest - 22, newest + 1)]
    warehouse.prepare_missing(TABLES.values())
    loads = list(made_up(folder, numbers, devices))
    for event_type in TABLES:
        list(warehouse.replace_several(load for load in loads if load.table.event_type == event_type))
    empty = [number for number in range(newest + 1) if number not in numbers]
    found = [FoundHour(kind, START + number * ONE_HOUR, "empty", 1) for kind in TABLES for number in empty]
    warehouse.record_hours(found, START)
    return newest + 1


def measure(server: SeaweedFS, kind: str, days: int, devices: int) -> None:
    """Make a lake and its models, and run them again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        of_days = lake(server, kind, folder, days)
        with of_days.warehouse() as warehouse:
            new = grow(warehouse, folder, days, devices)
        now = START + days * timedelta(days=1)

        def run(what: str) -> None:
            with measured(server, f"{kind}, {days} days, {what}"), of_days.warehouse() as opened:
                opened.update_models("UTC", what, now)  # type: ignore[attr-defined]

        run("first run")
        run("nothing new")
        with of_days.warehouse() as warehouse:
            for load in made_up(folder, [new], devices):
                warehouse.replace(load)
        run("one new hour")
        run("nothing new")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_lakes", description=__doc__)
    parser.add_argument("--lake", choices=("iceberg", "delta"), action="append", help="default: both")
    parser.add_argument("--days", type=int, nargs="+", default=[5, 30, 90])
    parser.add_argument("--devices", type=int, default=200)
    given = parser.parse_args()
    with seaweedfs() as server:
        server.make_bucket(BUCKET)
        for kind in given.lake or ("iceberg", "delta"):
            for days in given.days:
                measure(server, kind, days, given.devices)


if __name__ == "__main__":
    main()

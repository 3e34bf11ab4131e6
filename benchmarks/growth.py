r"""
What a task costs as the archive grows to ten years, on disk, in Cloud Storage, and in S3.

    python -m benchmarks.growth

It writes ``growth.json``, ``growth.md``, and the picture of docs/speed.md. The tasks that run every hour should cost
the same at each age. A plan of all hours should cost the same an hour of the archive, and its memory shouldn't grow.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from ayla_provider import __version__
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.tables import TABLES
from ayla_provider.domain.typed_manifest import version_of
from benchmarks import copying, picture
from benchmarks.aged_store import END, NOW, PREFIX, hours_of_archive, made_manifest
from benchmarks.picture import Panel
from benchmarks.scaling import IMAGES
from benchmarks.store import COUNT, OEM, READ_TOKEN, SOURCE, TARGET, WRITE_TOKEN

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.source.export import Export

_HERE = Path(__file__).parent

AGES = {"1 month": 30, "1 year": 365, "3 years": 3 * 365, "10 years": 10 * 365}
"""Name to days."""

STORES = ("disk", "Cloud Storage", "S3")

_LOOKBACK = timedelta(days=7)
"""The default of a plan."""

_REPORTED = timedelta(hours=48)
"""The default of a report."""


@dataclass(frozen=True, slots=True)
class Point:
    """
    A task at an age of the archive.

    :param requests: of files on disk, none are counted
    :param cpu: seconds, user and system
    :param peak: memory, in MB
    """

    task: str
    store: str
    age: str
    hours: int
    requests: int | None
    cpu: float
    peak: float

    @property
    def cpu_of_hour(self) -> float:
        """Milliseconds of CPU time for each hour of each event type."""
        return self.cpu / self.hours / len(EVENT_TYPES) * 1000


def poke(export: Export, destination: Destination, hours: int, folder: Path) -> None:
    """Look for the newest hour of each event type."""
    from ayla_provider.domain.arrival import ArrivalRule
    from ayla_provider.source.wait import look

    for event_type in EVENT_TYPES:
        _expect(look(export, [ExportHour(event_type, END - ONE_HOUR)], ArrivalRule()).settled, True)


def report(export: Export, destination: Destination, hours: int, folder: Path) -> None:
    """Compare two days with the export."""
    from ayla_provider.archive.records import Records
    from ayla_provider.cli.report import compare

    rows = list(compare(export, Records(destination), EVENT_TYPES, END - _REPORTED, END))
    _expect(len(rows), len(EVENT_TYPES) * (_REPORTED // ONE_HOUR))


def reconcile(export: Export, destination: Destination, hours: int, folder: Path) -> None:
    """Find what two days lack."""
    from ayla_provider.archive.compare import reconcile
    from ayla_provider.archive.records import Records

    _expect(reconcile(export, Records(destination), EVENT_TYPES, END - _REPORTED, END).gaps, [])


def plan(export: Export, destination: Destination, hours: int, folder: Path) -> None:
    """Compare seven days with the ledger of a DuckDB file that has all hours."""
    _plan(destination, folder, _LOOKBACK)


def whole_plan(export: Export, destination: Destination, hours: int, folder: Path) -> None:
    """Compare all hours with the ledger."""
    _plan(destination, folder, hours * ONE_HOUR)


def _plan(destination: Destination, folder: Path, lookback: timedelta) -> None:
    from ayla_provider.archive.records import Records
    from ayla_provider.warehouse.duckdb import DuckDBWarehouse
    from ayla_provider.warehouse.plan import to_load

    with DuckDBWarehouse(folder / "ledger.duckdb") as warehouse:
        _expect(to_load(Records(destination), warehouse.loaded, EVENT_TYPES, END - lookback, END), [])


def _expect(found: object, expected: object) -> None:
    """
    Make sure that a task did what it should.

    :raises RuntimeError: if it didn't
    """
    if found != expected:
        raise RuntimeError(f"{found!r} isn't {expected!r}")


Task = Callable[["Export", "Destination", int, Path], None]

TASKS: Mapping[str, Task] = {
    "poke of 5 hours": poke,
    "plan of 7 days": plan,
    "report of 2 days": report,
    "reconcile of 2 days": reconcile,
    "plan of all hours": whole_plan,
}

_WHOLE = "plan of all hours"
_MOST_HOURS = 30 * 24
"""A plan of more hours of a store takes too long here. On disk, all are measured."""


def measure() -> None:
    """Measure, and write the figures and the picture."""
    points = list(_points())
    write(points, _HERE, IMAGES)


def _points() -> Iterator[Point]:
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        folder, written = Path(name), 0
        for age, days in AGES.items():
            hours = days * 24
            _write_archive(folder / PREFIX, written, hours)
            written = hours
            _write_ledger(folder / "ledger.duckdb", hours)
            with _store(hours) as url:
                for task in TASKS:
                    for store in STORES:
                        if task == _WHOLE and store != "disk" and hours > _MOST_HOURS:
                            continue
                        yield _measured(task, store, age, hours, url, folder)


def _write_archive(root: Path, known: int, hours: int) -> None:
    """Write the manifests of an archive that has some of them already."""
    for hour in hours_of_archive(hours):
        if (END - hour.start) // ONE_HOUR > known:
            path = root / manifest_path(hour)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made_manifest(hour).dumps())


def _write_ledger(path: Path, hours: int) -> None:
    """Make the ledger of a warehouse that has loaded all hours."""
    import duckdb

    from ayla_provider.warehouse.base import LEDGER, TABLE_PREFIX
    from ayla_provider.warehouse.duckdb import DuckDBWarehouse

    with DuckDBWarehouse(path) as warehouse:
        warehouse.prepare_missing(list(TABLES.values()))
    versions = path.with_suffix(".csv")
    with versions.open("w") as file:
        file.write("event_type,folder_hour,version\n")
        for hour in hours_of_archive(hours):
            file.write(f"{hour.event_type},{hour.start.isoformat()},{version_of(made_manifest(hour))}\n")
    with duckdb.connect(path) as connection:
        ledger = f"{TABLE_PREFIX}{LEDGER.event_type}"
        connection.execute(f"delete from {ledger}")
        connection.execute(f"insert into {ledger} by name from read_csv('{versions}')")


@contextlib.contextmanager
def _store(hours: int) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.aged_store", f"--hours={hours}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield cast("TextIO", process.stdout).readline().strip()
        finally:
            process.kill()


def _measured(task: str, store: str, age: str, hours: int, url: str, folder: Path) -> Point:
    """Run a task in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--task", task, store, str(hours), url, str(folder)]
    before = _requests(url)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    requests = None if store == "disk" and not task.startswith("poke") else _requests(url) - before
    took = json.loads(done.stdout.splitlines()[-1])
    point = Point(task, store, age, hours, requests, took["cpu"], took["peak"])
    print(f"  {age}, {store}: {task}: {requests} requests, {point.cpu:.2f} s of CPU, {point.peak:.0f} MB", flush=True)
    return point


def _requests(url: str) -> int:
    with urllib.request.urlopen(url + COUNT, timeout=60) as answer:  # noqa: S310 - it is http
        return int(answer.read())


def _open(store: str, url: str, folder: Path) -> tuple[Export, Destination]:
    """Return the export, and the archive in a store."""
    from google.oauth2.credentials import Credentials

    from ayla_provider.archive.gcs import GcsDestination
    from ayla_provider.destinations import open_destination
    from ayla_provider.source.export import Export
    from ayla_provider.source.gcs import GcsSource

    credentials = Credentials(token=READ_TOKEN)  # type: ignore[no-untyped-call]
    export = Export(GcsSource(credentials, SOURCE, endpoint=url), f"{OEM}/", now=lambda: NOW)
    if store == "disk":
        return export, open_destination(f"file://{folder / PREFIX}")
    if store == "Cloud Storage":
        customer = Credentials(token=WRITE_TOKEN)  # type: ignore[no-untyped-call]
        return export, GcsDestination(url, TARGET, PREFIX, credentials=customer)
    connection = {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "example"}
    os.environ["AIRFLOW_CONN_AWS_BENCH"] = json.dumps(
        connection | {"extra": {"endpoint_url": url, "region_name": "us-east-1"}}
    )
    return export, open_destination(f"s3://{TARGET}/{PREFIX}", "aws_bench")


def run(task: str, store: str, hours: int, url: str, folder: Path) -> None:
    """Run a task here, and print its CPU time in seconds and the peak memory in MB."""
    # A worker has imported these before.
    for module in ("airflow.sdk", "duckdb", "ayla_provider.archive.gcs", "ayla_provider.warehouse.plan"):
        importlib.import_module(module)
    export, destination = _open(store, url, folder)
    start = time.process_time()
    TASKS[task](export, destination, hours, folder)
    cpu = time.process_time() - start
    print(json.dumps({"cpu": cpu, "peak": copying.peak_of_this_process() / 1024}))


def write(points: Sequence[Point], folder: Path, images: Path) -> None:
    """Write ``growth.json``, ``growth.md``, and the picture."""
    (folder / "growth.json").write_text(json.dumps(list(map(asdict, points)), indent=1) + "\n")
    (folder / "growth.md").write_text("\n".join(_markdown(points)))
    plan, reported = "plan of 7 days", "report of 2 days"
    panels = [
        _panel(points, plan, "requests", "requests", STORES[1:]),
        _panel(points, plan, "CPU time, s", "cpu", STORES),
        _panel(points, reported, "CPU time, s", "cpu", STORES),
        _panel(points, plan, "peak memory, MB", "peak", STORES),
        _panel(points, _WHOLE, "CPU time of an hour, ms", "cpu_of_hour", STORES),
        _panel(points, _WHOLE, "peak memory, MB", "peak", STORES),
    ]
    label = "Requests, CPU time, and peak memory of tasks as the archive grows from a month to ten years"
    picture.write(images / "speed-growth.svg", panels, label)


def _panel(points: Sequence[Point], task: str, up: str, figure: str, stores: Sequence[str]) -> Panel:
    found = {(point.store, point.age): getattr(point, figure) for point in points if point.task == task}
    lines = {store: [found.get((store, age)) for age in AGES] for store in stores}
    title = task[0].upper() + task[1:]
    return Panel(title, "age of the archive, five event types", up, list(AGES), lines)


def _markdown(points: Sequence[Point]) -> Iterator[str]:
    yield "# What a task costs as the archive grows"
    yield ""
    yield f"With version {__version__}, last updated on {datetime.now(UTC):%-d %B %Y}. Five event types with a file an"
    yield "hour each. Each cell is requests, CPU time, and peak memory of a process that does only this and has Airflow"
    yield "imported. The servers of Cloud Storage and S3 run on the same machine. Pokes always ask the export's bucket."
    yield ""
    yield f"| task | archive | {' | '.join(AGES)} |"
    yield f"|---|---|{'---:|' * len(AGES)}"
    for task in TASKS:
        for store in STORES:
            found = {point.age: point for point in points if (point.task, point.store) == (task, store)}
            cells = [_cell(found[age]) if age in found else "" for age in AGES]
            yield f"| {task} | {store} | {' | '.join(cells)} |"
    yield ""
    yield "To measure again:"
    yield ""
    yield "```bash"
    yield "python -m benchmarks.growth"
    yield "```"
    yield ""


def _cell(point: Point) -> str:
    requests = "" if point.requests is None else f"{point.requests:,} requests, "
    return f"{requests}{point.cpu:.2f} s, {point.peak:.0f} MB"


def main() -> None:
    """Measure everything, or run one task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.task:
        measure()
        return
    task, store, hours, url, folder = given.task
    run(task, store, int(hours), url, Path(folder))


if __name__ == "__main__":
    main()

r"""
The cost of an hour over each dimension alone: files, repeats, malformed lines, layouts, hours of a plan, and columns.

    python -m benchmarks.sweep [--lines 100000]

The number of lines stays the same, so the time a line should, too. It writes ``sweep.json``, ``sweep.md`` and the
picture ``sweep.svg``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.csv.columns import DATAPOINT_22
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import partitioned_path
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.postgres import PostgresWarehouse
from benchmarks import copying, sweep_report
from benchmarks.rows import made_line
from tests.support.postgres_server import USER, binaries, running

LINES = 100_000
_EVENT_TYPE = EventType("datapoint")
_FILES = "files of an hour"
_START = datetime(2020, 2, 5, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """
    The hours to load. All have the same number of lines in all.

    :param files: of each hour
    :param repeated: the share of the lines that repeat another one, 0 to 1
    :param malformed: the share of the lines in which a date isn't one, 0 to 1
    :param layouts: how many different columns files have
    :param columns: of each file; those that the layout doesn't have get names in a header
    """

    files: int = 1
    repeated: float = 0
    malformed: float = 0
    layouts: int = 1
    hours: int = 1
    columns: int = len(DATAPOINT_22.columns)


SWEEPS: Mapping[str, Mapping[str, Plan]] = {
    _FILES: {f"{count:,}": Plan(files=count) for count in (1, 10, 100, 1000, 10_000)},
    "repeated lines": {f"{share:.0%}": Plan(files=2, repeated=share) for share in (0, 0.25, 0.5, 0.75, 1)},
    "malformed lines": {f"{share:.0%}": Plan(malformed=share) for share in (0, 0.01, 0.05, 0.2, 0.45)},
    "layouts in an hour": {str(count): Plan(files=16, layouts=count) for count in (1, 2, 4, 8, 16)},
    "hours of a plan": {str(count): Plan(hours=count) for count in (1, 4, 16, 64)},
    "columns": {str(count): Plan(columns=count) for count in (22, 32, 48, 64, 86)},
}


def measure(lines: int = LINES) -> list[sweep_report.Point]:
    """Measure every step for every plan, and write the results."""
    points = []
    with contextlib.ExitStack() as stack:
        dsn = ""
        if binaries() is None:
            print("PostgreSQL isn't installed, and isn't measured (Debian: postgresql)")
        else:
            dsn = f"host={stack.enter_context(running())} dbname=postgres user={USER}"
        for dimension, plans in SWEEPS.items():
            for value, plan in plans.items():
                for step, seconds, peak in _steps(plan, lines, dsn, copied=dimension == _FILES):
                    point = sweep_report.Point(dimension, value, step, round(seconds / lines * 1e6, 3), round(peak))
                    print(f"  {dimension} {value}: {step} {point.microseconds} µs a line, {point.peak} MB", flush=True)
                    points.append(point)
    sweep_report.write(points, lines)
    return points


def _steps(plan: Plan, lines: int, dsn: str, *, copied: bool) -> Iterator[tuple[str, float, float]]:
    """Yield the name, the seconds, and the peak memory in MB of each step."""
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        folder = Path(name)
        size = make_archive(folder / "archive", plan, lines)
        # A copy doesn't look at the content.
        if copied:
            yield ("copy", *copying.seconds_and_peak(plan.files, max(1, size // plan.files)))
        yield ("typing", *_run("typing", folder, plan.hours, ""))
        yield ("DuckDB", *_run("DuckDB", folder, plan.hours, ""))
        if dsn:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("drop schema if exists ayla_sweep cascade")
            yield ("PostgreSQL", *_run("PostgreSQL", folder, plan.hours, dsn))


def make_archive(root: Path, plan: Plan, lines: int) -> int:
    """Write the hours' files and manifests, and return the bytes of the files."""
    rows = made_rows(plan, lines)
    total = plan.hours * plan.files
    size = 0
    for hour in hours_of(plan.hours):
        entries = []
        for number in range(plan.files):
            at = int((hour.start - _START) / ONE_HOUR) * plan.files + number
            data = _header(plan, number) + b"".join(rows[lines * at // total : lines * (at + 1) // total])
            path = partitioned_path(_EVENT_TYPE, hour.start, FolderStyle.SPACE, f"f{number}.csv")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
            size += len(data)
            source = f"1a2b3c4d/Datapoint/{hour.start:%Y-%m-%d %H:%M:%S}/f{number}.csv"
            created = hour.start.isoformat()
            entries.append(ManifestFile(source, 1, len(data), Crc32c(data).base64, created, path))
        manifest = Manifest(hour, HourState.LANDED, 1, tuple(entries), hour.start.isoformat(), {})
        Records(FileDestination(root)).write_manifest(manifest, None)
    return size


def hours_of(count: int) -> list[ExportHour]:
    """Return the hours of a plan."""
    return [ExportHour(_EVENT_TYPE, _START + number * ONE_HOUR) for number in range(count)]


def made_rows(plan: Plan, lines: int) -> list[bytes]:
    """Return the lines: first the different ones, then those that repeat them."""
    # With a share of 100 %, each line occurs twice.
    different = lines - round(lines * plan.repeated / 2)
    files_with_more = plan.files > 1 and plan.layouts > 1
    rows = []
    for number in [*range(different), *range(lines - different)]:
        cells = made_line(number).rstrip()
        # Spread evenly over the lines.
        if int((number + 1) * plan.malformed) > int(number * plan.malformed):
            cells = cells.replace(" UTC 2020", " UTC 20x0", 1)
        more = _more_columns(plan, len(rows) * plan.files // lines if files_with_more else 0)
        rows.append((cells + ",x" * more + "\r\n").encode())
    return rows


def _more_columns(plan: Plan, file: int) -> int:
    """Return how many columns a file has beside those of its layout."""
    return plan.columns - len(DATAPOINT_22.columns) + file % plan.layouts


def _header(plan: Plan, file: int) -> bytes:
    more = _more_columns(plan, file)
    if not more:
        return b""
    return (",".join([*DATAPOINT_22.columns, *(f"more_{number}" for number in range(more))]) + "\r\n").encode()


def _run(step: str, folder: Path, hours: int, dsn: str) -> tuple[float, float]:
    """Run a step in a process of its own, and return its seconds and its peak memory in MB."""
    command = [sys.executable, "-m", "benchmarks.sweep", "--step", step, str(folder), str(hours), dsn]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took = json.loads(done.stdout.splitlines()[-1])
    return took["seconds"], took["peak"]


def typing(folder: Path, hours: Sequence[ExportHour], dsn: str) -> None:
    """Make the typed rows."""
    archive = _typed_archive(folder)
    for hour in hours:
        archive.ensure(hour, {})


def into_duckdb(folder: Path, hours: Sequence[ExportHour], dsn: str) -> None:
    """Load the typed rows into a DuckDB file."""
    _load(DuckDBWarehouse(folder / "rows.duckdb"), folder, hours)


def into_postgres(folder: Path, hours: Sequence[ExportHour], dsn: str) -> None:
    """Load the typed rows into PostgreSQL."""
    _load(PostgresWarehouse(lambda: psycopg.connect(dsn), schema="ayla_sweep"), folder, hours)


STEPS = {"typing": typing, "DuckDB": into_duckdb, "PostgreSQL": into_postgres}


def _typed_archive(folder: Path) -> TypedArchive:
    return TypedArchive(FileDestination(folder / "archive"), FileDestination(folder / "rows"), max_malformed=1)


def _load(opened: DuckDBWarehouse | PostgresWarehouse, folder: Path, hours: Sequence[ExportHour]) -> None:
    archive = _typed_archive(folder)
    with opened as warehouse:
        for hour in hours:
            made = archive.ensure(hour, {}).manifest
            warehouse.prepare(made.table)
            counts = (made.rows, made.lines, made.duplicates, made.quarantined)
            with archive.fetched(made) as parquet:
                warehouse.replace(Load(made.table, hour.start, made.version, *counts, parquet, datetime.now(UTC)))


def main() -> None:
    """Measure everything, or run one step and print the seconds and the peak memory in MB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=LINES, help=f"of all files together ({LINES})")
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.step:
        measure(given.lines)
        return
    step, folder, hours, dsn = given.step
    start = time.perf_counter()
    STEPS[step](Path(folder), hours_of(int(hours)), dsn)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak": copying.peak_of_this_process() / 1024}))


if __name__ == "__main__":
    main()

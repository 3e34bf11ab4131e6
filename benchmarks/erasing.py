"""
What erasures take: ``python -m benchmarks.erasing --hours 12 --requests 0,1,10,30,100``.

It makes an archive on disk with typed rows, of all five event types. For each number of requests, it counts, and then
erases from a copy of it, each in a process of its own. A request is for a device and its user. With 0, the request is
for somebody who isn't there. It prints how many hours have a subject, seconds of the processor, and peak memory.

With ``--delay 0.04``, the archive is in the local cloud, which answers each request after that time. Then it prints
requests and bytes. Seconds of the processor are those of client and server together.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.erasure_requests import waiting_requests
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.erase import ErasureRun
from tests.support.places import gcs_destination
from tests.warehouse.archive import archive_hour, put

START = datetime(2026, 6, 1, tzinfo=UTC)
KEYS = ErasureKeys.parse("the-key-of-the-benchmark", "the benchmark")
SEED = 22


def fleet_of(rows: int, devices: int) -> Fleet:
    """Return the fleet of the benchmark."""
    return Fleet(seed=SEED, devices=devices, rows=rows, max_lag=timedelta(minutes=30))


def make_hour(root: Path, number: int, rows: int, devices: int) -> int:
    """Archive and type an hour of each event type, and return the bytes of its files."""
    fleet, hour, total = fleet_of(rows, devices), START + number * ONE_HOUR, 0
    archive = FileDestination(root / "archive")
    typed = TypedArchive(archive, FileDestination(root / "archive" / "parquet"), max_malformed=1)
    for event_type in EVENT_TYPES:
        files = [(file.answer.folder_time, file.contents[-1]) for file in fleet.files(event_type, hour)]
        archive_hour(root / "archive", event_type, files, hour)
        typed.ensure(ExportHour(event_type, hour), {})
        total += sum(len(content) for _, content in files)
    return total


def put_requests(root: Path, count: int, rows: int, devices: int) -> None:
    """Put requests for devices all over the fleet."""
    folder = root / "requests"
    folder.mkdir()
    if not count:
        (folder / "0.json").write_text(json.dumps({"dsn": "LC999X000000001", "user_uuid": f"{0xABC:032x}"}))
        return
    fleet = fleet_of(rows, devices)
    for number in range(count):
        device = fleet.devices[number * len(fleet.devices) // count]
        (folder / f"{number}.json").write_text(json.dumps({"dsn": device.dsn, "user_uuid": device.user}))


def measure(root: Path, *, apply: bool, delay: float = 0) -> dict[str, Any]:
    """Count or erase in a process of its own, and return what it took."""
    archive: Destination = FileDestination(root / "archive")
    rows: Destination = FileDestination(root / "archive" / "parquet")
    if not delay:
        return _measured(archive, rows, root, apply=apply)
    with LocalCloud() as cloud:
        archive = gcs_destination(cloud, cloud.customer.name, "ayla")
        rows = gcs_destination(cloud, cloud.customer.name, "ayla/parquet")
        for path in sorted((root / "archive").rglob("*")):
            if path.is_file():
                put(archive, str(path.relative_to(root / "archive")), path.read_bytes())
        fault = cloud.faults.add("slow", delay=delay, times=None)
        return _measured(archive, rows, root, apply=apply) | {"requests": fault.seen}


def _measured(archive: Destination, rows: Destination, root: Path, *, apply: bool) -> dict[str, Any]:
    begun, worked = time.perf_counter(), time.process_time()
    run = ErasureRun(
        archive,
        rows,
        waiting_requests(FileDestination(root / "requests"), KEYS),
        KEYS,
        now=datetime.now(UTC),
        written_by={},
    )
    report = run.erase() if apply else run.count()
    return {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - worked,
        "peak": _peak(),
        "hours": report.hours,
        "looked_at": report.hours_looked_at,
        "objects": report.objects,
        "rows": report.counts["parquet_rows"],
    }


def _peak() -> int:
    """Return this process's peak memory in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.erasing", description=__doc__)
    parser.add_argument("--hours", type=int, default=12)
    parser.add_argument("--rows", type=int, default=14_000, help="of an hour of datapoints")
    parser.add_argument("--devices", type=int, default=20_000)
    parser.add_argument("--requests", default="0,1,10,30,100")
    parser.add_argument("--delay", type=float, default=0, help="seconds of each request to the local cloud")
    parser.add_argument("--keep", type=Path, help="a folder for the archive, which is made only once")
    arguments = parser.parse_args(argv)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.keep or Path(temporary) / "made"
        if not (root / "archive").exists():
            with ProcessPoolExecutor(os.cpu_count(), context) as pool:
                options = (arguments.rows, arguments.devices)
                made = [pool.submit(make_hour, root, number, *options) for number in range(arguments.hours)]
                print(f"{sum(each.result() for each in made):,} bytes of CSV", flush=True)
        for count in map(int, arguments.requests.split(",")):
            copy = Path(temporary) / str(count)
            shutil.copytree(root, copy)
            put_requests(copy, count, arguments.rows, arguments.devices)
            for apply in (False, True):
                with ProcessPoolExecutor(1, context) as pool:
                    took = pool.submit(measure, copy, apply=apply, delay=arguments.delay).result()
                what = "erase" if apply else "count"
                print(
                    f"{count:4} requests, {what}: {took['cpu']:6.2f} s of the processor, {took['seconds']:6.2f} s, "
                    f"{took['peak'] / 1e6:4.0f} MB, {took['hours']} of {took['looked_at']} hours, "
                    f"{took['objects']} objects, {took['rows']} rows, {took.get('requests', 0)} requests to the store",
                    flush=True,
                )
            shutil.rmtree(copy)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Copies from bucket to bucket with two credentials: this package, rclone, and Airflow's own operators."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, cast

from benchmarks import bare
from benchmarks.results import Result, compared
from benchmarks.store import FOLDER, OEM, READ_TOKEN, SOURCE, TARGET, WRITE_TOKEN

HOUR = datetime(2026, 11, 1, 7, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """
    What is copied.

    :param delay: seconds until any request is answered
    :param workers: how many are copied at once, by each engine; None for as many as each copies by default
    """

    objects: int
    size: int
    delay: float
    workers: int | None

    @property
    def name(self) -> str:
        """The name in the results."""
        size = f"{self.size // 2**20} MiB" if self.size >= 2**20 else f"{self.size // 2**10} KiB"
        at_once = "the default number" if self.workers is None else self.workers
        return f"copy {self.objects:,} x {size}, {self.delay * 1000:.0f} ms a request, {at_once} at once"

    def workers_of(self, engine: str) -> int:
        """Return how many an engine copies at once."""
        return self.workers or _DEFAULTS.get(engine, _DEFAULTS["ours"])


_DEFAULTS = {"ours": 8, "rclone": 4}
"""How many each copies at once by default: our ``max_workers``, rclone's ``--transfers``."""

CASES = (
    Case(1000, 100 * 2**10, 0, 16),
    Case(1000, 100 * 2**10, 0.04, 64),
    Case(1000, 100 * 2**10, 0.04, None),
    Case(4, 256 * 2**20, 0, 4),
    Case(4, 256 * 2**20, 0.04, 4),
)

_PEERS = {
    "rclone": "rclone",
    "stock": "one after the other through a temporary file",
    "limit": "the loopback, with nothing around it",
}

HOW = {
    _PEERS[
        "rclone"
    ]: "`rclone copy :gcs,access_token=...:source/folder :gcs,access_token=...:target/ayla --transfers N "
    "--checkers N --stats 0`, with as many at once as ours, or with its default of 4",
    _PEERS["stock"]: "google-cloud-storage's `download_to_filename` and `upload_from_filename`, as Airflow's operators "
    "call them, once",
    _PEERS["limit"]: "the same requests in one event loop, with no library and no check of what arrives: what the "
    "benchmark's server lets through",
}


def measure(rounds: int) -> list[Result]:
    """Copy each case with each engine, alternately."""
    results = []
    for case in CASES:
        speed, peak = defaultdict(list), defaultdict(list)
        for number in range(rounds):
            # Run the slow engine once. Its ratio is far from any limit.
            for engine in ("ours", *_PEERS):
                if engine == "stock" and number:
                    continue
                took = run(engine, case)
                amount = case.objects if case.size < 2**20 else case.objects * case.size / 1e6
                speed[engine].append(amount / took["seconds"])
                peak[engine].append(took["peak"])
        unit = "objects/s" if case.size < 2**20 else "MB/s"
        results += compared(
            case.name, unit, speed["ours"], {description: speed[peer] for peer, description in _PEERS.items()}
        )
        results += compared(f"{case.name}: peak memory", "MB", peak["ours"], {"rclone": peak["rclone"]}, max)
    return results


def run(engine: str, case: Case) -> dict[str, float]:
    """Measure an engine in its own process, with the buckets in another process."""
    with store(case) as url:
        command = [sys.executable, "-m", "benchmarks.copying", engine, url, str(case.workers_of(engine))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {case.name}: {engine} {took['seconds']:.2f} s, {took['peak']:,.0f} MB", flush=True)
    return took


def seconds_and_peak(objects: int, size: int) -> tuple[float, float]:
    """Copy an hour of so many objects, and return the seconds and the peak memory in MB."""
    took = run("ours", Case(objects, size, 0, 16))
    return took["seconds"], took["peak"]


@contextmanager
def store(case: Case) -> Iterator[str]:
    """Serve both buckets in another process, and return the URL."""
    options = [f"--objects={case.objects}", f"--size={case.size}", f"--delay={case.delay}"]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.store", *options], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield cast("TextIO", process.stdout).readline().strip()
        finally:
            process.kill()


def ours(url: str, workers: int, prefix: str = "ayla") -> None:
    """Copy the hour with its manifest, like the operator, below a prefix of the target."""
    from google.oauth2.credentials import Credentials

    from ayla_provider.archive.archive import Archive
    from ayla_provider.archive.gcs import GcsDestination
    from ayla_provider.domain.arrival import ArrivalRule
    from ayla_provider.domain.events import EventType
    from ayla_provider.domain.hour import ExportHour
    from ayla_provider.source.export import Export
    from ayla_provider.source.gcs import GcsSource

    source = Export(GcsSource(Credentials(token=READ_TOKEN), SOURCE, endpoint=url), f"{OEM}/")
    customer = Credentials(token=WRITE_TOKEN)
    target = GcsDestination(url, TARGET, prefix, credentials=customer)
    Archive(target, max_workers=workers).take_in(
        source, [ExportHour(EventType("datapoint"), HOUR)], ArrivalRule(), written_by={}
    )


def rclone(url: str, workers: int) -> None:
    """Copy the folder, from one remote to another."""
    remote = f":gcs,endpoint='{url}/storage/v1/',no_check_bucket=true,access_token="
    program = Path(sys.executable).with_name("rclone")
    subprocess.run(
        [
            *(program, "copy", f"{remote}{READ_TOKEN}:{SOURCE}/{FOLDER[:-1]}", f"{remote}{WRITE_TOKEN}:{TARGET}/ayla"),
            *("--transfers", str(workers), "--checkers", str(workers), "--stats", "0"),
        ],
        check=True,
        env={**os.environ, "RCLONE_CONFIG": os.devnull},
    )


def stock(url: str, workers: int) -> None:
    """Download each object to a temporary file and upload the file, like Airflow's operators."""
    from google.oauth2.credentials import Credentials

    from ayla_provider.transport.cloud_storage import storage_client

    source = storage_client(Credentials(token=READ_TOKEN), url).bucket(SOURCE)
    target = storage_client(Credentials(token=WRITE_TOKEN), url).bucket(TARGET)
    for blob in source.client.list_blobs(source, prefix=FOLDER):
        with tempfile.NamedTemporaryFile() as file:
            source.blob(blob.name).download_to_filename(file.name)
            target.blob(f"ayla/{blob.name}").upload_from_filename(file.name)


def limit(url: str, workers: int) -> None:
    """Copy without any library."""
    asyncio.run(bare.copy(url, workers))


ENGINES: dict[str, Callable[[str, int], None]] = {engine.__name__: engine for engine in (ours, rclone, stock, limit)}


def peak_of_this_process() -> int:
    """Return the peak memory in KiB."""
    # Not from getrusage, which includes the parent's memory at the start.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def main() -> None:
    """Run one engine, and print its seconds, its own CPU time, and its peak memory in MB."""
    engine, url, workers = sys.argv[1:]
    if engine in ("ours", "stock"):
        # A worker has imported them before it copies.
        for module in ("archive.archive", "archive.gcs", "source.gcs"):
            importlib.import_module(f"ayla_provider.{module}")
        importlib.import_module("google.oauth2.credentials")
    start, cpu = time.perf_counter(), time.process_time()
    ENGINES[engine](url, int(workers))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    of_child = engine == "rclone"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if of_child else peak_of_this_process()
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak / 1024}))


if __name__ == "__main__":
    main()

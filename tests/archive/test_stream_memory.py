"""Memory doesn't grow with the records of a batch: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.proofs import scale

MIB = 1024 * 1024
SHARDS = 4
PAGE = 500

PROGRAM = """
import json, re, sys
from datetime import timedelta
from pathlib import Path
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.domain.stream import Page, Shard, StreamRecord, StreamState
from tests.support.memory_stream import START, datapoint

root, shards, page, records = Path(sys.argv[1]), *map(int, sys.argv[2:5])
NOW = START + timedelta(hours=2)

def peak():
    # Not what getrusage says, which counts the parent's memory at the start.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

class MadeStream:
    url = "kinesis://eu-west-1/made"

    def state(self):
        return StreamState(START, timedelta(hours=24), tuple(Shard(f"shard {n}") for n in range(shards)))

    def read(self, shard, position, until, state):
        for first in range(0, records // shards, page):
            made = [self.record(number) for number in range(first, min(first + page, records // shards))]
            is_last = first + page >= records // shards
            yield Page(made, until if is_last else made[-1].arrived_at, is_last)

    def record(self, number):
        arrived_at = START + timedelta(microseconds=number)
        data = datapoint(START + timedelta(seconds=number % 7200), number)
        return StreamRecord(number, 0, arrived_at, "AC000W000000001", data)

    def close(self):
        pass

before = peak()
report = StreamArchive(FileDestination(root)).drain(
    MadeStream(), NOW, written_by={}, max_records=10**9, max_bytes=10**12
)
print(json.dumps({"records": report.records, "batches": report.batches, "grown": peak() - before}))
"""


def drained(root: Path, records: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), str(SHARDS), str(PAGE), str(records)],
        capture_output=True,
        text=True,
        timeout=scale(300, 1800),
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.ci
@pytest.mark.proof("a batch of 4 million records")
def test_memory_does_not_grow_with_the_records_of_a_batch(tmp_path: Path) -> None:
    small, large = scale(30_000, 100_000), scale(80_000, 4_000_000)
    few, many = drained(tmp_path / "few", small), drained(tmp_path / "many", large)
    assert (few["records"], many["records"]) == (small, large)
    assert (few["batches"], many["batches"]) == (1, 1)
    print(few, many)
    # For each shard 2 MiB of lines, once more while they are written, and a page.
    assert many["grown"] < SHARDS * 2 * 2 * MIB + 48 * MIB
    assert many["grown"] < few["grown"] + 16 * MIB

"""Memory doesn't grow with an hour's events: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.tables import TABLES
from tests.rows.test_completeness import FIRST, NOW, Scene, hour_at
from tests.support.proofs import scale

PROGRAM = """
import json, re, sys, time
from datetime import datetime
from pathlib import Path
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream_coverage import read_coverage
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.rows.completeness import CompletenessComparison, Side

def peak():
    # Not what getrusage says, which counts the parent's memory at the start.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

root, first, now = Path(sys.argv[1]), *map(datetime.fromisoformat, sys.argv[2:4])
import duckdb
sides = [Side(FileDestination(root / name), FileDestination(root / name / "parquet")) for name in ("export", "stream")]
before, started = peak(), time.process_time()
with CompletenessComparison(*sides, read_coverage(sides[1].archive), now=now, memory="256MB") as comparison:
    (result,) = comparison.compare("datapoint", first, first + ONE_HOUR)
print(json.dumps(result.document() | {"missing": [], "grown": peak() - before, "cpu": time.process_time() - started}))
"""

# Ids as they come: a time that grows, and a part that belongs to the device.
ROWS = """
    select printf('%08x-b6f1-11f0-8080-%012x', n, n * 7919 % 1000003) as time_uuid, 'AC' || (n % 50000) as dsn,
        'temperature' as property_name, 'integer' as base_type, n as val_int, '1a2b3c4d' as oem_id,
        timestamptz '{start}' + interval (n % 3600) second as created_at,
        timestamptz '{start}' + interval (n % 3600) second as updated_at,
        timestamptz '{start}' as folder_hour, 'made' as source_object, 1 as source_generation
    from range({first}, {last}) as numbers(n) where {condition}
"""


def put(scene: Scene, events: int) -> None:
    """Write hours of so many events, of which each side lacks one in a thousand of the middle one."""
    for number in (-1, 0, 1):
        for side, lacking in ((scene.export, 1), (scene.stream, 2)):
            first, start = (number + 1) * events, FIRST.isoformat()
            condition = f"n % 1000 <> {lacking}" if number == 0 else "true"
            query = ROWS.format(start=start, first=first, last=first + events, condition=condition)
            side.put(hour_at(number), TABLES["datapoint"].data, query, identity="time_uuid")


def measure(root: Path, events: int) -> dict[str, Any]:
    put(Scene(root), events)
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), FIRST.isoformat(), NOW.isoformat()],
        capture_output=True,
        text=True,
        timeout=scale(300, 1200),
    )
    assert finished.returncode == 0, finished.stderr
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


@pytest.mark.ci
@pytest.mark.proof("2 million events on each side")
def test_a_fleet_is_compared_within_bounds(tmp_path: Path) -> None:
    events = scale(200_000, 2_000_000)
    result = measure(tmp_path, events)
    assert (result["only_stream"], result["only_export"]) == (events // 1000, events // 1000)
    assert result["both"] == events - 2 * (events // 1000)
    assert result["state"] == "both_missing"
    assert result["differing"] == 0
    print(result)
    assert result["grown"] < 450 * 1024 * 1024

"""Memory doesn't grow with an hour's files: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.proofs import scale
from tests.warehouse.archive import HOUR, archive_hour

MIB = 1024 * 1024
PROGRAM = """
import json, re, sys
from datetime import datetime
from pathlib import Path
from ayla_provider.domain.hour import ExportHour
from ayla_provider.archive.local import FileDestination
from ayla_provider.rows.typed_archive import TypedArchive

def peak():
    # Not what getrusage says, which counts the parent's memory at the start.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

folder, hour = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
import duckdb
before = peak()
archive = TypedArchive(FileDestination(folder / "archive"), FileDestination(folder / "rows"), memory="256MB")
made = archive.ensure(ExportHour("datapoint", hour), {}).manifest
print(json.dumps({"rows": made.rows, "duplicates": made.duplicates, "quarantined": made.quarantined,
    "grown": peak() - before}))
"""
ROW = (
    "1a2b3c4d,LC-THERMO-2,LC000X{:09},temperature,VGVtcA==,integer,{:08x}-4697-11ea-8080-808080808080,,"
    "Wed Feb 05 12:08:26 UTC 2020,Wed Feb 05 12:08:26 UTC 2020,a0b1c2d3-1111-2222-3333-abcdef000001,false,,false,user,"
    "{},,,,,e30=,output\n"
)


def put_rows(folder: Path, rows: int) -> None:
    """Put an hour of a file of so many rows into the archive: one in 500 malformed, one in 1,000 with a common id."""
    bad = ROW.format(1, 1, "x")
    lines = (ROW.format(n, n if n % 1000 != 1 else 0, n) if n % 500 else bad for n in range(rows))
    archive_hour(folder / "archive", "datapoint", ["".join(lines).encode()])


def measure(folder: Path, rows: int) -> dict[str, Any]:
    folder.mkdir()
    put_rows(folder, rows)
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), HOUR.isoformat()],
        capture_output=True,
        text=True,
        timeout=scale(300, 3600),
    )
    assert finished.returncode == 0, finished.stderr
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


@pytest.mark.ci
@pytest.mark.proof("16 million rows")
def test_four_times_the_rows_take_no_more_memory(tmp_path: Path) -> None:
    rows = scale(1_000_000, 16_000_000)
    small, large = measure(tmp_path / "small", rows // 4), measure(tmp_path / "large", rows)
    malformed, duplicates = rows // 500, rows // 1000 - 1
    assert large["quarantined"] == malformed
    assert (large["rows"], large["duplicates"]) == (rows - malformed - duplicates, duplicates)
    assert large["grown"] < small["grown"] + 100 * MIB
    assert large["grown"] < 450 * MIB

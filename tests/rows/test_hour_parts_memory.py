"""A large hour in four parts is the same as in one task, and no part takes more memory: each in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.rows.test_memory import MIB, ROW
from tests.support.proofs import scale
from tests.warehouse.archive import HOUR, archive_hour

FILES = 40
PROGRAM = """
import json, re, sys, time
from datetime import datetime
from pathlib import Path
from ayla_provider.domain.hour import ExportHour
from ayla_provider.archive.local import FileDestination
from ayla_provider.rows.typed_archive import TypedArchive

def peak():
    # Not what getrusage says, which counts the parent's memory at the start.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

folder, rows, most, part = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
hour = ExportHour("datapoint", datetime.fromisoformat(sys.argv[5]))
import duckdb
before, started, used = peak(), time.monotonic(), time.process_time()
archive = TypedArchive(
    FileDestination(folder / "archive"), FileDestination(folder / rows), memory="256MB", max_bytes_per_task=most
)
made = archive.ensure_part(hour, part) if part else archive.ensure(hour, {}).manifest
print(json.dumps({"rows": made.rows, "grown": peak() - before, "seconds": time.monotonic() - started,
    "cpu": time.process_time() - used, "paths": [] if part else [file.path for file in made.rows_files]}))
"""


def run(folder: Path, rows: str, most: int, part: int = 0) -> dict[str, Any]:
    """
    Type an hour, or a part of it, in a process of its own.

    :param rows: the name of the folder of the typed rows
    """
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), rows, str(most), str(part), HOUR.isoformat()],
        capture_output=True,
        text=True,
        timeout=scale(300, 3600),
    )
    assert finished.returncode == 0, finished.stderr
    found: dict[str, Any] = json.loads(finished.stdout)
    print(rows, part or "commit", {name: value for name, value in found.items() if name != "paths"})
    return found


def table_hash(folder: Path, made: dict[str, Any]) -> tuple[Any, ...]:
    paths = [str(folder / path) for path in made["paths"]]
    with duckdb.connect() as connection:
        (found,) = connection.execute(
            "select count(*), bit_xor(hash(rows)), sum(hash(rows)) from read_parquet($paths) as rows", {"paths": paths}
        ).fetchall()
    return tuple(found)


@pytest.mark.ci
@pytest.mark.proof("20 million rows in 40 files, in one task and in four parts")
def test_four_parts_of_a_large_hour_make_the_same_table(tmp_path: Path) -> None:
    each = scale(400_000, 20_000_000) // FILES
    files = []
    for number in range(FILES):
        begin = number * each
        # One in 1,000 has a common id.
        lines = (ROW.format(n, n if n % 1000 != 1 else 0, n) for n in range(begin, begin + each))
        files.append("".join(lines).encode())
    archive_hour(tmp_path / "archive", "datapoint", files, names={at: f"f{at:02}.csv" for at in range(FILES)})
    quarter = sum(map(len, files[: FILES // 4]))
    most = max(quarter, *(sum(map(len, files[at : at + FILES // 4])) for at in range(0, FILES, FILES // 4)))
    del files
    one = run(tmp_path, "one", 10**15)
    parts = [run(tmp_path, "parts", most, number) for number in range(1, 5)]
    commit = run(tmp_path, "parts", most)
    assert len(commit["paths"]) == 4
    assert table_hash(tmp_path / "parts", commit) == table_hash(tmp_path / "one", one)
    # Each part has one row with the common id. One of the hour stays.
    assert sum(part["rows"] for part in parts) == commit["rows"] + 3
    for part in [*parts, commit]:
        assert part["grown"] < 450 * MIB

"""An Iceberg table of a year: its commits take as long at the end as at the beginning."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import pytest

from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from tests.support.proofs import scale
from tests.warehouse.contract import DATAPOINT
from tests.warehouse.iceberg_place import existing, files, iceberg
from tests.warehouse.made_loads import HOUR, NOON, made_load

START = NOON.replace(hour=0)


def seconds_of(folder: Path, hours: range, *, with_upkeep: bool) -> list[float]:
    """Load hours, each in a commit of its own, and return the processor time of each load."""
    seconds = []
    for number in hours:
        hour = START + number * HOUR
        load = made_load(folder, "datapoint", hour, [{"dsn": f"AC{row:03}", "created_at": hour} for row in range(5)])
        began = time.process_time()
        # As a task does it.
        with iceberg(folder) as warehouse:
            warehouse.loaded("datapoint", hour, hour + HOUR)
            warehouse.prepare(DATAPOINT)
            warehouse.replace(load)
        seconds.append(time.process_time() - began)
        if load.parquet:
            load.parquet.unlink()
        if with_upkeep and number % 24 == 23:
            # Replaced files are old at once, because a year passes here in minutes.
            with iceberg(folder) as warehouse:
                Upkeep(warehouse, now=hour + HOUR).run("datapoint")
    return seconds


@pytest.mark.proof("8,760 commits of a table with upkeep each day, and 1,000 without")
@pytest.mark.parametrize("with_upkeep", [True, False])
def test_commits_stay_as_quick_as_they_were(tmp_path: Path, with_upkeep: bool) -> None:
    commits = scale(50, 8760 if with_upkeep else 1000)
    seconds = seconds_of(tmp_path, range(commits), with_upkeep=with_upkeep)
    with iceberg(tmp_path) as warehouse:
        held = warehouse.held("datapoint", START, START + commits * HOUR)
        assert [(hour.version, hour.rows, hour.counted) for hour in held.values()] == [("v1", 5, 5)] * commits
        metadata = existing(warehouse).metadata
        data = [path for path in files(warehouse) if path.suffix == ".parquet"]
    assert len(metadata.snapshots) <= (50 + 24 if with_upkeep else 151)
    assert len([name for name in metadata.properties if name.startswith("ayla.load.")]) <= 201
    if with_upkeep:
        # The last days aren't compacted yet, and what is replaced stays for a day or 50 commits.
        assert len(data) <= commits // 24 + 12 * 24
    if commits > 300:
        early, late = median(seconds[100:200]), median(seconds[-100:])
        print(f"{commits} commits: {early:.3f} s of processor time, and {late:.3f} s at the end")
        assert late <= 1.5 * early

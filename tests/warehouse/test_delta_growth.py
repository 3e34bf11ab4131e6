"""A Delta table of a year: its commits take as long at the end as at the beginning."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from statistics import median

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.warehouse.delta import DeltaWarehouse
from ayla_provider.warehouse.delta_upkeep import upkeep
from tests.support.proofs import scale
from tests.warehouse.contract import DATAPOINT
from tests.warehouse.delta_place import InDelta
from tests.warehouse.made_loads import HOUR, NOON, made_load

START = NOON.replace(hour=0)
DAY = timedelta(days=1)


def seconds_of(place: InDelta, scratch: Path, hours: range, *, with_upkeep: bool) -> list[float]:
    """Load hours, each in a commit of its own, and return the processor time of each commit."""
    place.warehouse.prepare(DATAPOINT)
    # Replaced files are forgotten at once, because a year passes here in minutes.
    place.table().alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 1 seconds"})
    seconds = []
    for number in hours:
        hour = START + number * HOUR
        load = made_load(scratch, "datapoint", hour, [{"dsn": f"AC{row:03}", "created_at": hour} for row in range(5)])
        began = time.process_time()
        # As a task does it.
        with DeltaWarehouse(FileDestination(place.folder)) as warehouse:
            warehouse.loaded("datapoint", hour, hour + HOUR)
            warehouse.prepare(load.table)
            warehouse.replace(load)
        seconds.append(time.process_time() - began)
        if load.parquet:
            load.parquet.unlink()
        if with_upkeep and number % 24 == 23:
            upkeep(place.warehouse, "datapoint", hour + HOUR, lookback=7 * DAY)
    return seconds


@pytest.mark.proof("8,760 commits of a table with upkeep each day, and 1,000 without")
@pytest.mark.parametrize("with_upkeep", [True, False])
def test_commits_stay_as_quick_as_they_were(tmp_path: Path, with_upkeep: bool) -> None:
    commits = scale(50, 8760 if with_upkeep else 1000)
    place = InDelta(tmp_path / "tables")
    seconds = seconds_of(place, tmp_path, range(commits), with_upkeep=with_upkeep)
    held = place.warehouse.held("datapoint", START, START + commits * HOUR)
    assert [(hour.version, hour.rows, hour.counted) for hour in held.values()] == [("v1", 5, 5)] * commits
    log = place.path("datapoint") / "_delta_log"
    if with_upkeep:
        assert len(list(log.glob("*[0-9].json"))) <= 1000 + 48
        # The last days aren't compacted yet.
        assert len(place.named()) <= commits // 24 + 8 * 24
    if commits > 300:
        early, late = median(seconds[100:200]), median(seconds[-100:])
        print(f"{commits} commits: {early:.3f} s of processor time, and {late:.3f} s at the end")
        assert late <= 1.5 * early

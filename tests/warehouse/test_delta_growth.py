"""A Delta table of a year: its commits take as long at the end as at the beginning."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.warehouse.delta import DeltaWarehouse
from ayla_provider.warehouse.delta_upkeep import upkeep
from tests.support.proofs import PROVING, scale
from tests.warehouse.contract import DATAPOINT
from tests.warehouse.delta_place import InDelta
from tests.warehouse.growth import GrowingTable, measured

Note = Callable[[str, str], None]

DAY = timedelta(days=1)


def growing(folder: Path, *, with_upkeep: bool) -> GrowingTable:
    """A table of its own in a folder."""
    folder.mkdir()
    place = InDelta(folder / "tables")
    place.warehouse.prepare(DATAPOINT)
    # Replaced files are forgotten at once, because a year passes here in minutes.
    place.table().alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 1 seconds"})

    def tend(now: datetime) -> None:
        upkeep(place.warehouse, "datapoint", now, lookback=7 * DAY)

    return GrowingTable(folder, lambda: DeltaWarehouse(FileDestination(place.folder)), tend if with_upkeep else None)


@pytest.mark.proof("a Delta table of 8,760 commits with upkeep each day: its last 100, and commits 100 to 200")
def test_commits_of_a_year_are_as_quick_as_the_first_ones(tmp_path: Path, record_property: Note) -> None:
    commits = scale(30, 8760)
    ages = measured(growing, tmp_path, commits, with_upkeep=True)
    record_property("measured", str(ages))
    place = InDelta(tmp_path / "old" / "tables")
    assert len(list((place.path("datapoint") / "_delta_log").glob("*[0-9].json"))) <= 1000 + 48
    # The last days aren't compacted yet.
    assert len(place.named()) <= commits // 24 + 8 * 24
    assert not PROVING or ages.old <= 1.5 * ages.young


@pytest.mark.proof("a Delta table of 1,000 commits without upkeep: its last 100, and commits 100 to 200")
def test_commits_without_upkeep_are_as_quick_as_the_first_ones(tmp_path: Path, record_property: Note) -> None:
    ages = measured(growing, tmp_path, scale(30, 1000), with_upkeep=False)
    record_property("measured", str(ages))
    assert not PROVING or ages.old <= 1.5 * ages.young

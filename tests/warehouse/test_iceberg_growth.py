"""An Iceberg table of a year: its commits take as long at the end as at the beginning."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from tests.support.proofs import PROVING, scale
from tests.warehouse.growth import GrowingTable, measured
from tests.warehouse.iceberg_place import existing, files, iceberg

Note = Callable[[str, str], None]


def growing(folder: Path, *, with_upkeep: bool) -> GrowingTable:
    """A table of its own in a folder."""
    folder.mkdir()

    def tend(now: datetime) -> None:
        with iceberg(folder) as warehouse:
            Upkeep(warehouse, now=now).run("datapoint")

    return GrowingTable(folder, lambda: iceberg(folder), tend if with_upkeep else None)


def properties_of_hours(folder: Path) -> list[str]:
    """The names of the properties that the ledger has."""
    with iceberg(folder / "old") as warehouse:
        return [name for name in existing(warehouse).properties if name.startswith("ayla.load.")]


@pytest.mark.proof("an Iceberg table of 8,760 commits with upkeep each day: its last 100, and commits 100 to 200")
def test_commits_of_a_year_are_as_quick_as_the_first_ones(tmp_path: Path, record_property: Note) -> None:
    commits = scale(30, 8760)
    ages = measured(growing, tmp_path, commits, with_upkeep=True)
    record_property("measured", str(ages))
    with iceberg(tmp_path / "old") as warehouse:
        snapshots = existing(warehouse).metadata.snapshots
        data = [path for path in files(warehouse) if path.suffix == ".parquet"]
    assert len(snapshots) <= 50 + 24
    assert len(properties_of_hours(tmp_path)) <= 201
    # The last days aren't compacted yet, and what is replaced stays for a day or 50 commits.
    assert len(data) <= commits // 24 + 12 * 24
    assert not PROVING or ages.old <= 1.5 * ages.young


@pytest.mark.proof("an Iceberg table of 1,000 commits without upkeep: its last 100, and commits 100 to 200")
def test_commits_without_upkeep_are_as_quick_as_the_first_ones(tmp_path: Path, record_property: Note) -> None:
    ages = measured(growing, tmp_path, scale(30, 1000), with_upkeep=False)
    record_property("measured", str(ages))
    with iceberg(tmp_path / "old") as warehouse:
        assert len(existing(warehouse).metadata.snapshots) <= 151
    assert len(properties_of_hours(tmp_path)) <= 201
    assert not PROVING or ages.old <= 1.5 * ages.young

"""A removal from a lake's tables that ends anywhere: the next one ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EventType
from ayla_provider.domain.removal import Rule
from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.base import REMOVED
from ayla_provider.warehouse.removal import remove_hours
from tests.support.traces import contents, traces
from tests.warehouse.contract import dsns, put
from tests.warehouse.delta_place import InDelta
from tests.warehouse.iceberg_place import InIceberg, iceberg, in_sqlite
from tests.warehouse.made_loads import HOUR

pytest.importorskip("pyiceberg")

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
OLD, NEW = "LC000X000000009", "LC000X000000001"
TYPE = EventType("datapoint")
RULE = Rule("tables", timedelta(days=90), NOON + 2 * HOUR + timedelta(days=90))


@pytest.fixture(params=["Iceberg", "Delta"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InIceberg | InDelta]:
    """Tables of the test's own: two hours of one device, and a newer one of another device."""
    if request.param == "Iceberg":
        opened = in_sqlite(tmp_path)
        with iceberg(tmp_path, lambda _: opened) as warehouse:
            yield _filled(InIceberg(warehouse, opened), tmp_path)
    else:
        yield _filled(InDelta(tmp_path / "tables"), tmp_path)


def _filled(place: Any, folder: Path) -> Any:
    place.warehouse.prepare(TABLES["datapoint"])
    for number, dsn in enumerate((OLD, OLD, NEW)):
        put(place, folder, "datapoint", NOON + number * HOUR, [{"dsn": dsn}])
    return place


def found(folder: Path) -> set[str]:
    """Which devices any byte of the tables has."""
    devices = {"old": OLD, "new": NEW}
    return {name for _, content in contents(folder / "tables") for name in traces(content, devices)}


class Death(BaseException):
    """The process ends."""


@contextmanager
def dying_at(number: int) -> Iterator[list[int]]:
    """End the process before its change of this number: an object that is written or removed, or a commit."""
    count = [0]

    def dies(original: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            count[0] += 1
            if count[0] > number:
                raise Death
            return original(*arguments, **more)

        return call

    from deltalake import DeltaTable
    from deltalake.transaction import CommitProperties  # noqa: F401 - so that it is loaded before
    from pyiceberg.catalog.sql import SqlCatalog

    with pytest.MonkeyPatch.context() as patch:
        for place, name in (
            (FileDestination, "write"),
            (FileDestination, "remove"),
            (DeltaTable, "create_write_transaction"),
            (DeltaTable, "create_checkpoint"),
            (SqlCatalog, "commit_table"),
        ):
            patch.setattr(place, name, dies(getattr(place, name)))
        yield count


def test_a_removal_that_is_killed_before_any_of_its_changes_is_done_by_the_next_one(
    place: InIceberg | InDelta, tmp_path: Path
) -> None:
    assert found(tmp_path) == {"old", "new"}
    deaths = 0
    while True:
        # Each try gets one change further than the one before it, beside what earlier tries did.
        try:
            with dying_at(deaths):
                removed = remove_hours(place.warehouse, [TYPE], RULE)
            break
        except Death:
            deaths += 1
            assert deaths < 60
            assert dsns(place) in ([NEW, OLD, OLD], [NEW])
    assert deaths > 3
    assert dsns(place) == [NEW]
    versions = place.warehouse.loaded(TYPE, NOON, NOON + 3 * HOUR)
    assert versions == {NOON: REMOVED, NOON + HOUR: REMOVED, NOON + 2 * HOUR: "v1"}
    assert removed.held == {}
    # A file that a killed try left without a commit could belong to a load, until it is a day old.
    later = datetime.now(UTC) + timedelta(days=2)
    assert remove_hours(place.warehouse, [TYPE], Rule("tables", later - RULE.before, later)).hours == 0
    assert found(tmp_path) == {"new"}
    assert dsns(place) == [NEW]


def test_what_keeps_removed_hours_is_named(tmp_path: Path) -> None:
    opened = in_sqlite(tmp_path)
    with iceberg(tmp_path, lambda _: opened) as warehouse:
        place = _filled(InIceberg(warehouse, opened), tmp_path)
        table = warehouse.table(TYPE)
        assert table
        snapshot = table.current_snapshot()
        assert snapshot
        table.manage_snapshots().create_tag(snapshot.snapshot_id, "audit").commit()
        assert "tag" in remove_hours(place.warehouse, [TYPE], RULE).remains
        assert found(tmp_path) == {"old", "new"}
        table = warehouse.table(TYPE)
        assert table
        table.manage_snapshots().remove_tag("audit").commit()
        # The next removal finds nothing more to remove, and expires what the tag kept.
        later = Rule("tables", RULE.keep_for, datetime.now(UTC) + timedelta(days=6))
        assert remove_hours(place.warehouse, [TYPE], later).rows == 1
        assert found(tmp_path) == set()

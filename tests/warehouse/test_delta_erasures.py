"""Delta tables erase rows, and neither a file nor the log keeps a byte of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse import delta_erase, delta_tables
from ayla_provider.warehouse.base import HourLeft
from ayla_provider.warehouse.delta_upkeep import upkeep
from tests.support.traces import contents, traces
from tests.warehouse.contract import put
from tests.warehouse.delta_place import InDelta
from tests.warehouse.erasure_contract import ErasureContract, erasure
from tests.warehouse.made_loads import HOUR, NOON
from tests.warehouse.test_erasures import DSN, SUBJECT, USER, rows


@pytest.fixture
def place(tmp_path: Path) -> InDelta:
    """A folder of the test's own."""
    return InDelta(tmp_path / "tables")


class TestDelta(ErasureContract):
    """With the fixture above."""


def found(place: InDelta) -> dict[str, set[str]]:
    """Which identifiers each file of the tables has."""
    return {name: names for name, content in contents(place.folder) if (names := traces(content, SUBJECT))}


def test_neither_files_nor_log_keep_a_byte_of_what_is_erased(place: InDelta, tmp_path: Path) -> None:
    place.warehouse.prepare(TABLES["datapoint"])
    hours = [NOON + number * HOUR for number in range(4)]
    for hour in hours:
        put(place, tmp_path, "datapoint", hour, rows()[:200], version="v")
    put(place, tmp_path, "datapoint", hours[0], rows()[:100], version="again")
    upkeep(place.warehouse, "datapoint", hours[-1] + timedelta(days=2), lookback=HOUR)
    put(place, tmp_path, "datapoint", hours[1], rows()[:150], version="again")
    others = [row for row in place.rows("datapoint") if (row["dsn"], row["user_uuid"]) != (DSN, USER)]
    before = found(place)
    assert {name for names in before.values() for name in names} == {"dsn", "user_uuid"}
    assert any("_delta_log" in name and name.endswith(".json") for name in before)
    assert any("_delta_log" in name and ".checkpoint.parquet" in name for name in before)

    counted = place.warehouse.erasable(erasure(dsn=DSN, user_uuid=USER))
    assert counted == dict(zip(hours, (2, 3, 4, 4), strict=True))
    held = place.warehouse.held("datapoint", hours[0], hours[-1] + HOUR)
    left = [
        HourLeft(at, held[at].version or "", "erased", held[at].rows - gone, 0, 0, 0) for at, gone in counted.items()
    ]
    place.warehouse.erase(erasure(dsn=DSN, user_uuid=USER), left)
    assert place.warehouse.forget(["datapoint", "location"], datetime.now(UTC)) == []
    assert found(place) == {}
    assert sorted(place.rows("datapoint"), key=repr) == sorted(others, key=repr)
    assert set(place.warehouse.loaded("datapoint", hours[0], hours[-1] + HOUR).values()) == {"erased"}


def test_an_erasure_that_ends_before_its_commit_leaves_everything(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.warehouse.prepare(TABLES["datapoint"])
    put(place, tmp_path, "datapoint", NOON, rows()[:100], version="v")
    before, held = place.rows("datapoint"), place.warehouse.held("datapoint", NOON, NOON + HOUR)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delta_erase, "commit", dies)
        with pytest.raises(KeyboardInterrupt):
            place.warehouse.erase(erasure(dsn=DSN), [HourLeft(NOON, "v", "v", 98)])
    assert len(place.files()) == 2
    assert place.rows("datapoint") == before
    assert place.warehouse.held("datapoint", NOON, NOON + HOUR) == held
    # The new file may belong to a task that isn't finished.
    (leftover,) = place.warehouse.forget(["datapoint"], datetime.now(UTC))
    assert leftover.gone_by is not None
    assert place.warehouse.forget(["datapoint"], datetime.now(UTC) + timedelta(days=2)) == []
    assert place.files() == place.named()


def test_a_load_in_between_keeps_its_entry_and_loses_the_rows(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.warehouse.prepare(TABLES["datapoint"])
    for hour in (NOON, NOON + HOUR):
        put(place, tmp_path, "datapoint", hour, rows()[:100], version="v")
    commit = delta_tables.commit

    def after_a_load(*arguments: Any, **more: Any) -> None:
        monkeypatch.setattr(delta_erase, "commit", commit)
        put(place, tmp_path, "datapoint", NOON, rows()[:150], version="new")
        commit(*arguments, **more)

    monkeypatch.setattr(delta_erase, "commit", after_a_load)
    left = [HourLeft(hour, "v", "erased", 98, 98, 0, 0) for hour in (NOON, NOON + HOUR)]
    place.warehouse.erase(erasure(dsn=DSN), left)
    held = place.warehouse.held("datapoint", NOON, NOON + 2 * HOUR)
    assert [(hour.version, hour.counted) for hour in held.values()] == [("new", 147), ("erased", 98)]
    # What the refused commit wrote is removed.
    replaced = place.table().vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True)
    assert place.files() - place.named() == set(replaced)

"""Iceberg tables erase rows, and no file keeps a byte of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse import iceberg_upkeep
from ayla_provider.warehouse.base import HourLeft
from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from ayla_provider.warehouse.lake import remove_file
from tests.support.traces import contents, traces
from tests.warehouse.contract import put
from tests.warehouse.erasure_contract import ErasureContract, erasure
from tests.warehouse.iceberg_place import InIceberg, existing, iceberg, in_sqlite
from tests.warehouse.made_loads import HOUR, NOON
from tests.warehouse.test_erasures import DSN, SUBJECT, USER, rows

pytest.importorskip("pyiceberg")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[InIceberg]:
    """A namespace of the test's own."""
    opened = in_sqlite(tmp_path)
    with iceberg(tmp_path, lambda _: opened) as warehouse:
        yield InIceberg(warehouse, opened)


class TestIceberg(ErasureContract):
    """With the fixture above."""


def found(place: InIceberg) -> dict[str, set[str]]:
    """Which identifiers each file of the table has."""
    root = Path(existing(place.warehouse).location().removeprefix("file://"))
    return {name: names for name, content in contents(root) if (names := traces(content, SUBJECT))}


def test_no_file_keeps_a_byte_of_what_is_erased(place: InIceberg, tmp_path: Path) -> None:
    place.warehouse.prepare(TABLES["datapoint"])
    hours = [NOON + number * HOUR for number in range(4)]
    for hour in hours:
        put(place, tmp_path, "datapoint", hour, rows()[:200], version="v")
    put(place, tmp_path, "datapoint", hours[0], rows()[:100], version="again")
    Upkeep(place.warehouse, lookback=timedelta(hours=1), now=hours[-1] + timedelta(days=2)).run("datapoint")
    put(place, tmp_path, "datapoint", hours[1], rows()[:150], version="again")
    others = [row for row in place.rows("datapoint") if (row["dsn"], row["user_uuid"]) != (DSN, USER)]
    before = found(place)
    assert {name for names in before.values() for name in names} == {"dsn", "user_uuid"}
    assert {name.partition(":")[0].rpartition(".")[2] for name in before} >= {"parquet", "avro"}

    counted = place.warehouse.erasable(erasure(dsn=DSN, user_uuid=USER))
    assert counted == dict(zip(hours, (2, 3, 4, 4), strict=True))
    held = place.warehouse.held("datapoint", hours[0], hours[-1] + HOUR)
    left = [
        HourLeft(at, held[at].version or "", "erased", held[at].rows - gone, 0, 0, 0) for at, gone in counted.items()
    ]
    place.warehouse.erase(erasure(dsn=DSN, user_uuid=USER), left)
    assert place.warehouse.forget(["datapoint", "location"], hours[-1] + timedelta(days=2)) == []
    assert found(place) == {}
    assert sorted(place.rows("datapoint"), key=repr) == sorted(others, key=repr)
    assert set(place.warehouse.loaded("datapoint", hours[0], hours[-1] + HOUR).values()) == {"erased"}


def test_what_keeps_erased_rows_is_named(place: InIceberg, tmp_path: Path) -> None:
    place.warehouse.prepare(TABLES["datapoint"])
    put(place, tmp_path, "datapoint", NOON, rows()[:100], version="v")
    table = existing(place.warehouse)
    snapshot = table.current_snapshot()
    assert snapshot
    table.manage_snapshots().create_tag(snapshot.snapshot_id, "audit").commit()
    place.warehouse.erase(erasure(dsn=DSN), [HourLeft(NOON, "v", "v", 98)])
    (leftover,) = place.warehouse.forget(["datapoint"], NOON + HOUR)
    assert "tag" in leftover.reason
    assert "datapoint" in leftover.store
    existing(place.warehouse).manage_snapshots().remove_tag("audit").commit()
    # Until then, a writer may be about to publish a snapshot that is in no branch.
    assert place.warehouse.forget(["datapoint"], datetime.now(UTC) + timedelta(days=6)) == []
    assert found(place) == {}


@pytest.mark.parametrize("removed_before", [0, 1, 4])
def test_an_erasure_that_ends_before_all_files_are_removed_is_finished_by_the_next_one(
    place: InIceberg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed_before: int
) -> None:
    place.warehouse.prepare(TABLES["datapoint"])
    put(place, tmp_path, "datapoint", NOON, rows()[:100], version="v")
    put(place, tmp_path, "datapoint", NOON + HOUR, rows()[:100], version="v")
    left = [HourLeft(NOON, "v", "v", 98), HourLeft(NOON + HOUR, "v", "v", 98)]
    place.warehouse.erase(erasure(dsn=DSN), left)
    done: list[str] = []

    def ends(*arguments: Any) -> bool:
        if len(done) == removed_before:
            raise KeyboardInterrupt
        done.append("removed")
        return remove_file(*arguments)

    now = datetime.now(UTC)
    with monkeypatch.context() as killed:
        killed.setattr(iceberg_upkeep, "remove_file", ends)
        with pytest.raises(KeyboardInterrupt):
            place.warehouse.forget(["datapoint"], now)
    assert found(place) != {}
    # Although the files are new.
    assert place.warehouse.forget(["datapoint"], now) == []
    assert found(place) == {}
    assert len(place.rows("datapoint")) == 196

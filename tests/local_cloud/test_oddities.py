from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ayla_provider.local_cloud.objects import StoredObject
from ayla_provider.local_cloud.oddities import ODDITIES
from tests.local_cloud.test_admin import call

if TYPE_CHECKING:
    from ayla_provider.local_cloud import LocalCloud

HOUR = datetime(2024, 5, 9, 2, tzinfo=UTC)


def put(cloud: LocalCloud, kind: str, amount: int | None = None) -> list[StoredObject]:
    objects = [cloud.vendor.live(name) for name in cloud.put_oddity(kind, "Datapoint", HOUR, amount)]
    return [stored for stored in objects if stored]


def lines_of(stored: StoredObject) -> list[bytes]:
    return b"".join(stored.content.chunks(0, stored.content.size)).splitlines()


def test_the_future_is_in_the_time_of_a_file_and_in_the_name_of_a_folder(cloud: LocalCloud) -> None:
    created_ahead, folder_ahead = put(cloud, "future", 48)
    assert created_ahead.name == "1a2b3c4d/Datapoint/2024-05-09 02:00:00/future.csv"
    assert created_ahead.resource("")["timeCreated"] == "2024-05-11T12:00:00.000Z"
    assert folder_ahead.name == "1a2b3c4d/Datapoint/2024-05-11 12:00:00/future.csv"
    assert folder_ahead.resource("")["timeCreated"] == "2024-05-09T03:00:00.000Z"


def test_there_are_very_many_files(cloud: LocalCloud) -> None:
    objects = put(cloud, "many", 1500)
    assert len({stored.name for stored in objects}) == 1500
    assert {len(lines_of(stored)) for stored in objects} == {1}


def test_a_line_is_very_wide(cloud: LocalCloud) -> None:
    columns, field = (lines_of(stored) for stored in put(cloud, "wide", 5000))
    assert (columns[-1].count(b","), field[-1]) == (4999, b"x" * 5000)
    assert columns[:-1] == field[:-1]
    assert {line.count(b",") for line in columns[:-1]} >= {21}


@pytest.mark.parametrize("kind", ODDITIES)
def test_another_process_can_ask_for_it(cloud: LocalCloud, kind: str) -> None:
    body = {"kind": kind, "event_folder": "Location", "hour": HOUR.isoformat(), "amount": 3}
    names = call(cloud, "POST", "oddities", body)
    assert all(cloud.vendor.live(name, HOUR + timedelta(hours=1)) for name in names)
    assert len(names) == (3 if kind == "many" else 2)


def test_another_oddity_is_refused(cloud: LocalCloud) -> None:
    with pytest.raises(ValueError, match="expected one of future, many, wide"):
        cloud.put_oddity("blue", "Datapoint", HOUR)

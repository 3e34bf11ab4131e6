from __future__ import annotations

import logging
from datetime import datetime, timedelta
from urllib.parse import parse_qs

import pytest

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.stall import Stall
from ayla_provider.errors import AylaUnavailable
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.source.alive import look_for_stall
from ayla_provider.source.export import Export
from tests.support.client import at, put, requests_of


def look(export: Export) -> Stall | None:
    # At noon the hour that is due is 09:00: it was over at 10:00, its patience at 11:30.
    return look_for_stall(export, PATIENCE)


def place(cloud: LocalCloud, hour: datetime, created: datetime, folder: str = "Datapoint", file: str = "a.csv") -> None:
    cloud.put_object(folder, f"{hour:%Y-%m-%d %H:%M:%S}", file, b"row\r\n", created)


@pytest.mark.parametrize("folder", ["Datapoint", "Location", "Datapoint Ack", "something_new"])
@pytest.mark.parametrize("hour", [9, 10, 11])
def test_a_file_of_any_event_type_in_the_hour_that_is_due_or_a_later_one_is_a_sign_of_life(
    cloud: LocalCloud, export: Export, folder: str, hour: int
) -> None:
    put(cloud, 3, "old.csv")
    place(cloud, at(hour), at(hour) + timedelta(minutes=45), folder)
    assert look(export) is None


def test_a_look_at_an_exporter_that_is_alive_costs_one_listing_of_one_result(
    cloud: LocalCloud, export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ayla_provider")
    for hour in range(11):
        for number in range(20):
            put(cloud, hour, f"{number}.csv")
    look(export)
    before = len(requests_of(cloud, "list"))
    look(export)
    (listing,) = requests_of(cloud, "list")[before:]
    assert parse_qs(listing.query)["maxResults"] == ["1"]
    assert "is alive: datapoint, folder 2024-05-09 09:00:00" in caplog.messages[-1]


def test_a_file_of_an_earlier_hour_that_came_late_is_a_sign_of_life(cloud: LocalCloud, export: Export) -> None:
    place(cloud, at(7), at(8, 30))
    assert look(export)
    place(cloud, at(2), at(11, 0))
    assert look(export) is None


def test_the_first_files_after_a_long_stall_are_a_sign_of_life(cloud: LocalCloud, export: Export) -> None:
    last = at(7) - timedelta(days=12)
    place(cloud, last, last + 2 * ONE_HOUR)
    assert look(export)
    place(cloud, last + ONE_HOUR, at(11, 50))
    assert look(export) is None


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(days=1), timedelta(days=3), timedelta(days=100)])
def test_a_stall_of_any_length_is_reported_with_the_newest_file(
    cloud: LocalCloud, export: Export, ago: timedelta
) -> None:
    newest = at(6) - ago
    for back in range(400):
        place(cloud, newest - back * ONE_HOUR, newest - back * ONE_HOUR + 2 * ONE_HOUR)
    place(cloud, newest, newest + 2 * ONE_HOUR + timedelta(minutes=5), "Location")
    place(cloud, newest - 2 * ONE_HOUR, newest, "Registration")
    before = len(cloud.requests)
    stall = look(export)
    assert stall
    assert stall.newest
    assert stall.newest.hour == ExportHour("location", newest)
    assert (stall.hours[0], stall.hours[-1]) == (newest + ONE_HOUR, at(9))
    assert len(stall.hours) == (at(9) - newest) / ONE_HOUR
    assert len(requests_of(cloud, "list")) - before < 70


def test_an_export_without_any_file_is_a_stall_of_its_own(cloud: LocalCloud, export: Export) -> None:
    stall = look(export)
    assert stall
    assert stall.newest is None


def test_a_fault_is_no_stall(cloud: LocalCloud, export: Export) -> None:
    put(cloud, 3, "old.csv")
    assert look(export)
    cloud.faults.add(Fault(step="list", kind="503", times=1000))
    with pytest.raises(AylaUnavailable):
        look(export)


@pytest.mark.parametrize("folder", ["Datapoint", "Location"])
def test_objects_that_cant_be_placed_are_reported_instead_of_a_stall(
    cloud: LocalCloud, export: Export, folder: str
) -> None:
    put(cloud, 3, "old.csv")
    put(cloud, 3, "old.csv", folder="Location")
    name = cloud.put_object(folder, "2024-05-09T07:00:00Z", "a.csv", b"x", at(8, 30)).name
    stall = look(export)
    assert stall
    assert stall.unplaced
    assert stall.unplaced.name == name
    assert stall.message.startswith("Ayla's exporter writes objects that can't be placed in time")
    assert repr(name) in stall.message
    assert "ignored_objects" in stall.message


def test_a_file_in_the_future_is_no_sign_of_life(cloud: LocalCloud, export: Export) -> None:
    place(cloud, at(3), at(4, 30))
    cloud.put_object("Location", "2099-01-01 00:00:00", "oops.csv", b"", at(11, 59))
    stall = look(export)
    assert stall
    assert stall.newest
    assert stall.newest.hour == ExportHour("datapoint", at(3))
    assert stall.unplaced is None

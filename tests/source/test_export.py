from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ExportHour, FolderStyle, hours_of
from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaError, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import crc32c_of
from ayla_provider.source import bucket, listing
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from tests.support.client import RULE, at, client_of, export_of, hours_at, put, requests_of
from tests.support.web_server import Answering


@pytest.fixture(autouse=True)
def _without_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client itself switch off the library's own request for the bucket."""
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", raising=False)


def listings(cloud: LocalCloud) -> list[dict[str, str]]:
    """Return the queries of all listings."""
    return [{name: found[0] for name, found in parse_qs(one.query).items()} for one in requests_of(cloud, "list")]


def look(export: Export, *hours: int, event_type: str = "datapoint") -> list[HourState]:
    return [one.state for one in export.status(hours_at(*hours, event_type=event_type), RULE)]


def test_every_page_of_a_listing_states_the_prefix_and_nothing_else_is_asked(cloud: LocalCloud, export: Export) -> None:
    names = [put(cloud, 2, f"{number:04}.csv") for number in range(2500)]
    put(cloud, 2, "other.csv", folder="Datapoint Ack")
    put(cloud, 3, "later.csv")
    files = export.list_files(hours_of("datapoint", at(2), at(3)))
    assert [file.name for file in files] == names
    time.sleep(0.3)  # the library's own request for the bucket would come in the background
    assert {one.step for one in cloud.requests} == {"sign_in", "acs", "list"}
    assert {one.status for one in cloud.requests} == {200}
    folders, *pages = listings(cloud)
    assert folders["prefix"] == f"{cloud.oem_id}/"
    assert [page["prefix"] for page in pages] == [f"{cloud.oem_id}/Datapoint/"] * 3
    assert ["pageToken" in page for page in pages] == [False, True, True]


def test_a_listing_has_all_facts_of_a_file(cloud: LocalCloud, export: Export) -> None:
    cloud.put_object("Datapoint Ack", "2024-05-09 02:10:20", "a.csv", b"content", at(3, 30))
    (file,) = export.list_files(hours_of("datapoint_ack", at(2), at(3)))
    assert (file.hour, file.folder_time) == (ExportHour("datapoint_ack", at(2)), at(2, 10) + timedelta(seconds=20))
    assert (file.file, file.name) == ("a.csv", f"{cloud.oem_id}/Datapoint Ack/2024-05-09 02:10:20/a.csv")
    stored = cloud.vendor.live(file.name)
    assert stored
    assert (file.size, file.crc32c, file.generation) == (7, crc32c_of(b"content"), stored.generation)
    assert file.created == at(3, 30)


def test_only_the_live_generation_is_listed(cloud: LocalCloud, export: Export) -> None:
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"old", at(3, 30))
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"newer", at(3, 40))
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"still to come", at(14))
    assert [file.size for file in export.list_files(hours_of("datapoint", at(2), at(3)))] == [5]


def test_both_styles_and_several_folders_belong_to_their_hour(cloud: LocalCloud, export: Export) -> None:
    inside = ["2024-05-09 02:00:00", "2024-05-09 02:59:59", "2024-05-09-02:00:00", "2024-05-09-02:30:00"]
    outside = ["2024-05-09 01:59:59", "2024-05-09 03:00:00", "2024-05-09-01:59:59", "2024-05-09-03:00:00"]
    for folder in [*inside, *outside, "2024-05-08 02:00:00", "2024-05-10-02:00:00"]:
        cloud.put_object("Datapoint", folder, "a.csv", b"x", at(4))
    files = export.list_files(hours_of("datapoint", at(2), at(3)))
    assert {file.name.split("/")[2] for file in files} == set(inside)
    assert [file.style for file in files].count(FolderStyle.HYPHEN) == 2
    assert len(export.list_files(hours_of("datapoint", at(1), at(4)))) == 8


@pytest.mark.parametrize(("start", "hours"), [(at(23), 1), (at(22), 4), (at(0) - timedelta(hours=1), 2)])
def test_a_listing_is_bounded_across_midnight(cloud: LocalCloud, export: Export, start: Any, hours: int) -> None:
    cloud.clock.set(at(12) + timedelta(days=3))
    for offset in range(-3, hours + 3):
        for style in FolderStyle:
            cloud.put_object("Datapoint", (start + timedelta(hours=offset)).strftime(style.value), "a.csv", b"x")
    end = start + timedelta(hours=hours)
    files = export.list_files(hours_of("datapoint", start, end))
    assert len(files) == 2 * hours
    assert {file.hour.start for file in files} == {start + timedelta(hours=offset) for offset in range(hours)}
    query = listings(cloud)[-1]
    assert query["startOffset"].startswith(f"{cloud.oem_id}/Datapoint/{start:%Y-%m-%d %H}")
    assert query["endOffset"]


def test_placeholders_and_strays_are_left_out(
    cloud: LocalCloud, export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="ayla_provider")
    below = f"{cloud.oem_id}/Datapoint"
    name = put(cloud, 2, "a.csv")
    content = cloud.vendor.live(name)
    assert content
    for stray in ("", "2024-05-09 02:00:00/", "2024-05-09 02:00:00/sub/", "2024-05-09 02:00", "2024-05-09 02:xx:00/b"):
        cloud.vendor.put(f"{below}/{stray}", content.content)
    assert [file.name for file in export.list_files(hours_of("datapoint", at(2), at(3)))] == [name]
    (warning,) = [one.getMessage() for one in caplog.records]
    assert "2 objects" in warning
    assert "2024-05-09 02:00'" in warning


def test_a_file_in_a_folder_of_a_folder_is_one(cloud: LocalCloud, export: Export) -> None:
    put(cloud, 2, "part/a.csv")
    assert [file.file for file in export.list_files(hours_of("datapoint", at(2), at(3)))] == ["part/a.csv"]


@pytest.mark.parametrize("asked", ["datapoint_ack", "Datapoint Ack", "DATAPOINT-ACK", "datapointack"])
@pytest.mark.parametrize("folder", ["Datapoint Ack", "DatapointAck", "datapoint_ack", "DATAPOINT-ACK"])
def test_a_folder_is_found_however_it_is_spelt(cloud: LocalCloud, export: Export, folder: str, asked: str) -> None:
    put(cloud, 2, "a.csv", folder=folder)
    put(cloud, 2, "b.csv", folder="Datapoint")
    assert [file.file for file in export.list_files(hours_of(parse_event_type(asked), at(2), at(3)))] == ["a.csv"]


def test_a_folder_of_an_unknown_event_type_is_listed_with_a_warning(
    cloud: LocalCloud, export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    name = put(cloud, 2, "a.csv", folder="activation")
    assert export.event_folders() == {"activation": "activation"}
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert "activation" in warning
    assert [file.name for file in export.list_files(hours_of("activation", at(2), at(3)))] == [name]


def test_a_folder_that_can_be_no_event_type_does_not_hide_the_others(
    cloud: LocalCloud, export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    put(cloud, 2, "a.csv", folder="Días")
    put(cloud, 2, "a.csv", folder="Location")
    assert export.event_folders() == {"location": "Location"}
    assert "Días" in caplog.text


def test_two_folders_of_one_event_type_are_an_error_that_says_how_to_choose(
    cloud: LocalCloud, provider: TokenProvider, export: Export
) -> None:
    put(cloud, 2, "a.csv", folder="Datapoint Ack")
    name = put(cloud, 2, "b.csv", folder="DatapointAck")
    with pytest.raises(AylaConfigError, match=r"'Datapoint Ack' and 'DatapointAck'.*event_folders"):
        export.list_files(hours_of("datapoint_ack", at(2), at(3)))
    chosen = export_of(cloud, provider, event_folders={"datapoint_ack": "DatapointAck"})
    with closing(client_of(chosen)):
        assert [file.name for file in chosen.list_files(hours_of("datapoint_ack", at(2), at(3)))] == [name]


def test_a_folder_that_is_not_there_yet_is_looked_for_again(cloud: LocalCloud, export: Export) -> None:
    put(cloud, 9, "a.csv", folder="Location")
    assert look(export, 2, event_type="registration") == [HourState.EMPTY]
    put(cloud, 2, "a.csv", folder="REGISTRATION")
    assert look(export, 2, event_type="registration") == [HourState.LANDED]


def test_a_status_is_one_bounded_listing_when_nothing_is_in_doubt(cloud: LocalCloud, export: Export) -> None:
    for hour in (2, 4, 5):
        put(cloud, hour, "a.csv")
    export.event_folders()
    before = len(listings(cloud))
    landed = HourState.LANDED
    assert look(export, 2, 4, 5) == [landed, landed, landed]
    (query,) = listings(cloud)[before:]
    prefix = f"{cloud.oem_id}/Datapoint/"
    assert query["prefix"] == prefix
    assert (query["startOffset"], query["endOffset"]) == (f"{prefix}2024-05-09 02", f"{prefix}20240510")
    assert query["fields"] == "items(name,size,crc32c,generation,timeCreated),nextPageToken"
    # Later, there are too many files of later dates.
    export.now = lambda: at(2) + timedelta(days=3)
    assert look(export, 2) == [landed]
    assert listings(cloud)[-1]["endOffset"] == f"{prefix}2024-05-10"


def test_signs_of_life_cost_one_result_of_each_event_type_until_one_shows(cloud: LocalCloud, export: Export) -> None:
    for folder in ("Connection", "Datapoint", "Location", "Registration"):
        put(cloud, 1, "a.csv", folder=folder)
    for number in range(20):
        put(cloud, 9, f"{number}.csv", folder="Location")
    export.event_folders()
    before = len(listings(cloud))
    assert look(export, 5) == [HourState.EMPTY]
    looks = [one for one in listings(cloud)[before:] if one.get("maxResults") == "1"]
    assert [one["prefix"].split("/")[1] for one in looks] == ["Datapoint", "Connection", "Location"]


def test_without_any_sign_of_life_an_hour_is_overdue(cloud: LocalCloud, export: Export) -> None:
    for folder in ("Connection", "Datapoint", "Location"):
        put(cloud, 5, "a.csv", folder=folder)
        put(cloud, 4, "a.csv", folder=folder)
    assert look(export, 4, 5, 6) == [HourState.LANDED, HourState.LANDED, HourState.OVERDUE]


def test_hours_before_a_stall_are_empty_although_those_in_it_are_overdue(cloud: LocalCloud, export: Export) -> None:
    put(cloud, 1, "a.csv")
    put(cloud, 5, "a.csv", folder="Location")
    empty, overdue = HourState.EMPTY, HourState.OVERDUE
    assert look(export, *range(2, 8)) == [empty, empty, empty, overdue, overdue, overdue]
    assert look(export, *range(2, 8), event_type="location") == [
        empty,
        empty,
        empty,
        HourState.LANDED,
        overdue,
        overdue,
    ]
    assert look(export, 5, 6, 7) == [overdue, overdue, overdue]
    assert look(export, 4, 5) == [empty, overdue]


@pytest.mark.parametrize("folder", ["2024-05-09 07:00:00", "2024-05-09-07:00:00", "2024-05-09-08:00:00"])
def test_an_object_of_a_later_hour_in_either_style_is_a_sign_of_life(
    cloud: LocalCloud, export: Export, folder: str
) -> None:
    cloud.put_object("Location", "2024-05-09-03:00:00", "earlier, but after it in a listing", b"x", at(5))
    cloud.put_object("Location", folder, "a.csv", b"x", at(9))
    assert look(export, 6) == [HourState.EMPTY]


def test_an_hour_without_files_is_expired_where_the_source_keeps_nothing_of_its_time(
    cloud: LocalCloud, export: Export
) -> None:
    cloud.clock.set(at(12) + timedelta(days=60))
    for folder, days, hours in (("Datapoint", 29, 1), ("Datapoint", 10, 3), ("Location", 1, 9), ("Datapoint", -99, 1)):
        for hour in range(hours):
            time = at(2 + hour) + timedelta(days=days)
            cloud.put_object(folder, f"{time:%Y-%m-%d %H:%M:%S}", "a.csv", b"x", time + timedelta(hours=2))

    def state(days: int, hour: int) -> HourState:
        (found,) = export.status([ExportHour("datapoint", at(hour) + timedelta(days=days))], RULE)
        return found.state

    # The exporter stopped later, so that files of this hour could still come.
    assert state(45, 0) is HourState.OVERDUE
    # The oldest files of this event type are of the tenth day, in three hours; one is left over from long before. They
    # were created by 06:00, and files expire up to two days out of order.
    assert [state(9, 0), state(12, 5), state(12, 6)] == [HourState.EXPIRED, HourState.EXPIRED, HourState.EMPTY]
    # What the source keeps of other event types proves nothing.
    assert state(5, 0) is HourState.EXPIRED
    assert state(29, 2) is HourState.LANDED


def test_a_placeholder_does_not_hide_a_sign_of_life(cloud: LocalCloud, export: Export) -> None:
    name = put(cloud, 9, "a.csv")
    content = cloud.vendor.live(name)
    assert content
    cloud.vendor.put(name.removesuffix("a.csv"), content.content)
    assert look(export, 6) == [HourState.EMPTY]


def test_an_hour_goes_from_open_over_pending_and_arriving_to_landed(cloud: LocalCloud, export: Export) -> None:
    cloud.put_object("Datapoint", "2024-05-09 06:00:00", "a.csv", b"x", at(7, 40))
    states = []
    for now in (at(6, 59), at(7), at(7, 39), at(7, 40), at(7, 54), at(7, 55)):
        cloud.clock.set(now)
        states += look(export, 6)
    pending, arriving = HourState.PENDING, HourState.ARRIVING
    assert states == [HourState.OPEN, pending, pending, arriving, arriving, HourState.LANDED]


def test_a_refused_bucket_is_reported_with_what_to_check(cloud: LocalCloud, provider: TokenProvider) -> None:
    export = export_of(cloud, provider, oem_id="someone-else")
    with (
        closing(client_of(export)),
        pytest.raises(AylaAccessDenied, match=r"403.*Check oem_id, bucket, and prefix .* a token for one"),
    ):
        export.event_folders()


def test_a_missing_bucket_is_reported_with_what_to_check(cloud: LocalCloud, export: Export) -> None:
    cloud.faults.add(404, step="list", times=None)
    with pytest.raises(AylaAccessDenied, match=r"404.*Check bucket"):
        export.event_folders()


@pytest.mark.parametrize("fault", [503, 429, 500, "cut"])
def test_a_passing_fault_of_a_listing_is_gone_over(cloud: LocalCloud, export: Export, fault: Any) -> None:
    put(cloud, 2, "a.csv")
    cloud.faults.add(fault, step="list", nth=2)
    assert look(export, 2) == [HourState.LANDED]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": 503},
        {"kind": 200, "body": "<html>"},
        pytest.param(
            {"kind": 200, "body": "[]"},
        ),
    ],
)
def test_a_permanent_fault_of_a_listing_is_reported_with_event_type_and_hour(
    cloud: LocalCloud, export: Export, fault: dict[str, Any]
) -> None:
    put(cloud, 2, "a.csv")
    export.event_folders()
    cloud.faults.add(**fault, step="list", times=None)
    with pytest.raises(AylaError, match=r"datapoint 2024-05-09 02:00 UTC to 2024-05-09 04:00 UTC") as failed:
        look(export, 2, 3)
    assert type(failed.value) is AylaUnavailable
    assert failed.value.retryable


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crc32c": None}, "crc32c of .* is"),
        ({"size": None}, "size of .* is"),
        ({"size": "-1"}, "size of .* is"),
        ({"generation": None}, "generation of .* is"),
        ({"timeCreated": None}, "timeCreated of .* is"),
        ({"size": None, "timeCreated": None}, "size, timeCreated of .* are"),
    ],
)
def test_an_entry_without_a_fact_is_an_error_that_names_it(
    cloud: LocalCloud, export: Export, changes: dict[str, str | None], words: str
) -> None:
    name = put(cloud, 2, "a.csv")
    export.event_folders()
    facts = {"size": "1", "generation": "1", "crc32c": "AAAAAA==", "timeCreated": "2024-05-09T03:00:00Z"} | changes
    entry = {"name": name} | {fact: value for fact, value in facts.items() if value is not None}
    cloud.faults.add(200, step="list", body=json.dumps({"items": [entry]}), content_type="application/json")
    with pytest.raises(AylaUnavailable, match=rf"{words} missing or not valid") as error:
        look(export, 2)
    assert "a.csv" in str(error.value)


def test_a_bucket_whose_readers_must_pay_is_reported_and_not_retried(cloud: LocalCloud, export: Export) -> None:
    message = "Bucket is a requester pays bucket but no user project provided."
    body = f'{{"error": {{"code": 400, "message": "{message}"}}}}'
    cloud.faults.add(400, step="list", times=None, body=body, content_type="application/json")
    with pytest.raises(AylaAccessDenied, match=r"must pay.*no user project.*ask Ayla support"):
        look(export, 2)


def test_a_redirect_of_a_listing_takes_the_token_nowhere(
    cloud: LocalCloud, provider: TokenProvider, answering: Callable[..., Answering]
) -> None:
    other = answering(200)
    server = answering(307, Location=f"{other.url}PATH")
    export = export_of(cloud, provider, endpoint=server.url)
    with closing(client_of(export)), pytest.raises(AylaUnavailable):
        export.event_folders()
    assert server.received
    assert other.received == []


def test_a_look_counts_files_instead_of_keeping_them(cloud: LocalCloud, export: Export) -> None:
    for number, hour in enumerate((2, 2, 2, 3)):
        cloud.put_object("Datapoint", f"2024-05-09 {hour:02}:00:00", f"{number}.csv", b"12345", at(4, 30 - number))
    hours = hours_of("datapoint", at(1), at(4))
    every, counted = (export.status(hours, RULE, keep_files=keep) for keep in (True, False))
    assert [len(status.files) for status in every] == [0, 3, 1]
    assert [len(status.files) for status in counted] == [0, 1, 1]
    facts = [[(each.state, each.count, each.size, each.newest) for each in statuses] for statuses in (every, counted)]
    assert facts[0] == facts[1]
    assert facts[0][1] == (HourState.LANDED, 3, 15, at(4, 30))


@pytest.mark.parametrize("keep", [True, False])
def test_an_hour_has_a_bound_of_files(
    cloud: LocalCloud, export: Export, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(listing, "MOST_FILES", 3)
    for hour, files in ((2, 4), (3, 3)):
        for number in range(files):
            put(cloud, hour, f"{number}.csv")
    assert [status.count for status in export.status(hours_at(3), RULE, keep_files=keep)] == [3]
    with pytest.raises(AylaUnavailable, match="datapoint 2024-05-09 02:00 UTC has more than 3 files"):
        export.status(hours_at(2, 3), RULE, keep_files=keep)


def test_the_event_folders_have_a_bound(cloud: LocalCloud, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "MOST_FOLDERS", 2)
    for folder in ("Datapoint", "Connection"):
        put(cloud, 2, "a.csv", folder=folder)
    assert len(export.event_folders()) == 2
    put(cloud, 2, "a.csv", folder="Location")
    with pytest.raises(AylaUnavailable, match="has more than 2 folders"):
        export.event_folders()

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from ayla_provider.domain.arrival import ArrivalRule, HourState, HourStatus, SignsOfLife, settle
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle, format_folder
from ayla_provider.domain.paths import ExportFile
from ayla_provider.source.wait import Look, is_all_empty, look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ayla_provider.source.export import Export

TWO = datetime(2024, 5, 9, 2, tzinfo=UTC)
THREE, FOUR = TWO + ONE_HOUR, TWO + 2 * ONE_HOUR
MINUTE = timedelta(minutes=1)
QUIET, PATIENCE = 15 * MINUTE, 90 * MINUTE


def made(hour: datetime, created: datetime, size: int = 10) -> ExportFile:
    name = f"oem/Datapoint/{format_folder(hour)}/a.csv"
    return ExportFile("datapoint", hour, FolderStyle.SPACE, "a.csv", name, size, "AAAAAA==", 1, created)


class Shelf:
    """An export that shows some files at a set time, and is alive or not."""

    def __init__(self, now: datetime, *files: ExportFile, alive: bool = False) -> None:
        self._now = now
        self._files = files
        self._life = SignsOfLife(datetime.max.replace(tzinfo=UTC) if alive else None)

    def status(self, hours: Sequence[ExportHour], rule: ArrivalRule, *, keep_files: bool = True) -> list[HourStatus]:
        return settle(hours, self._files, rule, now=self._now, life=self._life)


def look_at(shelf: Shelf, *hours: datetime, quiet: timedelta = QUIET, patience: timedelta = PATIENCE) -> Look:
    export_hours = [ExportHour(EventType("datapoint"), hour) for hour in hours]
    return look(cast("Export", shelf), export_hours, ArrivalRule(quiet, patience))


def test_landed_hours_are_settled_and_counted() -> None:
    shelf = Shelf(FOUR + PATIENCE, made(TWO, THREE + MINUTE), made(TWO, THREE, 5), made(THREE, FOUR, 7))
    found = look_at(shelf, TWO, THREE)
    assert found.settled
    assert not is_all_empty(found.result)
    assert found.result == {
        "event_type": "datapoint",
        "start": "2024-05-09T02:00:00+00:00",
        "end": "2024-05-09T04:00:00+00:00",
        "hours": {"landed": 2},
        "files": 3,
        "bytes": 22,
        "newest_file": "2024-05-09T04:00:00+00:00",
    }


def test_hours_without_events_are_settled_with_the_same_result() -> None:
    found = look_at(Shelf(FOUR + PATIENCE, alive=True), TWO, THREE)
    assert found.settled
    assert is_all_empty(found.result)
    assert found.result == {
        "event_type": "datapoint",
        "start": "2024-05-09T02:00:00+00:00",
        "end": "2024-05-09T04:00:00+00:00",
        "hours": {"empty": 2},
        "files": 0,
        "bytes": 0,
        "newest_file": None,
    }


def test_an_interval_of_landed_and_empty_hours_is_settled_but_not_all_empty() -> None:
    found = look_at(Shelf(FOUR + PATIENCE, made(THREE, FOUR), alive=True), TWO, THREE)
    assert found.settled
    assert not is_all_empty(found.result)
    assert found.result["hours"] == {"empty": 1, "landed": 1}


@pytest.mark.parametrize(
    ("now", "files", "state"),
    [
        (THREE - MINUTE, [], "open"),
        (THREE + MINUTE, [], "pending"),
        (THREE + MINUTE, [made(TWO, THREE)], "arriving"),
        (THREE + PATIENCE, [], "overdue"),
    ],
)
def test_one_hour_that_is_not_settled_keeps_the_interval_waiting(
    now: datetime, files: list[ExportFile], state: str
) -> None:
    before = made(TWO - ONE_HOUR, TWO)
    found = look_at(Shelf(now, before, *files), TWO - ONE_HOUR, TWO)
    assert not found.settled
    assert not is_all_empty(found.result)
    assert found.result["hours"] == {"landed": 1, state: 1}


def test_the_periods_asked_for_are_the_ones_that_decide() -> None:
    shelf = Shelf(THREE + 30 * MINUTE, made(TWO, THREE))
    assert look_at(shelf, TWO).settled
    assert not look_at(shelf, TWO, quiet=31 * MINUTE).settled
    shelf = Shelf(THREE + 30 * MINUTE, alive=True)
    assert not look_at(shelf, TWO).settled
    assert look_at(shelf, TWO, patience=30 * MINUTE).settled


def test_an_empty_object_counts_as_a_file() -> None:
    found = look_at(Shelf(FOUR, made(TWO, THREE, size=0)), TWO)
    assert (found.settled, found.result["files"], found.result["bytes"]) == (True, 1, 0)


@pytest.mark.parametrize(
    ("now", "files", "expected"),
    [
        # What is waited for, since when, until when.
        (THREE - MINUTE, [], ["2024-05-09 02:00 UTC", "isn't over", "03:00"]),
        (THREE + 20 * MINUTE, [], ["2024-05-09 02:00 UTC", "pending", "04:30"]),
        (THREE + 20 * MINUTE, [made(TWO, THREE + 17 * MINUTE)], ["arriving", "1 file", "03:17:00", "03:32:00"]),
        (THREE + PATIENCE, [], ["overdue", "no file since 2024-05-09 03:00", "stalled"]),
    ],
)
def test_the_message_tells_what_is_waited_for(now: datetime, files: list[ExportFile], expected: list[str]) -> None:
    message = look_at(Shelf(now, *files), TWO).message
    assert "datapoint" in message
    assert [text for text in expected if text not in message] == []


def test_the_message_of_a_long_interval_names_a_few_hours_and_counts_the_rest() -> None:
    hours = [TWO + n * ONE_HOUR for n in range(48)]
    message = look_at(Shelf(TWO), *hours).message
    assert "45 more hours" in message
    assert len(message) < 400


def test_the_message_of_a_settled_interval_tells_the_states() -> None:
    message = look_at(Shelf(FOUR + PATIENCE, made(THREE, FOUR), alive=True), TWO, THREE).message
    assert message.startswith("datapoint 2024-05-09 02:00 UTC to 2024-05-09 04:00 UTC (2 hours): 1 empty, 1 landed; ")
    # The sensor doesn't wait for a settled hour, so the message doesn't name it.
    message = look_at(Shelf(FOUR, made(TWO, THREE)), TWO, THREE).message
    assert "landed" not in message
    assert "03:00 UTC is pending" in message


@pytest.mark.parametrize(
    ("hours", "empty"),
    [({"empty": 3}, True), ({"empty": 3, "landed": 1}, False), ({"landed": 1}, False), ({"pending": 1}, False)],
)
def test_a_result_is_all_empty_if_every_hour_is(hours: dict[str, int], empty: bool) -> None:
    assert is_all_empty({"hours": hours}) is empty
    assert set(hours) <= {state.value for state in HourState}

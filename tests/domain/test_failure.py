from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.arrival import HourState, HourStatus
from ayla_provider.domain.failure import Failure, facts_of, loads, note
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle
from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import AylaError, AylaTransferError, AylaUnsafeNameError

HOUR = datetime(2024, 5, 9, 2, tzinfo=UTC)
NOW = HOUR + 3 * ONE_HOUR
TICK = timedelta.resolution
RUN = {"dag_id": "export", "run_id": "scheduled__1", "task_id": "copy", "try_number": "5"}

texts = st.text(st.characters(codec="utf-8"), max_size=20)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
made = st.builds(
    Failure,
    hour=st.builds(ExportHour, texts, times.map(lambda time: time.replace(minute=0, second=0, microsecond=0))),
    facts=texts,
    error=texts,
    message=texts,
    passing=st.booleans(),
    tasks=st.integers(1),
    failed_at=times,
    written_by=st.dictionaries(texts, texts, max_size=4),
)


def status(**generations: int) -> HourStatus:
    """An hour at the source: file to generation."""
    files = tuple(
        ExportFile("datapoint", HOUR, FolderStyle.SPACE, name, f"oem/{name}", 1, "AAAAAA==", generation, NOW)
        for name, generation in generations.items()
    )
    return HourStatus(ExportHour("datapoint", HOUR), HourState.LANDED, files)


def noted(
    previous: Failure | None = None, error: AylaError | None = None, now: datetime = NOW, **generations: int
) -> Failure:
    return note(previous, status(**generations), error or AylaTransferError("broke off"), now=now, written_by=RUN)


@given(made)
def test_a_note_is_read_as_it_was_written(failure: Failure) -> None:
    assert loads(failure.dumps()) == failure
    assert loads(failure.dumps().encode()) == failure


def test_a_note_tells_who_reads_it_what_failed() -> None:
    assert json.loads(noted(a=1).dumps()) == {
        "format": "ayla-export-failure/1",
        "event_type": "datapoint",
        "hour": "2024-05-09T02:00:00+00:00",
        "error": "AylaTransferError",
        "message": "broke off",
        "passing": True,
        "tasks": 1,
        "failed_at": "2024-05-09T05:00:00+00:00",
        "written_by": RUN,
        "facts": facts_of(status(a=1)),
    }


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(noted(a=1).dumps()) | fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        b"",
        "{",
        "null",
        "[]",
        "{}",
        "42",
        b"\xff\xfe",
        "[" * 100_000,
        noted(a=1).dumps()[:-20],
        changed(format="ayla-export-failure/2"),
        changed(hour="yesterday"),
        changed(hour=None),
        changed(failed_at="9999-12-31T23:59:59-23:00"),
        changed(failed_at="2024-05-09T05:00:00"),
        changed(tasks="many"),
        changed(tasks=1e999),
        changed(written_by=None),
        changed(written_by="me"),
    ],
)
def test_a_text_that_is_no_note_is_as_good_as_none(text: str | bytes) -> None:
    assert loads(text) is None


@pytest.mark.parametrize("name", json.loads(noted(a=1).dumps()))
def test_a_note_that_lacks_a_field_is_none(name: str) -> None:
    document = json.loads(changed())
    del document[name]
    assert loads(json.dumps(document)) is None


@given(st.text() | st.binary())
def test_reading_any_content_doesnt_fail(text: str | bytes) -> None:
    assert loads(text) is None


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
)
def test_facts_are_the_same_where_the_files_and_generations_are(one: dict[str, int], other: dict[str, int]) -> None:
    assert (facts_of(status(**one)) == facts_of(status(**other))) is (one == other)
    assert facts_of(status(**one)) == facts_of(status(**dict(reversed(one.items()))))


def test_tasks_are_counted_while_the_source_shows_the_same() -> None:
    first = noted(a=1)
    second = noted(first, a=1)
    third = noted(second, AylaUnsafeNameError("no path"), now=NOW + ONE_HOUR, a=1)
    assert [first.tasks, second.tasks, third.tasks] == [1, 2, 3]
    assert (third.error, third.message, third.passing) == ("AylaUnsafeNameError", "no path", False)
    assert third.failed_at == NOW + ONE_HOUR
    assert noted(third, a=2).tasks == 1
    assert noted(third, a=1, b=1).tasks == 1


@given(st.integers(1), st.timedeltas(timedelta(), timedelta(days=3650)))
def test_where_only_a_person_can_help_it_is_left_for_good(tasks: int, later: timedelta) -> None:
    failure = Failure(ExportHour("datapoint", HOUR), "same", "AylaUnsafeNameError", "no path", False, tasks, NOW)
    assert failure.is_to_be_left(NOW + later)


@pytest.mark.parametrize(
    ("tasks", "hours"),
    [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 64), (7, 128), (8, 168), (9, 168), (10**9, 168)],
)
def test_what_can_pass_is_left_ever_longer_and_a_week_at_most(tasks: int, hours: int) -> None:
    failure = Failure(ExportHour("datapoint", HOUR), "same", "AylaTransferError", "broke off", True, tasks, NOW)
    due = NOW + hours * ONE_HOUR
    assert failure.is_to_be_left(NOW)
    assert failure.is_to_be_left(due - TICK)
    assert not failure.is_to_be_left(due)


@pytest.mark.parametrize("year", [2999, 9999])
def test_a_note_of_the_future_leaves_nothing(year: int) -> None:
    later = datetime(year, 12, 31, 23, tzinfo=UTC)
    failure = Failure(ExportHour("datapoint", HOUR), "same", "AylaTransferError", "broke off", True, 1, later)
    assert not failure.is_to_be_left(NOW)


def test_a_clock_that_is_a_few_minutes_ahead_changes_nothing() -> None:
    ahead = NOW + timedelta(minutes=10)
    failure = Failure(ExportHour("datapoint", HOUR), "same", "AylaTransferError", "broke off", True, 1, ahead)
    assert failure.is_to_be_left(NOW)

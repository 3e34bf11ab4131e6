"""
Lake tables in every scenario of their life: two independent readers find exactly the rows that must be there.

The rows that must be there are those of the made-up export, by a second implementation of what its lines mean.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.hold import hold
from tests.support.lakes import HOUR, MIDNIGHT, Scene

HOURS = [MIDNIGHT + number * HOUR for number in range(4)]
LATER = timedelta(days=30)


def test_a_first_load(scene: Scene) -> None:
    for event_type in ("datapoint", "connection"):
        for hour in HOURS[:2]:
            scene.put(event_type, hour)
        scene.load(event_type, HOURS[:2])
        scene.assert_agreed(event_type)
        scene.assert_ledger(event_type)


def test_an_hour_is_loaded_anew(scene: Scene) -> None:
    for hour in HOURS[:3]:
        scene.put("datapoint", hour, share=0.5)
    scene.load("datapoint", HOURS[:3])
    before = scene.expected["datapoint"][HOURS[1]]
    assert len(scene.put("datapoint", HOURS[1])) > len(before)
    scene.load("datapoint", [HOURS[1]])
    scene.assert_agreed("datapoint")
    scene.assert_ledger("datapoint")
    assert not scene.retry("datapoint", HOURS[1])


def test_an_hour_that_became_empty_is_empty(scene: Scene) -> None:
    for hour in HOURS[:2]:
        scene.put("connection", hour)
    scene.load("connection", HOURS[:2])
    scene.put("connection", HOURS[0], files=False)
    scene.load("connection", [HOURS[0]])
    scene.assert_agreed("connection")
    scene.put("connection", HOURS[0])
    scene.load("connection", [HOURS[0]])
    scene.assert_agreed("connection")


@pytest.mark.parametrize("first", [True, False], ids=["first load", "loaded anew"])
def test_two_processes_load_different_hours_at_the_same_time_and_both_succeed(scene: Scene, first: bool) -> None:
    hours = HOURS[:2]
    if not first:
        for hour in hours:
            scene.put("connection", hour, share=0.5)
        scene.load("connection", hours)
    for hour in hours:
        scene.put("connection", hour)
    with scene.process("connection", hours[0]) as one, scene.process("connection", hours[1]) as other:
        for loader in (one, other):
            loader.until_ready()
        for loader in (one, other):
            loader.go()
        assert [one.result(), other.result()] == ["ok", "ok"]
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")


@pytest.mark.parametrize("first", [True, False], ids=["first load", "loaded anew"])
def test_two_processes_load_the_same_hour_at_the_same_time_and_leave_it_once(scene: Scene, first: bool) -> None:
    scene.put("connection", HOURS[1])
    scene.load("connection", [HOURS[1]])
    if not first:
        scene.put("connection", HOURS[0], share=0.5)
        scene.load("connection", [HOURS[0]])
    scene.put("connection", HOURS[0])
    with scene.process("connection", HOURS[0]) as one, scene.process("connection", HOURS[0]) as other:
        for loader in (one, other):
            loader.until_ready()
        for loader in (one, other):
            loader.go()
        results = sorted([one.result(), other.result()])
    # Either may have been so late that it saw the other's rows, and replaced them by the same ones.
    assert results in (["AylaConflictError", "ok"], ["ok", "ok"])
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")


def test_a_load_that_read_before_another_load_of_the_hour_is_refused(scene: Scene) -> None:
    scene.put("connection", HOURS[1])
    scene.load("connection", [HOURS[1]])
    scene.put("connection", HOURS[0])
    with scene.process("connection", HOURS[0]) as late:
        late.until_ready()
        scene.load("connection", [HOURS[0]])
        late.go()
        assert late.result() == "AylaConflictError"
    scene.assert_agreed("connection")
    assert not scene.retry("connection", HOURS[0])


def test_a_new_column_is_empty_in_earlier_hours(scene: Scene) -> None:
    scene.put("connection", HOURS[0])
    scene.load("connection", [HOURS[0]])
    rows = scene.put("connection", HOURS[1], more=b",news")
    assert {row["column_7"] for row in rows} == {"news"}
    scene.load("connection", [HOURS[1]])
    scene.assert_agreed("connection")
    # The hour with the old columns comes again, into the table with the new one.
    scene.put("connection", HOURS[0], share=0.5)
    scene.load("connection", [HOURS[0]])
    scene.assert_agreed("connection")


def test_a_compacted_day_and_then_one_of_its_hours_anew(scene: Scene) -> None:
    for hour in HOURS:
        scene.put("connection", hour, share=0.5)
    scene.load("connection", HOURS)
    assert len(scene.data_files("connection")) == len(HOURS)
    scene.upkeep("connection", MIDNIGHT + LATER)
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")
    scene.put("connection", HOURS[1])
    scene.load("connection", [HOURS[1]])
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")
    scene.put("connection", HOURS[2], files=False)
    scene.load("connection", [HOURS[2]])
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")
    scene.upkeep("connection", MIDNIGHT + LATER)
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")


def test_upkeep_that_only_looks_changes_nothing(scene: Scene) -> None:
    for hour in HOURS[:2]:
        scene.put("connection", hour)
    scene.load("connection", HOURS[:2])
    location, files = scene.lake.location("connection"), scene.data_files("connection")
    scene.upkeep("connection", MIDNIGHT + LATER, dry_run=True)
    assert (scene.lake.location("connection"), scene.data_files("connection")) == (location, files)
    scene.assert_agreed("connection")


def test_upkeep_removes_what_was_replaced_and_nothing_else(scene: Scene) -> None:
    for share in (0.2, 0.5, 1):
        for hour in HOURS[:3]:
            scene.put("connection", hour, share=share)
        scene.load("connection", HOURS[:3])
    assert len(scene.data_files("connection")) == 9
    scene.keep_nothing_for_readers("connection")
    # Files must not be too young for it.
    now = datetime.now(UTC) + timedelta(days=40)
    for _ in range(3):
        scene.upkeep("connection", now, keep_snapshots=1)
    assert len(scene.data_files("connection")) == 1, "the hours are in one file, and all others are gone"
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")
    scene.put("connection", HOURS[3])
    scene.load("connection", [HOURS[3]])
    scene.assert_agreed("connection")


def test_another_program_expires_the_past(scene: Scene) -> None:
    for share in (0.5, 1):
        for hour in HOURS[:2]:
            scene.put("connection", hour, share=share)
        scene.load("connection", HOURS[:2])
    scene.expire_by_another_program("connection")
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")
    assert not scene.retry("connection", HOURS[0])
    scene.put("connection", HOURS[0], share=0.2)
    scene.put("connection", HOURS[2])
    scene.load("connection", [HOURS[0], HOURS[2]])
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")


@pytest.mark.parametrize("compacted", [False, True], ids=["a file an hour", "compacted"])
def test_old_hours_are_removed_with_their_files_and_a_hold_keeps_its_hour(scene: Scene, compacted: bool) -> None:
    for hour in HOURS:
        scene.put("connection", hour, share=0.5)
    scene.load("connection", HOURS)
    scene.put("connection", HOURS[1])
    scene.load("connection", [HOURS[1]])
    if compacted:
        scene.upkeep("connection", MIDNIGHT + LATER)
    held = hold("case-1", placed_at=MIDNIGHT, start=HOURS[0], end=HOURS[1])
    rows = sum(len(scene.expected["connection"][hour]) for hour in HOURS[1:3])
    removed = scene.remove("connection", HOURS[3], [held])
    assert (removed.hours, removed.rows, removed.held) == (2, rows, {"case-1": 1})
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")
    # Of earlier versions, no file is left: neither of the removed hours, nor of the hour that was loaded again.
    assert len(scene.data_files("connection")) == (1 if compacted else 2)
    scene.upkeep("connection", MIDNIGHT + LATER)
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")
    assert scene.remove("connection", HOURS[3]).hours == 1
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")

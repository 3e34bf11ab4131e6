"""What digests make of the map: hours whose asset events aren't read, and what comes after the copy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.digest import Activity, Digest, Layer
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from tests.plugin.answers import DESTINATION, NOW, Json, asset, event, hour, millis, read, rendered, run, task
from tests.plugin.test_model import SOME, attempt, cells

Page = Callable[..., Any]
HOUR = timedelta(hours=1)
WAREHOUSE = "duckdb//data/ayla.duckdb/main/ayla_"


def published(layer: Layer, facts: dict[int, Any], *, at: datetime = NOW, where: str = "", note: str = "") -> Json:
    """An asset event with what a task knows of some hours: hours ago to a state, or to a state and figures."""
    digest = Digest(layer, where)
    for ago, fact in facts.items():
        state, figures = fact if isinstance(fact, tuple) else (fact, {})
        digest.add(ExportHour(EventType("datapoint"), hour(ago)), state, **figures)
        if note:
            digest.note(ExportHour(EventType("datapoint"), hour(ago)), note)
    (document,) = digest.documents(NOW)
    made = event("datapoint", hour(1), asset=9, at=at)
    return made | {"extra": document, "source_dag_id": "a_dag", "source_task_id": layer.value}


def answers(*digests: Json, **lists: Any) -> Json:
    return read(assets=[asset(1, "datapoint"), {"id": 9, "uri": f"{DESTINATION}/_digests/newest"}], **lists) | {
        "digests": list(digests)
    }


def state_of(page: Page, found: Json, ago: int) -> Json:
    return cells(page, found)["datapoint", ago]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("landed", "landed"),
        ("late", "landed"),
        ("empty", "empty"),
        ("expired", "empty"),
        ("waiting", "waiting"),
        ("overdue", "stuck"),
        ("missing", "missing"),
        ("changed", "changed"),
        ("unproven", "unproven"),
        ("lost", "lost"),
        ("failed", "failed"),
    ],
)
def test_an_hour_without_an_event_is_what_the_digest_says(page: Page, word: str, state: str) -> None:
    figures = {"files": 2, "bytes": 1000, "lines": 7, "revision": 3, "lag": 30}
    found = answers(published(Layer.COPIED, {30: (word, figures), 31: "landed"}, note="why"))
    cell = state_of(page, found, 30)
    assert (cell["state"], cell["note"]) == (state, "why")
    if state == "landed":
        assert (cell["files"], cell["bytes"], cell["rows"], cell["lag"]) == (2, 1000, 7, 1_800_000)


@pytest.mark.parametrize(
    ("word", "later", "state"),
    [
        ("changed", True, "changed"),
        ("changed", False, "landed"),
        ("missing", True, "landed"),
        ("lost", True, "lost"),
        ("landed", True, "landed"),
    ],
)
def test_only_a_newer_digest_contradicts_an_event(page: Page, word: str, later: bool, state: str) -> None:
    at = NOW - timedelta(minutes=10)
    event_at = at - HOUR if later else at + timedelta(minutes=5)
    found = answers(published(Layer.COPIED, {30: word}, at=at), events=[event("datapoint", hour(30), at=event_at)])
    assert state_of(page, found, 30)["state"] == state


def test_a_task_that_is_at_work_says_more_than_a_digest(page: Page) -> None:
    found = attempt(30, "failed") | {"digests": [published(Layer.COPIED, {30: "missing"}, note="the checksum differs")]}
    found["assets"].append({"id": 9, "uri": f"{DESTINATION}/_digests/newest"})
    cell = state_of(page, found, 30)
    assert (cell["state"], cell["note"]) == ("failed", "the checksum differs")


def test_the_note_of_a_failure_goes_when_the_copy_has_succeeded(page: Page) -> None:
    """The page can read the asset events just before a task succeeds, and the tasks just after it."""
    found = attempt(30, "success") | {"digests": [published(Layer.COPIED, {30: "failed"}, note="the checksum differs")]}
    found["assets"].append({"id": 9, "uri": f"{DESTINATION}/_digests/newest"})
    cell = state_of(page, found, 30)
    assert (cell["state"], cell.get("note")) == ("landed", None)


@pytest.mark.parametrize(("minutes", "state"), [(100, "loading"), (200, "unloaded")])
def test_an_hour_that_a_warehouse_lacks_is_a_problem_after_some_hours(page: Page, minutes: int, state: str) -> None:
    copied = event("datapoint", hour(5), at=NOW - timedelta(minutes=minutes))
    found = answers(published(Layer.LOADED, {9: "loaded", 5: "to_load"}, where=WAREHOUSE), events=[copied])
    assert state_of(page, found, 5)["state"] == state
    found["digests"].append(published(Layer.LOADED, {5: "loaded"}, where=WAREHOUSE))
    assert state_of(page, found, 5)["state"] == "landed"
    found["digests"].append(published(Layer.LOADED, {9: "loaded", 5: "to_load"}, where="another"))
    assert state_of(page, found, 5)["state"] == state, "each warehouse counts"


def test_a_warehouse_that_nobody_plans_for_any_more_lacks_nothing(page: Page) -> None:
    old = published(Layer.LOADED, {9: "loaded", 5: "to_load"}, where=WAREHOUSE, at=NOW - timedelta(days=4))
    assert state_of(page, answers(old, events=[event("datapoint", hour(5))]), 5)["state"] == "landed"


def test_hours_before_the_first_loaded_one_are_not_wanted_there(page: Page) -> None:
    copied = [event("datapoint", hour(ago), at=NOW - timedelta(hours=9)) for ago in (20, 15, 12)]
    found = answers(published(Layer.LOADED, {15: "loaded", 13: "loaded"}, where=WAREHOUSE), events=copied)
    assert [state_of(page, found, ago)["state"] for ago in (20, 15, 12)] == ["landed", "landed", "unloaded"]


def test_damage_counts_until_the_hour_is_copied_again(page: Page) -> None:
    check = published(Layer.VERIFIED, {30: "damaged"}, at=NOW - HOUR)
    copied = event("datapoint", hour(30))
    assert state_of(page, answers(check, events=[copied]), 30)["state"] == "damaged"
    again = event("datapoint", hour(30), at=NOW, revision=2)
    assert state_of(page, answers(check, events=[copied, again]), 30)["state"] == "landed"


def test_a_verification_that_found_the_hour_is_newer_than_a_comparison_that_missed_it(page: Page) -> None:
    missed = published(Layer.COPIED, {30: "missing", 31: "landed"}, at=NOW - 2 * HOUR)
    sound = published(Layer.VERIFIED, {30: ("sound", {"files": 3})}, at=NOW - HOUR)
    cell = state_of(page, answers(missed, sound), 30)
    assert (cell["state"], cell["files"]) == ("landed", 3)
    older = published(Layer.VERIFIED, {30: "sound"}, at=NOW - 3 * HOUR)
    assert state_of(page, answers(missed, older), 30)["state"] == "missing"


@pytest.mark.parametrize(
    ("word", "state"), [("missing_in_export", "incomplete"), ("both_missing", "incomplete"), ("gap", "landed")]
)
def test_events_that_only_the_stream_has_make_an_hour_incomplete(page: Page, word: str, state: str) -> None:
    compared = published(Layer.COMPARED, {30: word}, where="gs://bucket/stream")
    assert state_of(page, answers(compared, events=[event("datapoint", hour(30))]), 30)["state"] == state


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
KEYS = ["start", "hours", "event_types", "notes", "facts", "activities", "where", "layer"]


@SOME
@given(st.dictionaries(st.sampled_from(KEYS), json_values), json_values)
def test_a_digest_with_any_content_does_not_stop_the_page(page: Page, odd: Json, states: Any) -> None:
    one = published(Layer.COPIED, {30: "landed"})
    two = published(Layer.COPIED, {30: "landed"})
    one["extra"] = one["extra"] | odd
    two["extra"] = two["extra"] | {"event_types": {"datapoint": {"states": states, "files": states}}}
    found = answers(one, two, events=[event("datapoint", hour(5))])
    assert state_of(page, found, 5)["state"] == "landed"
    assert page("return [...page.digestsOf(args[0]).values()].map(({activities}) => activities.length)", found)


def test_only_addresses_of_the_web_become_links(page: Page) -> None:
    code = "return page.digestsOf(args[0]).get(args[1]).link('files', 'datapoint', args[2]) ?? null"
    for address, link in (
        ("https://store/EVENT_TYPE/DATE/HOUR", f"https://store/datapoint/{hour(5):%Y-%m-%d}/{hour(5):%H}"),
        ("https://store/HOUR-DATES/EVENT_TYPE/DATE/HOUR", f"https://store/HOUR-DATES/datapoint/{hour(5):%Y-%m-%d/%H}"),
        ("javascript:alert(1)", None),
        (7, None),
    ):
        made = published(Layer.COPIED, {30: "landed"})
        made["extra"]["facts"] = {"files": address}
        assert page(code, answers(made), DESTINATION, millis(hour(5))) == link


def test_what_each_run_repeats_is_one_activity(page: Page) -> None:
    digest = Digest(Layer.VERIFIED)
    digest.act(Activity.LOSS, ExportHour(EventType("datapoint"), hour(30)), "a.csv")
    (document,) = digest.documents(NOW)
    made = [published(Layer.VERIFIED, {30: "lost"}, at=NOW - ago * HOUR) | {"id": ago} for ago in (1, 2)]
    for each in made:
        each["extra"] = document
    (one,) = page("return page.digestsOf(args[0]).get(args[1]).activities", answers(*made), DESTINATION)
    assert (one["what"], one["text"], one["at"]) == ("loss", "a.csv", millis(NOW - 2 * HOUR))


def test_the_problems_that_need_a_person_come_first(page: Page) -> None:
    code = """
        const [archive] = page.archives(args[0], {from: args[1], now: args[2]});
        return [page.problemsOf(archive), page.verdictOf([archive], args[2])];
    """
    words = {30: "missing", 29: "changed", 28: "lost", 27: "failed", 26: "failed", 25: "unproven", 24: "landed"}
    found = answers(published(Layer.COPIED, words))
    groups, verdict = page(code, found, millis(hour(30)), millis(hour(24) + HOUR))
    assert [(group["state"], len(group["cells"])) for group in groups] == [
        ("lost", 1),
        ("failed", 2),
        ("unproven", 1),
        ("missing", 1),
        ("changed", 1),
    ]
    assert (verdict["needing"], verdict["healing"], verdict["gaps"]) == (4, 2, 6)
    assert verdict["until"] == millis(hour(23))


def test_an_hour_that_a_task_works_on_needs_nobody(page: Page) -> None:
    code = "return args[0].map(page.needsPerson)"
    assert page(code, [{"state": "failed"}, {"state": "failed", "underWay": True}, {"state": "missing"}]) == [
        True,
        False,
        False,
    ]


def test_a_week_begins_on_a_monday(page: Page) -> None:
    for text in ("2026-11-16T00:00+00:00", "2026-11-20T12:20+00:00", "2026-11-22T23:59+00:00"):
        start = page("return page.startOfUnit(args[0], page.WEEK)", millis(datetime.fromisoformat(text)))
        assert start == millis(datetime.fromisoformat("2026-11-16T00:00+00:00"))


def test_a_history_tells_how_far_it_is(page: Page) -> None:
    cells = [{"state": "landed", "hour": millis(hour(ago)), "at": millis(NOW - HOUR / 2)} for ago in (99, 98)]
    cells += [{"state": "planned", "hour": millis(hour(ago))} for ago in (97, 96, 95, 94)]
    cells += [{"state": "landed", "hour": millis(hour(2)), "at": millis(NOW)}]
    code = "return page.progressOf({rows: [{cells: args[0]}], next: args[1] ?? undefined}, args[2]) ?? null"
    progress = page(code, cells, millis(hour(97)), millis(NOW))
    assert progress == {"done": 2, "of": 6, "left": 2 * 3_600_000}
    assert page(code, cells[-1:], None, millis(NOW)) is None


TRACK = {"event_type": "datapoint", "layer": "copied", "state": "breach", "lag": 14_703, "objective": 10_800, "late": 1}


def test_what_was_measured_is_read_as_it_was_published(page: Page) -> None:
    assets = [{"id": 5, "uri": f"{DESTINATION}/_freshness"}, {"id": 6, "uri": f"{DESTINATION}/_volumes"}]
    low = {"event_type": "datapoint", "model": None, "direction": "low", "hour": hour(5).isoformat(), "count": 3}
    measures = [
        {"asset_id": 5, "timestamp": NOW.isoformat(), "extra": {"tracks": [TRACK, {"state": 7}, None]}},
        {"asset_id": 6, "timestamp": NOW.isoformat(), "extra": {"anomalies": [low | {"expected": 30.4}, {}, 3]}},
    ]
    (found,) = page("return [...page.measuresOf({assets: args[0], measures: args[1]}).values()]", assets, measures)
    assert [(one["isBreach"], one["lag"], one["late"]) for one in found["tracks"]] == [(True, 14_703_000, 1)]
    text = "return page.anomalyText(args[0], 'datapoint', args[1]) ?? null"
    assert page(text, found, millis(hour(5))) == "3 rows, where 30 are usual"
    assert page(text, found, millis(hour(4))) is None


def test_an_archive_that_only_digests_know_is_shown(page: Page) -> None:
    one = run(hour(3), dag="other")
    copies = [task(one, "copy", "failed", **rendered("datapoint", "s3://other"))]
    found = answers(published(Layer.COPIED, {30: "landed"}), runs=[one], copies=copies)
    code = "return page.archives(args[0], {from: args[1], now: args[2]}).map(({id}) => id)"
    assert set(page(code, found, millis(hour(47)), millis(NOW))) == {DESTINATION, "s3://other"}

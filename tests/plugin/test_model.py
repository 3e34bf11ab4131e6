from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.units import size_text
from tests.plugin.answers import (
    DAG,
    DESTINATION,
    HOUR,
    NOW,
    Json,
    Read,
    asset,
    event,
    hour,
    millis,
    read,
    rendered,
    run,
    task,
)
from tests.support.proofs import scale

Page = Callable[..., Any]
SOME = settings(max_examples=scale(40, 800))
AN_HOUR = 3_600_000


def archives(page: Page, answers: Read, hours: int = 48) -> list[Json]:
    result: list[Json] = page(
        "return page.archives(args[0], {from: args[1], now: args[2]}).map((one) => ({...one, dags: [...one.dags]}))",
        answers,
        millis(hour(hours - 1)),
        millis(NOW),
    )
    return result


def cells(page: Page, answers: Read, hours: int = 48) -> dict[tuple[str, int], Json]:
    """The cells by event type, and by how many hours ago their hours are."""
    rows = [row for archive in archives(page, answers, hours) for row in archive["rows"]]
    return {(row["eventType"], hours - 1 - column): cell for row in rows for column, cell in enumerate(row["cells"])}


def attempt(ago: int, copy: str | None, wait: str | None = None, **of: Json) -> Read:
    """What the API says of an hour of datapoints for which a task ran, and perhaps its wait."""
    one = run(hour(ago))
    began = {"start_date": (hour(ago) + HOUR).isoformat()}
    waits = [task(one, "datapoint.wait", wait, **{**began, **of.get("wait_", {})})] if wait else []
    first = run(hour(47))
    return read(
        runs=[first, one],
        # Another hour tells what the task is about.
        copies=[
            task(first, "datapoint.copy", "success", **rendered("datapoint")),
            task(one, "datapoint.copy", copy, **of.get("copy_", {})),
        ],
        waits=waits,
    )


LONG = {"wait_": {"end_date": NOW.isoformat()}}
SHORT = {"wait_": {"start_date": (NOW - timedelta(minutes=1)).isoformat(), "end_date": NOW.isoformat()}}


@pytest.mark.parametrize(
    ("answers", "ago", "state"),
    [
        pytest.param(attempt(1, None, "deferred"), 1, "waiting", id="soon after its end"),
        pytest.param(attempt(1, None, "up_for_retry"), 1, "waiting", id="tried again soon after its end"),
        pytest.param(attempt(2, "running", None, copy_={"try_number": 2}), 2, "waiting", id="copied again soon"),
        pytest.param(attempt(3, None, "up_for_retry"), 3, "delayed", id="tried again 90 minutes after its end"),
        pytest.param(attempt(3, None, "deferred"), 3, "delayed", id="90 minutes after its end"),
        pytest.param(attempt(8, None, "deferred"), 8, "stuck", id="six hours after its end"),
        pytest.param(attempt(30, "queued"), 30, "delayed", id="copied long after its end"),
        pytest.param(attempt(30, None, "running", **SHORT), 30, "waiting", id="an old hour that was just begun"),
        pytest.param(attempt(26, "upstream_failed", "failed", **LONG), 26, "stuck", id="the wait timed out"),
        pytest.param(attempt(26, "upstream_failed", "failed", **SHORT), 26, "failed", id="the wait was refused"),
        pytest.param(attempt(5, "failed"), 5, "failed", id="the copy failed"),
        pytest.param(attempt(5, "success"), 5, "landed", id="without an event"),
        pytest.param(attempt(5, "skipped", "skipped"), 5, "empty", id="skipped since it is empty"),
        pytest.param(attempt(5, "removed"), 5, "never", id="a task that is no more"),
        pytest.param(attempt(5, "failed"), 0, "waiting", id="not over"),
        pytest.param(attempt(5, "failed"), 1, "waiting", id="no run yet"),
        pytest.param(attempt(5, "failed"), 4, "never", id="no run"),
        pytest.param(attempt(5, "failed"), 46, "never", id="after the first hour"),
    ],
)
def test_an_hour_without_an_event_is_what_its_tasks_say(page: Page, answers: Read, ago: int, state: str) -> None:
    assert cells(page, answers)["datapoint", ago]["state"] == state


ODD_EXTRAS: list[Any] = [
    {"event_type": None},
    {"event_type": {"a": 1}},
    {"event_type": 7},
    {"event_type": "location"},
    {"hour": 1825},
    {"hour": None},
    {"hour": "never"},
    {"hour": (hour(4) + timedelta(minutes=1)).isoformat()},
]


@pytest.mark.parametrize("extra", ODD_EXTRAS, ids=str)
def test_an_asset_event_that_does_not_fit_its_asset_is_left_out(page: Page, extra: Json) -> None:
    odd = event("datapoint", hour(4))
    odd["extra"] |= extra
    answers = read(events=[event("datapoint", hour(5)), odd])
    found = cells(page, answers)
    assert {kind for kind, _ in found} == {"datapoint"}
    assert [found["datapoint", ago]["state"] for ago in (5, 4)] == ["landed", "never"]
    assert [each["id"] for each in page("return page.sortEvents(args[0]).odd", answers)] == [odd["id"]]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5), st.lists
)


@SOME
@given(st.dictionaries(st.sampled_from(["files", "bytes", "lines", "revision", "newest", "state"]), json_values))
def test_figures_of_an_event_are_numbers_or_absent(page: Page, extra: Json) -> None:
    cell = cells(page, read(events=[event("datapoint", hour(5), **extra)]))["datapoint", 5]
    for name in ("files", "bytes", "rows", "lag", "revision"):
        assert cell.get(name) is None or cell[name] >= 0


def test_a_task_that_names_centuries_covers_the_hours_of_the_range(page: Page) -> None:
    one = run(hour(5))
    copy = task(one, "copy", "failed", **rendered("datapoint"))
    copy["rendered_fields"] |= {"start": "1825-01-01T00:00Z", "end": "9026-01-01T00:00Z"}
    found = cells(page, read(runs=[one], copies=[copy]))
    assert {cell["state"] for cell in found.values()} == {"failed"}
    assert found["datapoint", 5]["again"]["hours"] > 1_000_000


def test_a_copy_of_an_old_hour_does_not_move_the_first_hour_of_the_range(page: Page) -> None:
    events = [event("datapoint", hour(400), at=NOW), event("datapoint", hour(4))]
    found = cells(page, read(events=events))
    assert [found["datapoint", ago]["state"] for ago in (47, 5, 4, 3)] == ["unasked", "unasked", "landed", "never"]


def plan_of(next_ago: float, **more: Any) -> Json:
    start = hour(next_ago)
    end = start + HOUR
    times = {"next_dagrun_data_interval_start": start.isoformat(), "next_dagrun_data_interval_end": end.isoformat()}
    return {"dag_id": DAG, "is_paused": False, **times, **more}


def catching_up(dag: Json, worked: datetime = NOW - timedelta(minutes=2)) -> Read:
    return read(events=[event("datapoint", hour(100), at=worked)], dags=[dag])


def test_hours_that_a_catch_up_has_not_reached_are_no_problems(page: Page) -> None:
    (archive,) = archives(page, catching_up(plan_of(99)))
    states = [cell["state"] for cell in archive["rows"][0]["cells"]]
    assert (archive["next"], states) == (millis(hour(99)), ["planned"] * 45 + ["waiting"] * 3)


@pytest.mark.parametrize(
    ("answers", "paused"),
    [
        pytest.param(catching_up(plan_of(99, is_paused=True)), [DAG], id="paused"),
        pytest.param(catching_up(plan_of(99), NOW - timedelta(hours=2)), [], id="nothing works"),
        pytest.param(catching_up({"dag_id": DAG}), [], id="unknown"),
    ],
)
def test_a_dag_that_does_not_run_catches_up_with_nothing(page: Page, answers: Read, paused: list[str]) -> None:
    assert archives(page, answers) == []
    answers["events"].append(event("datapoint", hour(9), at=NOW - timedelta(hours=2)))
    (archive,) = archives(page, answers)
    assert archive["paused"] == paused
    assert archive["rows"][0]["cells"][47 - 8]["state"] == "never"


@pytest.mark.parametrize(
    ("minutes", "run_state", "state"),
    [(5, "running", "waiting"), (89, "running", "waiting"), (91, "running", "delayed"), (5, "queued", "planned")],
)
def test_a_backfill_of_an_old_hour_has_the_time_of_a_new_one(
    page: Page, minutes: int, run_state: str, state: str
) -> None:
    began = {"start_date": (NOW - timedelta(minutes=minutes)).isoformat()}
    answers = attempt(30, "queued", copy_=began)
    answers["runs"][1]["state"] = run_state
    answers["dags"] = [plan_of(0)]
    assert cells(page, answers)["datapoint", 30]["state"] == state


@pytest.mark.parametrize(("minutes", "state"), [(10, "waiting"), (91, "delayed")])
@pytest.mark.parametrize("again", [{"state": "up_for_retry"}, {"state": "running", "try_number": 3}], ids=str)
def test_retries_leave_an_old_hour_the_time_of_its_run(page: Page, again: Json, minutes: int, state: str) -> None:
    # The newest try started just now.
    answers = attempt(30, None)
    answers["copies"][1] |= {**again, "start_date": (NOW - timedelta(minutes=1)).isoformat()}
    answers["runs"][1]["start_date"] = (NOW - timedelta(minutes=minutes)).isoformat()
    assert cells(page, answers)["datapoint", 30]["state"] == state


def test_a_task_of_another_dag_is_marked_and_not_retried(page: Page) -> None:
    intern = run(hour(5), dag="an_intern")
    answers = attempt(5, "failed")
    answers["copies"].append(task(intern, "copy", "failed", **rendered("datapoint")) | {"start_date": NOW.isoformat()})
    answers["runs"].append(intern)
    answers["events"] = [event("datapoint", hour(ago)) for ago in (3, 6)]
    answers["events"].append(event("datapoint", hour(4)) | {"source_dag_id": "an_intern", "source_task_id": "copy"})
    (archive,) = archives(page, answers)
    assert archive["exports"] == [DAG, "an_intern"]
    found = cells(page, answers)
    assert found["datapoint", 5]["again"]["dag"] == DAG
    assert {ago for (_, ago), cell in found.items() if cell.get("by")} == {4}
    assert found["datapoint", 4]["by"] == "an_intern"


def test_an_event_that_a_user_created_by_the_api_has_no_task(page: Page) -> None:
    by_hand = event("datapoint", hour(4)) | dict.fromkeys(["source_dag_id", "source_run_id", "source_task_id"])
    cell = cells(page, read(events=[by_hand, event("datapoint", hour(5))]))["datapoint", 4]
    assert (cell["state"], cell["by"]) == ("landed", "a request to Airflow's API")
    assert cell["task"] is None
    assert cell["again"] is None


def test_hours_before_the_first_one_were_not_asked_for(page: Page) -> None:
    found = cells(page, read(events=[event("datapoint", hour(10))]))
    assert [found["datapoint", ago]["state"] for ago in (11, 10, 9)] == ["unasked", "landed", "never"]


states = st.sampled_from(
    ["success", "failed", "upstream_failed", "skipped", "running", "queued", "deferred", "up_for_retry", None]
)


@SOME
@given(st.integers(0, 47), states, states, st.integers(0, 3))
def test_an_event_wins_over_the_tasks(page: Page, ago: int, copy: str | None, wait: str | None, files: int) -> None:
    answers = attempt(ago, copy, wait)
    answers["events"] = [event("datapoint", hour(ago), files=files, state="landed" if files else "empty")]
    cell = cells(page, answers)["datapoint", ago]
    assert (cell["state"], cell["files"]) == ("landed" if files else "empty", files)


def test_the_newest_event_of_an_hour_counts(page: Page) -> None:
    late = NOW - timedelta(minutes=1)
    events = [
        event("datapoint", hour(5), at=late, files=3, revision=2, lines=7, newest=(hour(4) + HOUR).isoformat()),
        event("datapoint", hour(5), files=2),
    ]
    for order in (events, events[::-1]):
        cell = cells(page, read(events=order))["datapoint", 5]
        assert (cell["files"], cell["revision"], cell["rows"], cell["lag"]) == (3, 2, 7, 3_600_000)


def test_a_landed_hour_whose_later_run_failed_has_landed_and_is_marked(page: Page) -> None:
    for end, marked in ((NOW, True), (hour(5), False)):
        answers = attempt(5, "failed", copy_={"end_date": end.isoformat()})
        answers["events"] = [event("datapoint", hour(5))]
        cell = cells(page, answers)["datapoint", 5]
        assert (cell["state"], cell["failedSince"]) == ("landed", marked)


def test_a_failed_hour_that_was_repaired_since_has_landed(page: Page) -> None:
    answers = attempt(5, "failed")
    repair = event("datapoint", hour(5), at=NOW)
    repair |= {"source_dag_id": "reconcile", "source_task_id": "repair", "source_map_index": 3}
    answers["events"] = [repair]
    cell = cells(page, answers)["datapoint", 5]
    assert (cell["state"], cell["failedSince"]) == ("landed", False)
    assert (cell["task"]["dag"], cell["task"]["mapIndex"]) == ("reconcile", 3)


@pytest.mark.parametrize("key", ["2026-11-20T07:00:00", "2026-11-20T08:00:00+01:00"])
def test_a_run_is_about_its_partition(page: Page, key: str) -> None:
    one = run(hour(5), key=key)
    answers = read(runs=[one], copies=[task(one, "copy", "failed", **rendered("datapoint"))])
    found = {ago for (_, ago), cell in cells(page, answers).items() if cell["state"] == "failed"}
    assert found == {5}


def test_a_run_without_an_interval_of_some_width_is_about_no_hour(page: Page) -> None:
    sweep = run(hour(5) + timedelta(minutes=40), length=timedelta(0))
    answers = read(runs=[sweep], copies=[task(sweep, "copy", "failed", **rendered("datapoint"))])
    assert archives(page, answers) == []


def test_a_run_of_a_day_is_about_its_hours_and_only_those_that_its_task_names(page: Page) -> None:
    day = run(hour(36), length=24 * HOUR)
    whole = task(day, "datapoint", "failed", **rendered("datapoint"))
    cut = task(day, "location", "failed", **rendered("location"))
    cut["rendered_fields"] |= {"start": hour(30).isoformat(), "end": hour(28).isoformat()}
    found = cells(page, read(runs=[day], copies=[whole, cut]))
    assert {ago for (kind, ago), one in found.items() if (kind, one["state"]) == ("datapoint", "failed")} == set(
        range(13, 37)
    )
    assert {ago for (kind, ago), one in found.items() if (kind, one["state"]) == ("location", "failed")} == {29, 30}


def test_archives_are_separate_and_dags_of_one_archive_share_its_map(page: Page) -> None:
    one, two, three = (run(hour(3), dag=dag) for dag in ("one", "two", "three"))
    answers = read(
        assets=[asset(1, "datapoint"), asset(2, "datapoint", "s3://other"), asset(3, "x", f"{DESTINATION}/_layouts")],
        events=[event("datapoint", hour(4)), event("datapoint", hour(4), asset=2), event("x", hour(4), asset=3)],
        runs=[one, two, three],
        copies=[
            task(one, "copy", "failed", **rendered("datapoint")),
            task(two, "copy", "failed", **rendered("location", connection="other")),
            task(three, "copy", "failed", **rendered("datapoint", "s3://other/")),
        ],
    )
    ours, theirs = archives(page, answers)
    assert (ours["destination"], ours["dags"]) == (DESTINATION, ["export", "one", "two"])
    assert ours["connections"] == ["ayla_default", "other"]
    assert [row["eventType"] for row in ours["rows"]] == ["datapoint", "location"]
    assert (theirs["destination"], theirs["dags"]) == ("s3://other", ["export", "three"])


def test_each_hour_tells_whose_archive_it_is_of(page: Page) -> None:
    one, two, three = (run(hour(3), dag=dag) for dag in ("acme", "globex", "new"))
    answers = read(
        assets=[asset(1, "datapoint"), asset(2, "datapoint", "s3://globex")],
        runs=[one, two, three],
        copies=[
            task(one, "copy", "failed", **rendered("datapoint", connection="ayla_acme")),
            task(two, "copy", "failed", **rendered("datapoint", "s3://globex", "ayla_globex")),
            task(three, "datapoint.copy", "failed"),
        ],
    )
    found = archives(page, answers)
    names = [DESTINATION, "new: nothing copied so far", "s3://globex"]
    assert sorted(archive["label"] for archive in found) == sorted(names)
    assert {archive["label"]: archive["connections"] for archive in found} == {
        DESTINATION: ["ayla_acme"],
        "new: nothing copied so far": [],
        "s3://globex": ["ayla_globex"],
    }
    for archive in found:
        assert {cell["archive"] for row in archive["rows"] for cell in row["cells"]} == {archive["label"]}


def test_an_archive_of_which_nothing_is_in_the_range_is_not_forgotten(page: Page) -> None:
    long_ago = {"last_asset_event": {"id": 1, "timestamp": hour(400).isoformat()}}
    never: Json = {"last_asset_event": None}
    answers = read(
        assets=[asset(1, "datapoint"), asset(2, "datapoint", "s3://old") | long_ago, asset(3, "x", "s3://new") | never],
        events=[event("datapoint", hour(4))],
    )
    found = page("return page.silent(args[0], args[1])", answers, archives(page, answers))
    assert found == [{"destination": "s3://old", "at": millis(hour(400))}]


def test_a_task_that_has_not_begun_is_known_by_its_name(page: Page) -> None:
    one = run(hour(3))
    waits = [task(one, "datapoint_ack.wait", "deferred"), task(one, "datapoint.wait", "failed")]
    copies = [task(one, "datapoint_ack.copy", None), task(one, "datapoint.copy", "upstream_failed")]
    found = cells(page, read(runs=[one], copies=copies, waits=waits))
    assert found["datapoint_ack", 3]["state"] == "delayed"
    assert found["datapoint", 3]["state"] == "failed"
    assert found["datapoint", 3]["task"]["task"] == "datapoint.wait"


outcomes = st.lists(st.sampled_from(["landed", "empty", "failed", "never", "two"]), min_size=1, max_size=40)


def made(kinds: list[str]) -> Read:
    answers = read(runs=[], copies=[], events=[])
    for ago, kind in enumerate(kinds, 1):
        one = run(hour(ago))
        if kind in ("landed", "empty", "two"):
            answers["events"].append(event("datapoint", hour(ago), files=2 if kind != "empty" else 0, bytes=10 * ago))
        if kind == "two":
            answers["events"].append(event("datapoint", hour(ago), at=NOW, files=3, lines=ago))
        if kind != "never":
            answers["runs"].append(one)
            state = "failed" if kind == "failed" else "success"
            answers["copies"].append(task(one, "datapoint.copy", state, **rendered("datapoint")))
    return answers


@SOME
@given(outcomes, st.randoms(use_true_random=False))
def test_any_order_of_the_answers_gives_the_same_map(page: Page, kinds: list[str], chance: random.Random) -> None:
    answers = made(kinds)
    shuffled = {name: chance.sample(items, len(items)) for name, items in answers.items()}
    assert archives(page, shuffled) == archives(page, answers)


@SOME
@given(outcomes)
def test_the_totals_of_days_are_those_of_their_hours(page: Page, kinds: list[str]) -> None:
    code = """
        const [archive] = page.archives(args[0], {from: args[1], now: args[2]});
        if (!archive) return undefined;
        const [row] = archive.rows;
        const days = page.days(row);
        return [page.totals(row.cells), days, days.map((day) => page.totals(day.cells))];
    """
    found = page(code, made(kinds), millis(hour(47)), millis(NOW))
    if found is None:
        assert set(kinds) == {"never"}
        return
    whole, days, of_days = found
    for name in ("hours", "problems", "done", "files", "bytes"):
        # Without an asset event, files and bytes aren't known.
        assert whole.get(name, 0) == sum(day.get(name, 0) for day in days) == sum(day.get(name, 0) for day in of_days)
    for state, count in whole["states"].items():
        assert count == sum(day["states"].get(state, 0) for day in days)


@pytest.mark.parametrize(
    ("kinds", "ago", "gaps"),
    [
        # The newest first; the last is the first hour that was wanted.
        (["landed", "landed", "empty", "landed"], 1, 0),
        (["landed", "failed", "landed", "landed"], 1, 1),
        (["failed", "failed", "empty", "landed"], 3, 0),
        (["failed", "failed"], None, 0),
    ],
)
def test_the_newest_complete_hour_and_what_is_missing_before_it(
    page: Page, kinds: list[str], ago: int | None, gaps: int
) -> None:
    code = "return page.newestComplete(page.archives(args[0], {from: args[1], now: args[2]})[0].rows[0].cells)"
    found = page(code, made(kinds), millis(hour(47)), millis(NOW))
    assert (found.get("hour"), found["gaps"]) == (None if ago is None else millis(hour(ago)), gaps)


def test_a_shade_tells_where_a_figure_is_between_the_least_and_the_most_of_its_row(page: Page) -> None:
    row = [{"state": "landed", "files": files} for files in (1, 2, 3, 6)]
    row += [{"state": "empty", "files": 0}, {"state": "failed"}]
    assert page("return args[0].map(page.shades(args[0], 'files'))", row) == [1, 2, 3, 5, 0, 0]
    assert page("return args[0].map(page.shades(args[0], 'rows'))", row) == [0] * 6
    assert page("return args[0].slice(0, 1).map(page.shades(args[0].slice(0, 1), 'files'))", row) == [3]


def test_a_day_that_is_not_complete_does_not_set_the_scale(page: Page) -> None:
    row = [{"state": "landed", "bytes": size, "hours": 24, "done": 24} for size in (1000, 1100, 1200)]
    row += [{"state": "landed", "bytes": 40, "hours": 12, "done": 11}]
    assert page("return args[0].map(page.shades(args[0], 'bytes'))", row) == [1, 3, 5, 1]
    # Without any complete day, there is no scale.
    partial = [{"state": "landed", "bytes": size, "hours": 24, "done": size // 10} for size in (10, 30)]
    assert page("return args[0].map(page.shades(args[0], 'bytes'))", partial) == [3, 3]


def test_copies_that_nothing_proves_are_found(page: Page) -> None:
    runs = [run(hour(ago)) for ago in (2, 3, 4, 5)]
    answers = read(
        runs=runs,
        events=[event("datapoint", hour(2))],
        copies=[task(runs[3], "datapoint.copy", "failed", **rendered("datapoint"))],
    )
    assert page(
        "return page.unproven(args[0], {from: args[1], now: args[2]})", answers, millis(hour(47)), millis(NOW)
    ) == [{"dag": DAG, "task": "datapoint.copy", "from": runs[2]["run_after"], "to": runs[1]["run_after"]}]


def test_times_are_shown_in_the_users_zone_and_in_utc(page: Page) -> None:
    text = "return page.hourText(args[0], args[1])"
    start = millis(datetime.fromisoformat("2026-11-20T20:00:00+00:00"))
    assert page(text, start, "UTC") == "Fri 20 Nov 20:00\u201321:00 UTC"
    kolkata = page(text, start, "Asia/Kolkata")
    assert kolkata == "Sat 21 Nov 01:30\u201302:30 Asia/Kolkata (20 Nov 20:00 UTC)"


def test_an_hour_of_a_clock_change_names_the_offsets(page: Page) -> None:
    text = "return page.hourText(args[0], args[1])"
    change = millis(datetime(2026, 10, 25, tzinfo=UTC))
    assert "02:00 GMT+2\u201302:00 GMT+1 Europe/Berlin (25 Oct 00:00 UTC)" in page(text, change, "Europe/Berlin")
    assert "02:00\u201303:00 Europe/Berlin (25 Oct 01:00 UTC)" in page(text, change + AN_HOUR, "Europe/Berlin")


@SOME
@given(outcomes)
def test_an_archive_is_complete_until_an_hour_apart_from_its_gaps(page: Page, kinds: list[str]) -> None:
    code = """
        const [archive] = page.archives(args[0], {from: args[1], now: args[2]});
        return archive && [page.completeness(archive.rows), archive.rows.map((row) => row.cells)];
    """
    found = page(code, made(kinds), millis(hour(47)), millis(NOW))
    if found is None:
        return
    complete, rows = found
    until = complete.get("until")
    done = [[cell["hour"] for cell in cells if cell["state"] in ("landed", "empty")] for cells in rows]
    if not all(done):
        assert until is None
        return
    assert until == min(map(max, done)) + AN_HOUR
    before = [cell["state"] for cells in rows for cell in cells if cell["hour"] < until]
    assert complete["gaps"] == len([state for state in before if state not in ("landed", "empty", "unasked")])


VERIFY = {"source_dag_id": "verify", "source_task_id": "verify", "source_run_id": "scheduled__1"}


def test_an_hour_that_verify_found_lost_is_lost_until_a_copy_has_it_again(page: Page) -> None:
    lost = event("datapoint", hour(5), at=NOW - 2 * HOUR, state="lost", lost=1) | VERIFY
    answers = attempt(5, "success")
    answers["events"] = [event("datapoint", hour(5)), lost]
    (archive,) = archives(page, answers)
    assert (archive["dags"], archive["exports"]) == ([DAG], [DAG]), "the DAG that verifies copies nothing"
    cell = cells(page, answers)["datapoint", 5]
    assert (cell["state"], cell["files"], cell["lost"]) == ("lost", 2, 1)
    assert cell["task"]["dag"] == "verify"
    assert cell["again"]["dag"] == DAG
    facts = page("return page.hourFacts(args[0], 'UTC')", cell)
    assert "1 of them lost" in facts
    assert facts[1].startswith("lost: ")
    assert page("return page.PROBLEMS.has('lost') && !page.DONE.has('lost')")

    answers["events"].append(event("datapoint", hour(5), at=NOW - HOUR))
    assert cells(page, answers)["datapoint", 5]["state"] == "landed"


def test_the_task_that_verifies_is_not_run_again_for_a_lost_hour(page: Page) -> None:
    answers = attempt(5, "success")
    answers["events"] = [event("datapoint", hour(9), at=NOW - 2 * HOUR, state="lost", lost=2) | VERIFY]
    cell = cells(page, answers)["datapoint", 9]
    assert cell["state"] == "lost"
    assert cell.get("again") is None


def test_a_day_with_a_lost_hour_is_lost(page: Page) -> None:
    answers = attempt(5, "failed")
    answers["events"] = [event("datapoint", hour(6), state="lost", lost=1) | VERIFY]
    (archive,) = archives(page, answers)
    states = page("return args[0].flatMap((row) => page.days(row)).map((day) => day.state)", archive["rows"])
    assert "lost" in states
    assert "failed" not in states


def test_a_size_is_the_same_as_in_a_report(page: Page) -> None:
    sizes = [
        0,
        999,
        1000,
        2250,
        2350,
        2450,
        24_650,
        999_949,
        999_950,
        999_999,
        1_234_567,
        10**9,
        123_456_789_012,
        10**15,
    ]
    assert page("return args[0].map(page.size)", sizes) == [size_text(size) for size in sizes]


STREAM = "kinesis://eu-west-1/fleet"
GAP = {"shard": "0", "from": hour(9).isoformat(), "to": hour(7).isoformat(), "lost": 5}


def streamed(event_type: str, ago: int, *, asset: int = 1, **extra: Any) -> Json:
    """An asset event of a task that drains a stream."""
    made = event(event_type, hour(ago), asset=asset, at=hour(ago) + 2 * HOUR, **({"stream": STREAM} | extra))
    return made | {"source_dag_id": "drain_a_stream", "source_task_id": "drain"}


def test_an_hour_of_a_stream_is_open_until_its_event_comes(page: Page) -> None:
    events = [streamed("datapoint", 5), streamed("datapoint", 4, files=0, state="empty"), streamed("datapoint", 3)]
    found = cells(page, read(events=events), hours=7)
    states = [found["datapoint", ago]["state"] for ago in range(6, -1, -1)]
    assert states == ["unasked", "landed", "empty", "landed", "open", "open", "open"]
    assert page("return [...page.PROBLEMS].includes('open')") is False


def test_all_event_types_of_a_stream_are_complete_up_to_the_same_hour(page: Page) -> None:
    assets = [asset(1, "datapoint"), asset(2, "location")]
    # The first location came late, so that no event announced the hours between.
    events = [streamed("datapoint", 3), streamed("location", 6, asset=2)]
    found = cells(page, read(assets=assets, events=events), hours=7)
    assert [found["location", ago]["state"] for ago in (6, 5, 3, 2)] == ["landed", "unasked", "unasked", "open"]


def test_a_stream_has_no_runs_to_repeat_and_none_is_missing(page: Page) -> None:
    answers = read(events=[streamed("datapoint", 5)])
    (archive,) = archives(page, answers)
    assert (archive["dags"], archive["exports"]) == (["drain_a_stream"], [])
    assert page("return page.names(args[0]).dags", answers) == []
    code = """
        const [{rows: [row]}] = page.archives(args[0], {from: args[1], now: args[2]});
        const {runs, never, without} = page.plan(row.cells, () => undefined);
        return [runs.length, never.length, without.length];
    """
    assert page(code, answers, millis(hour(5)), millis(NOW)) == [0, 0, 6]


def test_the_newest_event_says_which_gaps_are_not_acknowledged(page: Page) -> None:
    lost = {"gaps": [GAP], "unacknowledged_gaps": 3}
    events = [streamed("datapoint", 5), streamed("datapoint", 4, **lost)]
    for order in (events, events[::-1]):
        (archive,) = archives(page, read(events=order))
        stream = archive["stream"]
        gap = {"shard": "0", "from": millis(hour(9)), "to": millis(hour(7)), "lost": 5}
        assert (stream["url"], stream["gaps"], stream["unacknowledged"]) == (STREAM, [gap], 3)
        assert stream["at"] == millis(hour(4) + 2 * HOUR)
    (archive,) = archives(page, read(events=[*events, streamed("datapoint", 3, gaps=[], unacknowledged_gaps=0)]))
    assert (archive["stream"]["gaps"], archive["stream"]["unacknowledged"]) == ([], 0)


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (GAP, "shard 0, from 20 Nov 2026 03:00 to 20 Nov 2026 05:00, 5 records"),
        (GAP | {"from": None, "lost": None}, "shard 0, from its beginning to 20 Nov 2026 05:00"),
    ],
)
def test_a_gap_is_described(page: Page, gap: Json, text: str) -> None:
    code = """
        const [{stream}] = page.archives(args[0], {from: args[1], now: args[2]});
        return page.gapText(stream.gaps[0], "UTC");
    """
    answers = read(events=[streamed("datapoint", 5, gaps=[gap], unacknowledged_gaps=1)])
    assert page(code, answers, millis(hour(5)), millis(NOW)) == text


@SOME
@given(st.dictionaries(st.sampled_from(["stream", "gaps", "unacknowledged_gaps"]), json_values | st.just([GAP, 7])))
def test_what_an_event_says_of_a_stream_is_sound_or_absent(page: Page, extra: Json) -> None:
    (archive,) = archives(page, read(events=[event("datapoint", hour(5), **extra)]))
    stream = archive.get("stream")
    if stream is None:
        return
    assert isinstance(stream["url"], str)
    assert stream["unacknowledged"] >= 0
    assert all(isinstance(gap["to"], int) for gap in stream["gaps"])


def test_an_export_is_no_stream(page: Page) -> None:
    (archive,) = archives(page, read(events=[event("datapoint", hour(5))]))
    assert archive.get("stream") is None

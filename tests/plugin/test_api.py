from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.plugin.answers import DAG, NOW, Json, event, hour, millis, read, rendered, run, task

Page = Callable[..., Any]

READ = """
    const [lists, options] = args;
    const seen = {urls: [], most: 0};
    let open = 0;
    globalThis.fetch = async (url, {body}) => {
      seen.urls.push(decodeURIComponent(String(url)));
      seen.most = Math.max(seen.most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 2));
      open -= 1;
      const asked = body ? JSON.parse(body) : Object.fromEntries(new URL(url).searchParams);
      const [path] = new URL(url).pathname.split("/api/v2/").slice(1);
      const refused = options.refused?.find((one) => path.includes(one));
      if (refused) return new Response('{"detail": "Forbidden"}', {status: 403});
      const key = path === "assets" ? "assets" : path === "assets/events" ? "events"
        : path.endsWith("list") ? "runs" : asked.operator === "AylaExportHourSensor" ? "waits"
        : asked.task_id ? "others" : "copies";
      const names = {assets: "assets", events: "asset_events", runs: "dag_runs"};
      const items = lists[key] ?? [];
      const offset = Number(asked.offset ?? asked.page_offset);
      return new Response(JSON.stringify({
        [names[key] ?? "task_instances"]: items.slice(offset, offset + 100), total_entries: items.length,
      }));
    };
    return page.read(options.range, {before: options.before}).then(
      (found) => ({found, ...seen}), (error) => ({status: error.status, message: error.message, ...seen}));
"""
RANGE = {"from": millis(hour(47)), "now": millis(NOW), "whole": True}


def ask(page: Page, answers: Json, **options: Any) -> Json:
    result: Json = page(READ, answers, {"range": RANGE, **options})
    return result


def test_lists_of_many_pages_are_read_whole_a_few_at_once(page: Page) -> None:
    events = [event("datapoint", hour(number % 40), files=number) for number in range(950)]
    done = ask(page, read(events=events))
    assert sorted(one["id"] for one in done["found"]["events"]) == [one["id"] for one in events]
    assert 1 < done["most"] <= 6


def test_a_refresh_reads_only_the_events_since_the_last_one(page: Page) -> None:
    old, new = event("datapoint", hour(5)), event("datapoint", hour(1))
    before = read(events=[old]) | {"from": RANGE["from"], "at": millis(NOW)}
    done = ask(page, read(events=[new]), before=before)
    assert {one["id"] for one in done["found"]["events"]} == {old["id"], new["id"]}
    (asked,) = [url for url in done["urls"] if "assets/events" in url]
    since = NOW - timedelta(minutes=5)
    assert f"timestamp_gte={since:%Y-%m-%dT%H:%M}" in asked


def test_a_user_who_may_not_read_assets_sees_the_tasks(page: Page) -> None:
    one = run(hour(3))
    answers = read(runs=[one], copies=[task(one, "datapoint.copy", "success", **rendered("datapoint"))])
    found = ask(page, answers, refused=["assets"])["found"]
    assert (found["blind"], found["events"], len(found["copies"])) == (True, [], 1)


def test_a_user_who_may_not_read_tasks_gets_a_message(page: Page) -> None:
    done = ask(page, read(), refused=["taskInstances"])
    assert done["status"] == 403
    assert "task instances with 403: Forbidden." in done["message"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"body": "<html>", "status": 200}, "with 200: the answer isn't JSON"),
        ({"body": "<html>", "status": 502}, "with 502."),
        ({"body": '{"detail": ""}', "status": 502}, "with 502."),
        ({"body": "null", "status": 500}, "with 500."),
        ({"body": "[]", "status": 200}, "the answer has no"),
        ({"body": "{}", "status": 200}, "the answer has no"),
    ],
)
def test_an_answer_of_an_unexpected_form_is_named(page: Page, answer: Json, message: str) -> None:
    code = """
        globalThis.fetch = async () => new Response(args[0].body, {status: args[0].status});
        return page.read(args[1]).then(() => "", (error) => error.message);
    """
    assert message in page(code, answer, RANGE)


def test_a_request_without_an_answer_ends(page: Page) -> None:
    code = """return (async () => {
        const forever = AbortSignal.timeout;
        AbortSignal.timeout = () => forever.call(AbortSignal, 20);
        globalThis.fetch = (url, {signal}) =>
          new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
        const message = await page.ask("assets").catch((error) => error.message);
        AbortSignal.timeout = forever;
        return message;
    })()"""
    assert "no answer within 60 seconds" in page(code)


def test_a_user_who_may_not_read_asset_events_sees_the_tasks(page: Page) -> None:
    assert ask(page, read(), refused=["assets/events"])["found"]["blind"]


def test_a_dag_that_no_url_can_address_does_not_stop_the_page(page: Page) -> None:
    odd = event("datapoint", hour(4)) | {"source_dag_id": ".."}
    done = ask(page, read(runs=[run(hour(3), dag="..")], events=[odd]))
    assert "found" in done
    assert page("return page.pathOf(args[0]) ?? null", {"dag": "..", "run": "r", "task": "t"}) is None


def test_copies_of_an_operator_of_the_users_own_are_found_by_their_names(page: Page) -> None:
    done_one, failed_one = run(hour(4)), run(hour(3))
    own = task(failed_one, "datapoint.copy", "failed", **rendered("datapoint"))
    answers = read(runs=[done_one, failed_one], events=[event("datapoint", hour(4))]) | {"others": [own]}
    done = ask(page, answers)
    assert [one["id"] for one in done["found"]["copies"]] == [own["id"]]
    assert any(f"dags/{DAG}/" in url and "task_id=datapoint.copy" in url for url in done["urls"])

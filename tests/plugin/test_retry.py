from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from tests.plugin.answers import hour, millis

Page = Callable[..., Any]
PLAN = """
    const plan = page.plan(args[0], () => args[1]);
    return {...plan, runs: plan.runs.map((run) => ({...run, tasks: [...run.tasks.values()]}))};
"""


def cell(ago: int, state: str = "failed", **more: Any) -> dict[str, Any]:
    return {"eventType": "datapoint", "hour": millis(hour(ago)), "state": state, "key": f"datapoint {ago}", **more}


def again(run: str, task: str, **more: Any) -> dict[str, Any]:
    return {"again": {"dag": "export", "run": run, "task": task, "mapIndex": -1, "hours": 1, **more}}


def test_the_tasks_of_a_run_are_cleared_together(page: Page) -> None:
    cells = [
        cell(3, **again("r1", "datapoint.copy")),
        cell(3, **again("r1", "location.copy", wait="location.wait")),
        cell(2, **again("r2", "datapoint.copy")),
        cell(1, **again("r3", "repair", mapIndex=4)),
    ]
    runs = page(PLAN, cells, "export")["runs"]
    assert [(run["run"], run["tasks"]) for run in runs] == [
        ("r1", ["datapoint.copy", "location.wait", "location.copy"]),
        ("r2", ["datapoint.copy"]),
        ("r3", [["repair", 4]]),
    ]


def test_what_is_worked_on_is_left_alone(page: Page) -> None:
    plan = page(PLAN, [cell(2, "delayed", underWay=True, **again("r1", "datapoint.copy"))], "export")
    assert (plan["runs"], len(plan["underWay"])) == ([], 1)


def test_hours_that_never_ran_are_left_to_a_backfill(page: Page) -> None:
    plan = page(PLAN, [cell(ago, "never") for ago in (2, 3, 4, 9)], "an export")
    create = ["airflow", "backfill", "create", "--dag-id", "an export"]
    commands = [shlex.split(page("return page.backfill(args[0])", span)) for span in plan["never"]]
    assert commands == [
        [*create, "--from-date", hour(first).isoformat(), "--to-date", hour(last).isoformat()]
        for first, last in ((9, 9), (4, 2))
    ]
    assert plan["runs"] == plan["without"] == []


def test_an_hour_without_any_task_is_said_to_be_left_out(page: Page) -> None:
    assert len(page(PLAN, [cell(1, "waiting")], None)["without"]) == 1

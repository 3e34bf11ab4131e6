"""A small client for the REST API of Airflow 3.1 or later, for the demo, tests and benchmarks."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import requests

T = TypeVar("T")
Json = dict[str, Any]

_PAGE = 100
"""Airflow's ``[api] maximum_page_limit``. Airflow silently reduces a larger limit to it."""

_PAUSES = (0.5, 1, 2, 4)
"""Seconds before another try after a 500, when SQLite was locked and Airflow rolled back, or an expired token."""

_SHOWN = {"timestamp", "level", "event", "error_detail"}
_LEFT_OUT = {"dag_id", "run_id", "task_id", "map_index", "try_number", "ti", "ti_id", "filename", "lineno", "logger"}
"""Fields of a log message that only name the task and the line of code."""

_FINISHED = ("success", "failed")

_WELL = ("success", "skipped", "removed")
"""States of tasks that need no explanation."""

_EXPLAINED = 10
"""How many tasks an error explains."""


class AirflowError(Exception):
    """Airflow, or a DAG that runs in it, failed."""


class AirflowTimeoutError(AirflowError):
    """Something did not happen in time."""


class AirflowApiError(AirflowError):
    """
    The REST API answered with an error.

    :ivar status: the HTTP status
    :ivar body: the answer as text
    """

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path} got the answer {status}: {body[:2000]}")
        self.status = status
        self.body = body


class AirflowClient:
    """
    The REST API of one Airflow, as one of its users.

    :param url: such as ``http://127.0.0.1:8080``, without a final slash
    :param username: a user of the simple auth manager
    :param password: the user's password
    """

    def __init__(self, *, url: str, username: str, password: str) -> None:
        self.url = url
        self.username = username
        self.password = password
        self._session = requests.Session()
        # Ignore proxies and .netrc files of the user's shell.
        self._session.trust_env = False
        self._token = ""

    @property
    def token(self) -> str:
        """The bearer token (JWT) of this user, renewed a minute before it expires."""
        if not self._token or _expires_at(self._token) < time.time() + 60:
            body = {"username": self.username, "password": self.password}
            answer = self._session.post(f"{self.url}/auth/token", json=body, timeout=120)
            self._token = str(_parsed(answer, "POST", "/auth/token")["access_token"])
        return self._token

    def api(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        timeout: float = 120,
    ) -> Any:
        """
        Call the REST API, and return its parsed answer; None if the answer is empty.

        :param method: such as ``GET``
        :param path: below ``/api/v2``, such as ``dags/my_dag``
        :param json: the body
        :param params: the query; a list gives a parameter several times
        :param timeout: seconds
        :raises AirflowApiError: if the status is 400 or more; after a 500, only if further tries fail, too
        :raises requests.RequestException: if there is no answer
        """
        path = f"/api/v2/{path.lstrip('/')}"
        for pause in (*_PAUSES, None):
            headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
            answer = self._session.request(
                method, self.url + path, json=json, params=params, headers=headers, timeout=timeout
            )
            if answer.status_code == 401:
                self._token = ""  # Airflow restarted with other keys
            elif answer.status_code != 500:
                break
            if pause is not None:
                time.sleep(pause)
        return _parsed(answer, method, path)

    def pages(self, path: str, key: str, **params: Any) -> list[Json]:
        """
        Return all items of a list of the REST API, fetched page by page.

        :param path: below ``/api/v2``
        :param key: the key of the items in the answer, such as ``dag_runs``
        :param params: the query
        """
        return list(self._pages(path, key, params))

    def _pages(self, path: str, key: str, params: Mapping[str, Any]) -> Iterator[Json]:
        offset = 0
        while True:
            page = self.api("GET", path, params={**params, "limit": _PAGE, "offset": offset})
            yield from page[key]
            offset += len(page[key])
            if not page[key] or offset >= page["total_entries"]:
                return

    # DAGs and their runs

    def wait_for_dag(self, dag_id: str, timeout: float = 600) -> Json:
        """
        Wait until Airflow has parsed a DAG, and return it.

        :param timeout: seconds
        :raises AirflowTimeoutError: with the import errors of the DAG files, if there are any
        """

        def find() -> Json | None:
            try:
                dag: Json = self.api("GET", f"dags/{dag_id}")
            except AirflowApiError as error:
                if error.status == 404:
                    return None
                raise
            return dag

        def import_errors() -> str:
            errors = self.pages("importErrors", "import_errors")
            return "\n".join(f"{error['filename']}: {error['stack_trace']}" for error in errors) or "no import errors"

        return self.wait_until(f"DAG {dag_id} to be parsed", find, timeout=timeout, explain=import_errors)

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG, like its switch in the UI."""
        self.api("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Pause a DAG, like its switch in the UI."""
        self.api("PATCH", f"dags/{dag_id}", json={"is_paused": True})

    def trigger(
        self, dag_id: str, *, logical_date: datetime | None = None, conf: Mapping[str, Any] | None = None, **body: Any
    ) -> Json:
        """
        Trigger a run, and return it.

        :param logical_date: aware; None for a run without one
        :param conf: the run's parameters
        :param body: further fields of the API, such as ``dag_run_id`` or ``note``
        """
        date = logical_date.isoformat() if logical_date else None
        run: Json = self.api(
            "POST", f"dags/{dag_id}/dagRuns", json={"logical_date": date, "conf": dict(conf or {}), **body}
        )
        return run

    def dag_runs(self, dag_id: str, **params: Any) -> list[Json]:
        """Return the runs of a DAG, the oldest first; ``params`` are filters of the API, such as ``state``."""
        return self.pages(f"dags/{dag_id}/dagRuns", "dag_runs", order_by="run_after", **params)

    def task_instances(self, dag_id: str, run_id: str = "~", **params: Any) -> list[Json]:
        """Return the task instances of one run, or of all runs (``~``)."""
        return self.pages(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances", **params)

    def wait_for_runs(
        self,
        dag_id: str,
        *,
        run_ids: Collection[str] = (),
        count: int = 1,
        state: str | None = "success",
        timeout: float = 900,
    ) -> list[Json]:
        """
        Wait until runs of a DAG have ended, and return them.

        :param run_ids: the runs to wait for
        :param count: without ``run_ids``, the number of runs that must have ended, including earlier ones
        :param state: the required state, ``success`` or ``failed``; None allows both
        :param timeout: seconds
        :raises AirflowError: at the first run with another state, with its tasks and the ends of their logs
        :raises AirflowTimeoutError: with the states of runs and tasks
        """

        def finished() -> list[Json] | None:
            ended = [
                run
                for run in self.dag_runs(dag_id, state=list(_FINISHED))
                if not run_ids or run["dag_run_id"] in run_ids
            ]
            for run in ended:
                if state and run["state"] != state:
                    raise AirflowError(self._describe_run(dag_id, run))
            return ended if len(ended) >= (len(set(run_ids)) or count) else None

        def states() -> str:
            runs = [f"{run['dag_run_id']}: {run['state']}" for run in self.dag_runs(dag_id)]
            return "\n".join(["runs:", *runs, "tasks:", *self._describe_tasks(dag_id)])

        what = f"{len(set(run_ids)) or count} run(s) of {dag_id} to end"
        return self.wait_until(what, finished, timeout=timeout, explain=states)

    def _describe_run(self, dag_id: str, run: Json) -> str:
        first = f"run {run['dag_run_id']} of {dag_id} ended as {run['state']}"
        return "\n".join([first, *self._describe_tasks(dag_id, run["dag_run_id"])])

    def _describe_tasks(self, dag_id: str = "~", run_id: str = "~") -> list[str]:
        """Return the states of tasks, the ends of the logs of tries that haven't succeeded, and what failed them."""
        lines = []
        explained = 0
        for task in self.task_instances(dag_id, run_id):
            lines.append(_describe_task(task))
            tries = range(1, task["try_number"] + 1)
            if task["state"] in _WELL:
                tries = tries[:-1]
            if tries and explained < _EXPLAINED:
                explained += 1
                for number in tries[-3:]:
                    lines += self._end_of_log(task, number)
        # The scheduler fails a task whose process ended while its state says that it runs. Its log says nothing of it.
        mismatches = self.pages("eventLogs", "event_logs", event="state mismatch")
        lines += [f"  {one['when']} {one['dag_id']} {one['task_id']}: {one['extra']}" for one in mismatches]
        return lines

    def _end_of_log(self, task: Json, number: int) -> list[str]:
        try:
            log = self.task_log(
                task["dag_id"], task["dag_run_id"], task["task_id"], number, map_index=task["map_index"]
            )
        except AirflowApiError as error:
            log = str(error)
        return [f"    log of try {number}:", *(f"    {line}" for line in log.splitlines()[-30:])]

    # Tasks: logs, XComs

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int | None = None, *, map_index: int = -1
    ) -> str:
        """
        Return the log of a task as plain text, with tracebacks and a line for each message.

        :param try_number: counted from 1; None means the latest
        :param map_index: the index of a mapped task; -1 for other tasks
        """
        task = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        if try_number is None:
            try_number = self.api("GET", f"{task}/{map_index}" if map_index >= 0 else task)["try_number"]
        answer = self.api(
            "GET", f"{task}/logs/{try_number}", params={"map_index": map_index, "full_content": True}, timeout=120
        )
        return "\n".join(_log_line(message) for message in answer["content"])

    def xcoms(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> Json:
        """Return the XComs of a task instance as JSON values, by key."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries"
        keys = [entry["key"] for entry in self.pages(path, "xcom_entries", map_index=map_index)]
        return {key: self.api("GET", f"{path}/{key}", params={"map_index": map_index})["value"] for key in keys}

    # Running it again

    def backfill(
        self,
        dag_id: str,
        start: datetime,
        end: datetime,
        *,
        reprocess: str = "none",
        max_active_runs: int = 10,
        **body: Any,
    ) -> Json:
        """
        Create a backfill, and return it.

        :param start: aware; the first logical date
        :param end: aware; the last logical date, inclusive
        :param reprocess: which existing runs to run again: ``none``, ``failed`` or ``completed``
        :param max_active_runs: the number of runs at once
        :param body: further fields of the API, such as ``dag_run_conf``
        """
        created: Json = self.api(
            "POST",
            "backfills",
            json={
                "dag_id": dag_id,
                "from_date": start.isoformat(),
                "to_date": end.isoformat(),
                "reprocess_behavior": reprocess,
                "max_active_runs": max_active_runs,
                **body,
            },
        )
        return created

    def wait_for_backfill(self, backfill_id: int, timeout: float = 900) -> Json:
        """
        Wait until all runs of a backfill have ended in any state, and return the backfill.

        :param timeout: seconds
        """

        def completed() -> Json | None:
            backfill: Json = self.api("GET", f"backfills/{backfill_id}")
            return backfill if backfill["completed_at"] else None

        return self.wait_until(f"backfill {backfill_id} to end", completed, timeout=timeout)

    def clear(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        task_ids: Sequence[str] | None = None,
        only_failed: bool = False,
        downstream: bool = False,
    ) -> list[Json]:
        """
        Clear tasks, like "Clear" in the UI, and return the task instances that run again.

        :param run_id: the run; without it, ``start`` and ``end`` select runs
        :param start: aware; the first logical date of the runs
        :param end: aware; the last logical date of the runs
        :param task_ids: the tasks; None means all
        :param only_failed: whether to clear only failed tasks
        :param downstream: whether to clear downstream tasks, too
        """
        chosen = {
            "dag_run_id": run_id,
            "start_date": start.isoformat() if start else None,
            "end_date": end.isoformat() if end else None,
            "task_ids": list(task_ids) if task_ids is not None else None,
        }
        body: Json = {"dry_run": False, "only_failed": only_failed, "include_downstream": downstream}
        body.update({name: value for name, value in chosen.items() if value is not None})
        cleared: list[Json] = self.api("POST", f"dags/{dag_id}/clearTaskInstances", json=body)["task_instances"]
        return cleared

    # Waiting

    def wait_until(
        self,
        what: str,
        probe: Callable[[], T | None],
        *,
        timeout: float,
        interval: float = 1,
        explain: Callable[[], str] | None = None,
    ) -> T:
        """
        Call ``probe`` until it returns a value, and return the value.

        A server error (5xx), a timeout or a lost connection counts as None, because SQLite locks under load.

        :param what: the text for the error: "waited 90 s for ..."
        :param probe: returns None to continue waiting
        :param timeout: seconds
        :param interval: seconds between two calls
        :param explain: returns a text to add to the error; by default the tasks and the ends of their logs
        :raises AirflowTimeoutError: if there is no value in time
        """
        deadline = time.monotonic() + timeout
        last = ""
        while True:
            try:
                value = probe()
            except AirflowApiError as error:
                if error.status < 500:
                    raise
                value, last = None, f"\n{error}"
            except (requests.Timeout, requests.ConnectionError) as error:
                value, last = None, f"\n{error}"
            if value is not None:
                return value
            if time.monotonic() > deadline:
                raise AirflowTimeoutError(f"waited {timeout:.0f} s for {what}{last}\n{self._explained(explain)}")
            self._check()
            time.sleep(interval)

    def _explained(self, explain: Callable[[], str] | None) -> str:
        try:
            return explain() if explain else "\n".join(self._describe_tasks())
        except (AirflowError, requests.RequestException) as error:
            return f"Airflow doesn't say more: {error}"

    def _check(self) -> None:
        """Raise an error if waiting is pointless. :meth:`wait_until` calls it between two probes."""


def _parsed(answer: requests.Response, method: str, path: str) -> Any:
    if answer.status_code >= 400:
        raise AirflowApiError(method, path, answer.status_code, answer.text)
    return answer.json() if answer.content else None


def _expires_at(token: str) -> float:
    """Return when a JWT expires, in seconds since the epoch, without a check of its signature."""
    payload = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])


def _describe_task(task: Json) -> str:
    mapped = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
    return f"  {task['dag_run_id']} {task['task_id']}{mapped}, try {task['try_number']}: {task['state']}"


def _log_line(message: Json | str) -> str:
    if isinstance(message, str):
        return message
    start = [str(message[name]) for name in ("timestamp", "level", "event") if message.get(name)]
    fields = [f"{name}={_text(value)}" for name, value in message.items() if name not in _SHOWN | _LEFT_OUT]
    return "\n".join([" ".join([*start, *fields]), *_traceback(message.get("error_detail") or [])])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _traceback(errors: Sequence[Json]) -> Iterator[str]:
    for error in errors:
        for frame in error.get("frames") or []:
            yield f"  {frame['filename']}:{frame['lineno']} in {frame['name']}"
        yield f"{error['exc_type']}: {error['exc_value']}"
        yield from error.get("exc_notes") or []

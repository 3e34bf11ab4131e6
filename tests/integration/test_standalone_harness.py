"""The harness itself, with a real Airflow: it starts, it runs a DAG, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import AirflowApiError, AirflowError
from harness.processes import port_is_free
from harness.standalone import Standalone

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DAG = """
import os
from airflow.sdk import BaseHook, dag, task

@dag(schedule=None)
def harness():
    @task
    def look(params=None) -> dict:
        print("hello from the task")
        if params.get("fail"):
            raise ValueError("on purpose")
        login = BaseHook.get_connection("some_service").login
        return {"environment": sorted(os.environ), "login": login, "text": "1"}

    @task.bash(env={"ONLY": "this"})
    def sleep():
        return "{{ 'sleep 600' if params.sleep else 'true' }}"

    look() >> sleep()

harness().params.update({"fail": False, "sleep": False})
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    folder = tmp_path_factory.mktemp("harness")
    (folder / "dags").mkdir()
    (folder / "dags" / "harness.py").write_text(DAG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
        patch.setenv("AIRFLOW__WEBSERVER__FROM_THE_SHELL", "x")
        patch.setenv("AIRFLOW_CONN_FROM_THE_SHELL", "http://shell")
        connections = {"some_service": {"conn_type": "http", "login": "me", "password": "not-on-a-command-line"}}
        harness = Standalone(
            folder / "home",
            folder / "dags",
            connections=connections,
            environment={"FROM_THE_TEST": "y"},
            users={"visitor": "viewer"},
            parallelism=2,
        )
        with harness:
            harness.wait_for_dag("harness")
            harness.unpause("harness")
            yield harness


def test_a_task_runs_and_shows_its_log_and_xcoms(airflow: Standalone) -> None:
    run = airflow.trigger("harness")["dag_run_id"]
    airflow.wait_for_runs("harness", run_ids=[run])

    assert "hello from the task" in airflow.task_log("harness", run, "look")
    result = airflow.xcoms("harness", run, "look")["return_value"]
    assert (result["login"], result["text"]) == ("me", "1")
    assert {task["task_id"]: task["state"] for task in airflow.task_instances("harness", run)} == {
        "look": "success",
        "sleep": "success",
    }


def test_what_the_shell_has_set_does_not_reach_it(airflow: Standalone) -> None:
    run = airflow.trigger("harness")["dag_run_id"]
    airflow.wait_for_runs("harness", run_ids=[run])

    names = airflow.xcoms("harness", run, "look")["return_value"]["environment"]
    assert "FROM_THE_TEST" in names
    assert not [name for name in names if "FROM_THE_SHELL" in name or name.startswith("PYTEST_")]
    assert {dag["dag_id"] for dag in airflow.pages("dags", "dags")} == {"harness"}


def test_a_failed_run_is_reported_with_its_log(airflow: Standalone) -> None:
    run = airflow.trigger("harness", conf={"fail": True})["dag_run_id"]
    with pytest.raises(AirflowError, match=r"(?s)ended as failed.*look, try 1: failed.*ValueError: on purpose"):
        airflow.wait_for_runs("harness", run_ids=[run])
    assert airflow.wait_for_runs("harness", run_ids=[run], state="failed")

    airflow.clear("harness", run_id=run, only_failed=True)
    assert airflow.wait_for_runs("harness", run_ids=[run], state=None)
    assert "hello from the task" in airflow.task_log("harness", run, "look", 2)


def test_users_have_their_roles(airflow: Standalone) -> None:
    visitor = airflow.client("visitor")
    assert visitor.api("GET", "dags/harness")["is_paused"] is False
    with pytest.raises(AirflowApiError) as refused:
        visitor.pause("harness")
    assert refused.value.status == 403


def test_its_command_line_can_be_used(airflow: Standalone) -> None:
    assert "harness" in airflow.command("dags", "list", "--columns", "dag_id")
    with pytest.raises(AirflowError, match=r"(?s)airflow dags nonsense ended with 2.*invalid choice"):
        airflow.command("dags", "nonsense")


def test_a_second_one_in_the_same_home_is_refused(airflow: Standalone) -> None:
    with pytest.raises(AirflowError, match=r"is already running in"):
        Standalone(airflow.home, airflow.dags).start()
    assert airflow.api("GET", "dags/harness")


def test_a_taken_port_is_refused(airflow: Standalone, tmp_path: Path) -> None:
    with pytest.raises(AirflowError, match=f"port {airflow.ports[0]} is in use"):
        Standalone(tmp_path, airflow.dags, port=airflow.ports[0]).start()


def test_nothing_is_left_when_it_stops(airflow: Standalone) -> None:
    """
    Not even what a running task has started, in a session and with an environment of its own.

    This test stops the Airflow that the tests above share.
    """
    run = airflow.trigger("harness", conf={"sleep": True})["dag_run_id"]

    def sleeps() -> bool | None:
        running = airflow.task_instances("harness", run, task_id="sleep", state="running")
        return bool(running and _runs("sleep 600")) or None

    airflow.wait_until("the task to sleep", sleeps, timeout=600)
    airflow.stop()
    assert airflow.pids == []
    assert all(port_is_free(port) for port in airflow.ports)
    assert not _runs("sleep 600")


def test_an_airflow_that_ends_by_itself_shows_its_log(tmp_path: Path) -> None:
    broken = Standalone(tmp_path, tmp_path, environment={"PYTHONPATH": str(tmp_path)})
    (tmp_path / "airflow.py").write_text("raise SystemExit('this isn't Airflow')")
    with pytest.raises(AirflowError, match=r"(?s)exited with 1.*this isn't Airflow"):
        broken.start()
    assert broken.pids == []


# Stands for Airflow, with processes in sessions of their own.
PARTS = """
import subprocess, sys, time
for _ in range(3):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_nothing_is_left_when_the_program_around_it_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    script = textwrap.dedent(
        f"""
        import signal, sys, time
        from pathlib import Path
        from harness.standalone import Standalone
        # A background job ignores SIGINT, and a program under nohup ignores SIGHUP. Both pass that on to this child.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        home = Path({str(tmp_path)!r})
        with Standalone(home, home, environment={{"PYTHONPATH": str(home)}}):
            time.sleep(3600)
        """
    )
    (tmp_path / "airflow.py").write_text(PARTS)
    program = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2], env=dict(os.environ))
    watched = Standalone(tmp_path, tmp_path)
    deadline = time.monotonic() + 300
    while len(watched.pids) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(watched.pids) == 4

    program.send_signal(number)
    assert program.wait(timeout=300) != 0
    assert watched.pids == []


def _runs(command: str) -> bool:
    listing = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True)
    return any(line.strip() == command for line in listing.stdout.splitlines())

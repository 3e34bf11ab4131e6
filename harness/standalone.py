"""Run a real ``airflow standalone`` in a folder of its own, and end all of it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from harness.client import AirflowClient, AirflowError, AirflowTimeoutError
from harness.processes import (
    cleaned,
    end_processes_with,
    exit_on_signals,
    free_ports,
    port_is_free,
    processes_with,
)

_MARK = "AYLA_DEMO_AIRFLOW"
"""The variable that every process of an Airflow started here carries; its value is the home folder."""

_PARTS = ("scheduler", "dag_processor", "triggerer")


class Standalone(AirflowClient):
    """
    A real Airflow on free ports, in a folder of its own and a process group of its own.

    Scheduler, DAG processor, triggerer and API server with SQLite and the LocalExecutor, as ``airflow standalone``
    has them. Settings, connections and variables in this shell's environment don't reach it. Use it in a ``with``
    statement: whatever happens in it, Ctrl-C included, no process is left behind. ::

        with Standalone(Path("build/airflow"), Path("dags"), connections={"ayla_default": {...}}) as airflow:
            airflow.wait_for_dag("my_dag")
            airflow.unpause("my_dag")
            airflow.wait_for_runs("my_dag")

    :param home: Airflow's home folder, made if it is missing: settings, database, logs, and ``airflow.log``, the
        output of all its parts. It may be one of an earlier time, which then continues.
    :param dags: the folder with the DAG files
    :param connections: connection id to the fields ``conn_type``, ``host``, ``login``, ``password``, ``extra``, ...
        They are handed over in the environment, so that no secret is on a command line; the UI doesn't list them.
    :param environment: further variables, also settings such as ``AIRFLOW__CORE__PARALLELISM``; they win
    :param users: name to role (``admin``, ``op``, ``user``, ``viewer``) of the users beside ``admin``
    :param password: the password of all users; a random one if None
    :param port: of the UI and the API; a free one if None
    :param prefix: the path below which UI and API are, such as ``/airflow``, as behind a proxy
    :param parallelism: how many tasks run at once
    :param python: an interpreter whose environment has Airflow
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        environment: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        password: str | None = None,
        port: int | None = None,
        prefix: str = "",
        parallelism: int = 4,
        python: str = sys.executable,
    ) -> None:
        super().__init__(url="", username="admin", password=password or secrets.token_urlsafe(12))
        self.home = home.resolve()
        self.dags = dags.resolve()
        self.connections = dict(connections or {})
        self.environment = dict(environment or {})
        self.users = {"admin": "admin", **(users or {})}
        self.port = port
        self.prefix = prefix
        self.parallelism = parallelism
        self.python = python
        self.ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Standalone:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log_file(self) -> Path:
        """The file with the output of all parts of this Airflow since its start."""
        return self.home / "airflow.log"

    @property
    def pids(self) -> list[int]:
        """The ids of all processes of this Airflow, whichever program has started it."""
        return sorted(process.pid for process in processes_with(_MARK, str(self.home)))

    def client(self, username: str) -> AirflowClient:
        """Return the API as another user sees it, one of ``users``."""
        return AirflowClient(url=self.url, username=username, password=self.password)

    def command(self, *arguments: str, timeout: float = 180) -> str:
        """
        Run ``airflow`` with these arguments, as somebody does on the machine of the scheduler, and return its output.

        :param arguments: such as ``"tasks", "clear", "my_dag", "--yes"``
        :param timeout: seconds
        :raises AirflowError: if it fails, with what it said
        """
        try:
            done = subprocess.run(
                [self.python, "-m", "airflow", *arguments],
                cwd=self.home,
                env=self._child_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            said = f"{error.stdout}{error.stderr}".strip()
            raise AirflowError(f"airflow {' '.join(arguments)} ended with {error.returncode}\n{said}") from None
        return done.stdout

    def start(self, timeout: float = 180) -> None:
        """
        Start Airflow and wait until all its parts are healthy. If that fails, or is interrupted, nothing is left.

        :param timeout: seconds
        :raises AirflowError: if an Airflow runs in this home already, the port is taken, or Airflow ends by itself
        :raises AirflowTimeoutError: if it isn't healthy in time, with the end of its log
        """
        if running := self.pids:
            raise AirflowError(f"an Airflow is running in {self.home} already (processes {running}): stop() ends it")
        if self.port and not port_is_free(self.port):
            raise AirflowError(f"port {self.port} is taken: end what listens on it, or choose another")
        self._cleanup.enter_context(exit_on_signals())
        try:
            self._launch()
            self._wait_until_healthy(timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self, grace: float = 10) -> None:
        """
        End all processes of the Airflow in this home, whichever program has started it; fine if there are none.

        :param grace: seconds that they get to end by themselves before they are killed
        :raises AirflowError: if some are left even so
        """
        try:
            left = end_processes_with(_MARK, str(self.home), grace=grace)
        finally:
            if self._process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
                self._process = None
            self._cleanup.close()
        if left:
            raise AirflowError(f"these processes can't be ended: {left}")

    def _launch(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._write_passwords()
        api, worker_log, trigger_log = free_ports(3)
        self.ports = [self.port or api, worker_log, trigger_log]
        self.url = f"http://127.0.0.1:{self.ports[0]}{self.prefix}"
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [self.python, "-m", "airflow", "standalone"],
                cwd=self.home,
                env=self._child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal then reaches this program alone, which ends Airflow in good order.
                start_new_session=True,
            )

    def _write_passwords(self) -> None:
        # The file and its name are those that the simple auth manager makes by itself when it finds none.
        file = self.home / "simple_auth_manager_passwords.json.generated"
        file.touch(mode=0o600)
        file.write_text(json.dumps(dict.fromkeys(self.users, self.password)) + "\n")

    def _child_environment(self) -> dict[str, str]:
        api, worker_log, trigger_log = map(str, self.ports)
        inherited = cleaned(os.environ)
        connections = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in self.connections.items()}
        local = ",".join(filter(None, [inherited.get("NO_PROXY") or inherited.get("no_proxy"), "127.0.0.1,localhost"]))
        return {
            **inherited,
            # Its parts are started as "airflow": it must be the one beside this Python.
            "PATH": os.pathsep.join([str(Path(self.python).parent), inherited.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": local,
            "no_proxy": local,
            _MARK: str(self.home),
            # Airflow renames its processes, which by default overwrites the environment that the mark is read from.
            "SPT_NOENV": "1",
            # macOS ends forked children that touch its frameworks; Airflow forks for every task.
            "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": api,
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(self.parallelism),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in self.users.items()),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            # By default a part fails that has waited five seconds for another one's write.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=60",
            # A new or changed DAG file is seen within seconds, not after five minutes.
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_log,
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": worker_log,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **connections,
            **self.environment,
        }

    def _wait_until_healthy(self, timeout: float) -> None:
        started = time.time()

        def healthy() -> bool | None:
            try:
                parts = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=10).json()
            except (requests.RequestException, ValueError):
                return None
            return all(_beats(parts.get(name), name, started) for name in _PARTS) or None

        try:
            self.wait_until("Airflow to be healthy", healthy, timeout=timeout, interval=0.5)
        except AirflowTimeoutError as error:
            raise AirflowTimeoutError(f"{error}\n{self._log_tail()}") from None

    def _check(self) -> None:
        if self._process and self._process.poll() is not None:
            raise AirflowError(f"Airflow has ended by itself, with {self._process.returncode}\n{self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()[-40:] if self.log_file.exists() else []
        return "\n".join([f"the end of {self.log_file}:", *lines])


def _beats(part: Mapping[str, str | None] | None, name: str, since: float) -> bool:
    """Return whether a part is healthy now: the last heartbeat of an earlier Airflow in this home looks healthy too."""
    beat = (part or {}).get(f"latest_{name}_heartbeat")
    return bool(part and beat and part["status"] == "healthy" and datetime.fromisoformat(beat).timestamp() > since)

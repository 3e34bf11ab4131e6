"""Run a real ``airflow standalone`` in its own folder, and end all of its processes."""

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

from harness.client import AirflowClient, AirflowError
from harness.processes import (
    cleaned,
    end_processes_with,
    exit_on_signals,
    free_ports,
    port_is_free,
    processes_with,
)

_MARK = "AYLA_DEMO_AIRFLOW"
"""The environment variable of every process of an Airflow started here. Its value is the home folder."""

_PARTS = ("scheduler", "dag_processor", "triggerer")


class Standalone(AirflowClient):
    """
    A real Airflow on free ports, in its own folder and its own process group.

    It runs ``airflow standalone``: scheduler, DAG processor, triggerer and API server with SQLite and the
    LocalExecutor. Settings, connections and Variables in the environment of this shell don't affect it. Use it in a
    ``with`` statement. No process remains after it, even after an error or Ctrl-C. ::

        with Standalone(Path("build/airflow"), Path("dags"), connections={"ayla_default": {...}}) as airflow:
            airflow.wait_for_dag("my_dag")
            airflow.unpause("my_dag")
            airflow.wait_for_runs("my_dag")

    :param home: Airflow's home folder, with settings, database, logs, and ``airflow.log``, the output of all its parts;
        created if it is missing; an Airflow in an existing home folder continues where it ended
    :param dags: the folder with the DAG files
    :param connections: the fields ``conn_type``, ``host``, ``login``, ``password``, ``extra`` and so on, by connection
        id; they are passed in the environment, so that no command line contains a secret, and the UI doesn't list them
    :param environment: further environment variables and settings such as ``AIRFLOW__CORE__PARALLELISM``, which win
    :param users: the roles (``admin``, ``op``, ``user``, ``viewer``) of further users, by name
    :param password: the password of all users; None means a random one
    :param port: the port of UI and API; None means a free one
    :param prefix: the path of UI and API, such as ``/airflow``, as behind a proxy
    :param parallelism: the number of tasks that run at once
    :param python: a Python interpreter with Airflow
    """

    _input = subprocess.DEVNULL
    """What Airflow gets as standard input."""

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
        """The ids of all processes of this Airflow, even if another program started it."""
        return sorted(process.pid for process in processes_with(_MARK, str(self.home)))

    def client(self, username: str) -> AirflowClient:
        """Return an API client for another user, one of ``users``."""
        return AirflowClient(url=self.url, username=username, password=self.password)

    def command(self, *arguments: str, timeout: float = 600) -> str:
        """
        Run ``airflow`` with arguments, as on the machine of the scheduler, and return its output.

        :param arguments: such as ``"tasks", "clear", "my_dag", "--yes"``
        :param timeout: seconds
        :raises AirflowError: if it fails, with its output
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
            output = f"{error.stdout}{error.stderr}".strip()
            raise AirflowError(f"airflow {' '.join(arguments)} ended with {error.returncode}\n{output}") from None
        return done.stdout

    def start(self, timeout: float = 600) -> None:
        """
        Start Airflow, and wait until all its parts are healthy. If this fails or is interrupted, no process remains.

        :param timeout: seconds
        :raises AirflowError: if an Airflow already runs in this home, the port is in use, or Airflow exits
        :raises AirflowTimeoutError: if it isn't healthy in time, with the end of its log
        """
        if running := self.pids:
            raise AirflowError(
                f"an Airflow is already running in {self.home} (processes {running}): end it with stop()"
            )
        if self.port and not port_is_free(self.port):
            raise AirflowError(
                f"port {self.port} is in use: end the program that listens on it, or choose another port"
            )
        self._cleanup.enter_context(exit_on_signals())
        try:
            self._launch()
            self._wait_until_healthy(timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self, grace: float = 2) -> None:
        """
        End all processes of the Airflow in this home, if there are any, even if another program started it.

        :param grace: seconds between SIGTERM and SIGKILL
        :raises AirflowError: if some processes remain
        """
        try:
            left = end_processes_with(_MARK, str(self.home), grace=grace)
        finally:
            if self._process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
                if self._process.stdin:
                    self._process.stdin.close()
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
                self._program(),
                cwd=self.home,
                env=self._child_environment(),
                stdin=self._input,
                stdout=log,
                stderr=subprocess.STDOUT,
                # With a new session, Ctrl-C in the terminal reaches only this program, which then ends Airflow.
                start_new_session=True,
            )

    def _program(self) -> list[str]:
        """Return the command that starts all parts of Airflow."""
        return [self.python, "-m", "airflow", "standalone"]

    def _write_passwords(self) -> None:
        # The simple auth manager creates a file with this name and format if there is none.
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
            # Airflow starts its parts as "airflow", which must be the program beside this Python.
            "PATH": os.pathsep.join([str(Path(self.python).parent), inherited.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": local,
            "no_proxy": local,
            _MARK: str(self.home),
            # Airflow renames its processes. By default, that overwrites the environment with the mark.
            "SPT_NOENV": "1",
            # macOS kills forked processes that use its frameworks, and Airflow forks for every task.
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
            # A task stores its links after it has ended. On a busy machine, this takes longer than the default of 20 s,
            # and Airflow then kills the task's process.
            "AIRFLOW__CORE__TASK_SUCCESS_OVERTIME": "600",
            # By default, a part fails after it has waited five seconds for the write of another part.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=60",
            # Airflow sees a new or changed DAG file within seconds instead of five minutes.
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3",
            # On a busy machine, a DAG file may not be read for longer than the default of 50 s. Airflow then says that
            # its DAGs don't exist.
            "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "3600",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_log,
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": worker_log,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            # The first request of a first task makes the API server build its app. On a busy machine this takes longer
            # than the default of 5 s, and Airflow fails the task after five such tries.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            **connections,
            **self.environment,
        }

    def _wait_until_healthy(self, timeout: float) -> None:
        started = time.time()

        def healthy() -> bool | None:
            try:
                parts = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=60).json()
            except (requests.RequestException, ValueError):
                return None
            return all(_beats(parts.get(name), name, started) for name in _PARTS) or None

        self.wait_until("Airflow to be healthy", healthy, timeout=timeout, interval=0.5, explain=self._log_tail)

    def _check(self) -> None:
        if self._process and self._process.poll() is not None:
            raise AirflowError(f"Airflow exited with {self._process.returncode}\n{self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()[-40:] if self.log_file.exists() else []
        return "\n".join([f"the end of {self.log_file}:", *lines])


def _beats(part: Mapping[str, str | None] | None, name: str, since: float) -> bool:
    """Return whether a part is healthy now. A heartbeat before ``since`` is that of an earlier Airflow in this home."""
    beat = (part or {}).get(f"latest_{name}_heartbeat")
    return bool(part and beat and part["status"] == "healthy" and datetime.fromisoformat(beat).timestamp() > since)

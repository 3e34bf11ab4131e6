"""The deployment of docker-compose.yaml without containers: each service as if on a machine of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import psycopg

from harness.client import AirflowClient, AirflowError
from harness.processes import cleaned, end_processes_with, free_ports, processes_with
from tests.support import compose, postgres_server

_ALL, _MACHINE = "AYLA_TEST_MACHINES", "AYLA_TEST_MACHINE"
"""Variables that every process carries: the folder of all machines, and the name of its own."""

_OURS = {"postgres", "volumes"}
"""Services that don't run by the file's commands: Debian's own, and one that is for containers alone."""

# What a container has by itself: a host name.
_HOST_NAME = """
import os, socket
socket.gethostname = lambda: os.environ["HOSTNAME"]
"""

# What the image's /entrypoint does for these commands, once it has reached the database.
_ENTRYPOINT = """#!/bin/bash
case "$1" in bash | python) exec "$@" ;; *) exec airflow "$@" ;; esac
"""


class Machines(AirflowClient):
    """
    Runs the commands of docker-compose.yaml, with its environment, as processes of this machine.

    Each container has a home, an AIRFLOW_HOME, a temporary folder, a host name and logs of its own, and is a process
    group of its own. Only hosts, ports and paths are exchanged in what the file says. PostgreSQL is Debian's.

    :param folder: an empty one
    :param dags: the folder with the DAG files
    :param database: the folder of a running PostgreSQL's socket
    :param environment: what ``.env`` has beside the secrets
    :param extra: further variables of all containers
    :param instead: what else is exchanged in commands
    """

    def __init__(
        self,
        folder: Path,
        dags: Path,
        database: str,
        *,
        environment: Mapping[str, str],
        extra: Mapping[str, str],
        instead: Mapping[str, str],
    ) -> None:
        api, cloud, broker, health = map(str, free_ports(4))
        super().__init__(
            url=f"http://127.0.0.1:{api}", username="admin", password=compose.SECRETS["AIRFLOW_ADMIN_PASSWORD"]
        )
        self.cloud_url = f"http://127.0.0.1:{cloud}"
        self.folder = folder
        self.services = compose.services({**compose.SECRETS, **environment})
        self._dags, self._database, self._extra, self._broker = dags, database, extra, broker
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {
            "AIRFLOW__API__PORT": api,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": health,
        }
        self._instead = {
            "--host ayla-cloud --port 8099": f"--host 127.0.0.1 --port {cloud}",
            "ayla-cloud:8099": f"127.0.0.1:{cloud}",
            "airflow-apiserver:8080": f"127.0.0.1:{api}",
            "localhost:8080": f"127.0.0.1:{api}",
            "localhost:8974": f"127.0.0.1:{health}",
            "redis:6379": f"127.0.0.1:{broker}",
            "@postgres:5432/airflow": f"@/airflow?host={database}",
            "localhost": database,  # what is left of it: PostgreSQL asks itself
            "/opt/ayla/source": str(compose.ROOT),
            "/opt/ayla": str(folder / "volumes"),
            "docker-entrypoint.sh ": "",
            "/entrypoint": str(folder / "entrypoint"),
            **instead,
        }

    def __enter__(self) -> Machines:
        for volume in ("cloud", "passwords", "shared"):
            (self.folder / "volumes" / volume).mkdir(parents=True)
        (self.folder / "host").mkdir()
        (self.folder / "host" / "sitecustomize.py").write_text(_HOST_NAME)
        (self.folder / "entrypoint").write_text(_ENTRYPOINT)
        (self.folder / "entrypoint").chmod(0o755)
        with psycopg.connect(host=self._database, user=postgres_server.USER, dbname="postgres", autocommit=True) as one:
            one.execute("create role airflow login")
            one.execute("create database airflow owner airflow")
        return self

    def __exit__(self, *error: object) -> None:
        try:
            left = end_processes_with(_ALL, str(self.folder), grace=10)
        finally:
            for process in self._processes.values():
                process.kill()  # Redis, whose environment can't be read: it writes its title there
                process.wait()
        if left:
            raise AirflowError(f"these processes can't be ended: {left}")

    @property
    def containers(self) -> list[str]:
        """The names of what Compose would start."""
        found = []
        for name, service in self.services.items():
            found += [f"{name}-{number + 1}" for number in range(service["scale"])] if "scale" in service else [name]
        return found

    def up(self) -> None:
        """Start all services, each as soon as what it depends on is healthy or has ended well, as Compose does."""
        waiting = {
            name: set(self._service(name).get("depends_on", {})) for name in self.containers if name not in _OURS
        }
        ready = _OURS
        deadline = time.monotonic() + 900
        while waiting:
            for name in [one for one, needs in waiting.items() if needs <= ready]:
                self.start(name)
                del waiting[name]
            needed = set().union(*waiting.values()) - ready
            ready |= {name for name in needed & self._processes.keys() if self._is_ready(name)}
            if time.monotonic() > deadline:
                ends = "\n".join(self._end_of_log(name) for name in needed & self._processes.keys())
                raise AirflowError(f"{sorted(waiting)} wait for {sorted(needed)}\n{ends}")
            time.sleep(0.3)

    def _is_ready(self, name: str) -> bool:
        if "healthcheck" in self.services[name]:
            return self.is_healthy(name)
        ended = self._processes[name].poll()
        if ended:
            raise AirflowError(f"{name} has ended with {ended}\n{self._end_of_log(name)}")
        return ended == 0

    def start(self, name: str) -> None:
        """
        Start a container.

        :param name: of the service, with a number behind it where there are several containers
        """
        home = self.folder / name
        for folder in ("airflow", "home", "tmp"):
            (home / folder).mkdir(parents=True)
        (home / "airflow" / "dags").symlink_to(self._dags)
        command = [self._here(part) for part in compose.command_of(self._service(name))]
        if command[0].endswith("dumb-init"):
            del command[:2]
        if name == "redis":
            command += ["--port", self._broker, "--bind", "127.0.0.1", "--save", ""]
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=home,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_healthy(self, name: str) -> bool:
        """Return what the health check of a container says."""
        check = [self._here(part) for part in compose.health_check_of(self._service(name))]
        environment = self._environment(name)
        done = subprocess.run(check, cwd=self.folder, env=environment, capture_output=True, timeout=600, check=False)
        return done.returncode == 0

    def checked(self) -> set[str]:
        """Return the containers that have a health check."""
        return {name for name in self.containers if "healthcheck" in self._service(name)}

    def unhealthy(self, names: Iterable[str]) -> set[str]:
        """Return those of some containers whose health check fails. A check is a process that may take seconds."""
        asked = sorted(names)
        with ThreadPoolExecutor(3) as pool:
            return {name for name, healthy in zip(asked, pool.map(self.is_healthy, asked), strict=True) if not healthy}

    def wait_until_healthy(self, names: Iterable[str]) -> None:
        """Wait until each of some containers has been healthy. One that has been is not asked again."""
        left = set(names)

        def all_healthy() -> bool:
            nonlocal left
            left = self.unhealthy(left)
            return not left

        self.wait_until(f"{sorted(left)} to be healthy", lambda: all_healthy() or None, timeout=900)

    def kill(self, name: str) -> None:
        """End all processes of a container by SIGKILL, as if its machine lost its power."""
        while processes := processes_with(_MACHINE, name):
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._processes[name].wait()

    def logs(self) -> str:
        """Return what all containers of Airflow have said, and all logs of tasks."""
        # The local cloud prints how it is reached.
        logs = [path for path in self.folder.rglob("*.log") if path.name != "ayla-cloud.log"]
        return "\n".join(path.read_text(errors="replace") for path in logs)

    def _service(self, name: str) -> dict[str, Any]:
        return self.services.get(name) or self.services[name.rpartition("-")[0]]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _end_of_log(self, name: str) -> str:
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-30:])

    def _here(self, text: str) -> str:
        for there, here in self._instead.items():
            text = text.replace(there, here)
        return text

    def _environment(self, name: str) -> dict[str, str]:
        home = self.folder / name
        said = {key: self._here(value) for key, value in self._service(name)["environment"].items()}
        worker_log, trigger_log = map(str, free_ports(2))
        return {
            **cleaned(os.environ),
            **said,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(self.folder / "host"), said.get("PYTHONPATH", "")]),
            "HOME": str(home / "home"),
            "HOSTNAME": name,
            "TMPDIR": str(home / "tmp"),
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_log,
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": worker_log,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            # On a busy machine, the API server's first answer to a task takes longer than the default of 5 s.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            # Nothing here asks the Internet. What installs the provider finds all that it needs in this environment.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_NO_INDEX": "1",
            # Airflow and Celery rename their processes, which by default overwrites the environment with the marks.
            "SPT_NOENV": "1",
            _ALL: str(self.folder),
            _MACHINE: name,
            **self._ports,
            **self._extra,
        }

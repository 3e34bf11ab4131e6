"""A real Airflow for tests, which starts with less work than ``airflow standalone``."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import tempfile
from pathlib import Path

from harness.client import AirflowError
from harness.standalone import Standalone

_POLICY = """
from datetime import timedelta


def task_policy(task):
    task.retry_delay = min(task.retry_delay, timedelta(seconds=1))
"""
"""Airflow's cluster policy: it reads this module of its home folder, and calls the function for each task of a DAG."""


class ForkedStandalone(Standalone):
    """
    A real Airflow whose parts and commands are forks of one process that has imported Airflow.

    ``airflow standalone`` imports the same modules in five processes, which takes most of the CPU time of a start. Each
    command imports them again. The processes, their commands and their settings are the same in all other respects.

    Retries follow after a second, whatever a DAG says. Airflow fails a try by mistake if a task pauses and goes on
    before its executor has reported the pause (apache/airflow#72716). On a busy machine this happens now and then, and
    no test should wait for minutes then.
    """

    _input = subprocess.PIPE

    def command(self, *arguments: str, timeout: float = 600) -> str:
        """
        Run ``airflow`` with arguments, as on the machine of the scheduler, and return its output.

        :param arguments: such as ``"tasks", "clear", "my_dag", "--yes"``
        :param timeout: seconds
        :raises AirflowError: if it fails, with its output
        """
        folder = self.spawn(*arguments)
        status = folder / "status"
        self.wait_until(
            f"airflow {' '.join(arguments)}", lambda: status.exists() or None, timeout=timeout, interval=0.1
        )
        stdout, stderr = ((folder / name).read_text() for name in ("stdout.log", "stderr.log"))
        if code := int(status.read_text()):
            raise AirflowError(f"airflow {' '.join(arguments)} ended with {code}\n{f'{stdout}{stderr}'.strip()}")
        return stdout

    def spawn(self, *arguments: str) -> Path:
        """
        Start ``airflow`` with arguments, and return the folder of its output.

        :param arguments: such as ``"scheduler"``
        :returns: a new folder with the files ``stdout.log`` and ``stderr.log``, and ``status`` once it has ended
        :raises AirflowError: if this Airflow isn't running
        """
        if not self._process or not self._process.stdin:
            raise AirflowError("this Airflow isn't running: start it first")
        folder = Path(tempfile.mkdtemp(prefix="command-", dir=self.home))
        line = json.dumps({"arguments": arguments, "folder": str(folder)})
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()
        return folder

    def _launch(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._write_keys()
        self._write_policy()
        super()._launch()

    def _program(self) -> list[str]:
        # With -P, the folder of the program isn't in sys.path, where its modules would hide others of the same name.
        return [self.python, "-P", str(Path(__file__).with_name("parts.py"))]

    def _child_environment(self) -> dict[str, str]:
        # The start creates or migrates the database. Each part would compare all migrations with it again.
        return {"AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False", **super()._child_environment()}

    def _write_keys(self) -> None:
        # All parts must have the same keys. An existing home has its own.
        file = self.home / "airflow.cfg"
        if file.exists():
            return
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        api, jwt = secrets.token_urlsafe(64), secrets.token_urlsafe(64)
        file.touch(mode=0o600)
        file.write_text(f"[core]\nfernet_key = {fernet}\n[api]\nsecret_key = {api}\n[api_auth]\njwt_secret = {jwt}\n")

    def _write_policy(self) -> None:
        file = self.home / "config" / "airflow_local_settings.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(_POLICY)

"""A real Airflow for tests, which starts with less work than ``airflow standalone``."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from harness.standalone import Standalone


class ForkedStandalone(Standalone):
    """
    A real Airflow whose parts are forks of one process that has imported Airflow.

    ``airflow standalone`` imports the same modules in five processes, which takes most of the CPU time of a start. The
    processes, their commands and their settings are the same in all other respects.
    """

    def _launch(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._write_keys()
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

"""Sample DAGs under a real Airflow, over some past hours of a local cloud's export."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of, hours_between
from ayla_provider.local_cloud import LocalCloud
from harness.forked import ForkedStandalone
from harness.standalone import Standalone
from tests.integration.sample import limited
from tests.support.fleet import seed_with_all_event_types

DAGS = Path(__file__).parents[2] / "dags"
DAG = "ayla_export_to_bucket"
HOURS = 3


def soon(folder: Path, *dags: str, event_types: Collection[str] = EVENT_TYPES) -> Path:
    """
    Put sample DAGs into a folder, with retries that follow at once.

    :param event_types: what they copy
    """
    folder.mkdir(exist_ok=True)
    for dag in dags:
        code = (DAGS / f"{dag}.py").read_text()
        assert code.count("timedelta(minutes=2)") == 1
        code = code.replace("timedelta(minutes=2)", "timedelta(seconds=2)")
        (folder / f"{dag}.py").write_text(code if event_types == EVENT_TYPES else limited(code, event_types))
    return folder


class Scene:
    """
    Sample DAGs over some past hours, against a local cloud.

    :param folder: of the test
    :param dags: the folder with the DAG files; the export DAG alone if None
    :param hours: how many hours
    :param cloud: further arguments of the local cloud
    """

    def __init__(self, folder: Path, dags: Path | None = None, hours: int = HOURS, **cloud: object) -> None:
        end = hour_of(datetime.now(UTC) - PATIENCE)
        self.hours = hours_between(end - hours * ONE_HOUR, end)
        # The hour after them isn't settled yet, so that a sensor waits for it.
        seed = seed_with_all_event_types(self.hours, without_registrations=end)
        self.cloud = LocalCloud(
            start=self.hours[0],
            max_lag=timedelta(minutes=40),
            seed=seed,
            **cloud,  # type: ignore[arg-type]
        )
        self.bucket = folder / "bucket"
        self.environment: dict[str, str] = {}
        self.airflow: Standalone = ForkedStandalone(
            folder / "airflow", dags or soon(folder / "dags", DAG), parallelism=16
        )

    @contextlib.contextmanager
    def running(self, *dags: str, **other: object) -> Iterator[Scene]:
        with self.cloud:
            self.airflow.connections = {
                "ayla_default": self.cloud.ayla_connection() | other,
                "google_cloud_default": self.cloud.google_connection(),
            }
            self.airflow.environment = {
                **self.environment,
                "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{self.bucket}",
                "AYLA_EXPORT_START": self.hours[0].isoformat(),
            }
            with self.airflow:
                self.airflow.api("POST", "pools", json={"name": "ayla_export", "slots": 16})
                for dag in dags:
                    self.airflow.wait_for_dag(dag)
                    self.airflow.unpause(dag)
                yield self

    def finished(self, dag: str = DAG) -> list[dict[str, Any]] | None:
        """Return the runs of the hours, once each has ended."""
        runs = [
            run
            for run in self.airflow.dag_runs(dag)
            if datetime.fromisoformat(run["data_interval_start"]) in self.hours
        ]
        return runs if sum(run["state"] in ("success", "failed") for run in runs) == len(self.hours) else None


class Watcher:
    """Reads Airflow's database over and over, all of it, decrypted: rows of triggers live for seconds only."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._stop = threading.Event()
        self.seen = ""
        self.triggers = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(sqlite3.OperationalError):
            self.seen += self._everything()

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            with contextlib.suppress(sqlite3.OperationalError):
                rows = self._rows("SELECT classpath, kwargs FROM trigger WHERE classpath LIKE 'ayla%'")
                self.triggers += len(rows)
                self.seen += "\n".join(f"{classpath} {self._plain(kwargs)}" for classpath, kwargs in rows)

    def _everything(self) -> str:
        tables = [name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in self._rows(f'SELECT * FROM "{table}"')]
        return "\n".join(self._plain(value) for row in rows for value in row)

    def _rows(self, query: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self._home}/airflow.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def _plain(self, value: object) -> str:
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        if not text.startswith("gAAAA"):
            return text
        settings = (self._home / "airflow.cfg").read_text()
        key = next(line.split("=", 1)[1].strip() for line in settings.splitlines() if line.startswith("fernet_key"))
        return Fernet(key).decrypt(text.encode()).decode()

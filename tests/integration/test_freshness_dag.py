"""The freshness DAG under a real Airflow: stalls, slow loads and recoveries, each alerted once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import airflow.sdk
import pytest

from ayla_provider.archive.freshness import FreshnessStore
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.events import EventType
from ayla_provider.domain.freshness import Mute
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from harness.forked import ForkedStandalone
from tests.integration.export_dag import DAGS
from tests.warehouse.archive import archive_hour

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DAG = "ayla_export_freshness"
START = hour_of(datetime.now(UTC)) - timedelta(days=2)
CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
KNOWS_PAUSES = tuple(map(int, airflow.sdk.__version__.split(".")[:2])) >= (1, 2)

CLOCK = """
import pathlib
from datetime import datetime
from ayla_provider.operators import freshness

class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromisoformat(pathlib.Path("{clock}").read_text())

freshness.datetime = Clock
"""

# The first try of a task dies in the middle of an alert, as often as the file says.
ALERT = '''
class Line(BaseNotifier):
    """Writes a line into a file."""

    template_fields = ("text",)

    def __init__(self, text):
        super().__init__()
        self.text = text

    def notify(self, context):
        import os, pathlib, signal
        dying = pathlib.Path("{dying}")
        if dying.exists():
            dying.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        with open("{sent}", "a") as file:
            file.write(self.text + "\\n")

alert = Line("{{{{ alert }}}} {{{{ event_type }}}} {{{{ layer }}}} {{{{ hour.isoformat() }}}} {{{{ lag }}}}")
'''

LOADS = """
from airflow.sdk import DAG
from ayla_provider.operators import AylaExportDuckDBPlanOperator, AylaExportToDuckDBOperator

ARGUMENTS = {{"archive": "file://{archive}", "database": "{database}", "pool": "ayla_duckdb"}}
with DAG(dag_id="loads", schedule=None):
    plan = AylaExportDuckDBPlanOperator(task_id="plan", event_types=["connection"], **ARGUMENTS)
    AylaExportToDuckDBOperator.partial(task_id="load", **ARGUMENTS).expand_kwargs(plan.output)
with DAG(dag_id="copies", schedule=None):
    pass
"""


def hour(number: float) -> datetime:
    return START + number * ONE_HOUR


class Scene:
    """An archive, the DAG that loads it, and the sample DAG, whose clock the test sets."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "archive"
        self.sent_to = folder / "sent"
        self.clock = folder / "clock"
        self.dying = folder / "dying"
        database = folder / "ayla.duckdb"
        dags = folder / "dags"
        dags.mkdir()
        code = (DAGS / f"{DAG}.py").read_text()
        alert = code[code.index("def alert(") : code.index("with DAG(")]
        changes = {
            "WAREHOUSES: list[dict[str, Any]] = []": (f'WAREHOUSES = [{{"kind": "duckdb", "database": "{database}"}}]'),
            "from airflow.sdk import DAG\n": "from airflow.sdk import DAG, BaseNotifier\n",
            alert: ALERT.format(sent=self.sent_to, dying=self.dying),
            'schedule="*/5 * * * *"': "schedule=None",
            "timedelta(minutes=1)": "timedelta(seconds=1)",
            '        archive="{{': '        event_types=["connection", "location"],\n        archive="{{',
            '{"copied": "ayla_export_to_bucket"}': '{"copied": "copies"}',
        }
        for old, new in changes.items():
            assert code.count(old) == 1, old
            code = code.replace(old, new)
        (dags / "sample.py").write_text(code + CLOCK.format(clock=self.clock))
        (dags / "loads.py").write_text(LOADS.format(archive=self.archive, database=database))
        self.copy("connection", 0, 5)
        self.copy("location", 0, 5)
        self.airflow = ForkedStandalone(
            folder / "airflow",
            dags,
            environment={
                "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{self.archive}",
                "AYLA_EXPORT_START": START.isoformat(),
            },
            parallelism=4,
        )

    def start(self) -> None:
        self.airflow.api("POST", "pools", json={"name": "ayla_duckdb", "slots": 1})
        for dag in (DAG, "loads", "copies"):
            self.airflow.wait_for_dag(dag)
            self.airflow.unpause(dag)

    def copy(self, event_type: str, start: int, end: int) -> None:
        """Copy hours, each half an hour after its end."""
        records = Records(FileDestination(self.archive))
        for number in range(start, end):
            made = archive_hour(
                self.archive, event_type, [CONNECTION] if event_type == "connection" else [], hour(number)
            )
            made = replace(made, written_at=hour(number + 1.5).isoformat())
            records.write_manifest(made, records.read_manifest(made.hour)[1])

    def lose(self, event_type: str, number: int) -> None:
        """Take the files of an hour away, and say in its manifest that nothing can bring them back."""
        records = Records(FileDestination(self.archive))
        manifest, generation = records.read_manifest(ExportHour(EventType(event_type), hour(number)))
        assert manifest
        for file in manifest.files:
            (self.archive / file.path).unlink()
        lost = tuple(replace(file, lost=hour(number + 2).isoformat()) for file in manifest.files)
        records.write_manifest(replace(manifest, files=lost), generation)

    def run(self, dag: str) -> dict[str, Any]:
        run = self.airflow.trigger(dag)["dag_run_id"]
        (ended,) = self.airflow.wait_for_runs(dag, run_ids=[run], state=None, timeout=300)
        assert ended["state"] == "success"
        return dict(ended)

    def look(self, now: float) -> list[str]:
        """Look at a time, and return what was sent in it."""
        self.clock.write_text(hour(now).isoformat())
        before = self.sent()
        self.run(DAG)
        return self.sent()[len(before) :]

    def sent(self) -> list[str]:
        return self.sent_to.read_text().splitlines() if self.sent_to.exists() else []

    def events(self) -> list[dict[str, Any]]:
        """What the page gets, the newest first."""
        query = (
            "select asset_event.extra from asset_event join asset on asset.id = asset_id "
            "where uri like '%_freshness' order by asset_event.id desc"
        )
        with closing(sqlite3.connect(f"file:{self.airflow.home}/airflow.db?mode=ro", uri=True)) as database:
            return [json.loads(extra) for (extra,) in database.execute(query).fetchall()]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    with made.airflow:
        made.start()
        yield made


def test_stalls_slow_loads_and_recoveries_are_alerted_once(scene: Scene) -> None:
    scene.run("loads")
    assert scene.look(5.5) == []
    # The exporter stalls, for one event type. The task dies once in the middle of the alert, and is tried again.
    scene.copy("location", 5, 8)
    scene.dying.touch()
    assert scene.look(8.1) == [f"breach connection copied {hour(5).isoformat()} 3:06:00"]
    assert not scene.dying.exists()
    assert scene.look(8.2) == []
    assert {track["state"] for track in scene.events()[0]["tracks"]} == {"ok", "breach"}
    # It is back. The loads have some time before they are late, too.
    scene.copy("connection", 5, 8)
    assert scene.look(8.3) == [f"recovery connection copied {hour(5).isoformat()} 0:18:00"]
    assert scene.look(8.4) == []
    # A slow load.
    scene.copy("connection", 8, 11)
    scene.copy("location", 8, 11)
    (slow,) = scene.look(12.1)
    assert slow.startswith(f"breach connection loaded_duckdb {hour(5).isoformat()} ")
    assert scene.look(12.2) == []
    scene.run("loads")
    assert scene.look(12.3) == [f"recovery connection loaded_duckdb {hour(5).isoformat()} 1:18:00"]
    # A paused DAG is no breach.
    if KNOWS_PAUSES:
        scene.airflow.api("PATCH", "dags/copies", json={"is_paused": True})
        assert scene.look(16) == []
        assert {track["state"] for track in scene.events()[0]["tracks"]} == {"ok", "paused"}
        scene.airflow.api("PATCH", "dags/copies", json={"is_paused": False})
        assert scene.look(16.1) == []
    assert [line.split()[0] for line in scene.sent()] == ["breach", "recovery", "breach", "recovery"]


def test_what_is_no_breach_is_never_alerted(scene: Scene) -> None:
    def states(layer: str) -> set[str]:
        return {track["state"] for track in scene.events()[0]["tracks"] if track["layer"] == layer}

    # A first load takes long. When it is through, nothing has recovered.
    for event_type in ("connection", "location"):
        scene.copy(event_type, 5, 9)
    assert scene.look(9.6) == []
    assert states("copied") == {"ok"}
    assert "first_load" in states("loaded_duckdb")
    scene.run("loads")
    assert scene.look(9.7) == []
    assert states("loaded_duckdb") == {"ok"}
    # A backfill of earlier hours, which the warehouse doesn't have.
    scene.copy("connection", -30, -28)
    assert scene.look(9.8) == []
    # An hour that is declared lost. The hours around it go on.
    for event_type in ("connection", "location"):
        scene.copy(event_type, 9, 14)
    scene.lose("connection", 10)
    scene.run("loads")
    assert scene.look(14.6) == []
    assert scene.look(16.5) == []
    # A stall that somebody has muted, and that is over before the mute.
    store = FreshnessStore(FileDestination(scene.archive))
    store.mute(Mute("", "", hour(24)), hour(16.5))
    assert scene.look(19) == []
    assert "breach" in states("copied")
    for event_type in ("connection", "location"):
        scene.copy(event_type, 14, 19)
    scene.run("loads")
    assert scene.look(19.6) == []
    assert states("copied") == states("loaded_duckdb") == {"ok"}
    assert scene.sent() == []

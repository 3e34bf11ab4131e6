"""The sample DAGs whose runs are found by their hour, and what comes of the events of such runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import airflow.sdk
import pytest

from harness.check import differences
from tests.integration.export_dag import DAGS, Scene, soon
from tests.support.dag_bag import dags_of

EXPORT, TOTALS = "ayla_export_partitioned", "ayla_export_partitioned_totals"
KNOWN = hasattr(airflow.sdk, "CronPartitionTimetable")
ENDED = ("success", "failed")
COPIED = ("datapoint", "connection")
"""The event types that the DAGs copy here."""

# A partitioned and a plain DAG that follow one event type without knowing where it is copied to.
FOLLOWERS = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, PartitionedAssetTimetable

from ayla_provider.assets import export_alias

with DAG(dag_id="by_event_type", schedule=PartitionedAssetTimetable(assets=export_alias("datapoint"))):
    EmptyOperator(task_id="follow")
with DAG(dag_id="plain", schedule=[export_alias("datapoint")]):
    EmptyOperator(task_id="follow")
"""


def key(hour: datetime) -> str:
    return f"{hour:%Y-%m-%dT%H:%M:%S}"


def test_the_file_has_its_dags_where_airflow_knows_partitions_and_none_elsewhere() -> None:
    dags = dags_of(DAGS)
    assert {dag_id for dag_id in dags if dag_id.startswith(EXPORT)} == ({EXPORT, TOTALS} if KNOWN else set())


class Partitions:
    """The runs of some hours."""

    def __init__(self, scene: Scene, hours: list[datetime]) -> None:
        self.scene = scene
        self.keys = [key(hour) for hour in hours]

    def runs(self, dag: str) -> list[dict[str, Any]]:
        return [run for run in self.scene.airflow.dag_runs(dag) if run["partition_key"] in self.keys]

    def states(self, dag: str, count: int) -> dict[str, str]:
        """Wait until there are so many runs, and all have ended; return how each did."""

        def ended() -> list[dict[str, Any]] | None:
            runs = self.runs(dag)
            return runs if len([run for run in runs if run["state"] in ENDED]) == len(runs) >= count else None

        def unfinished() -> str:
            tasks = self.scene.airflow.task_instances(dag)
            return "\n".join(
                f"{one['dag_run_id']} {one['task_id']}, try {one['try_number']}: {one['state']}" for one in tasks
            )

        airflow = self.scene.airflow
        runs = airflow.wait_until(f"{count} runs of {dag} to end", ended, timeout=600, explain=unfinished)
        assert len(runs) == count
        return {run["partition_key"]: run["state"] for run in runs}

    def totals(self) -> dict[str, dict[str, Any]]:
        """What each run of the totals returned."""
        airflow = self.scene.airflow
        return {
            run["partition_key"]: airflow.xcoms(TOTALS, run["dag_run_id"], "add_up")["return_value"]
            for run in self.runs(TOTALS)
        }


@pytest.mark.ci
@pytest.mark.integration
@pytest.mark.skipif(not KNOWN, reason="this Airflow knows no partitions")
def test_hours_land_by_their_partition_and_the_dag_behind_them_runs_once_for_each(tmp_path: Path) -> None:
    folder = soon(tmp_path / "dags", EXPORT, event_types=COPIED)
    (folder / "followers.py").write_text(FOLLOWERS)
    scene = Scene(tmp_path, dags=folder)
    # The last hour comes by itself, the one before by a backfill, the first by its key.
    hours = scene.hours[-3:]
    scene.hours = hours[2:]
    scene.airflow.parallelism = 6
    broken = hours[-1]
    with scene.running(TOTALS, "by_event_type", "plain") as running:
        every, whole = Partitions(running, hours), Partitions(running, hours[:-1])
        running.cloud.faults.add(403, step="download", match=f"Datapoint/{broken:%Y-%m-%d %H}", times=None)
        running.airflow.wait_for_dag(EXPORT)
        running.airflow.unpause(EXPORT)
        running.airflow.trigger(EXPORT, partition_key=key(hours[0]))
        running.airflow.backfill(EXPORT, hours[1], hours[1])

        wanted = {key(hour): "success" for hour in hours}
        assert every.states(EXPORT, 3) == wanted | {key(broken): "failed"}
        assert set(whole.states(TOTALS, 2)) == set(wanted) - {key(broken)}
        assert differences(running.cloud, running.bucket, hours[:-1], COPIED) == []

        # The hour that failed is found by its key, and once it is complete its totals follow.
        running.cloud.faults.clear()
        asked = {"partition_key": key(broken), "only_failed": True, "dry_run": False}
        running.airflow.api("POST", f"dags/{EXPORT}/clearDagRuns", json=asked)
        assert every.states(TOTALS, 3) == every.states(EXPORT, 3) == wanted
        assert differences(running.cloud, running.bucket, hours, COPIED) == []
        found = every.totals()
        for hour in hours:
            answers = [each for each in running.cloud.answer_key() if each.hour == hour and each.event_type in COPIED]
            files = [file for answer in answers for file in answer.files]
            size = sum(file.final.size for file in files)
            assert found[key(hour)] == {"hour": hour.isoformat(), "files": len(files), "bytes": size}

        # The events that the operator announces under its alias have the key too; DAGs without partitions get none.
        assert every.states("by_event_type", 3) == wanted
        assert running.airflow.dag_runs("plain") == []

"""The links on the pages of tasks, asked of a real Airflow: mapped ones lead to their own hour."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import pytest

from harness.client import AirflowTimeoutError
from tests.integration.export_dag import Scene

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DAG = """
from datetime import timedelta

from airflow.sdk import DAG

from ayla_provider.operators import AylaExportToBucketOperator, AylaExportToParquetOperator
from ayla_provider.sensors import AylaExportHourSensor

HOUR = {"event_type": "connection", "start": "FIRST", "end": ""}
HOURS = [{"start": "FIRST", "end": ""}, {"start": "SECOND", "end": ""}]

with DAG(dag_id="links", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(seconds=1)}):
    wait = AylaExportHourSensor(task_id="wait", **HOUR)
    # One after the other: if two tasks announce an asset at the same time that Airflow doesn't know yet, it fails one.
    copy = AylaExportToBucketOperator.partial(
        task_id="copy", event_type="connection", destination="gs://BUCKET/ayla", max_active_tis_per_dagrun=1
    ).expand_kwargs(HOURS)
    rows = AylaExportToParquetOperator.partial(
        task_id="rows", event_type="connection", archive="gs://BUCKET/ayla", max_malformed=0.5
    ).expand_kwargs(HOURS)
    refused = AylaExportToParquetOperator(
        task_id="refused", archive="gs://BUCKET/ayla", parquet="gs://BUCKET/none", max_malformed=0, **HOUR
    )
    on_disk = AylaExportToBucketOperator(task_id="on_disk", destination="file://FOLDER", **HOUR)
    wait >> copy >> rows >> refused
    wait >> on_disk
"""


def test_the_links_of_a_task_lead_to_its_own_hour(tmp_path: Path) -> None:
    scene = Scene(tmp_path, dags=tmp_path / "dags")
    answers = [one for one in scene.cloud.answer_key() if one.event_type == "connection" and one.files]
    first, second = (one.hour for one in answers[:2])
    bucket = scene.cloud.customer.name
    code = DAG
    for name, value in {
        "FIRST": first.isoformat(),
        "SECOND": second.isoformat(),
        "BUCKET": bucket,
        "FOLDER": str(tmp_path / "disk"),
    }.items():
        code = code.replace(name, value)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "links.py").write_text(code)
    scene.environment = {"STORAGE_EMULATOR_HOST": scene.cloud.url}
    with scene.running() as running:
        file = answers[0].files[0]
        whole = running.cloud.vendor.live(file.object_name)
        assert whole
        damaged = b"".join(whole.content.chunks(0, whole.content.size)) + b"no,row\r\n"
        created = file.final.visible_at + timedelta(minutes=1)
        running.cloud.put_object(
            "Connection", f"{file.folder_time:%Y-%m-%d %H:%M:%S}", file.file_name, damaged, created
        )
        running.airflow.wait_for_dag("links")
        running.airflow.unpause("links")
        run = running.airflow.trigger("links")["dag_run_id"]
        running.airflow.wait_for_runs("links", run_ids=[run], state=None, timeout=900)
        tasks = running.airflow.task_instances("links", run)
        ended = {f"{task['task_id']} {task['map_index']}": task["state"] for task in tasks}
        assert {name for name, state in ended.items() if state != "success"} == {"refused -1"}, ended

        def links(task: str, map_index: int = -1) -> dict[str, str | None]:
            path = f"dags/links/dagRuns/{run}/taskInstances/{task}/links"
            found: dict[str, str | None] = running.airflow.api("GET", path, params={"map_index": map_index})
            return dict(found["extra_links"])

        def wait_for_links(expected: dict[str, str | None], task: str, map_index: int = -1) -> None:
            # A task stores its links after Airflow knows that it has ended.
            with contextlib.suppress(AirflowTimeoutError):
                running.airflow.wait_until("links", lambda: links(task, map_index) == expected or None, timeout=300)
            assert links(task, map_index) == expected

        console = "https://console.cloud.google.com/storage/browser"
        for index, hour in enumerate((first, second)):
            folder = f"event_type=connection/date={hour:%Y-%m-%d}/hour={hour:%H}"
            of_copy: dict[str, str | None] = {
                "Destination": f"{console}/{bucket}/ayla/{folder}",
                "Manifest": f"{console}/_details/{bucket}/ayla/_manifests/{folder}.json",
            }
            wait_for_links(of_copy, "copy", index)
            quarantine = f"{console}/_details/{bucket}/ayla/_quarantine/{folder}.parquet"
            of_rows = {
                "Parquet": f"{console}/_details/{bucket}/ayla/parquet/{folder}/rows.parquet",
                "Quarantine": quarantine if hour == first else None,
            }
            wait_for_links(of_rows, "rows", index)
            if hour == first:
                # A task that fails for its malformed lines leads to them all the more.
                wait_for_links({"Parquet": None, "Quarantine": quarantine}, "refused")
        for link in (*links("copy", 0).values(), *links("rows", 0).values()):
            name = str(link).removeprefix(f"{console}/_details/{bucket}/").removeprefix(f"{console}/{bucket}/")
            assert [one for one in running.cloud.customer.names if one.startswith(name)], f"{link} leads nowhere"
        assert links("on_disk") == {"Destination": None, "Manifest": None}
        assert links("wait") == {}

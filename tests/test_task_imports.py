"""Which libraries a task's process has imported after its work: importing Google's client takes longer than a copy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.local_cloud import LocalCloud
from tests.support.fleet import HOUR

# Airflow itself imports none of them for a task.
UNWANTED = ("google.cloud.storage", "google.api_core", "google.resumable_media", "grpc", "requests")

# What a task's process has: connections in the environment, and a supervisor that keeps variables.
PROCESS = """
import sys
from datetime import timedelta
from types import SimpleNamespace

from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.execution_time.context import OutletEventAccessors


class Supervisor:
    def __init__(self):
        self.variables = {}

    def send(self, message):
        if isinstance(message, comms.PutVariable):
            self.variables[message.key] = message.value
            return None
        if isinstance(message, comms.GetVariable) and message.key in self.variables:
            return comms.VariableResult(key=message.key, value=self.variables[message.key])
        return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={})


task_runner.SUPERVISOR_COMMS = Supervisor()
ti = SimpleNamespace(
    dag_id="a_dag", run_id="a_run", task_id="a_task", try_number=1, max_tries=1, start_date=None, map_index=-1
)
context = {"ti": ti, "outlet_events": OutletEventAccessors()}
"""
COPY = """
from ayla_provider.operators import AylaExportToBucketOperator

copy = AylaExportToBucketOperator(
    task_id="copy", event_type="datapoint", destination=destination, start=start, end=end
)
print("copied", copy.execute(context)["copied_files"])
"""
WAIT = """
from ayla_provider.sensors import AylaExportHourSensor

wait = AylaExportHourSensor(task_id="wait", event_type="datapoint", start=start, end=end, deferrable=False)
print("settled", wait.poke(context).is_done)
"""
READ = """
from ayla_provider.destinations import open_destination

archive = open_destination(destination)
manifest = f"_manifests/event_type=datapoint/date={start[:10]}/hour={start[11:13]}.json"
folder = archive.folder(manifest.rpartition("/")[0])
print("read", archive.read("nothing.json"), len(folder), len(list(archive.tree(""))))
content, stored = archive.read(manifest)
print("pieces", b"".join(archive.blocks(manifest)) == content)
archive.remove(stored)
print("left", archive.read(manifest))
"""


def run_in_a_task(cloud: LocalCloud, *codes: str) -> tuple[list[str], set[str]]:
    """Return what pieces of code print in a process of their own, and the modules that it holds afterwards."""
    names = {
        "destination": f"gs://{cloud.customer.name}/ayla",
        "start": HOUR.isoformat(),
        "end": (HOUR + ONE_HOUR).isoformat(),
    }
    given = [f"{name} = {value!r}" for name, value in names.items()]
    code = "\n".join([PROCESS, *given, *codes, "print('LOADED', *sys.modules)"])
    run = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    *lines, loaded = [line for line in run.stdout.splitlines() if not line[:1].isdigit()]
    return lines, set(loaded.split()[1:])


def unwanted(loaded: set[str]) -> set[str]:
    return {name for name in loaded if name in UNWANTED or name.startswith(tuple(f"{one}." for one in UNWANTED))}


@pytest.mark.parametrize(
    ("codes", "printed"),
    [
        pytest.param([COPY], ["copied 1"], id="copy"),
        pytest.param([WAIT], ["settled True"], id="wait"),
        pytest.param(
            [COPY, READ], ["copied 1", "read None 1 2", "pieces True", "left None"], id="what reads an archive"
        ),
    ],
)
def test_a_task_does_its_work_without_googles_client(export: LocalCloud, codes: list[str], printed: list[str]) -> None:
    lines, loaded = run_in_a_task(export, *codes)
    assert [line for line in lines if line in printed] == printed
    assert "ayla_provider.transport.http" in loaded
    assert unwanted(loaded) == set()


def test_a_fault_has_the_retries_of_googles_client(export: LocalCloud) -> None:
    export.faults.add(503, step="list", times=1)
    lines, loaded = run_in_a_task(export, WAIT)
    assert "settled True" in lines
    # If this fails, what the tests above look for has another name.
    assert {"google.cloud.storage.retry", "requests"} <= unwanted(loaded)

"""Time to parse a DAG file, without Airflow's own imports."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import Result, compared

DAGS = Path(__file__).parent.parent / "dags"

# Imports of any DAG file don't count.
_PROGRAM = """
import runpy, sys, time
import airflow.sdk, airflow.timetables.assets, airflow.timetables.interval, airflow.timetables.trigger
import airflow.providers.standard.operators.empty
start = time.perf_counter()
runpy.run_path(sys.argv[1])
print(1000 * (time.perf_counter() - start))
"""

_PEER = """
from datetime import UTC, datetime
from airflow.providers.google.cloud.sensors.gcs import GCSObjectsWithPrefixExistenceSensor
from airflow.providers.google.cloud.transfers.gcs_to_gcs import GCSToGCSOperator
from airflow.sdk import DAG

with DAG(dag_id="peer", schedule="@hourly", start_date=datetime(2026, 11, 1, tzinfo=UTC)):
    for event_type in ("connection", "datapoint", "datapoint_ack", "location", "registration"):
        wait = GCSObjectsWithPrefixExistenceSensor(task_id=f"wait_{event_type}", bucket="a", prefix=event_type)
        wait >> GCSToGCSOperator(
            task_id=f"copy_{event_type}", source_bucket="a", source_object=event_type, destination_bucket="b"
        )
"""

PEER = "a DAG of the Google provider's operators"
HOW = {
    PEER: "a sensor and a `GCSToGCSOperator` for each event type; Airflow's own imports aren't counted on either side"
}


def measure(rounds: int) -> list[Result]:
    """Parse each sample DAG, and a similar DAG with the Google provider's operators."""
    results = []
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as home:
        peer, imports = Path(home, "peer.py"), Path(home, "imports.py")
        peer.write_text(_PEER)
        imports.write_text("import ayla_provider.operators, ayla_provider.sensors\n")
        beside = {PEER: [_parsed(peer, home) for _ in range(rounds)]}
        files = {"the provider's operators and sensors imported": imports}
        files |= {f"{file.stem} read": file for file in sorted(DAGS.glob("*.py"))}
        for name, file in files.items():
            results += compared(name, "ms", [_parsed(file, home) for _ in range(rounds)], beside)
    return results


def _parsed(file: Path, home: str) -> float:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(file)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "AIRFLOW_HOME": home},
    )
    return float(done.stdout.splitlines()[-1])

"""Thousands of waits in one of Airflow's triggerers: what they take of its memory, and how often they list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.local_cloud import LocalCloud
from tests.support.fleet import HOUR
from tests.support.proofs import scale

pytestmark = pytest.mark.any_airflow

CONNECTIONS = scale(3, 20)
HOURS = scale(20, 50)
EVENT_TYPES = ("datapoint", "connection", "location", "registration", "datapoint_ack")
WAITS = CONNECTIONS * HOURS * len(EVENT_TYPES)
LOOKS = 3

PROGRAM = """
import asyncio, collections, json, re, sys, threading
from datetime import datetime, timedelta
from pathlib import Path
from airflow.executors.workloads import RunTrigger
from airflow.jobs import triggerer_job_runner
from airflow.jobs.triggerer_job_runner import TriggerRunner, messages
from airflow.models.trigger import Trigger
from ayla_provider._airflow.shared_looks import SharedLooks

def peak():
    # Not what getrusage says, which counts the parent's memory at the start.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

arguments = json.loads(sys.argv[1])
first = datetime.fromisoformat(arguments["first"])

class Supervisor:
    '''Sends the triggers to the runner, as Airflow's supervisor does, and hears of those that have ended.'''

    def __init__(self):
        self._reader_task = asyncio.get_running_loop().create_future()
        self._unsent = [self.trigger(number) for number in range(arguments["waits"])]

    def trigger(self, number):
        connection, number = number % arguments["connections"], number // arguments["connections"]
        types = arguments["event_types"]
        hour = first + timedelta(hours=number // len(types))
        given = {
            "ayla_conn_id": f"oem_{connection}",
            "event_type": types[number % len(types)],
            "start": hour.isoformat(),
            "end": (hour + timedelta(hours=1)).isoformat(),
            "poke_interval": 10.0,
            "until": "2040-01-01T00:00:00+00:00",
        }
        return RunTrigger(
            id=number * arguments["connections"] + connection + 1,
            ti=None,
            classpath="ayla_provider.triggers.AylaExportHourTrigger",
            encrypted_kwargs=Trigger.encrypt_kwargs(given),
        )

    async def asend(self, message):
        if message.events or message.failures:
            raise AssertionError(str(message)[:1000])
        now, self._unsent = self._unsent[:500], self._unsent[500:]
        return messages.TriggerStateSync(to_create=now, to_cancel=[])

class Runner(TriggerRunner):
    async def init_comms(self):
        self.comms_decoder = Supervisor()

before = peak()
looks = collections.Counter()
runner = Runner()
look = SharedLooks.look

async def counted(self, hours, *rule):
    seen = await look(self, hours, *rule)
    assert seen.result["hours"] == {"overdue": 1}, seen
    looks[threading.get_ident(), id(self), hours[0]] += 1
    if len(looks) == arguments["waits"] and min(looks.values()) >= arguments["looks"]:
        runner.stop = True
        runner._stop_event.set()
    return seen

SharedLooks.look = counted
asyncio.run(runner.arun())
threads = [thread for thread in threading.enumerate() if thread.name.startswith("ayla-wait")]
result = {"before": before, "peak": peak(), "looks": sum(looks.values()), "threads": len(threads)}
print(json.dumps(result), file=sys.__stderr__)
"""


@pytest.mark.ci
@pytest.mark.proof("5,000 waits of 20 connections, for days of a stall")
def test_thousands_of_waits_fit_into_a_triggerer(tmp_path: Path, airflow_db: None) -> None:
    first = HOUR - HOURS * ONE_HOUR
    with LocalCloud() as cloud:
        for event_type in EVENT_TYPES:
            folder = event_type.replace("_", " ").title()
            for hours in range(1, 4):
                start = first - hours * ONE_HOUR
                cloud.put_object(folder, f"{start:%Y-%m-%d %H:%M:%S}", "f.csv", b"a\r\n", start + 2 * ONE_HOUR)
        connection = json.dumps(cloud.ayla_connection())
        environment = {f"AIRFLOW_CONN_OEM_{number}": connection for number in range(CONNECTIONS)}
        arguments = {
            "first": first.isoformat(),
            "waits": WAITS,
            "connections": CONNECTIONS,
            "event_types": EVENT_TYPES,
            "looks": LOOKS,
        }
        finished = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=scale(300, 1200),
        )
        assert finished.returncode == 0, finished.stderr[-3000:]
        result: dict[str, Any] = json.loads(finished.stderr.splitlines()[-1])
        listings = sum(request.step == "list" for request in cloud.requests)
    print(f"{WAITS:,} waits: {result}, {listings:,} listings")
    assert result["looks"] >= LOOKS * WAITS
    assert result["peak"] < 400e6
    # Alone, each look would take more than ten.
    assert listings < result["looks"]
    assert cloud.sign_ins == 1

"""Real processes that end by SIGTERM or SIGKILL at each step, or whose disk is full."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.hour import MANIFEST, SIZE, SOURCE, check_complete, check_nothing_half, check_secret
from tests.faults.run_cell import fault_of
from tests.faults.scene import GENEROUS, Scene
from tests.faults.table import Cell
from tests.faults.task_process import TaskProcess

SIGNALS = [cell for cell in table.ENDINGS if cell.fault.startswith("SIG")]
DISKS = [cell for cell in table.ENDINGS if cell.fault == "disk-full"]
LIMITS = {"upload-start": 500, "upload-middle": SIZE // 2, "upload-end": SIZE - 1, "manifest": 100}
"""Bytes that the disk takes of a file. (RLIMIT_FSIZE: the system's own refusal, which needs no rights and no mount.)"""


def environment() -> dict[str, str]:
    names = ("AIRFLOW_CONN_AYLA_DEFAULT", "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "STORAGE_EMULATOR_HOST")
    return {name: os.environ[name] for name in names}


@pytest.fixture(scope="module")
def task_processes() -> Iterator[list[TaskProcess]]:
    made: list[TaskProcess] = []
    yield made
    for one in made:
        one.end()


@pytest.fixture
def task_process(
    scene: Scene, task_processes: list[TaskProcess], tmp_path_factory: pytest.TempPathFactory
) -> TaskProcess:
    """One for all, made with the first scene."""
    if not task_processes:
        locks = tmp_path_factory.mktemp("locks")
        task_processes.append(TaskProcess(environment(), f"file://{tmp_path_factory.mktemp('first')}", str(locks)))
    return task_processes[0]


@pytest.mark.parametrize("cell", table.parameters(SIGNALS))
def test_a_task_that_is_ended(cell: Cell, scene: Scene, task_process: TaskProcess) -> None:
    hangs = fault_of(cell, scene, "slow", delay=GENEROUS)
    task = task_process.task(environment(), scene.url)
    while not hangs.fired:
        time.sleep(0.005)
    task.signal(signal.Signals[cell.fault])
    hangs.delay = 0
    outcome, message = task.result()
    scene.settle()
    scene.cloud.faults.clear()
    expected = {"killed" if cell.fault == "SIGKILL" else cell.expected}
    if (cell.step, cell.fault) == ("upload-middle", "SIGTERM"):
        # Once all bytes are on their way, the task finishes. When that is, is a matter of milliseconds.
        expected.add("r")
    assert outcome in expected, message
    check_secret(message, scene.cloud)
    left = scene.archive()
    check_nothing_half(left)
    if outcome == "t":
        assert "stopped" in message
        assert "lear the task" in message
        assert MANIFEST not in left

    before = len(scene.cloud.requests)
    assert task_process.task(environment(), scene.url).result() == ("r", "")
    check_complete(scene.archive())
    moved = [one.path for one in scene.cloud.requests[before:] if one.step == "download"]
    for path in left.keys() & SOURCE.keys():
        assert not [one for one in moved if one.endswith(path.partition("Z-")[2])], "what is proven isn't moved"


@pytest.mark.parametrize("cell", table.parameters(DISKS))
def test_a_disk_that_is_full(cell: Cell, scene: Scene, task_process: TaskProcess, tmp_path: Path) -> None:
    def archive() -> dict[str, bytes]:
        found = {str(one.relative_to(tmp_path)): one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
        return {path: data for path, data in found.items() if not path.startswith("_failures/")}

    def run(disk: int | None = None) -> tuple[str, str]:
        return task_process.task(environment(), f"file://{tmp_path}", disk).result()

    if cell.step == "manifest":  # its files exist already, and are larger
        assert run() == ("r", "")
        (tmp_path / MANIFEST).unlink()
    outcome, message = run(LIMITS[cell.step])
    assert outcome == cell.expected, message
    assert "File too large" in message
    assert "has room" in message
    assert str(tmp_path) in message
    assert "event_type=datapoint" in message
    left = archive()
    check_nothing_half(left)
    assert MANIFEST not in left
    before = len(scene.cloud.requests)
    assert run() == ("r", "")
    check_complete(archive())
    moved = [one for one in scene.cloud.requests[before:] if one.step == "download"]
    assert len(moved) == len(SOURCE) - len(left), "what is proven isn't moved"

"""A process that drains a stream, and that a signal ends, or whose disk is full."""

from __future__ import annotations

import os
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.stream import kinesis
from tests.faults.stream_scene import Split, WireFault, outcome_of
from tests.faults.stream_table import READS, WRITES
from tests.faults.table import Cell
from tests.support.mortal import PROCESSES

_ROOM = 100
"""Bytes that a full disk takes of a file."""


class _EndingDestination(FileDestination):
    """A folder whose process is killed in one of its writes, or whose disk is full from there on."""

    def __init__(self, root: Path, cell: Cell) -> None:
        super().__init__(root)
        self._fault = cell.fault
        self._left = WRITES.index(cell.step) if cell.step in WRITES else -1

    def write(self, *arguments: Any, **more: Any) -> Stored:
        if self._left == 0 and self._fault == "disk-full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (_ROOM, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        if self._left == 0 and self._fault == "SIGKILL":
            # The content is on the disk, and hasn't its name yet.
            os.fsync = lambda handle: _signal(signal.SIGKILL)
        self._left -= 1
        return super().write(*arguments, **more)


def _signal(number: int) -> None:
    os.kill(os.getpid(), number)


def _drain(root: Path, split: Split, cell: Cell, said: Connection) -> None:
    """Drain, as the main function of a process."""
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    kinesis.PAUSE = 0.0
    archive, stream = StreamArchive(_EndingDestination(root, cell)), split.open()
    # Airflow's task runner calls on_kill, which stops the run.
    signal.signal(signal.SIGTERM, lambda number, frame: archive.stop())
    if cell.step in READS:
        WireFault(cell, split, stream, lambda: _signal(signal.Signals[cell.fault]))
    said.send(outcome_of(archive, stream))


def drain_and_end(root: Path, split: Split, cell: Cell) -> tuple[str, str]:
    """
    Drain in a process that the fault of a cell ends.

    :returns: a letter of the table, or ``killed``; and what an error says
    """
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=_drain, args=(root, split, cell, there))
    process.start()
    there.close()
    try:
        outcome: tuple[str, str] = here.recv()
    except EOFError:
        outcome = "no answer", ""
    process.join(60)
    return ("killed", "") if process.exitcode == -signal.SIGKILL else outcome

"""A process that drains a stream, and that can be killed at any moment."""

from __future__ import annotations

import os
import pickle
import random
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.memory_stream import MemoryStream
from tests.support.mortal import PROCESSES
from tests.support.stream_archives import drain


def drain_file(root: Path, stream: Path, max_records: int, started: Connection) -> None:
    """Drain a pickled stream into a folder, as the main function of a process."""
    loaded: MemoryStream = pickle.loads(stream.read_bytes())
    started.send("")
    drain(root, loaded, max_records=max_records)
    os._exit(0)


def drain_and_kill(root: Path, stream: Path, chance: random.Random, longest: float) -> int | None:
    """
    Drain a pickled stream in a process, and kill it after some time.

    :param longest: seconds that it has at most
    :returns: its exit status; negative if it was killed
    """
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=drain_file, args=(root, stream, chance.randint(5, 60), there))
    process.start()
    here.recv()
    process.join(chance.uniform(0, longest))
    process.kill()
    process.join()
    return process.exitcode

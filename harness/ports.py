"""Servers that a test or benchmark starts: their ports, and their end."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_UNTIL_READY = 60
"""Seconds."""


def answers(port: int) -> bool:
    """Return whether a server listens at a port of this machine."""
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Return ports below 20,000, because SeaweedFS also uses the port 10,000 above each one."""
    ports: list[int] = []
    # Processes that start at the same time look at different ports.
    candidate = 10_000 + os.getpid() * 17 % 9_900
    while len(ports) < count:
        candidate += 1
        if not answers(candidate) and not answers(candidate + 10_000):
            ports.append(candidate)
    return ports


@contextmanager
def running(command: Sequence[str | Path], *ports: int) -> Iterator[None]:
    """
    Run a server until the end of the block, and kill it then.

    :raises RuntimeError: if it ends, or doesn't listen at all of the ports within a minute
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _UNTIL_READY
        while not all(answers(port) for port in ports):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} doesn't start")
            time.sleep(0.1)
        yield
    finally:
        # It has nothing to keep, and SeaweedFS takes more than ten seconds to end by itself.
        process.kill()
        process.wait()

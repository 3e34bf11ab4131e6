"""The task in its own process, for tests that end it with signals or give it a full disk."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

from ayla_provider.source import auth, guard
from tests.faults.scene import GENEROUS, Try, context, operator_of, shorten
from tests.support.fleet import HOUR

# Not forked from pytest's own process, which has threads.
_PROCESSES = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class _Order:
    environment: dict[str, str]
    """The connections."""
    hour: datetime
    """That of pytest's own process: this one can be imported after the hour has changed."""
    url: str
    disk: int | None
    """The number of bytes of a file after which the disk is full."""


class TaskProcess:
    """A process that has run the task once, and forks itself for each further try."""

    def __init__(self, environment: dict[str, str], url: str, locks: str) -> None:
        self._pipe, other = _PROCESSES.Pipe()
        self._stopped = _PROCESSES.Event()
        first = _Order(environment, HOUR, url, None)
        arguments = (other, first, locks, self._stopped)
        self._process: BaseProcess = _PROCESSES.Process(target=_tend, args=arguments, daemon=True)
        self._process.start()
        other.close()
        outcome = self._pipe.recv()
        assert outcome == ("r", ""), outcome

    def task(self, environment: dict[str, str], url: str, disk: int | None = None) -> Task:
        """Start a try of the task, like Airflow's task runner."""
        self._stopped.clear()
        self._pipe.send(_Order(environment, HOUR, url, disk))
        return Task(self._pipe, self._pipe.recv(), self._stopped)

    def end(self) -> None:
        self._pipe.close()
        self._process.join(10)
        self._process.kill()


class Task:
    """A try that runs in its own process."""

    def __init__(self, pipe: Connection, pid: int, stopped: Event) -> None:
        self._pipe = pipe
        self._pid = pid
        self._stopped = stopped

    def signal(self, number: int) -> None:
        """Send a signal. Return after the task has dealt with it, if it can."""
        os.kill(self._pid, number)
        if number != signal.SIGKILL:
            assert self._stopped.wait(60)

    def result(self) -> tuple[str, str]:
        """Return a letter of the table and the message; ``killed`` if the process ended without a result."""
        if not self._pipe.poll(60):
            self.signal(signal.SIGKILL)
        result: tuple[str, str] | None = self._pipe.recv()
        if result is None:
            return "killed", ""
        assert self._pipe.recv() is None
        return result


def _tend(pipe: Connection, first: _Order, locks: str, stopped: Event) -> None:
    tempfile.tempdir = locks
    shorten(setattr, GENEROUS)
    guard._SETTLE, guard._TRIAL = 0.01, timedelta(seconds=1)
    pipe.send(_run(first, stopped))
    auth._PROVIDERS.clear()
    with contextlib.suppress(EOFError):
        while True:
            order = pipe.recv()
            pid = os.fork()
            if pid == 0:
                pipe.send(os.getpid())
                pipe.send(_run(order, stopped))
                os._exit(0)
            os.waitpid(pid, 0)
            pipe.send(None)


def _run(order: _Order, stopped: Event) -> tuple[str, str]:
    for stream in (1, 2):  # pytest captures them in a file, which would be on the full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.environ.update(order.environment)
    operator = operator_of(order.url, order.hour)
    # As Airflow's task runner does.
    signal.signal(signal.SIGTERM, lambda *_: (operator.on_kill(), stopped.set()))
    error: BaseException | None = None
    try:
        if order.disk is not None:
            operator.hook.export.event_folders()  # Airflow's own database is on another disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (order.disk, resource.RLIM_INFINITY))
        operator.execute(context())
    except Exception as raised:  # noqa: BLE001 - an outcome like any other
        error = raised
    return Try(error, "").outcome, str(error or "")

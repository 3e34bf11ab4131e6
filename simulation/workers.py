"""A pool of worker processes that get tasks one at a time and can be killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from simulation.worker import KILLED, Place, Result, Task, work

SIZE = 2
"""The number of tasks that run at once."""

# The fork server loads the client once. Each new worker is a fork of it.
_PROCESSES = multiprocessing.get_context("forkserver")
_PRELOAD = ["simulation.worker"]
_PROCESSES.set_forkserver_preload(_PRELOAD)

Done = list[tuple[Task, Result]]
"""Finished tasks, each with its result."""

_AIRFLOW_HOME = "AIRFLOW_HOME"

_EXIT_TIMEOUT = 10.0
"""Seconds that a process has to exit."""


def start_server(home: Path, modules: Sequence[str]) -> None:
    """
    Start the fork server, unless it runs.

    :param home: where Airflow's home is. Airflow reads its settings when it is first imported
    :param modules: what the fork server imports, once for all workers, because that takes seconds
    """
    _PROCESSES.set_forkserver_preload([*_PRELOAD, *modules])
    before = os.environ.get(_AIRFLOW_HOME)
    os.environ[_AIRFLOW_HOME] = str(home / "airflow")
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ[_AIRFLOW_HOME]
        else:
            os.environ[_AIRFLOW_HOME] = before


class WorkerPool:
    """
    A pool of worker processes. A new process replaces a dead one.

    :param place: returns the current place of the vendor and the archive
    :param role: the main function of a process
    :param size: the number of processes
    """

    def __init__(
        self, place: Callable[[], Place], role: Callable[[Connection, Place], None] = work, size: int = SIZE
    ) -> None:
        self._place = place
        self._role = role
        self._size = size
        self._workers: list[_Process] = []

    @property
    def pids(self) -> list[int]:
        """The ids of the living processes, the oldest first."""
        return [worker.pid for worker in self._workers]

    def run(
        self,
        tasks: Sequence[Task],
        when: Callable[[int], bool] | None = None,
        act: Callable[[], None] = lambda: None,
    ) -> Done:
        """
        Run tasks, several at once, and return their results.

        :param when: returns whether to call ``act`` now, from the number of finished tasks
        :param act: called once, while tasks run
        """
        left, done = deque(tasks), Done()
        while left or self._busy():
            self._hand_out(left)
            if when and when(len(done)):
                act()
                when = None
            for ready in wait([worker.pipe for worker in self._busy()], 0.005 if when else None):
                worker = next(worker for worker in self._workers if worker.pipe is ready)
                done.append(worker.result())
                if worker.dead:
                    self._workers.remove(worker)
        return done

    def kill(self) -> None:
        """End all processes with SIGKILL, so that they can't clean up."""
        for worker in self._workers:
            worker.kill()
        # run() notices the death of a busy process.
        self._workers = self._busy()

    def rest(self) -> None:
        """Make the processes release everything, and wait for the next place."""
        for worker in self._workers:
            worker.rest()

    def go_on(self) -> None:
        """Make the processes continue at the current place."""
        for worker in self._workers:
            worker.pipe.send(self._place())

    def end(self) -> list[str]:
        """Make the processes exit, and return the problems with that."""
        problems = [worker.end() for worker in self._workers]
        self._workers = []
        return [problem for problem in problems if problem]

    def _busy(self) -> list[_Process]:
        return [worker for worker in self._workers if worker.task]

    def _hand_out(self, left: deque[Task]) -> None:
        while left and len(self._busy()) < self._size:
            idle = next((worker for worker in self._workers if not worker.task), None)
            if idle is None:
                idle = _Process(self._role, self._place())
                self._workers.append(idle)
            idle.take(left.popleft())


class _Process:
    def __init__(self, role: Callable[[Connection, Place], None], place: Place) -> None:
        self.pipe: Connection
        self.pipe, other = _PROCESSES.Pipe()
        self._process: BaseProcess = _PROCESSES.Process(target=role, args=(other, place), daemon=True)
        self._process.start()
        other.close()  # so that the pipe closes when the process exits
        self.task: Task | None = None
        self.dead = False
        self._killed = False

    @property
    def pid(self) -> int:
        assert self._process.pid  # noqa: S101 - for mypy: it was started
        return self._process.pid

    def take(self, task: Task) -> None:
        self.task = task
        self.pipe.send(task)

    def result(self) -> tuple[Task, Result]:
        assert self.task  # noqa: S101 - for mypy
        task, self.task = self.task, None
        try:
            result: Result = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._killed, result = True, KILLED
        if self._killed:  # the kill may come after the result of this task
            self._end()
        return task, result

    def kill(self) -> None:
        self._killed = True
        self._process.kill()
        if not self.task:
            self._end()

    def rest(self) -> None:
        self.pipe.send(None)
        self.pipe.recv()

    def end(self) -> str:
        self.pipe.close()
        self._process.join(_EXIT_TIMEOUT)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            return f"process {self.pid} didn't exit"
        return f"process {self.pid} ended with {self._process.exitcode}" if self._process.exitcode else ""

    def _end(self) -> None:
        self.dead = True
        self.pipe.close()
        self._process.join()

"""The worker processes: they get tasks one by one, and can be killed at any moment."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from simulation.worker import KILLED, Place, Result, Task, work

SIZE = 2
"""How many tasks run at once."""

# A process that loads the client once, and forks a worker from what it then holds whenever one is needed.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["simulation.worker"])

Done = list[tuple[Task, Result]]


_END = 10.0
"""Seconds in which a process must end by itself."""


class WorkerPool:
    """
    Worker processes, each replaced when it has died.

    :param place: tells where everything is now
    :param role: what such a process does all the time
    :param size: how many there are
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
        """The processes that live now, the oldest one first."""
        return [worker.pid for worker in self._workers]

    def run(
        self,
        tasks: Sequence[Task],
        when: Callable[[int], bool] | None = None,
        act: Callable[[], None] = lambda: None,
    ) -> Done:
        """
        Do tasks, several at once, and return what became of each.

        :param when: tells, from how many are done, whether something is to happen now, in the middle of it all
        :param act: what then happens, once
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
        """End all processes by SIGKILL: they can tidy up nothing."""
        for worker in self._workers:
            worker.kill()
        # Those at work are found dead by what waits for them.
        self._workers = self._busy()

    def rest(self) -> None:
        """Have the processes let go of all that they hold, and wait for where to go on."""
        for worker in self._workers:
            worker.rest()

    def go_on(self) -> None:
        """Have the processes go on at what is the place now."""
        for worker in self._workers:
            worker.pipe.send(self._place())

    def end(self) -> list[str]:
        """Have the processes end by themselves, and return what is wrong with how they did."""
        told = [worker.end() for worker in self._workers]
        self._workers = []
        return [problem for problem in told if problem]

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
        other.close()  # so that the end of the process is the end of the pipe
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
            found: Result = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._killed, found = True, KILLED
        if self._killed:  # which may have been too late for this task
            self._end()
        return task, found

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
        self._process.join(_END)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            return f"process {self.pid} didn't end by itself"
        return f"process {self.pid} ended with {self._process.exitcode}" if self._process.exitcode else ""

    def _end(self) -> None:
        self.dead = True
        self.pipe.close()
        self._process.join()

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


class Crew:
    """Worker processes, each replaced when it has died."""

    def __init__(self, place: Callable[[], Place]) -> None:
        self._place = place
        self._workers: list[_Process] = []

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

    def _busy(self) -> list[_Process]:
        return [worker for worker in self._workers if worker.task]

    def _hand_out(self, left: deque[Task]) -> None:
        while left and len(self._busy()) < SIZE:
            idle = next((worker for worker in self._workers if not worker.task), None)
            if idle is None:
                idle = _Process(self._place())
                self._workers.append(idle)
            idle.take(left.popleft())


class _Process:
    def __init__(self, place: Place) -> None:
        self.pipe: Connection
        self.pipe, other = _PROCESSES.Pipe()
        self._process: BaseProcess = _PROCESSES.Process(target=work, args=(other, place), daemon=True)
        self._process.start()
        other.close()  # so that the end of the process is the end of the pipe
        self.task: Task | None = None
        self.dead = False
        self._killed = False

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

    def _end(self) -> None:
        self.dead = True
        self.pipe.close()
        self._process.join()

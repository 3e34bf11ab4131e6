"""The processes of a customer that are never replaced, and what each of them holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from simulation.memory import Sample, children, most, sample
from simulation.triggerer import watch
from simulation.worker import Kind, Place, Task
from simulation.workers import Done, WorkerPool

DOUBLE = "local cloud (a double)"
"""What this process is, beside the others."""


class Deployment(WorkerPool):
    """Workers that copy and compare, and a triggerer that waits; none of them is ever replaced."""

    def __init__(self, place: Callable[[], Place]) -> None:
        super().__init__(place)
        self.triggerer = WorkerPool(place, watch, size=1)
        self.peaks: dict[str, Sample] = {}
        """By process, the most that was seen of it."""
        self._seen: set[int] = set()

    def run(
        self,
        tasks: Sequence[Task],
        when: Callable[[int], bool] | None = None,
        act: Callable[[], None] = lambda: None,
    ) -> Done:
        """Do tasks, which are all of one kind."""
        looks = [task for task in tasks if task.kind is Kind.LOOK]
        done = self.triggerer.run(looks, when, act) if looks else super().run(tasks, when, act)
        self.sample()
        return done

    def sample(self) -> dict[str, Sample]:
        """Return what each process holds now, and note the most of it."""
        workers = [(f"worker {number}", pid) for number, pid in enumerate(self.pids, 1)]
        triggerer = [("triggerer", pid) for pid in self.triggerer.pids]
        self._seen |= {pid for _, pid in (*workers, *triggerer)}
        found = {who: sample(pid) for who, pid in (*workers, *triggerer, (DOUBLE, os.getpid()))}
        self.peaks |= {who: most(one, self.peaks.get(who)) for who, one in found.items()}
        return found

    def rest(self) -> None:
        """Have all processes let go of all that they hold, and wait for where to go on."""
        super().rest()
        self.triggerer.rest()

    def go_on(self) -> None:
        """Have all processes go on at what is the place now."""
        super().go_on()
        self.triggerer.go_on()

    def end(self) -> list[str]:
        """Have all processes end by themselves, and return what is wrong with how they did."""
        alive = (*self.pids, *self.triggerer.pids)
        offspring = [child for pid in alive for child in children(pid)]
        ended = [*super().end(), *self.triggerer.end()]
        return [
            *ended,
            *(f"process {pid} died" for pid in self._seen.difference(alive)),
            *(f"process {pid} was left behind" for pid in offspring),
        ]

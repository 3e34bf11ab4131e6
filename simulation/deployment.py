"""The processes of a customer that are never replaced, and the resources of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from simulation.memory import Sample, children, most, sample
from simulation.triggerer import watch
from simulation.worker import Kind, Place, Task
from simulation.workers import Done, WorkerPool

DOUBLE = "local cloud (a double)"
"""The name of this process, which is also measured."""


class Deployment(WorkerPool):
    """Workers that copy and compare, and a triggerer that waits. None of them is ever replaced."""

    def __init__(self, place: Callable[[], Place]) -> None:
        super().__init__(place)
        self.triggerer = WorkerPool(place, watch, size=1)
        self.peaks: dict[str, Sample] = {}
        """The largest measured values of each process."""
        self._seen: set[int] = set()

    def run(
        self,
        tasks: Sequence[Task],
        when: Callable[[int], bool] | None = None,
        act: Callable[[], None] = lambda: None,
    ) -> Done:
        """Run tasks, which are all of one kind."""
        looks = [task for task in tasks if task.kind is Kind.LOOK]
        done = self.triggerer.run(looks, when, act) if looks else super().run(tasks, when, act)
        self.sample()
        return done

    def sample(self) -> dict[str, Sample]:
        """Measure each process, and record the largest values."""
        workers = [(f"worker {number}", pid) for number, pid in enumerate(self.pids, 1)]
        triggerer = [("triggerer", pid) for pid in self.triggerer.pids]
        self._seen |= {pid for _, pid in (*workers, *triggerer)}
        samples = {name: sample(pid) for name, pid in (*workers, *triggerer, (DOUBLE, os.getpid()))}
        self.peaks |= {name: most(measured, self.peaks.get(name)) for name, measured in samples.items()}
        return samples

    def rest(self) -> None:
        """Make all processes release everything, and wait for the next place."""
        super().rest()
        self.triggerer.rest()

    def go_on(self) -> None:
        """Make all processes continue at the current place."""
        super().go_on()
        self.triggerer.go_on()

    def end(self) -> list[str]:
        """Make all processes exit, and return the problems with that."""
        alive = (*self.pids, *self.triggerer.pids)
        offspring = [child for pid in alive for child in children(pid)]
        ended = [*super().end(), *self.triggerer.end()]
        return [
            *ended,
            *(f"process {pid} died" for pid in self._seen.difference(alive)),
            *(f"process {pid} was left behind" for pid in offspring),
        ]

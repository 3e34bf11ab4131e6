"""``make soak``: simulated weeks, one after another, in the same processes, whose resources must not grow."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.domain.events import EVENT_TYPES
from simulation.deployment import DOUBLE, Deployment
from simulation.faults import KILLING
from simulation.memory import AT_LEAST, MB, Sample, grown, sample, table
from simulation.run import Simulation
from simulation.workers import start_server

FIRST_DAY = datetime(2001, 1, 1, tzinfo=UTC)
"""Long ago, so that the weeks never reach the present, where triggers would sleep in real time."""


class Soak:
    """
    A customer over many weeks. Each week has its own export and its own archive.

    :param home: an empty folder
    :param days: the length of a week
    """

    def __init__(self, home: Path, days: float = 7) -> None:
        self.home = home
        self.days = days
        self.rested: dict[str, list[Sample]] = {}
        self.weeks = self.hours = self.files = self.requests = self.faults = 0
        self.problems: list[str] = []
        self.deployment = Deployment(lambda: replace(self._run.setup.place, home=home))
        self._run: Simulation
        self._port = 0
        start_server(home, ())  # it keeps running, so its files are part of the first sample
        self._before = sample(os.getpid())

    def run(self, seconds: float, at_least: int = AT_LEAST) -> None:
        """
        Simulate weeks, and stop at the first problem.

        :param seconds: the time to run
        :param at_least: the smallest number of weeks; with fewer than the rule needs, it isn't applied
        """
        until = time.monotonic() + seconds
        while not self.problems and (self.weeks < at_least or time.monotonic() < until):
            self.weeks += 1
            self._week()

    def _week(self) -> None:
        started = time.monotonic()
        self._run = simulation = Simulation(
            self.days,
            seed=self.weeks,  # odd and even: the archive alternates between a bucket and a disk
            home=self.home / "week",
            say=lambda line: None,
            start=FIRST_DAY + (self.weeks - 1) * timedelta(days=self.days),
            port=self._port,
            without=(*KILLING, "restyled"),
            pool=self.deployment,
            loads=(),
        )
        with closing(simulation.setup):
            self._port = simulation.setup.port
            self.deployment.go_on()
            simulation.run()
            unfinished = [f"{path} remained" for path in simulation.setup.folder.rglob("*.partial")]
            self.problems = [f"week {self.weeks}: {problem}" for problem in (*unfinished, *simulation.differences())]
            self.hours += len(EVENT_TYPES) * len(simulation.hours)
            self.files += simulation.customer.counts["copied files"]
            self.faults += simulation.faults.happened.total()
            self.requests += simulation.setup.requests + len(simulation.setup.cloud.requests)
        self.deployment.rest()
        if not self.problems:
            shutil.rmtree(simulation.home)
        samples = self.deployment.sample()
        for name, measured in samples.items():
            self.rested.setdefault(name, []).append(measured)
        texts = [f"{name} {measured.memory / MB:.1f} MB {measured.files} files" for name, measured in samples.items()]
        print(f"week {self.weeks}, {time.monotonic() - started:.0f} s: {', '.join(texts)}", flush=True)

    def end(self) -> list[str]:
        """End all processes, and return the problems: differences, growth and leftovers."""
        for name, samples in self.rested.items():
            if name != DOUBLE and len(samples) >= AT_LEAST:
                self.problems += grown(name, samples)
        self.problems += self.deployment.end()
        now = sample(os.getpid())
        if now.files > self._before.files:
            self.problems.append(f"{now.files - self._before.files} open files or sockets remain in this process")
        if now.threads > self._before.threads:
            self.problems.append(f"threads remain in this process: {threading.enumerate()}")
        left = [path for path in (self.home / "locks").rglob("*") if path.is_file() and not _is_guards(path)]
        self.problems += [f"{path} remained" for path in left]
        return self.problems

    def summary(self) -> list[str]:
        """Return a summary, and the resources of each process."""
        return [
            *(table(self.rested, self.deployment.peaks) if self.weeks >= AT_LEAST else ()),
            f"{self.weeks} weeks: {self.hours:,} hours, {self.files:,} files copied, {self.requests:,} requests, "
            f"{self.faults:,} faults",
        ]


def _is_guards(path: Path) -> bool:
    """Return whether a file is one of the two that all sign-ins of an account share. They may remain."""
    return path.parent.name.startswith("ayla_provider-") and path.suffix in (".json", ".lock")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the soak test.

    :return: the exit status: 0, or 1 if anything grew, differs or remained
    """
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="the time to run (60); at least four weeks")
    arguments = parser.parse_args(argv)
    if not Path("/proc/self/fd").is_dir():
        parser.error("needs Linux, because it reads /proc")
    home = Path(tempfile.mkdtemp(prefix="ayla-soak-"))
    soak = Soak(home)
    soak.run(60 * arguments.minutes)
    problems = soak.end()
    print("\n".join(soak.summary()))
    if problems:
        print("\n".join(problems), f"\nFAILED. All data is in {home}")
        return 1
    shutil.rmtree(home)
    print("OK: nothing grew, nothing remained, and every archive equals its answer key.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

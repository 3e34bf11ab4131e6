"""``make soak``: simulated weeks, one after the other, in the same processes, which must hold no more at their end."""

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
from multiprocessing import forkserver
from pathlib import Path

from ayla_provider.domain.events import EVENT_TYPES
from simulation.deployment import DOUBLE, Deployment
from simulation.faults import KILLING
from simulation.memory import AT_LEAST, MB, Sample, grown, sample, table
from simulation.run import Simulation

FIRST_DAY = datetime(2001, 1, 1, tzinfo=UTC)
"""Long ago, so that the weeks never come to where triggers would sleep until a real moment."""


class Soak:
    """
    A customer who goes on, week by week, each with an export and an archive of its own.

    :param home: an empty folder
    :param days: how long a week is
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
        forkserver.ensure_running()  # it stays, and what this process holds for it
        self._before = sample(os.getpid())

    def run(self, seconds: float, at_least: int = AT_LEAST) -> None:
        """
        Live through weeks, and stop at what is wrong.

        :param seconds: how long
        :param at_least: how many weeks, even so; with fewer than the rule needs, it isn't applied
        """
        until = time.monotonic() + seconds
        while not self.problems and (self.weeks < at_least or time.monotonic() < until):
            self.weeks += 1
            self._week()

    def _week(self) -> None:
        begun = time.monotonic()
        self._run = simulation = Simulation(
            self.days,
            seed=self.weeks,  # which has the archive in a bucket and on disk in turn
            home=self.home / "week",
            say=lambda line: None,
            start=FIRST_DAY + (self.weeks - 1) * timedelta(days=self.days),
            port=self._port,
            without=KILLING,
            pool=self.deployment,
        )
        with closing(simulation.setup):
            self._port = simulation.setup.port
            self.deployment.go_on()
            simulation.run()
            unfinished = [f"{path} was left" for path in simulation.setup.folder.rglob("*.partial")]
            self.problems = [f"week {self.weeks}: {what}" for what in (*unfinished, *simulation.differences())]
            self.hours += len(EVENT_TYPES) * len(simulation.hours)
            self.files += simulation.customer.counts["copied files"]
            self.faults += simulation.faults.happened.total()
            self.requests += simulation.setup.requests + len(simulation.setup.cloud.requests)
        self.deployment.rest()
        if not self.problems:
            shutil.rmtree(simulation.home)
        held = self.deployment.sample()
        for who, one in held.items():
            self.rested.setdefault(who, []).append(one)
        told = ", ".join(f"{who} {one.memory / MB:.1f} MB {one.files} files" for who, one in held.items())
        print(f"week {self.weeks}, {time.monotonic() - begun:.0f} s: {told}", flush=True)

    def end(self) -> list[str]:
        """End all processes, and return what is wrong: what differed, what grew, and what is left."""
        for who, samples in self.rested.items():
            if who != DOUBLE and len(samples) >= AT_LEAST:
                self.problems += grown(who, samples)
        self.problems += self.deployment.end()
        now = sample(os.getpid())
        if now.files > self._before.files:
            self.problems.append(f"{now.files - self._before.files} open files or sockets are left in this process")
        if now.threads > self._before.threads:
            self.problems.append(f"threads are left in this process: {threading.enumerate()}")
        left = [path for path in (self.home / "locks").rglob("*") if path.is_file() and not _is_guards(path)]
        self.problems += [f"{path} was left" for path in left]
        return self.problems

    def summary(self) -> list[str]:
        """Return what was lived through, and what each process holds."""
        return [
            *(table(self.rested, self.deployment.peaks) if self.weeks >= AT_LEAST else ()),
            f"{self.weeks} weeks: {self.hours:,} hours, {self.files:,} files copied, {self.requests:,} requests, "
            f"{self.faults:,} faults",
        ]


def _is_guards(path: Path) -> bool:
    """Whether a file is one of the two by which all sign-ins of an account agree: they are meant to stay."""
    return path.parent.name.startswith("ayla_provider-") and path.suffix in (".json", ".lock")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Live through weeks.

    :return: the exit status: 0, or 1 if anything grew, differs or is left
    """
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long (60); four weeks at least")
    arguments = parser.parse_args(argv)
    if not Path("/proc/self/fd").is_dir():
        parser.error("needs Linux, whose /proc tells what a process holds")
    home = Path(tempfile.mkdtemp(prefix="ayla-soak-"))
    soak = Soak(home)
    soak.run(60 * arguments.minutes)
    problems = soak.end()
    print("\n".join(soak.summary()))
    if problems:
        print("\n".join(problems), f"\nFAILED. What there is to look at is left in {home}")
        return 1
    shutil.rmtree(home)
    print("OK: nothing grew, nothing is left, and every archive equals its answer key.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

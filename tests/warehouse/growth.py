"""
A lake's table that grows, commit by commit, and how long a load takes when it is old.

Two tables of the same history are compared: one is as it is after 100 commits, the other one as it is 100 commits
before its end. Then each gets its next 100 commits, in turns: a load of the young table, one of the old table, and so
on. So a machine that is busy for a while makes both slower. What is measured is the processor time of a load, user and
system, of all threads of this process. It is a load as a task does it: connect, read how other hours were made and what
is loaded, compare the columns, write the Parquet file, commit. What makes the hour's rows, and upkeep, isn't measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Protocol

from ayla_provider.warehouse.base import Warehouse
from tests.support.proofs import scale
from tests.warehouse.contract import DATAPOINT
from tests.warehouse.made_loads import HOUR, made_load

START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
"""After today. A year passes here in minutes, and so upkeep takes the files of yesterday for old ones."""

ROWS = 5
"""Of each hour. The time of a commit doesn't depend on them."""


class GrowingTable:
    """
    A table that gets an hour by each commit.

    :param scratch: a folder for the hours' rows
    :param connect: returns the warehouse, not yet connected
    :param tend: does the upkeep of a day, at a time; None for a table without upkeep
    """

    def __init__(
        self, scratch: Path, connect: Callable[[], Warehouse], tend: Callable[[datetime], None] | None
    ) -> None:
        self.commits = 0
        self._scratch = scratch
        self._connect = connect
        self._tend = tend

    def load(self) -> float:
        """Load the next hour, and do the upkeep if a day is over. Return the seconds of the processor of the load."""
        hour = START + self.commits * HOUR
        rows = [{"dsn": f"AC{row:03}", "created_at": hour} for row in range(ROWS)]
        load = made_load(self._scratch, "datapoint", hour, rows)
        began = time.process_time()
        with self._connect() as warehouse:
            warehouse.recipes("datapoint", hour, hour + HOUR)
            warehouse.loaded("datapoint", hour, hour + HOUR)
            warehouse.prepare(DATAPOINT)
            warehouse.replace(load)
        seconds = time.process_time() - began
        if load.parquet:
            load.parquet.unlink()
        self.commits += 1
        if self._tend and self.commits % 24 == 0:
            self._tend(START + self.commits * HOUR)
        return seconds

    def grow(self, commits: int) -> None:
        """Load hours until the table has so many commits."""
        while self.commits < commits:
            self.load()

    def assert_complete(self) -> None:
        """Compare the ledger and the rows with what was loaded."""
        with self._connect() as warehouse:
            held = warehouse.held("datapoint", START, START + self.commits * HOUR)
        counts = [(hour.version, hour.rows, hour.counted) for hour in held.values()]
        assert counts == [("v1", ROWS, ROWS)] * self.commits


@dataclass(frozen=True)
class Ages:
    """The medians of loads, in seconds of the processor."""

    young: float
    old: float

    def __str__(self) -> str:
        times = f"{self.young:.3f} s of the processor in the young table, {self.old:.3f} s in the old one"
        return f"{times}, {self.old / self.young:.2f} times as long"


def compare(young: GrowingTable, old: GrowingTable, commits: int) -> Ages:
    """Load hours into two tables in turns, so many into each, and return the medians."""
    of_young, of_old = [], []
    for number in range(commits):
        # Each goes first half of the times.
        if number % 2:
            of_old.append(old.load())
        of_young.append(young.load())
        if not number % 2:
            of_old.append(old.load())
    return Ages(median(of_young), median(of_old))


class Growing(Protocol):
    """Makes a table of its own in a folder."""

    def __call__(self, folder: Path, *, with_upkeep: bool) -> GrowingTable: ...


def measured(growing: Growing, folder: Path, commits: int, *, with_upkeep: bool) -> Ages:
    """Let a table grow, and compare it with a young one."""
    young, old = (growing(folder / name, with_upkeep=with_upkeep) for name in ("young", "old"))
    compared = scale(3, 100)
    old.grow(commits - compared)
    young.grow(compared)
    ages = compare(young, old, compared)
    old.assert_complete()
    return ages

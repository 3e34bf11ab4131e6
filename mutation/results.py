"""What came of the mutants: scores, and what the survivors are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath

_SAMPLE = 2
"""
The number of the samples. Tests that were written for the survivors of a sample make its score higher than that of all
mutants. With another number, the next run tests mutants that nobody has looked at.
"""

ENOUGH = 0.85
"""The score that each area needs."""

KILLED = "killed"
TIMEOUT = "timeout"
SURVIVED = "survived"
UNTESTED = "untested"


@dataclass
class Mutant:
    """
    One small fault in one function.

    :ivar name: of the module, the function, and the number of the fault, as mutmut writes it
    :ivar path: of the module's file
    :ivar result: ``killed`` if a test failed, ``timeout`` if the tests went on without end, ``survived`` if all passed,
        ``untested`` if no test calls the function
    :ivar change: the lines that a survivor removes and adds, as in a diff
    """

    name: str
    path: str
    result: str = ""
    change: list[str] = field(default_factory=list)

    @property
    def is_killed(self) -> bool:
        """Whether a test notices the fault."""
        return self.result in (KILLED, TIMEOUT)

    @property
    def line(self) -> str:
        """The mutant in one line of Markdown: its function, and what it changes. It stays as it is while these do."""
        module = PurePath(self.path).with_suffix("").parts[1:]
        # mutmut writes x_function__mutmut_1 and xǁClassǁmethod__mutmut_1.
        function = self.name.rpartition(".")[2].partition("__mutmut_")[0]
        function = function.removeprefix("x_") if function.startswith("x_") else function[2:].replace("ǁ", ".")
        changes = [f"{line[0]} `` {line[1:].strip()} ``" for line in self.change]
        return f"- `{'.'.join([*module, function])}`: {' '.join(changes)}"


def place_of(mutant: Mutant) -> float:
    """
    Return a mutant's place in a random order, from 0 to below 1.

    It depends on nothing but the mutant's name and the number of the samples. So the first mutants in this order are a
    random sample, the same each time, and part of each larger one.
    """
    digest = hashlib.sha256(f"{_SAMPLE} {mutant.name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def interval(killed: int, tested: int) -> tuple[float, float]:
    """
    Return where the score of all mutants is with a confidence of 95 %, by the score of a sample (Wilson's interval).

    :param killed: how many mutants of the sample were killed
    :param tested: how many mutants the sample has, at least one
    """
    z = 1.96
    score = killed / tested
    middle = score + z * z / (2 * tested)
    half = z * math.sqrt(score * (1 - score) / tested + z * z / (4 * tested * tested))
    whole = 1 + z * z / tested
    return (middle - half) / whole, (middle + half) / whole


@dataclass
class Score:
    """
    What came of an area.

    :ivar area: its name
    :ivar made: how many mutants it has
    :ivar tested: how many of them were tested: all, or a sample
    :ivar killed: how many of these a test noticed
    :ivar date: when they were tested, as ``2026-11-28``
    :ivar version: of the provider
    :ivar survivors: each of the others in one line
    """

    area: str
    made: int
    tested: int
    killed: int
    date: str
    version: str
    survivors: list[str]

    @classmethod
    def of(cls, area: str, made: int, mutants: Sequence[Mutant], date: str, version: str) -> Score:
        """Return the score of mutants that were tested."""
        survivors = sorted({mutant.line for mutant in mutants if not mutant.is_killed})
        killed = sum(mutant.is_killed for mutant in mutants)
        return cls(area, made, len(mutants), killed, date, version, survivors)

    @property
    def score(self) -> float:
        """The share of the mutants that a test noticed."""
        return self.killed / self.tested

    @property
    def is_enough(self) -> bool:
        """Whether the tests are good enough."""
        return self.score >= ENOUGH

    @property
    def row(self) -> str:
        """The score as a row of a table."""
        low, high = interval(self.killed, self.tested) if self.tested < self.made else (self.score, self.score)
        return (
            f"| {self.area} | {self.made:,} | {self.tested:,} | {self.killed:,} | {self.score:.1%} "
            f"| {low:.1%} to {high:.1%} | {self.date}, {self.version} |"
        )

    def as_dict(self) -> dict[str, object]:
        """Return the score as JSON has it."""
        return asdict(self)


def markdown(scores: Sequence[Score]) -> str:
    """Return the page of results."""
    head = f"""# Mutation score

The share of small faults in the code that its tests notice. At least {ENOUGH:.0%} is needed. Where a sample was tested,
the score of all mutants is within the interval with a confidence of 95 %, unless tests were written for survivors of
that sample: these make its score too good. To test again: `make mutation`. What the survivors are:
[survivors.md](survivors.md).

| Area | Mutants | Tested | Killed | Score | All mutants | Date, version |
|---|---:|---:|---:|---:|---|---|
"""
    return head + "\n".join(score.row for score in scores) + "\n"

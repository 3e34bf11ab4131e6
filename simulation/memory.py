"""What processes hold, as the system tells it, and the rule by which it counts as growing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MEMORY_MAY_GROW = 1.1
"""By how much, from the second quarter to the last: allocators keep some, and never the same."""

AT_LEAST = 4
"""How many samples the rule needs: one in each quarter."""

MB = 1_000_000


@dataclass(frozen=True)
class Sample:
    """What a process holds at one moment."""

    memory: int
    """Resident, in bytes."""
    files: int
    """Open ones, sockets and pipes among them."""
    threads: int
    peak: int = 0
    """The most memory that it ever held, in bytes."""


def sample(pid: int) -> Sample:
    """Return what a process holds now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    memory, peak = (1024 * int(status[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return Sample(memory, len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"]), peak)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that aren't gone."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


def warm_and_end(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return the median of one number in the second quarter, when all is warm, and in the last one."""
    values = [getattr(one, name) for one in samples]
    quarter = len(values) // 4
    return median(values[quarter : 2 * quarter]), median(values[-quarter:])


def grown(who: str, samples: Sequence[Sample]) -> list[str]:
    """
    Return what a process holds more and more of; an empty list if nothing.

    From the second quarter of the samples to the last, the median of memory may grow by a tenth, that of open files
    and threads not at all.

    :param samples: of moments in which the process has nothing to do and nothing in hand; :data:`AT_LEAST` of them
    """
    found = []
    warm, end = warm_and_end(samples, "memory")
    if end > MEMORY_MAY_GROW * warm:
        found.append(f"{who}: memory grew from {warm / MB:.1f} MB to {end / MB:.1f} MB")
    for name, told in (("files", "open files"), ("threads", "threads")):
        warm, end = warm_and_end(samples, name)
        if end > warm:
            found.append(f"{who}: {told} grew from {warm:g} to {end:g}")
    return found


def table(rested: Mapping[str, Sequence[Sample]], peaks: Mapping[str, Sample]) -> list[str]:
    """
    Return a table, a line for each process: warm, at the end, and the most of it that was ever seen.

    :param rested: by process, the samples of its rests
    :param peaks: by process, the most that was seen while it was at work
    """
    heads = ("memory, MB", "open files", "threads")
    lines = [" " * 24 + "".join(f"{head:>24}" for head in heads), " " * 24 + f"{'warm':>10}{'end':>7}{'peak':>7}" * 3]
    for who, samples in rested.items():
        cells = ""
        for name, unit, digits in (("memory", MB, 1), ("files", 1, 0), ("threads", 1, 0)):
            warm, end = warm_and_end(samples, name)
            peak = getattr(peaks[who], "peak" if name == "memory" else name)
            cells += f"{warm / unit:>10.{digits}f}{end / unit:>7.{digits}f}{peak / unit:>7.{digits}f}"
        lines.append(f"{who:<24}{cells}")
    return lines


def most(one: Sample, other: Sample | None) -> Sample:
    """Return the larger of each number of two samples."""
    if other is None:
        return one
    return Sample(*(max(getattr(one, name), getattr(other, name)) for name in Sample.__match_args__))

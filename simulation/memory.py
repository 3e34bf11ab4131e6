"""Measurements of the resources of processes, and the rule for growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MEMORY_MAY_GROW = 1.1
"""The allowed factor from the second quarter to the last. Allocators keep some memory, and never the same amount."""

AT_LEAST = 4
"""The number of samples that the rule needs: one in each quarter."""

MB = 1_000_000


@dataclass(frozen=True)
class Sample:
    """The resources of a process at one moment."""

    memory: int
    """Resident memory, in bytes."""
    files: int
    """The number of open files, including sockets and pipes."""
    threads: int
    peak: int = 0
    """The peak of the resident memory, in bytes."""


def sample(pid: int) -> Sample:
    """Measure a process now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    memory, peak = (1024 * int(status[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return Sample(memory, len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"]), peak)


def children(pid: int) -> list[int]:
    """Return the ids of the living child processes of a process."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def warm_and_end(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return the median of one value in the second quarter, after warming up, and in the last quarter."""
    values = [getattr(measured, name) for measured in samples]
    quarter = len(values) // 4
    return median(values[quarter : 2 * quarter]), median(values[-quarter:])


def grown(process: str, samples: Sequence[Sample]) -> list[str]:
    """
    Return the resources of a process that grew; an empty list if none did.

    From the second quarter of the samples to the last, the median of memory may grow by a tenth. The medians of open
    files and threads may not grow.

    :param samples: at least :data:`AT_LEAST`, each from a moment in which the process had no task
    """
    found = []
    warm, end = warm_and_end(samples, "memory")
    if end > MEMORY_MAY_GROW * warm:
        found.append(f"{process}: memory grew from {warm / MB:.1f} MB to {end / MB:.1f} MB")
    for name, label in (("files", "open files"), ("threads", "threads")):
        warm, end = warm_and_end(samples, name)
        if end > warm:
            found.append(f"{process}: {label} grew from {warm:g} to {end:g}")
    return found


def table(rested: Mapping[str, Sequence[Sample]], peaks: Mapping[str, Sample]) -> list[str]:
    """
    Return a table with a line for each process: the values after warming up, at the end, and the peaks.

    :param rested: by process, the samples from moments without a task
    :param peaks: by process, the largest values while it had tasks
    """
    heads = ("memory, MB", "open files", "threads")
    lines = [" " * 24 + "".join(f"{head:>24}" for head in heads), " " * 24 + f"{'warm':>10}{'end':>7}{'peak':>7}" * 3]
    for process, samples in rested.items():
        cells = ""
        for name, unit, digits in (("memory", MB, 1), ("files", 1, 0), ("threads", 1, 0)):
            warm, end = warm_and_end(samples, name)
            peak = getattr(peaks[process], "peak" if name == "memory" else name)
            cells += f"{warm / unit:>10.{digits}f}{end / unit:>7.{digits}f}{peak / unit:>7.{digits}f}"
        lines.append(f"{process:<24}{cells}")
    return lines


def most(left: Sample, right: Sample | None) -> Sample:
    """Return the larger value of each field of two samples."""
    if right is None:
        return left
    return Sample(*(max(getattr(left, name), getattr(right, name)) for name in Sample.__match_args__))

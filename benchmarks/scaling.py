r"""
Copies between two buckets of Cloud Storage over workers, latency, and the size of files.

    python -m benchmarks.scaling

It writes ``scaling.json``, ``scaling.md``, and the pictures of docs/speed.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ayla_provider import __version__
from benchmarks import copying, picture
from benchmarks.copying import Case
from benchmarks.picture import Panel

_HERE = Path(__file__).parent
IMAGES = _HERE.parent / "docs" / "images"

WORKERS = (1, 4, 16, 64)
DELAYS = (0, 0.01, 0.04, 0.1)
"""Seconds until a request is answered."""

SMALL = 100_000
"""Bytes of each file where the workers vary."""

_MOST_FILES = 1000
_SECONDS = 4
"""How long a copy of small files should take."""

SIZES = {1_000: 2000, 10_000: 2000, 100_000: 1000, 1_000_000: 400, 10_000_000: 64, 100_000_000: 16, 2**30: 8}
"""Bytes of a file to how many are copied."""

SIZE_DELAYS = (0, 0.04)
AT_ONCE = 8
"""The operator's default."""


@dataclass(frozen=True, slots=True)
class Point:
    """
    One copy of an hour.

    :param delay: seconds
    :param cpu: seconds, user and system
    :param peak: memory, in MB
    """

    objects: int
    size: int
    delay: float
    workers: int
    seconds: float
    cpu: float
    peak: float

    @property
    def files_per_second(self) -> float:
        """How many files a second were copied."""
        return self.objects / self.seconds

    @property
    def megabytes_per_second(self) -> float:
        """How many MB a second were copied."""
        return self.objects * self.size / self.seconds / 1e6

    @property
    def cpu_of_file(self) -> float:
        """Milliseconds of CPU time a file."""
        return self.cpu / self.objects * 1000


def over_workers() -> list[Point]:
    """Copy small files with each number of workers and each latency."""
    return [_measured(Case(_files(workers, delay), SMALL, delay, workers)) for delay in DELAYS for workers in WORKERS]


def over_sizes() -> list[Point]:
    """Copy files of each size."""
    return [
        _measured(Case(_of_size(count, delay), size, delay, AT_ONCE))
        for delay in SIZE_DELAYS
        for size, count in SIZES.items()
    ]


def _of_size(count: int, delay: float) -> int:
    return min(count, _files(AT_ONCE, delay))


def _files(workers: int, delay: float) -> int:
    """Return how many files a copy of some seconds has: each takes two requests."""
    return min(_MOST_FILES, round(_SECONDS * workers / (2 * delay))) if delay else _MOST_FILES


def _measured(case: Case) -> Point:
    took = copying.run("ours", case)
    return Point(case.objects, case.size, case.delay, case.workers, took["seconds"], took["cpu"], took["peak"])


def measure() -> None:
    """Measure, and write the figures and the pictures."""
    workers, sizes = over_workers(), over_sizes()
    write(workers, sizes, _HERE, IMAGES)


def write(workers: Sequence[Point], sizes: Sequence[Point], folder: Path, images: Path) -> None:
    """Write ``scaling.json`` and ``scaling.md``, and the pictures."""
    figures = {"workers": list(map(asdict, workers)), "sizes": list(map(asdict, sizes))}
    (folder / "scaling.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "scaling.md").write_text("\n".join(_markdown(workers, sizes)))
    picture.write(
        images / "speed-workers.svg",
        [
            Panel(
                f"Files of {_size(SMALL)}",
                "workers (max_workers)",
                "files/s",
                list(map(str, WORKERS)),
                {_latency(delay): [point.files_per_second for point in _at(workers, delay)] for delay in DELAYS},
                logarithmic=True,
            ),
            Panel(
                "Peak memory of the task",
                "workers (max_workers)",
                "MB",
                list(map(str, WORKERS)),
                {_latency(delay): [point.peak for point in _at(workers, delay)] for delay in DELAYS},
            ),
        ],
        "Files copied per second, and peak memory, over the number of workers and the latency of a request",
    )
    names = list(map(_size, SIZES))
    picture.write(
        images / "speed-sizes.svg",
        [
            _of_sizes(sizes, names, "Throughput", "MB/s", "megabytes_per_second"),
            _of_sizes(sizes, names, "Files", "files/s", "files_per_second"),
            _of_sizes(sizes, names, "CPU time of a file", "ms", "cpu_of_file"),
            _of_sizes(sizes, names, "Peak memory of the task", "MB", "peak"),
        ],
        "Throughput, files per second, CPU time of a file, and peak memory of a copy over the size of a file",
    )


def _of_sizes(points: Sequence[Point], names: Sequence[str], title: str, unit: str, figure: str) -> Panel:
    lines = {_latency(delay): [getattr(point, figure) for point in _at(points, delay)] for delay in SIZE_DELAYS}
    across = f"size of a file, {AT_ONCE} workers"
    return Panel(title, across, unit, names, lines, logarithmic=figure != "peak")


def _at(points: Sequence[Point], delay: float) -> list[Point]:
    return [point for point in points if point.delay == delay]


def _latency(delay: float) -> str:
    return f"{delay * 1000:.0f} ms a request"


def _size(size: int) -> str:
    if size == 2**30:
        return "1 GiB"
    return f"{size // 10**6} MB" if size >= 10**6 else f"{size // 1000} kB"


def _markdown(workers: Sequence[Point], sizes: Sequence[Point]) -> Iterator[str]:
    yield "# What the speed of a copy depends on"
    yield ""
    yield f"With version {__version__}, last updated on {datetime.now(UTC):%-d %B %Y}. Copies of an hour between two"
    yield "buckets of Cloud Storage, with its listing and its manifest, each in a process of its own. The server runs"
    yield "on the same machine, and answers each request after a delay."
    yield ""
    yield f"Files of {_size(SMALL)}:"
    yield ""
    yield from _table(workers)
    yield ""
    yield f"Files of other sizes, with {AT_ONCE} workers:"
    yield ""
    yield from _table(sizes)
    yield ""
    yield "To measure again:"
    yield ""
    yield "```bash"
    yield "python -m benchmarks.scaling"
    yield "```"
    yield ""


def _table(points: Sequence[Point]) -> Iterator[str]:
    yield "| files | size | latency | workers | files/s | MB/s | CPU a file | peak memory |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for point in points:
        yield (
            f"| {point.objects:,} | {_size(point.size)} | {point.delay * 1000:.0f} ms | {point.workers} "
            f"| {_rounded(point.files_per_second)} | {_rounded(point.megabytes_per_second)} "
            f"| {point.cpu_of_file:.2f} ms | {point.peak:.0f} MB |"
        )


def _rounded(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


if __name__ == "__main__":
    measure()

r"""
``make gate``: what the main steps cost, compared with what was recorded. It fails if a step costs more.

    python -m benchmarks.gate [--record]

Requests must be exactly as many as recorded. CPU time is user and system time, in units of a reference loop that runs
in turn with the step, in the same process: so a slow or busy machine slows both. The least of several rounds counts.
A step fails above 1.5 times the recorded figure. After an improvement, or a change that is worth its cost,
``--record`` writes ``gate.json`` again.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from benchmarks import copying, stream_rows, sweep
from benchmarks.store import COUNT, OEM, READ_TOKEN, SOURCE

RECORD = Path(__file__).parent / "gate.json"

LIMIT = 1.5
"""A step fails if it takes more than this many times the recorded CPU time."""

_ROUNDS = 5
_TRIES = 3
"""How often a step is measured before it fails. Each try is a new process."""

_FILES, _FILE_SIZE = 200, 100 * 2**10
_WORKERS = 1
"""More threads wait for each other, which costs CPU time that differs by half from one run to the next."""

_ROWS = 100_000
_RECORDS = 30_000
_POKES = 50
_NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Step:
    """
    A step that is ready to run.

    :param run: what is measured; it gets the number of the round, 0 first
    :param units: how many files, rows or pokes a run has
    :param requests: names of numbers of requests, and the numbers
    """

    run: Callable[[int], None]
    units: int
    requests: Mapping[str, float]


Figures = dict[str, float]


def reference() -> None:
    """Do what never changes: a loop of an interpreter, small objects, and a hash. No processor speeds MD5 up."""
    table: dict[str, int] = {}
    for number in range(150_000):
        text = f"{number:08}"
        table[text] = number + len(text)
    json.loads(json.dumps(table))
    digest = hashlib.md5(usedforsecurity=False)
    block = bytes(2**20)
    for _ in range(32):
        digest.update(block)


@contextlib.contextmanager
def copy() -> Iterator[Step]:
    """Copy an hour of files between two buckets of Cloud Storage."""
    with copying.store(copying.Case(1, _FILE_SIZE, 0, 1)) as url:
        of_one = _requests(url, lambda: copying.ours(url, _WORKERS))
    with copying.store(copying.Case(_FILES, _FILE_SIZE, 0, _WORKERS)) as url:
        of_all = _requests(url, lambda: copying.ours(url, _WORKERS, "first"))
        requests = {"an hour of one file": of_one, "each further file": (of_all - of_one) / (_FILES - 1)}
        yield Step(lambda number: copying.ours(url, _WORKERS, f"round-{number}"), _FILES, requests)


@contextlib.contextmanager
def poke() -> Iterator[Step]:
    """Look whether an hour has landed, as a sensor does in each new process."""
    with copying.store(copying.Case(_FILES, _FILE_SIZE, 0, 1)) as url:

        def look(hour: datetime) -> None:
            from google.oauth2.credentials import Credentials

            from ayla_provider.domain.arrival import ArrivalRule
            from ayla_provider.source.export import Export
            from ayla_provider.source.gcs import GcsSource
            from ayla_provider.source.wait import look

            credentials = Credentials(token=READ_TOKEN)  # type: ignore[no-untyped-call]
            source = GcsSource(credentials, SOURCE, endpoint=url)
            export = Export(source, f"{OEM}/", now=lambda: _NOW)
            look(export, [ExportHour(EventType("datapoint"), hour)], ArrivalRule())

        def run(number: int) -> None:
            for _ in range(_POKES):
                look(copying.HOUR)

        requests = {
            "a poke of an hour with files": _requests(url, lambda: look(copying.HOUR)),
            "a poke of an hour without files": _requests(url, lambda: look(copying.HOUR - ONE_HOUR)),
        }
        yield Step(run, _POKES, requests)


@contextlib.contextmanager
def typed_rows() -> Iterator[Step]:
    """Make typed rows of an hour of a CSV export."""
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        sweep.make_archive(Path(name) / "archive", sweep.Plan(), _ROWS)
        yield _typing(Path(name), sweep.hours_of(1)[0], _ROWS)


@contextlib.contextmanager
def typed_stream_rows() -> Iterator[Step]:
    """Make typed rows of an hour of a stream."""
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        stream_rows.make_archive(Path(name) / "archive", _RECORDS)
        yield _typing(Path(name), ExportHour(EventType("datapoint"), stream_rows.HOUR), _RECORDS)


def _typing(folder: Path, hour: ExportHour, rows: int) -> Step:
    from ayla_provider.rows.typed_archive import TypedArchive

    def run(number: int) -> None:
        TypedArchive(FileDestination(folder / "archive"), FileDestination(folder / f"rows-{number}")).ensure(hour, {})

    return Step(run, rows, {})


STEPS: Mapping[str, tuple[str, Callable[[], contextlib.AbstractContextManager[Step]]]] = {
    "copy": ("1,000 files", copy),
    "poke": ("1,000 pokes", poke),
    "typed rows": ("1,000 typed rows", typed_rows),
    "typed stream rows": ("1,000 typed rows of a stream", typed_stream_rows),
}
"""Name to what the CPU time is of, and the step."""


def measure(name: str) -> dict[str, Figures]:
    """Return the requests of a step, and the CPU time of 1,000 units as a multiple of the reference loop."""
    title, prepare = STEPS[name]
    with prepare() as step:
        own, references = [], []
        for number in range(_ROUNDS):
            references.append(_cpu_of(reference))
            own.append(_cpu_of(lambda number=number: step.run(number)))  # type: ignore[misc]
    multiple = min(own) / step.units * 1000 / min(references)
    return {"requests": dict(step.requests), "cpu": {title: round(multiple, 4)}}


def problems(recorded: Mapping[str, Figures], measured: Mapping[str, Figures]) -> list[str]:
    """Return what costs more than recorded, in words; of requests also what costs less."""
    found = []
    for what, number in measured["requests"].items():
        expected = recorded["requests"].get(what)
        if number != expected:
            found.append(f"{what}: {number:g} requests, {_text(expected)} recorded")
    for what, multiple in measured["cpu"].items():
        expected = recorded["cpu"].get(what)
        if expected is None or multiple > LIMIT * expected:
            found.append(f"{what}: {multiple:g} times the CPU time of the reference loop, {_text(expected)} recorded")
    return found


def _text(expected: float | None) -> str:
    return "none" if expected is None else f"{expected:g}"


def _requests(url: str, run: Callable[[], None]) -> int:
    """Return how many requests the store gets meanwhile."""
    before = _count(url)
    run()
    return _count(url) - before


def _count(url: str) -> int:
    with urllib.request.urlopen(url + COUNT, timeout=10) as answer:  # noqa: S310 - it is http
        return int(answer.read())


def _cpu_of(run: Callable[[], None]) -> float:
    """Return the user and system time of this process, and of processes that it started and that ended meanwhile."""
    gc.collect()
    before = _cpu()
    run()
    return _cpu() - before


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _measured(name: str) -> dict[str, Figures]:
    """Measure a step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gate", "--step", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Figures] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _least(tries: list[dict[str, Figures]]) -> dict[str, Figures]:
    """Return the newest requests, and the least CPU time."""
    least = {what: min(each["cpu"][what] for each in tries) for what in tries[0]["cpu"]}
    return {"requests": tries[-1]["requests"], "cpu": least}


def check() -> list[str]:
    """Measure each step, print its figures, and return what costs more than recorded."""
    recorded: dict[str, Figures] = json.loads(RECORD.read_text())
    failed = []
    for name in STEPS:
        tries = [_measured(name)]
        # Another program can have slowed all rounds of a try.
        while problems(recorded, _least(tries)) and len(tries) < _TRIES:
            tries.append(_measured(name))
        measured = _least(tries)
        for what, number in measured["requests"].items():
            print(f"{what}: {number:g} requests ({_text(recorded['requests'].get(what))} recorded)")
        for what, multiple in measured["cpu"].items():
            print(f"{what}: {multiple:g} times the reference loop ({_text(recorded['cpu'].get(what))} recorded)")
        failed += problems(recorded, measured)
    return failed


def record() -> None:
    """Measure each step, and write the figures to ``gate.json``."""
    figures: dict[str, Figures] = {"requests": {}, "cpu": {}}
    for name in STEPS:
        # As often as a step that fails is measured.
        measured = _least([_measured(name) for _ in range(_TRIES)])
        for kind, found in figures.items():
            found.update(measured[kind])
    RECORD.write_text(json.dumps(figures, indent=1) + "\n")
    print(RECORD.read_text(), end="")


def main() -> int:
    """Compare with what was recorded, or record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write gate.json")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(measure(given.step)))
        return 0
    if given.record:
        record()
        return 0
    failed = check()
    for problem in failed:
        print(f"FAILED {problem}", file=sys.stderr)
    if failed:
        print("If that is intended: make gate RECORD=1, and commit benchmarks/gate.json.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""A run that ends between any two of its steps loses no record, and leaves none twice."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.errors import AylaConflictError, AylaDestinationError
from tests.support.memory_stream import MemoryStream, live, made_stream
from tests.support.stream_archives import (
    RUN,
    check_manifests,
    drain,
    expected_of,
    files_of,
    manifests_of,
    position_of,
    records_of,
)

HOUR = timedelta(hours=1)


class Crash(AylaDestinationError):
    """The end of a run."""


class CrashingDestination(FileDestination):
    """
    A folder that refuses one write, before or after it is done, and everything after it.

    :param steps: the number of steps before that; a write has two
    """

    def __init__(self, root: Path, steps: int) -> None:
        super().__init__(root)
        self.steps = steps

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Crash("the run ends here")

    def write(self, *arguments: Any, **more: Any) -> Stored:
        self._step()
        stored = super().write(*arguments, **more)
        self._step()
        return stored


def crash(root: Path, stream: MemoryStream, steps: int, **changes: Any) -> bool:
    """Drain until the run ends at a step; return whether it did."""
    arguments: dict[str, Any] = {"written_by": RUN, "max_records": 40} | changes
    try:
        StreamArchive(CrashingDestination(root, steps)).drain(stream, stream.now, **arguments)
    except Crash:
        return True
    return False


def made(seed: int, records: int = 60) -> MemoryStream:
    stream = made_stream()
    live(stream, random.Random(seed), 3 * HOUR, records)
    return stream


def test_a_run_that_ends_at_any_step_is_finished_by_the_next_one(tmp_path: Path) -> None:
    whole, steps = tmp_path / "whole", 0
    drain(whole, made(1))
    while True:
        root, stream = tmp_path / str(steps), made(1)
        if not crash(root, stream, steps):
            break
        # Time goes on, and more records come, before the next run.
        pending = (root / "_stream/position.json").exists() and position_of(root)["pending"]
        written = files_of(root)
        live(stream, random.Random(2), HOUR, 5)
        drain(root, stream)
        assert records_of(root) == expected_of(stream), steps
        check_manifests(root)
        after = files_of(root)
        # What was written stays, and what was promised has the content that was promised.
        assert written.items() <= after.items()
        if pending:
            promised = {file["path"]: file["lines"] for file in pending["files"]}
            assert {path: after[path].count(b"\n") for path in promised} == promised
        steps += 1
    assert steps > 50
    # Which shard has room in a batch depends on the threads.
    assert records_of(root) == records_of(whole)


def test_all_hours_are_announced_although_a_run_ended(tmp_path: Path) -> None:
    whole = {manifest.hour for manifest in drain(tmp_path / "whole", made(3)).hours}
    assert len(whole) > 4
    for steps in range(0, 120, 7):
        root, stream = tmp_path / str(steps), made(3)
        crashed = crash(root, stream, steps)
        # The next run is a retry, or another run of the DAG.
        report = drain(root, stream, written_by=RUN if steps % 2 else RUN | {"run_id": "run 2"})
        if crashed or steps % 2:
            assert {manifest.hour for manifest in report.hours} == whole, steps


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_batches_and_crashes_bring_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("archive")
    chance = random.Random(data.draw(st.integers(0, 10_000), "seed"))
    stream = made_stream(data.draw(st.integers(1, 4), "shards"), page=data.draw(st.integers(1, 20), "page"))
    for number in range(data.draw(st.integers(1, 4), "runs")):
        live(stream, chance, data.draw(st.integers(1, 300), "minutes") * HOUR / 60, data.draw(st.integers(0, 40)))
        # After a crash, other pages, and another number of records in a batch.
        stream.page = data.draw(st.integers(1, 20), "page")
        changes = {"max_records": data.draw(st.integers(1, 60), "batch"), "written_by": RUN | {"run_id": str(number)}}
        crash(root, stream, data.draw(st.integers(0, 60), "steps"), **changes)
    drain(root, stream)
    # The last records arrived in the second of the last run.
    stream.now += HOUR / 3600
    drain(root, stream)
    assert records_of(root) == expected_of(stream)
    check_manifests(root)
    for document in manifests_of(root).values():
        numbers = [file["generation"] for file in document["files"]]
        assert len(numbers) == len(set(numbers)) <= document["revision"]


def test_of_two_runs_at_once_one_fails_and_every_record_is_there_once(tmp_path: Path) -> None:
    # How many writes a run has depends on which shard fills a batch first: 22 at least.
    for steps in range(0, 22, 3):
        root, stream = tmp_path / str(steps), made(5, records=25)
        other = _InterruptedDestination(root, steps, functools.partial(drain, root, stream))
        with pytest.raises(AylaConflictError):
            StreamArchive(other).drain(stream, stream.now, written_by=RUN, max_records=12)
        drain(root, stream)
        assert records_of(root) == expected_of(stream), steps
        check_manifests(root)


class _InterruptedDestination(FileDestination):
    """A folder in which another run comes and goes before one of the writes."""

    def __init__(self, root: Path, steps: int, interrupt: Callable[[], object]) -> None:
        super().__init__(root)
        self.steps = steps
        self.interrupt = interrupt

    def write(self, *arguments: Any, **more: Any) -> Stored:
        self.steps -= 1
        if self.steps == -1:
            self.interrupt()
        return super().write(*arguments, **more)

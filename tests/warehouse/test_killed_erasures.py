"""Erasures from lakes, and removals of old hours, that are killed: the next try ends as one that wasn't."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.erasing import SUBJECT, erase, hours, load, make_archive, request
from tests.support.lake_killing import NEVER, erase_and_die, remove, remove_and_die, warehouse_of
from tests.support.mortal import run_process
from tests.support.proofs import scale, spread
from tests.support.traces import contents, traces
from tests.warehouse.contract import as_dicts
from tests.warehouse.delta_place import InDelta

pytest.importorskip("pyiceberg")

MOMENTS = scale(2, 60, ci=5)
"""How many moments are tried."""


class Setup:
    """A folder with an archive, typed rows, and a lake, that can be as it was at first."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        # Tables of Iceberg know where they are, so that only the same folder can be taken for theirs.
        self.root, self._first = folder / "root", folder / "first"
        self.root.mkdir()
        make_archive(self.root, hours(("datapoint",)))
        load(self.root, self.warehouse(), hours(("datapoint",)))
        request(self.root)
        shutil.copytree(self.root, self._first)

    def warehouse(self) -> Any:
        return warehouse_of(self.root, self.kind)

    def begin_again(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self._first, self.root)

    def rows(self) -> list[str]:
        """The rows, by a reader of another package."""
        if self.kind == "delta":
            rows = InDelta(self.root / "tables").rows("datapoint")
        else:
            from tests.warehouse.iceberg_place import existing

            with self.warehouse() as warehouse:
                table = existing(warehouse).scan().to_arrow()
            rows = as_dicts(table.column_names, [tuple(row.values()) for row in table.to_pylist()])
        return sorted(repr(sorted(row.items())) for row in rows)

    def ledger(self) -> list[tuple[str, int, int]]:
        span = hours(("datapoint",))
        with self.warehouse() as warehouse:
            held = warehouse.held("datapoint", span[0].start, span[-1].end)
        return [(str(entry.version), entry.rows, entry.counted) for _, entry in sorted(held.items())]

    def found(self) -> dict[str, set[str]]:
        """Which files of the lake have a byte of the subject."""
        return {name: names for name, content in contents(self.root / "tables") if (names := traces(content, SUBJECT))}

    def sweep(self, now: datetime) -> None:
        """Do what an upkeep does at a time."""
        with self.warehouse() as warehouse:
            assert warehouse.forget(["datapoint"], now + timedelta(minutes=1)) == []

    def moments(self, target: Callable[..., None]) -> list[int]:
        """Run undisturbed, and return some of the moments that there were, the first and the last among them."""
        assert run_process(target, self.root, self.kind, NEVER) == 0
        passed = int((self.root / "moments").read_text())
        assert passed > 100
        return spread(passed, MOMENTS)


@pytest.fixture(params=["delta", "iceberg"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Setup:
    return Setup(tmp_path, request.param)


@pytest.mark.proof("SIGKILL at 60 moments in each lake")
def test_an_erasure_from_a_lake_that_is_killed_anywhere_ends_as_one_that_is_not(made: Setup) -> None:
    before = made.rows()
    assert {name for names in made.found().values() for name in names} == {"dsn", "user_uuid"}
    moments = made.moments(erase_and_die)
    expected, ledger = made.rows(), made.ledger()
    assert expected == [row for row in before if not traces(row.encode(), SUBJECT)]
    assert made.found() == {}
    for moment in moments:
        made.begin_again()
        assert run_process(erase_and_die, made.root, made.kind, moment) == -signal.SIGKILL
        # A reader sees all of an hour's rows, or those that are left.
        assert set(expected) <= set(made.rows()) <= set(before)
        report = erase(made.root, [made.warehouse()])
        assert (made.rows(), made.ledger()) == (expected, ledger), moment
        if made.found():
            # Nobody can tell a killed task's files from those of a task that is about to commit, until they are old.
            dates = [leftover.gone_by for leftover in report.leftovers if leftover.gone_by]
            assert dates, moment
            made.sweep(max(dates))
        assert made.found() == {}, moment
        assert load(made.root, made.warehouse(), hours(("datapoint",))) == 0


@pytest.mark.ci
@pytest.mark.proof("SIGKILL at 60 moments in each lake")
def test_a_removal_from_a_lake_that_is_killed_anywhere_ends_as_one_that_is_not(made: Setup) -> None:
    before = made.rows()
    moments = made.moments(remove_and_die)
    expected, ledger = made.rows(), made.ledger()
    assert 0 < len(expected) < len(before)
    assert [version for version, _, _ in ledger][:-1] == ["removed"] * (len(ledger) - 1)
    for moment in moments:
        made.begin_again()
        assert run_process(remove_and_die, made.root, made.kind, moment) == -signal.SIGKILL
        assert made.rows() in (before, expected)
        remove(made.root, made.kind)
        assert (made.rows(), made.ledger()) == (expected, ledger), moment

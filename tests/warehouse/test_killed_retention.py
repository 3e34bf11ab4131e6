"""A removal of old hours that ends before any of its changes, in any layer: the next one ends in the same state."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.erasing import duckdb_of, hours, load, make_archive
from tests.support.mortal import run_process
from tests.support.proofs import scale
from tests.support.retaining import Steps, remove_and_die, remove_old_hours

TYPES = scale(("datapoint",), ("datapoint", "registration"))
FOREVER = 100_000


class Death(BaseException):
    """The process ends."""


def die() -> None:
    raise Death


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two hours with all layers, and a DuckDB file."""
    root = tmp_path_factory.mktemp("filled")
    make_archive(root, hours(TYPES))
    load(root, duckdb_of(root), hours(TYPES))
    return root


@pytest.fixture(scope="module")
def removed(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """The state after a removal that nothing interrupts, and its number of changes."""
    root = tmp_path_factory.mktemp("removed") / "root"
    shutil.copytree(filled, root)
    steps = Steps(FOREVER, die)
    before = state(root)
    remove_old_hours(root, steps)
    after = state(root)
    assert {name.split("/")[0].partition("=")[0] for name in before.keys() - after.keys()} == {
        "_quarantine",
        "event_type",
        "parquet",
    }
    assert len(before["rows"]) > len(after["rows"]) > 0
    return after, steps.done


def state(root: Path) -> dict[str, Any]:
    """All that the stores have, without certificates, and without when and by whom something was written."""
    found: dict[str, Any] = {}
    for path in sorted((root / "archive").rglob("*")):
        name = str(path.relative_to(root / "archive"))
        if not path.is_file() or name.startswith("_removals/"):
            continue
        found[name] = path.read_bytes()
        if name.endswith(".json"):
            document = json.loads(found[name])
            document.pop("written_at", None)
            document.pop("written_by", None)
            found[name] = document
    with duckdb.connect(str(root / "a.duckdb"), read_only=True) as session:
        ledger = session.execute("select * exclude (loaded_at, loaded_by) from ayla_loads").fetchall()
        found["loads"] = sorted(map(str, ledger))
        queries = (f"select '{name}', * from ayla_{name}" for name in TYPES)
        found["rows"] = sorted(str(row) for query in queries for row in session.execute(query).fetchall())
    return found


@pytest.mark.proof("A removal of old hours ends before each of its changes, in every layer")
def test_a_removal_that_ends_before_any_of_its_changes_is_finished_by_the_next_one(
    filled: Path, removed: tuple[dict[str, Any], int], tmp_path: Path
) -> None:
    after, changes = removed
    assert changes > 15
    for lives in range(0, changes, scale(3, 1)):
        root = tmp_path / str(lives)
        shutil.copytree(filled, root)
        with pytest.raises(Death):
            remove_old_hours(root, Steps(lives, die))
        remove_old_hours(root, Steps(FOREVER, die))
        assert state(root) == after, f"it ended before change {lives}"
        shutil.rmtree(root)


@pytest.mark.proof("SIGKILL at 40 moments of a removal of old hours")
@pytest.mark.parametrize("part", scale([8, 30], list(range(40))))
def test_a_process_that_is_killed_while_it_removes_is_made_up_for(
    filled: Path, removed: tuple[dict[str, Any], int], tmp_path: Path, part: int
) -> None:
    after, changes = removed
    shutil.copytree(filled, tmp_path / "root")
    assert run_process(remove_and_die, tmp_path / "root", part * changes // 40) == -signal.SIGKILL
    remove_old_hours(tmp_path / "root", Steps(FOREVER, die))
    assert state(tmp_path / "root") == after

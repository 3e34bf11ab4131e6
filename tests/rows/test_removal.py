"""Typed rows and malformed lines of old hours go, also if the task is killed at any of its changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.removal import remove_quarantine
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.removal import Removed, Rule
from ayla_provider.domain.typed_manifest import parse_typed_manifest, typed_manifest_path
from ayla_provider.rows.removal import remove_rows
from ayla_provider.rows.typed_archive import TypedArchive
from tests.archive.test_removal import Interrupted, Mortal
from tests.warehouse.archive import HOUR, archive_hour

LINE = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\n"
HOURS = [ExportHour("connection", HOUR + number * ONE_HOUR) for number in range(3)]
AGE = timedelta(days=30)
RULE = Rule("parquet", AGE, HOUR + 2 * ONE_HOUR + AGE)
"""The last hour stays."""


def made(root: Path) -> None:
    """Three hours with typed rows and malformed lines, in one folder; what a task left of a part of the first one."""
    typed = TypedArchive(FileDestination(root), FileDestination(root), max_malformed=1)
    for hour in HOURS:
        archive_hour(root, "connection", [LINE * 12 + b"no,row\n"], hour.start)
        typed.ensure(hour, {})
    part = root / "_parts" / HOURS[0].partition / "1.parquet"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"a part")


def state(root: Path) -> dict[str, Any]:
    """What there is; of the receipts, what they say of their rows."""
    found: dict[str, Any] = {}
    for path in sorted(each for each in root.rglob("*") if each.is_file()):
        name = str(path.relative_to(root))
        found[name] = None if name.startswith("_typed/") or name.endswith(".parquet") else path.read_bytes()
    for hour in HOURS:
        path = root / typed_manifest_path(hour)
        receipt = parse_typed_manifest(path.read_bytes(), str(path), hour)
        found[f"receipt of {hour}"] = receipt.version, receipt.removed, receipt.rows
    return found


def rows_of(destination: Destination, by: Mapping[str, str]) -> Removed:
    return remove_rows(destination, RULE, by)


def lines_of(destination: Destination, by: Mapping[str, str]) -> Removed:
    return remove_quarantine(destination, RULE)


@pytest.mark.parametrize(("remove", "changes"), [(rows_of, 2 + 2 + 1), (lines_of, 2 + 1)], ids=["rows", "lines"])
def test_a_removal_that_is_killed_anywhere_and_tried_again_ends_in_the_same_state(
    tmp_path: Path, remove: Callable[[Destination, Mapping[str, str]], Removed], changes: int
) -> None:
    made(tmp_path / "whole")
    before = state(tmp_path / "whole")
    remove(FileDestination(tmp_path / "whole"), {})
    expected = state(tmp_path / "whole")
    assert len(before) - len(expected) == 3, "of each old hour an object, and the part"
    ends = 0
    for number in range(100):
        root = tmp_path / str(number)
        made(root)
        try:
            remove(Mortal(root, number), {})
        except Interrupted:
            ends += 1
            # Rows that are gone are never taken for rows that are missing: the receipt says so first.
            typed = TypedArchive(FileDestination(root), FileDestination(root), max_malformed=1)
            between = state(root)
            for hour in HOURS:
                if between[f"receipt of {hour}"][1]:
                    assert typed.ensure(hour, {}).made is False
            remove(FileDestination(root), {})
        else:
            break
        assert state(root) == expected, number
    assert ends == changes

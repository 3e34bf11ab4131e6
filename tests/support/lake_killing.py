"""A process that erases from a lake, or removes old hours of it, and is killed at any of its moments there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import ayla_provider.warehouse as package
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EventType
from ayla_provider.domain.removal import Removed, Rule
from ayla_provider.warehouse.base import ErasableWarehouse
from ayla_provider.warehouse.erase import ErasureRun
from ayla_provider.warehouse.removal import remove_hours
from tests.support.erasing import HOURS, duckdb_of, erase
from tests.warehouse.archive import HOUR

NEVER = 0
"""Of moments: the process isn't killed."""

_WATCHED = str(Path(package.__file__).parent)


def warehouse_of(root: Path, kind: str) -> ErasableWarehouse:
    """The lake, or the DuckDB file, in a folder."""
    if kind == "delta":
        from ayla_provider.warehouse.delta import DeltaWarehouse

        (root / "tables").mkdir(exist_ok=True)
        return DeltaWarehouse(FileDestination(root / "tables"))
    if kind == "iceberg":
        from tests.warehouse.iceberg_place import iceberg

        return iceberg(root)
    return duckdb_of(root)


def remove(root: Path, kind: str) -> Removed:
    """Remove all hours but the last one, as a rule does."""
    age = timedelta(days=9)
    rule = Rule("tables", age, HOUR + timedelta(hours=HOURS - 1) + age)
    with warehouse_of(root, kind) as warehouse:
        return remove_hours(warehouse, [EventType("datapoint")], rule)


def erase_and_die(root: Path, kind: str, moment: int) -> None:
    """Erase, as the main function of a process."""
    erase_rows = ErasureRun._erase_rows

    def watched(*arguments: Any) -> bool:
        with_moments = _watch(moment)
        try:
            return erase_rows(*arguments)
        finally:
            _note(root, with_moments)

    ErasureRun._erase_rows = watched  # type: ignore[method-assign]
    erase(root, [warehouse_of(root, kind)])
    os._exit(0)


def remove_and_die(root: Path, kind: str, moment: int) -> None:
    """Remove hours, as the main function of a process."""
    with_moments = _watch(moment)
    remove(root, kind)
    _note(root, with_moments)
    os._exit(0)


def _watch(moment: int) -> Callable[[], int]:
    """Kill this process at a call or a return of this package's warehouses; return what counts these moments."""
    passed = 0

    def step(frame: FrameType, event: str, argument: object) -> None:
        nonlocal passed
        if frame.f_code.co_filename.startswith(_WATCHED):
            passed += 1
            if passed == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(step)
    return lambda: passed


def _note(root: Path, moments: Callable[[], int]) -> None:
    """Say in a file how many moments there were, the first time."""
    sys.setprofile(None)
    if not (root / "moments").exists():
        (root / "moments").write_text(str(moments()))

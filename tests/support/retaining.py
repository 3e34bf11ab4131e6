"""Old hours are removed from an archive, its typed rows, its quarantine, and a DuckDB file, perhaps by killed tasks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.cli.retention import retain
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.warehouse.archive import HOUR

KEEP_FOR = timedelta(days=90)
LAYERS = ("archive", "parquet", "quarantine", "tables")
LATER = HOUR + KEEP_FOR + timedelta(hours=1)
"""When the rules are applied: the first hour is over by then, and the second one isn't."""


class Steps:
    """Counts the changes of all stores, and does something before one of them."""

    def __init__(self, lives: int, end: Callable[[], Any]) -> None:
        self.done = 0
        self._lives = lives
        self._end = end

    def step(self) -> None:
        """Count a change that is about to be made."""
        if self.done == self._lives:
            self._end()
        self.done += 1


class _Place(FileDestination):
    def __init__(self, root: Path, steps: Steps) -> None:
        super().__init__(root)
        self._steps = steps

    def write(self, *arguments: Any, **more: Any) -> Stored:
        self._steps.step()
        return super().write(*arguments, **more)

    def remove(self, stored: Stored) -> None:
        self._steps.step()
        super().remove(stored)


class _Tables(DuckDBWarehouse):
    def __init__(self, path: Path, steps: Steps) -> None:
        super().__init__(path)
        self._steps = steps

    def _run(self, statement: str, values: Any = None) -> Any:
        self._steps.step()
        return super()._run(statement, values)


def remove_old_hours(root: Path, steps: Steps) -> None:
    """Do what the tasks of the sample DAG do."""
    retain(
        _Place(root / "archive", steps),
        _Place(root / "archive" / "parquet", steps),
        dict.fromkeys(LAYERS, KEEP_FOR),
        event_types=None,
        warehouse=_Tables(root / "a.duckdb", steps),
        remove=True,
        now=LATER,
    )


def remove_and_die(root: Path, lives: int) -> None:
    """Remove old hours, as the main function of a process that ends with SIGKILL after some changes."""
    remove_old_hours(root, Steps(lives, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    os._exit(0)

"""A worker that makes the fleet models of a lake, for a test that kills it. See :mod:`tests.warehouse.forking`."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet  # noqa: F401 - once, before the forks
import pyiceberg.io.pyarrow  # noqa: F401

from ayla_provider.warehouse import lake_models
from tests.warehouse.fleet_lakes import lake
from tests.warehouse.forking import serve
from tests.warehouse.test_fleet_models import NOW


def work(folder: Path, kinds: list[str]) -> None:
    """
    Make the models of lakes. Each day is written before the next one is made.

    The commits of deltalake and of DuckDB are between two moments.
    """
    lake_models.WRITE_AFTER = 0.0
    for kind in kinds:
        with lake(kind, folder) as warehouse:
            warehouse.update_models("UTC", "run", NOW)


if __name__ == "__main__":
    serve(work)

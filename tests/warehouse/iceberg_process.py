"""A worker with Iceberg tables, for tests that race or kill it. See :mod:`tests.warehouse.forking`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401 - once, before the forks
import pyiceberg.io.pyarrow  # noqa: F401
from pyiceberg.catalog.sql import SqlCatalog

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse import iceberg_metadata, iceberg_upkeep
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from tests.warehouse.forking import moment, serve
from tests.warehouse.iceberg_place import existing, iceberg
from tests.warehouse.made_loads import made_load

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class _Watched(SqlCatalog):
    def commit_table(self, *arguments: Any) -> Any:
        moment()
        answer = super().commit_table(*arguments)
        moment()
        return answer


def _catalog(folder: Path) -> SqlCatalog:
    return _Watched(
        "test", uri=f"sqlite:///{folder / 'catalog.db'}?timeout=60", warehouse=f"file://{folder / 'tables'}"
    )


def work(folder: Path, steps: list[list[Any]]) -> None:
    """
    Do some steps in one connection.

    ``["look"]``, ``["keep_small"]``, ``["load", [hours], version, rows]``, ``["tend", keep]``,
    ``["wait", file]``, ``["say", file]``
    """
    with iceberg(folder, _catalog) as warehouse:
        for name, *arguments in steps:
            _STEPS[name](warehouse, folder, *arguments)


def _look(warehouse: IcebergWarehouse, _: Path) -> None:
    warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + 1000 * HOUR)
    warehouse.prepare(TABLES["datapoint"])


def _keep_small(warehouse: IcebergWarehouse, _: Path) -> None:
    """Let loads make the metadata smaller after few commits."""
    iceberg_metadata.KEEP_SNAPSHOTS = iceberg_metadata.SPARE_SNAPSHOTS = 1
    iceberg_metadata.KEEP_HOURS = iceberg_metadata.SPARE_HOURS = 2
    iceberg_metadata.MERGE_AT_LEAST, iceberg_metadata._LOOK_EVERY = 2, 1
    with existing(warehouse).transaction() as transaction:
        transaction.set_properties({"commit.manifest.min-count-to-merge": "2"})


def _load(warehouse: IcebergWarehouse, folder: Path, hours: list[int], version: str, rows: int) -> None:
    warehouse.prepare(TABLES["datapoint"])
    loads = (
        made_load(
            folder / "tmp",
            "datapoint",
            MIDNIGHT + hour * HOUR,
            [{"dsn": f"{version}-{hour}-{row}"} for row in range(rows)],
            version=version,
        )
        for hour in hours
    )
    list(warehouse.replace_several(loads))


def _tend(warehouse: IcebergWarehouse, _: Path, keep: int) -> None:
    later = datetime.now(UTC) + timedelta(days=400)
    Upkeep(warehouse, keep_snapshots=keep, now=later).run("datapoint")


def _tend_beside(warehouse: IcebergWarehouse, folder: Path, keep: int, until: str) -> None:
    """Look after the table again and again, also with what upkeep does to many commits alone."""
    iceberg_metadata.MERGE_AT_LEAST, iceberg_upkeep._FOLD_AT_LEAST = 10, 5
    with existing(warehouse).transaction() as transaction:
        transaction.set_properties({"commit.manifest.min-count-to-merge": "10"})
    while not (folder / until).exists():
        now = datetime.now(UTC)
        # Days are settled as soon as they are over, in the time of the table.
        Upkeep(warehouse, keep_snapshots=keep, now=now, lookback=now - MIDNIGHT - 72 * HOUR).run("datapoint")


def _wait(_: IcebergWarehouse, folder: Path, file: str) -> None:
    until = time.monotonic() + 120
    while not (folder / file).exists():
        if time.monotonic() > until:
            raise TimeoutError(f"nobody made {file}")
        time.sleep(0.005)


def _say(_: IcebergWarehouse, folder: Path, file: str) -> None:
    (folder / file).touch()


_STEPS = {
    "look": _look,
    "keep_small": _keep_small,
    "load": _load,
    "tend": _tend,
    "tend_beside": _tend_beside,
    "wait": _wait,
    "say": _say,
}


if __name__ == "__main__":
    serve(work)

"""The fleet models of lakes, and a process that is killed while it makes them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ayla_provider.domain.tables import TABLES
from tests.support.fleet_rows import HOUR, OddFleet
from tests.support.proofs import scale, spread
from tests.warehouse import forking
from tests.warehouse.fleet_lakes import KINDS, InLake, lake
from tests.warehouse.forking import Worker
from tests.warehouse.made_loads import NOON
from tests.warehouse.test_fleet_models import NOW, compare, oracle_of
from tests.warehouse.test_fleet_models_of_lakes import is_up_to_date, made, put

pytest.importorskip("pyiceberg")
pytest.importorskip("deltalake")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with forking.worker("tests.warehouse.fleet_process") as running:
        yield running


@pytest.mark.ci
@pytest.mark.proof("SIGKILL of a run of the models in Iceberg and Delta, at 20 moments: at each write of a file")
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_is_killed_anywhere_leaves_work_that_the_next_run_finishes(
    worker: Worker, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "lake"
    (folder / "tmp").mkdir(parents=True)
    fleet = OddFleet(7)
    with lake(kind, folder) as warehouse:
        warehouse.prepare_missing(TABLES.values())
        final = made(fleet, [NOON], 6)
        put(warehouse, folder, final, "v1")
        warehouse.update_models("UTC", "first", NOW)
        more = made(fleet, [NOON, NOON + 30 * HOUR], 6)
        put(warehouse, folder, more, "v2")
    final |= more
    # The tables name their files with the whole path. So all runs are in the same folder.
    shutil.copytree(folder, tmp_path / "copy")
    code, said = worker.run(folder, kind)
    assert code == 0, said
    for moment in spread(int(said), scale(2, 20)):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "copy", folder)
        code, said = worker.run(folder, kind, dies_at=moment)
        assert code == -9, said
        with lake(kind, folder) as warehouse:
            place = InLake(warehouse)
            warehouse.update_models("UTC", "run", NOW)
            compare(place, oracle_of(final, set(), "UTC"))
            assert is_up_to_date(place)

"""Two independent readers find the fleet models in lakes that plain Python makes of the rows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.models import tables
from ayla_provider.warehouse.lake_models import COMPLETENESS
from harness.judges import comparable
from tests.support.fleet_rows import HOUR, OddFleet
from tests.support.lakes import Scene
from tests.warehouse.fleet_lakes import InLake
from tests.warehouse.made_loads import NOON
from tests.warehouse.test_fleet_models import NOW, compare, oracle_of
from tests.warehouse.test_fleet_models_of_lakes import look_after, made, put


@pytest.mark.ci
def test_other_readers_find_what_plain_python_makes_of_the_rows(scene: Scene) -> None:
    fleet, folder = OddFleet(4), scene.folder
    with scene.lake.warehouse() as opened:
        place = InLake(opened)  # type: ignore[arg-type]
        warehouse = place.warehouse
        warehouse.prepare_missing(TABLES.values())
        final = made(fleet, [NOON, NOON + HOUR])
        put(warehouse, folder, final, "v1")
        warehouse.update_models("UTC", "first", NOW)
        late = made(fleet, [NOON, NOON + 20 * HOUR], 6)
        put(warehouse, folder, late, "v2")
        warehouse.update_models("UTC", "late", NOW)
        look_after(warehouse, datetime.now(UTC))
        compare(place, oracle_of(final | late, set(), "UTC"))
        for table in (*tables.MODELS, tables.CHANGES, COMPLETENESS):
            rows = comparable(place.rows(table.event_type), table.names)
            for judge in scene.judges:
                read = judge.read(scene.lake.format, scene.lake.location(table.event_type))
                assert comparable(read, table.names) == rows, (judge.name, table.event_type)

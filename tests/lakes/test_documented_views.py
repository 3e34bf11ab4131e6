"""The views that the documents state for lake tables: both judges find in them what the views of a warehouse have."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from harness.judges import comparable
from tests.lakes.conftest import delta_on_disk, iceberg_on_disk
from tests.support.lakes import Lake, Scene
from tests.warehouse.contract import as_dicts
from tests.warehouse.made_loads import HOUR, NOON, Row, identity, made_load

PAGE = Path(__file__).parents[2] / "docs" / "iceberg.md"
VIEWS = dict(re.findall(r"^create view ayla_(\w+) as\n(.*?);\n```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
MINUTE = timedelta(minutes=1)


def datapoint(name: str, number: int, minutes: int, **more: object) -> Row:
    moment = NOON + minutes * MINUTE
    row: dict[str, object] = {"time_uuid": identity(name) if name else None, "dsn": "A", "property_name": "p"}
    return row | {"val_int": number, "created_at": moment, "updated_at": moment} | more


def event(minutes: int, status: str, dsn: str = "A") -> Row:
    return {"dsn": dsn, "oem_model": "m", "event_time": NOON + minutes * MINUTE, "status": status}


LOADS: list[tuple[str, Any, list[Row]]] = [
    ("datapoint", NOON, [datapoint("a", 2, 5), datapoint("b", 1, 0), datapoint("", 7, 0, updated_at=None)]),
    ("datapoint", NOON + HOUR, [datapoint("a", 1, 0), datapoint("b", 2, 9), datapoint("", 7, 0, created_at=None)]),
    ("connection", NOON, [event(0, "Offline"), event(5, "Online"), event(7, "online"), event(15, "Offline")]),
    ("connection", NOON + HOUR, [event(15, "Offline"), event(30, "Online"), event(4, "Online", "B")]),
]


def test_there_are_views() -> None:
    assert set(VIEWS) == {"datapoint_unique", "connection_unique", "latest_values", "online_sessions"}


@pytest.mark.parametrize("made", [iceberg_on_disk, delta_on_disk], ids=["Iceberg", "Delta"])
def test_a_documented_view_has_what_a_warehouse_shows(
    tmp_path: Path, scene_on_disk: Callable[[Lake], Scene], made: Callable[[Path], Lake]
) -> None:
    scene = scene_on_disk(made(tmp_path))
    with scene.lake.warehouse() as lake, DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        for event_type, hour, rows in LOADS:
            for one in (lake, warehouse):
                one.prepare(TABLES[event_type])
                one.replace(made_load(tmp_path, event_type, hour, rows))
    with duckdb.connect(str(tmp_path / "a.duckdb")) as session:
        session.execute("set TimeZone = 'UTC'")
        for name, stated in VIEWS.items():
            found = session.execute(f"select * from ayla_{name}")
            names = [column[0] for column in found.description]
            expected = as_dicts(names, found.fetchall())
            # A view over a view.
            body = stated.replace("from ayla_datapoint_unique", f"from ({VIEWS['datapoint_unique']}) as once")
            (of,) = set(re.findall(r"\bfrom ayla_(\w+)", body))
            query = re.sub(rf"\bayla_{of}\b", "{table}", body)
            for judge in scene.judges:
                rows = judge.read(scene.lake.format, scene.lake.location(of), query)
                # The lake's view doesn't compute how long a session was: each engine has another word for it.
                shown = [title for title in names if title != "seconds"]
                assert {*shown} <= {*rows[0]}
                assert comparable(rows, shown) == comparable(expected, shown), (judge.name, name)

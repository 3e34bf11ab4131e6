"""What loads announce: the asset events that Airflow is told of when a task ends."""

from __future__ import annotations

import inspect
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import OutletEventAccessor, OutletEventAccessors
from airflow.sdk.execution_time.task_runner import _build_asset_profiles, _serialize_outlet_events
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider import operators
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.operators import AylaExportToDuckDBOperator, AylaExportToPostgresOperator
from ayla_provider.operators.load import AylaLoadOperator, AylaWarehouseArguments
from tests.test_reconcile_operator import TaskInstance
from tests.warehouse.archive import archive_hour

HOUR = hour_of(datetime.now(UTC)) - timedelta(hours=30)
CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
WITH_KEYS = hasattr(OutletEventAccessor, "add_partitions")


def loads_of_all_warehouses() -> list[type[Any]]:
    every = [getattr(operators, name) for name in operators.__all__]
    return [one for one in every if issubclass(one, AylaLoadOperator)]


class Run:
    """A run of a DAG."""

    def __init__(self, partition_key: str | None) -> None:
        self.partition_key = partition_key


def load(
    folder: Path, hours: int = 1, *, start: datetime = HOUR, try_number: int = 1, run: Run | None = None, **changes: Any
) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Load hours, and return what Airflow records: the asset's name, the partition key, and the extra of each event."""
    arguments: dict[str, Any] = {
        "task_id": "load",
        "event_type": "connection",
        "archive": f"file://{folder}/archive",
        "database": str(folder / "ayla.duckdb"),
        "start": start.isoformat(),
        "end": (start + hours * ONE_HOUR).isoformat(),
    }
    made, ti, events = AylaExportToDuckDBOperator(**(arguments | changes)), TaskInstance(), OutletEventAccessors()
    ti.try_number = try_number
    context: dict[str, Any] = {"ti": ti, "outlet_events": events} | ({"dag_run": run} if run else {})
    made.execute(context)  # type: ignore[arg-type]
    # Airflow records an event of each asset among the outlets, with all that the task said of it.
    named = {one.name for one in _build_asset_profiles(made.outlets) if one.type == "Asset"}
    told: dict[str, list[tuple[str | None, dict[str, Any]]]] = {}
    for event in _serialize_outlet_events(events):
        if "source_alias_name" not in event:
            key: Any = event["dest_asset_key"]
            told.setdefault(key["name"], []).append((event.get("partition_key"), event["extra"]))  # type: ignore[arg-type]
    return sorted(
        ((name, key, extra) for name in named if name for key, extra in told.get(name, [(None, {})])),
        key=lambda one: (one[0], one[1] or ""),
    )


def names(folder: Path) -> tuple[str, str]:
    """The names of the two assets of the table."""
    arguments = {"database": str(folder / "ayla.duckdb")}
    table = AylaExportToDuckDBOperator.asset("connection", **arguments)
    hours = AylaExportToDuckDBOperator.hours_asset("connection", **arguments)
    return table.name, hours.name


def key(hour: datetime) -> str:
    return f"{hour:%Y-%m-%dT%H:00:00}"


def extra_of(*hours: datetime, rows: int) -> dict[str, Any]:
    return {
        "event_type": "connection",
        "hours": [hour.isoformat() for hour in hours],
        "changed": len(hours),
        "rows": rows,
    }


def of_hours(folder: Path, *hours: datetime) -> list[tuple[str, str | None, dict[str, Any]]]:
    """The events of the asset of hours."""
    return [(names(folder)[1], key(hour), {"event_type": "connection"}) for hour in hours] if WITH_KEYS else []


def test_an_hour_whose_rows_changed_is_announced_once_for_each_kind_of_schedule(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION * 2], HOUR)
    plain = (names(tmp_path)[0], None, extra_of(HOUR, rows=1))
    assert load(tmp_path) == [plain, *of_hours(tmp_path, HOUR)]
    assert load(tmp_path) == []
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR, generation=2, revision=2)
    assert load(tmp_path) == [plain, *of_hours(tmp_path, HOUR)]
    assert load(tmp_path, reload=True) == [plain, *of_hours(tmp_path, HOUR)]


def test_hours_of_one_task_are_one_plain_event_and_an_event_each(tmp_path: Path) -> None:
    hours = [HOUR + number * ONE_HOUR for number in range(3)]
    for hour in hours:
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], hour)
    load(tmp_path, start=hours[1])
    changed = (hours[0], hours[2])
    assert load(tmp_path, 3) == [
        (names(tmp_path)[0], None, extra_of(*changed, rows=2)),
        *of_hours(tmp_path, *changed),
    ]


def test_a_try_after_one_that_ended_between_commit_and_event_announces_what_it_finds(tmp_path: Path) -> None:
    hours = [HOUR, HOUR + ONE_HOUR]
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], hours[0])
    wanted = load(tmp_path)
    # Airflow didn't hear of it.
    assert load(tmp_path, try_number=2) == wanted
    archive_hour(tmp_path / "archive", "connection", [b"a,b\r\n"], hours[1])
    with pytest.raises(AirflowFailException, match="AylaLayoutError"):
        load(tmp_path, 2)
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], hours[1], revision=2)
    assert load(tmp_path, 2, try_number=2) == [
        (names(tmp_path)[0], None, extra_of(*hours, rows=2)),
        *of_hours(tmp_path, *hours),
    ]


def test_the_events_of_one_task_are_limited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start = HOUR.replace(hour=0) - timedelta(days=2)
    hours = [start + number * ONE_HOUR for number in range(25)]
    for hour in hours:
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], hour)
    plain, hours_name = names(tmp_path)
    assert load(tmp_path, 25, start=start) == [
        (plain, None, extra_of(*hours[1:], rows=25) | {"changed": 25}),
    ]
    assert hours_name in caplog.text
    assert len(load(tmp_path, 24, start=start, reload=True)) == (25 if WITH_KEYS else 1)


def test_assets_that_a_dag_names_as_outlets_get_no_event_if_nothing_changed(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    database = str(tmp_path / "ayla.duckdb")
    make = (AylaExportToDuckDBOperator.asset, AylaExportToDuckDBOperator.hours_asset)
    mine = [one(event_type, database=database) for one in make for event_type in ("connection", "datapoint")]
    other = Asset("of the user")
    wanted = [("of the user", None, {}), (names(tmp_path)[0], None, extra_of(HOUR, rows=1))]
    assert load(tmp_path, outlets=[*mine, other]) == sorted(
        [*wanted, *of_hours(tmp_path, HOUR)], key=lambda one: one[0]
    )
    assert load(tmp_path, outlets=[*mine, other]) == wanted[:1]


@pytest.mark.skipif(WITH_KEYS, reason="this Airflow's tasks set the keys")
@pytest.mark.parametrize(("partition_key", "told"), [(key(HOUR), True), (key(HOUR + ONE_HOUR), False), (None, False)])
def test_airflow_gives_the_event_the_key_of_its_run(tmp_path: Path, partition_key: str | None, told: bool) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    found = [name for name, _, _ in load(tmp_path, run=Run(partition_key))]
    assert found == [names(tmp_path)[0], *([names(tmp_path)[1]] if told else [])]


def test_an_hour_without_events_is_announced_when_it_enters_the_ledger(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [], HOUR)
    assert load(tmp_path) == [(names(tmp_path)[0], None, extra_of(HOUR, rows=0)), *of_hours(tmp_path, HOUR)]
    assert load(tmp_path) == []


@pytest.mark.parametrize("made", loads_of_all_warehouses(), ids=lambda made: made.__name__)
def test_the_assets_of_a_warehouse_have_the_defaults_of_its_operators(made: type[AylaWarehouseArguments]) -> None:
    of_address = inspect.signature(made.address).parameters
    assert set(of_address) == set(made.warehouse_fields)
    (arguments,) = [base for base in made.__bases__ if issubclass(base, AylaWarehouseArguments)]
    of_operator = inspect.signature(arguments.__init__).parameters
    for name, parameter in of_address.items():
        assert parameter.default == of_operator[name].default
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    with pytest.raises(TypeError, match="bogus"):
        made.asset("datapoint", bogus="x")


TEXT = st.text(st.sampled_from(string.printable + "é"), max_size=12)


@given(TEXT, TEXT, TEXT)
def test_a_name_is_no_address_and_airflow_keeps_it(conn_id: str, schema: str, table_prefix: str) -> None:
    arguments = {"postgres_conn_id": conn_id, "schema": schema, "table_prefix": table_prefix}
    asset = AylaExportToPostgresOperator.asset("Datapoint Ack", **arguments)
    assert asset.uri == asset.name
    assert ":" not in asset.name
    assert asset.name.isascii()
    assert asset.name.startswith("ayla_load/postgres/")
    hours = AylaExportToPostgresOperator.hours_asset("datapoint_ack", **arguments)
    assert hours.name == asset.name.replace("ayla_load/", "ayla_load_hours/", 1)


def test_a_name_says_which_table() -> None:
    assert AylaExportToPostgresOperator.asset("datapoint", schema="ayla").name == (
        "ayla_load/postgres/postgres_default/ayla/ayla_datapoint"
    )
    assert (
        AylaExportToPostgresOperator.asset("datapoint").name == "ayla_load/postgres/postgres_default/-/ayla_datapoint"
    )
    assert AylaExportToDuckDBOperator.hours_asset("Datapoint", database=" /data/a b.duckdb ").name == (
        "ayla_load_hours/duckdb/data/a%20b.duckdb/main/ayla_datapoint"
    )

"""The operators of Iceberg tables, with Airflow's connections. What all warehouses share is tested elsewhere."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.operators import (
    AylaExportIcebergPlanOperator,
    AylaExportIcebergUpkeepOperator,
    AylaExportToIcebergOperator,
)
from tests.test_warehouse_operators import CONNECTION, one_hour, run
from tests.warehouse.archive import archive_hour

HOUR = hour_of(datetime.now(UTC)) - timedelta(days=9)
ARGUMENTS: dict[str, Any] = {"namespace": "ayla", "iceberg_conn_id": "a_catalog"}


def connect(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_A_CATALOG", json.dumps({"conn_type": "iceberg", "extra": extra}))


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SqlCatalog:
    """A catalog that the connection leads to, too."""
    properties = {"uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/tables"}
    connect(monkeypatch, type="sql", **properties)
    # A SQL catalog has the name of the connection.
    return SqlCatalog("a_catalog", **properties)


def test_hours_of_a_task_are_loaded_in_one_commit_and_then_looked_after(catalog: SqlCatalog, tmp_path: Path) -> None:
    archive = f"file://{tmp_path}/archive"
    for number in range(3):
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR.replace(hour=number))
    hours = {"start": HOUR.replace(hour=0).isoformat(), "end": (HOUR.replace(hour=2) + ONE_HOUR).isoformat()}
    load = AylaExportToIcebergOperator(task_id="load", archive=archive, event_type="connection", **ARGUMENTS, **hours)
    result, _ = run(load)
    assert (result["hours"], result["unchanged"], result["rows"]) == (3, 0, 3)
    table = catalog.load_table("ayla.ayla_connection")
    assert len(table.metadata.snapshots) == 1
    items, _ = run(AylaExportIcebergPlanOperator(task_id="plan", archive=archive, since=hours["start"], **ARGUMENTS))
    assert items == []
    upkeep = {"task_id": "upkeep", **ARGUMENTS}
    said, _ = run(AylaExportIcebergUpkeepOperator(dry_run=True, **upkeep))
    assert catalog.load_table("ayla.ayla_connection").metadata == table.metadata
    done, _ = run(AylaExportIcebergUpkeepOperator(**upkeep))
    assert said == done
    # All tables exist from the first load on, and that of hours from the plan on.
    assert set(done) == {"connection", "datapoint", "datapoint_ack", "location", "registration", "hours"}
    assert (done["connection"]["days_compacted"], done["connection"]["files_compacted"]) == (1, 3)
    assert catalog.load_table("ayla.ayla_connection").scan().to_arrow().num_rows == 3
    some, _ = run(AylaExportIcebergUpkeepOperator(event_types=["Connection"], **upkeep))
    assert some == {"connection": dict.fromkeys(done["connection"], 0)}


def test_a_table_that_cannot_be_looked_after_does_not_keep_the_others_from_it(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    archive = f"file://{tmp_path}/archive"
    for number in range(2):
        archive_hour(tmp_path / "archive", "registration", [b"1a,m,AC1,,true,Dsn,,"], HOUR.replace(hour=number))
    catalog.create_namespace("ayla")
    hours = {"start": HOUR.replace(hour=0).isoformat(), "end": (HOUR.replace(hour=1) + ONE_HOUR).isoformat()}
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR.replace(hour=0))
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR.replace(hour=1))
    run(AylaExportToIcebergOperator(task_id="load", archive=archive, event_type="connection", **ARGUMENTS, **hours))
    broken = catalog.load_table("ayla.ayla_connection")
    Path(broken.current_snapshot().manifest_list.removeprefix("file://")).unlink()  # type: ignore[union-attr]
    upkeep = AylaExportIcebergUpkeepOperator(task_id="upkeep", event_types=["connection", "datapoint"], **ARGUMENTS)
    with pytest.raises(AylaWarehouseError, match=r"can't look after ayla\.ayla_connection: FileNotFoundError"):
        run(upkeep)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"type": "nonsense"}, "names no catalog that pyiceberg can open"),
        ({"type": "sql", "warehouse": "file:///nowhere"}, "names no catalog that pyiceberg can open"),
        (None, "The conn_id `a_catalog` isn't defined"),
    ],
)
def test_a_connection_that_names_no_catalog_fails_without_retries(
    monkeypatch: pytest.MonkeyPatch, airflow_db: None, extra: dict[str, str] | None, said: str
) -> None:
    if extra is not None:
        connect(monkeypatch, **extra)
    with pytest.raises(AirflowFailException, match=f"AylaConfigError.*{said}"):
        run(AylaExportIcebergUpkeepOperator(task_id="upkeep", **ARGUMENTS))


def test_a_catalog_whose_package_is_missing_fails_without_retries_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(monkeypatch, type="hive", uri="thrift://127.0.0.1:9")
    # None: it can't be imported.
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog.hive", None)
    with pytest.raises(AirflowFailException, match=r"AylaConfigError.*pip install 'pyiceberg\[hive\]'"):
        run(AylaExportIcebergUpkeepOperator(task_id="upkeep", **ARGUMENTS))


def test_a_catalog_that_does_not_answer_can_be_tried_again_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(monkeypatch, type="sql", uri="postgresql+psycopg://ayla:right-but-secret@127.0.0.1:9/x", warehouse="s3://x")
    with pytest.raises(AylaWarehouseError, match="Iceberg namespace ayla: can't connect: OperationalError") as error:
        run(AylaExportIcebergUpkeepOperator(task_id="upkeep", **ARGUMENTS))
    assert "secret" not in str(error.value)
    assert (error.value.__cause__, error.value.__suppress_context__) == (None, True)


def test_a_table_whose_properties_choose_how_files_are_read_is_refused(catalog: SqlCatalog, tmp_path: Path) -> None:
    archive = f"file://{tmp_path}/archive"
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    hour = one_hour(hour=HOUR)
    run(AylaExportToIcebergOperator(task_id="load", archive=archive, **ARGUMENTS, **hour))
    with catalog.load_table("ayla.ayla_connection").transaction() as transaction:
        transaction.set_properties({"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"})
    with pytest.raises(AirflowFailException, match=r"a property of ayla\.ayla_connection or of the catalog sets"):
        run(AylaExportToIcebergOperator(task_id="load", archive=archive, **ARGUMENTS, **hour))

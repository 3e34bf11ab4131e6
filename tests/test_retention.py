"""The operators that remove old hours: in archive, Parquet files and tables, and what all others make of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.holds import place_hold
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hold import hold
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.typed_manifest import typed_manifest_path
from ayla_provider.errors import AylaConfigError
from ayla_provider.operators import (
    AylaExportDuckDBPlanOperator,
    AylaExportDuckDBRetentionOperator,
    AylaExportDuckDBVerifyOperator,
    AylaExportRetentionOperator,
    AylaExportToDuckDBOperator,
    AylaExportToParquetOperator,
    AylaExportVerifyOperator,
)
from tests.test_reconcile_operator import TaskInstance
from tests.warehouse.archive import archive_hour

NOW = hour_of(datetime.now(UTC))
OLD, NEW = NOW - timedelta(days=100), NOW - timedelta(days=10)
CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
BAD = CONNECTION * 12 + b"no,row\r\n"
NINETY = timedelta(days=90)


def run(made: Any) -> tuple[Any, dict[str, Any]]:
    ti = TaskInstance()
    return made.execute({"ti": ti, "outlet_events": OutletEventAccessors()}), ti.xcoms


class Setup:
    """An archive with an old hour and a newer one, both loaded into a DuckDB file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = f"file://{folder}/archive"
        for hour in (OLD, NEW):
            archive_hour(folder / "archive", "connection", [BAD], hour)
            self.load(hour)

    def of_warehouse(self) -> dict[str, Any]:
        return {"archive": self.archive, "database": str(self.folder / "ayla.duckdb")}

    def load(self, hour: datetime, **more: Any) -> dict[str, Any]:
        span = {"start": hour.isoformat(), "end": (hour + ONE_HOUR).isoformat()}
        arguments = {"task_id": "load", "event_type": "connection", **self.of_warehouse(), **span}
        result: dict[str, Any] = run(AylaExportToDuckDBOperator(**arguments | more))[0]
        return result

    def remove(self, **keep_for: timedelta) -> list[dict[str, Any]]:
        made = AylaExportRetentionOperator(task_id="remove", archive=self.archive, keep_for=keep_for)
        result: list[dict[str, Any]] = run(made)[0]
        assert json.loads(json.dumps(result)) == result
        return result

    def remove_rows(self, **more: Any) -> dict[str, Any]:
        arguments = {"task_id": "remove_rows", "keep_for": NINETY, **self.of_warehouse()}
        (result,) = run(AylaExportDuckDBRetentionOperator(**arguments | more))[0]
        return dict(result)

    def everything_is_quiet(self) -> bool:
        """Whether no operator finds anything to load, to repair or to report."""
        since = (OLD - ONE_HOUR).isoformat()
        plan = AylaExportDuckDBPlanOperator(task_id="plan", since=since, **self.of_warehouse())
        verify_tables = AylaExportDuckDBVerifyOperator(task_id="tables", lookback=None, **self.of_warehouse())
        verify = AylaExportVerifyOperator(
            task_id="verify", destination=self.archive, event_types=["connection"], lookback=timedelta(hours=1)
        )
        return run(plan)[0] == run(verify_tables)[0] == run(verify)[0] == []

    def hours(self) -> list[datetime]:
        rows = self.ask("select distinct folder_hour from ayla_connection order by 1")
        return [hour.astimezone(UTC) for (hour,) in rows]

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.folder / "ayla.duckdb"), read_only=True) as duck:
            return duck.execute(query).fetchall()

    def files(self, pattern: str) -> list[str]:
        return sorted(
            str(path.relative_to(self.folder / "archive")) for path in (self.folder / "archive").glob(pattern)
        )

    def read(self, path: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / "archive" / path).read_text()))


@pytest.fixture
def made(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_an_old_hour_goes_from_every_layer_and_nobody_misses_it(made: Setup) -> None:
    assert made.hours() == [OLD, NEW]
    layers = {layer["layer"]: layer for layer in made.remove(archive=NINETY, parquet=NINETY)}
    # Quarantined lines don't outlive the copies.
    assert {name: layer["objects"] for name, layer in layers.items()} == {"archive": 1, "parquet": 1, "quarantine": 1}
    assert made.remove_rows()["rows"] == 1
    assert made.hours() == [NEW]
    for pattern in ("event_type=*/**/*.csv", "parquet/event_type=*/**/*.parquet", "_quarantine/**/*.parquet"):
        assert len(made.files(pattern)) == 1
    hour = ExportHour("connection", OLD)
    assert made.read(manifest_path(hour))["removed_files"] == 1
    assert made.read(f"parquet/{typed_manifest_path(hour)}")["removed"]
    assert made.ask("select version, rows, lines from ayla_loads order by folder_hour limit 1") == [("removed", 0, 0)]
    assert made.everything_is_quiet()


def test_a_task_that_is_cleared_restores_nothing(made: Setup) -> None:
    made.remove(archive=NINETY, parquet=NINETY)
    made.remove_rows()
    before = made.files("**/*")
    assert made.load(OLD)["unchanged"] == 1
    span = {"start": OLD.isoformat(), "end": (OLD + ONE_HOUR).isoformat()}
    parquet = AylaExportToParquetOperator(task_id="rows", event_type="connection", archive=made.archive, **span)
    assert run(parquet)[0]["unchanged"] == 1
    assert made.files("**/*") == before
    assert made.hours() == [NEW]


def test_a_table_can_keep_hours_longer_than_the_archive(made: Setup) -> None:
    made.remove(archive=NINETY, parquet=NINETY)
    assert made.hours() == [OLD, NEW]
    assert made.everything_is_quiet()
    assert made.load(OLD)["unchanged"] == 1
    # Nobody can make the rows again under another policy. So they stay, and a reload says why.
    with pytest.raises(AirflowFailException, match=r"AylaRemovedError.*a rule removed"):
        made.load(OLD, reload=True)
    assert made.load(OLD, privacy={"dsn": "drop"}, earlier_policies="none")["unchanged"] == 1
    assert made.hours() == [OLD, NEW]


def test_an_archive_can_keep_hours_longer_than_tables_and_parquet_files(made: Setup) -> None:
    made.remove(parquet=NINETY)
    made.remove_rows()
    assert made.everything_is_quiet()
    assert len(made.files("event_type=*/**/*.csv")) == 2
    assert made.load(OLD)["unchanged"] == 1
    # Only somebody who wants them gets the rows back.
    with pytest.raises(AirflowFailException, match=r"AylaRemovedError.*remove the receipt _typed"):
        made.load(OLD, reload=True)
    (made.folder / "archive" / "parquet" / typed_manifest_path(ExportHour("connection", OLD))).unlink()
    assert made.load(OLD, reload=True)["rows"] == 1
    assert made.hours() == [OLD, NEW]


def test_a_removed_hour_that_the_warehouse_never_had_is_not_planned(made: Setup) -> None:
    made.remove(archive=NINETY, parquet=NINETY)
    other = {"archive": made.archive, "database": str(made.folder / "other.duckdb")}
    items, _ = run(AylaExportDuckDBPlanOperator(task_id="plan", since=(OLD - ONE_HOUR).isoformat(), **other))
    assert [item["start"] for item in items] == [NEW.isoformat()]


def test_a_certificate_says_what_was_removed_when_and_by_which_run(made: Setup) -> None:
    counted = made.remove(archive=NINETY)
    made.remove_rows()
    certificates = [made.read(path) for path in made.files("_removals/*.json")]
    assert len(certificates) == 2
    first, second = certificates
    assert first["format"] == "ayla-export-removal/1"
    assert first["layers"] == counted
    assert {layer["layer"]: layer["hours"] for layer in first["layers"]} == {"archive": 1, "quarantine": 1}
    assert first["written_by"]["task_id"]
    assert second["layers"][0]["hours_by_event_type"] == {"connection": 1}
    assert "until the file is copied" in second["layers"][0]["remains"]
    assert not any("LC000X" in json.dumps(each) for each in certificates)
    # Nothing was left to remove, so there is nothing to certify.
    made.remove(archive=NINETY)
    made.remove_rows()
    assert len(made.files("_removals/*.json")) == 2


def test_a_hold_keeps_an_hour_in_every_layer_until_it_is_released(made: Setup) -> None:
    archive = FileDestination(made.folder / "archive")
    place_hold(archive, hold("case-1", placed_at=NOW, start=OLD, end=OLD + ONE_HOUR))
    before = made.files("**/*")
    layers = [*made.remove(archive=NINETY, parquet=NINETY), made.remove_rows()]
    assert [layer["held"] for layer in layers] == [{"case-1": 1}] * 4
    assert made.files("**/*") == before
    assert made.hours() == [OLD, NEW]
    (made.folder / "archive" / "_holds" / "case-1.json").write_text("{")
    for remove in (lambda: made.remove(archive=NINETY), made.remove_rows):
        with pytest.raises(Exception, match="nothing is removed or erased"):
            remove()
    assert made.hours() == [OLD, NEW]


def test_counting_changes_nothing(made: Setup) -> None:
    before = made.files("**/*")
    arguments: dict[str, Any] = {"task_id": "count", "archive": made.archive, "count_only": "true"}
    counted = run(AylaExportRetentionOperator(keep_for={"archive": NINETY}, **arguments))[0]
    assert {layer["layer"]: layer["hours"] for layer in counted} == {"archive": 1, "quarantine": 1}
    assert made.remove_rows(count_only=True)["rows"] == 1
    assert made.files("**/*") == before
    assert made.hours() == [OLD, NEW]


@pytest.mark.parametrize("keep_for", [{}, {"tables": NINETY}, NINETY, None])
def test_layers_that_do_not_exist_are_refused_when_the_dag_is_read(keep_for: Any) -> None:
    with pytest.raises(AylaConfigError, match="expected archive, parquet, quarantine"):
        AylaExportRetentionOperator(task_id="remove", archive="file:///a", keep_for=keep_for)


def test_a_time_that_is_too_short_removes_nothing(made: Setup) -> None:
    for remove in (lambda: made.remove(archive=timedelta(days=1)), lambda: made.remove_rows(keep_for=ONE_HOUR)):
        with pytest.raises(AirflowFailException, match="2 days or more"):
            remove()
    assert made.hours() == [OLD, NEW]


def test_a_mistyped_archive_removes_nothing_because_its_holds_are_elsewhere(made: Setup) -> None:
    place_hold(FileDestination(made.folder / "archive"), hold("case-1", placed_at=NOW, start=OLD))
    made.archive = f"file://{made.folder}/mistyped"
    for remove in (lambda: made.remove(archive=NINETY), made.remove_rows):
        with pytest.raises(AirflowFailException, match="it isn't an archive"):
            remove()
    assert made.hours() == [OLD, NEW]
    assert not (made.folder / "mistyped").exists()

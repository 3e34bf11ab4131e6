"""What tasks tell the page about many hours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.assets import digest_alias
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.digest import Layer
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.paths import manifest_path
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import (
    AylaExportDuckDBPlanOperator,
    AylaExportReconcileOperator,
    AylaExportToBucketOperator,
    AylaExportToDuckDBOperator,
    AylaExportVerifyOperator,
)
from ayla_provider.operators.digests import console_links, is_first_of_day
from tests.domain.test_digest import facts_in
from tests.support.fleet import connect, put_hour
from tests.test_reconcile_operator import TaskInstance
from tests.warehouse.archive import archive_hour

FIRST = hour_of(datetime.now(UTC)) - timedelta(hours=30)
HOURS = [ExportHour(EventType("datapoint"), FIRST + number * ONE_HOUR) for number in range(4)]
LINE = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
pytestmark = pytest.mark.usefixtures("hour_of_import")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Any:
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        for hour in HOURS:
            put_hour(cloud, "Datapoint", hour.start)
        yield cloud


@pytest.fixture
def archive(cloud: LocalCloud, tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    Archive(FileDestination(root)).take_in(AylaHook().export, HOURS[:3], ArrivalRule(), written_by={}, last_try=True)
    return root


def run(operator: Any, **context: Any) -> list[tuple[str, dict[str, Any]]]:
    """Run a task, and return the digests that it published: the end of the asset's name, and the document."""
    events = OutletEventAccessors()
    operator.execute({"ti": TaskInstance(), "outlet_events": events, **context})
    if digest_alias() not in operator.outlets:
        return []
    published = [(str(event.dest_asset_key.uri), event.extra) for event in events[digest_alias()].asset_alias_events]
    assert json.loads(json.dumps(published)) == [[uri, extra] for uri, extra in published]
    return [(uri.rpartition("/")[2], extra) for uri, extra in published]


def reconcile(archive: Path, **changes: Any) -> AylaExportReconcileOperator:
    arguments = {"event_types": ["datapoint"], "not_before": FIRST.isoformat(), "destination": f"file://{archive}"}
    return AylaExportReconcileOperator(task_id="reconcile", **(arguments | changes))


def test_a_comparison_tells_what_is_copied_and_what_it_repairs(archive: Path) -> None:
    published = run(reconcile(archive))
    assert [name for name, _ in published].count("newest") == 1
    (newest,) = [extra for name, extra in published if name == "newest"]
    facts = facts_in([newest])
    for hour in HOURS[:3]:
        state, figures = facts["datapoint", hour.start]
        assert (state, figures["files"], figures["revision"]) == ("landed", 1, 1)
        assert figures["bytes"] > 0
    assert facts["datapoint", HOURS[3].start][0] == "missing"
    assert newest["layer"] == Layer.COPIED
    assert {"what": "repair", "event_type": "datapoint", "hour": HOURS[3].start.isoformat()}.items() <= newest[
        "activities"
    ][-1].items()
    # The daily ones say the same, month by month.
    assert facts_in([extra for name, extra in published if name == "daily"]) == facts


def test_only_one_run_a_day_tells_it_for_the_day(archive: Path) -> None:
    now = datetime.now(UTC)
    assert {name for name, _ in run(reconcile(archive), prev_start_date_success=now)} == {"newest"}
    yesterday = now - timedelta(days=1)
    assert {name for name, _ in run(reconcile(archive), prev_start_date_success=yesterday)} == {"newest", "daily"}
    long = reconcile(archive, lookback=timedelta(days=366))
    assert {name for name, _ in run(long, prev_start_date_success=now)} == {"daily"}
    assert is_first_of_day({"prev_start_date_success": None}, now)  # type: ignore[typeddict-item]


def test_an_hour_whose_copy_failed_has_the_error_in_words_and_no_secret(cloud: LocalCloud, archive: Path) -> None:
    cloud.faults.add("corrupt", step="download", times=None)
    hour = HOURS[3]
    copy = AylaExportToBucketOperator(
        task_id="copy",
        destination=f"file://{archive}",
        event_type="datapoint",
        start=hour.start.isoformat(),
        end=hour.end.isoformat(),
    )
    with pytest.raises(Exception, match="crc32c"):
        copy.execute({"ti": TaskInstance(), "outlet_events": OutletEventAccessors()})  # type: ignore[typeddict-item]
    documents = run(reconcile(archive))
    (newest,) = [extra for name, extra in documents if name == "newest"]
    assert facts_in([newest])["datapoint", hour.start][0] == "failed"
    (note,) = newest["notes"]
    assert (note["event_type"], note["hour"]) == ("datapoint", hour.start.isoformat())
    assert "crc32c" in note["text"]
    text = json.dumps(documents)
    for name in ("password", "app_secret"):
        secret = json.loads(json.dumps(cloud.ayla_connection())).get(name)
        assert not secret or secret not in text


def test_a_verification_tells_which_hours_are_sound_and_which_are_damaged(archive: Path) -> None:
    verify = AylaExportVerifyOperator(
        task_id="verify", event_types=["datapoint"], not_before=FIRST, destination=f"file://{archive}"
    )
    broken = HOURS[1]
    (archive / manifest_path(broken)).unlink()
    (published,) = run(verify)
    assert published[0] == "daily"
    facts = facts_in([published[1]])
    assert facts["datapoint", HOURS[0].start][0] == "sound"
    assert facts["datapoint", broken.start][0] == "no_manifest"
    assert published[1]["activities"][-1]["what"] == "repair"


def test_a_plan_tells_what_is_loaded_and_with_how_many_rows(tmp_path: Path) -> None:
    for hour in HOURS[:3]:
        archive_hour(tmp_path / "archive", "connection", [LINE], hour.start)
    where = {"archive": f"file://{tmp_path}/archive", "database": str(tmp_path / "ayla.duckdb")}
    before = run(AylaExportDuckDBPlanOperator(task_id="plan", event_types=["connection"], **where))
    (newest,) = [extra for name, extra in before if name == "newest"]
    assert {state for state, _ in facts_in([newest]).values()} == {"to_load"}
    for hour in HOURS[:2]:
        load = AylaExportToDuckDBOperator(
            task_id="load", event_type="connection", start=hour.start.isoformat(), end=hour.end.isoformat(), **where
        )
        load.execute({"ti": TaskInstance(), "outlet_events": OutletEventAccessors()})  # type: ignore[typeddict-item]
    after = run(AylaExportDuckDBPlanOperator(task_id="plan", event_types=["connection"], **where))
    (newest,) = [extra for name, extra in after if name == "newest"]
    facts = facts_in([newest])
    assert [facts["connection", hour.start][0] for hour in HOURS[:3]] == ["loaded", "loaded", "to_load"]
    assert facts["connection", HOURS[0].start][1] == {"rows": 1, "lines": 1}
    (year,) = [extra for name, extra in after if name == "daily"]
    assert {at for _, at in facts_in([year])} == {hour.start for hour in HOURS[:2]}
    assert newest["facts"]["name"].endswith("ayla.duckdb")


def test_the_links_are_those_of_the_store() -> None:
    links = console_links("gs://your-bucket/ayla")
    assert links["manifest"].endswith("_manifests/event_type=EVENT_TYPE/date=DATE/hour=HOUR.json")
    assert links["files"].startswith("https://console.cloud.google.com/storage/browser/your-bucket/ayla/")
    assert console_links("file:///data/ayla") == console_links("not a url") == {}


def test_a_task_that_fails_publishes_nothing(archive: Path) -> None:
    with pytest.raises(AirflowFailException):
        run(reconcile(archive, destination="gs:/malformed"))

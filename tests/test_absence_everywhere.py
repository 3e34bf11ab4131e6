"""Each known way to take a file for absent, in each face: sensor, trigger, copy, history, reconcile, report, alert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider.__main__ import main
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.records import Records
from ayla_provider.destinations import open_destination
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaNotSettledError
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import AylaExportReconcileOperator, AylaExportToBucketOperator, AylaExportVerifyOperator
from ayla_provider.sensors import AylaExportAliveSensor, AylaExportHourSensor
from tests.support.client import requests_of
from tests.support.fleet import connect, put_hour
from tests.test_triggers import fire, trigger

NOW = datetime.now(UTC)
HOUR = hour_of(NOW) - 30 * ONE_HOUR
"""The hour that is asked for. Its event type is connection."""
# The exporter writes until NOW. Another hour that passes would be overdue.
pytestmark = pytest.mark.usefixtures("hour_of_import")

STYLES = {
    "T and Z": "%Y-%m-%dT%H:%M:%SZ",
    "underscores": "%Y-%m-%d_%H-%M-%S",
    "folders": "%Y/%m/%d/%H",
    "milliseconds": "%Y-%m-%d %H:%M:%S.000",
    "minutes": "%Y-%m-%d %H:%M",
    "American": "%m-%d-%Y %H:%M:%S",
    "epoch": "%s",
}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Iterator[LocalCloud]:
    """A local cloud without an object."""
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        yield cloud


def put_datapoints(cloud: LocalCloud, until: datetime) -> None:
    """Let the exporter write datapoints up to an hour, and connections until some hours before HOUR."""
    hour = HOUR - 40 * ONE_HOUR
    while hour <= until:
        put_hour(cloud, "Datapoint", hour)
        hour += ONE_HOUR
    for back in (3, 4, 5):
        put_hour(cloud, "Connection", HOUR - back * ONE_HOUR)


def folder_of(hour: datetime, style: str) -> str:
    return str(int(hour.timestamp())) if style == "%s" else hour.strftime(style)


def change_style(cloud: LocalCloud, style: str, since: datetime = HOUR, folder: str = "Connection") -> str:
    """Let the event type's folders have another style from an hour on, and return the first object's name."""
    hour = since
    while hour < hour_of(NOW) - 2 * ONE_HOUR:
        cloud.put_object(folder, folder_of(hour, style), "f.csv", b"a\r\n", hour + timedelta(minutes=90))
        hour += ONE_HOUR
    return f"{cloud.oem_id}/{folder}/{folder_of(since, style)}/f.csv"


class Faces:
    """What each face says of an hour."""

    def __init__(self, folder: Path, hour: datetime = HOUR, event_type: str = "connection") -> None:
        self.url = f"file://{folder}"
        self.hour, self.event_type = hour, event_type
        self.records = Records(open_destination(self.url, None))
        self.outlet_events = OutletEventAccessors()

    @property
    def export_hour(self) -> ExportHour:
        return ExportHour(EventType(self.event_type), self.hour)

    def say_empty(self, written_at: datetime | None = None) -> None:
        """Write the manifest of an earlier version, which took the hour for empty."""
        written = (written_at or self.hour + 3 * ONE_HOUR).isoformat()
        self.records.write_manifest(Manifest(self.export_hour, HourState.EMPTY, 1, (), written), None)

    def poke(self) -> Any:
        sensor = AylaExportHourSensor(
            task_id="wait",
            event_type=self.event_type,
            start=self.hour.isoformat(),
            end=(self.hour + ONE_HOUR).isoformat(),
            deferrable=False,
        )
        ti = SimpleNamespace(start_date=datetime.now(UTC), get_first_reschedule_date=lambda context: None)
        return sensor.poke({"ti": ti})  # type: ignore[typeddict-item]

    def fire(self) -> dict[str, Any]:
        return fire(trigger(self.event_type, self.hour))

    def copy(self, hours: int = 1, **more: Any) -> dict[str, Any]:
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", try_number=1, max_tries=0)
        operator = AylaExportToBucketOperator(
            task_id="copy",
            event_type=self.event_type,
            destination=self.url,
            start=self.hour.isoformat(),
            end=(self.hour + hours * ONE_HOUR).isoformat(),
            **more,
        )
        return operator.execute({"ti": ti, "outlet_events": self.outlet_events})  # type: ignore[typeddict-item]

    def announced(self) -> list[str]:
        """The hours that the page knows as copied."""
        events = [event for accessor in self.outlet_events.values() for event in accessor.asset_alias_events]
        return [event.extra["hour"] for event in events]

    def reconcile(self) -> tuple[list[str], dict[str, int]]:
        """The hours to repair, and how many hours have each state."""
        ti = SimpleNamespace(xcoms={})
        ti.xcom_push = lambda key, value: ti.xcoms.update({key: value})
        operator = AylaExportReconcileOperator(
            task_id="reconcile",
            destination=self.url,
            event_types=[self.event_type],
            not_before=self.hour.isoformat(),
            lookback=timedelta(days=100),
        )
        repairs = operator.execute({"ti": ti})  # type: ignore[typeddict-item]
        return [repair["start"] for repair in repairs], ti.xcoms["summary"]["hours"]

    def report(self, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
        """The exit status, and the row of the hour."""
        capsys.readouterr()
        end = (self.hour + ONE_HOUR).isoformat()
        span = ["--since", self.hour.isoformat(), "--until", end, "--event-type", self.event_type]
        status = main(["report", "--json", "--destination", self.url, *span])
        (row,) = json.loads(capsys.readouterr().out)["hours"]
        return status, row

    def verify(self) -> list[dict[str, Any]]:
        """The hours to copy again."""
        ti = SimpleNamespace(xcom_push=lambda key, value: None)
        operator = AylaExportVerifyOperator(
            task_id="verify",
            destination=self.url,
            event_types=[self.event_type],
            not_before=self.hour.isoformat(),
        )
        return operator.execute({"ti": ti, "outlet_events": self.outlet_events})  # type: ignore[typeddict-item]


def check(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What each step of the check found."""
    capsys.readouterr()
    main(["check", "--json"])
    return {step["name"]: step["detail"] for step in json.loads(capsys.readouterr().out)}


def alert() -> None:
    """Look whether the exporter is alive, as the alert does."""
    ti = SimpleNamespace(start_date=datetime.now(UTC), get_first_reschedule_date=lambda context: None)
    AylaExportAliveSensor(task_id="alive", timeout=0).execute({"ti": ti})  # type: ignore[typeddict-item]


def assert_unproven(faces: Faces, name: str, capsys: pytest.CaptureFixture[str], *ways_out: str) -> None:
    """Assert that each face calls the hour unproven, and names the object and the ways out."""
    texts = []
    with pytest.raises(AirflowFailException, match="AylaUnprovenError") as failure:
        faces.poke()
    texts.append(str(failure.value))
    event = faces.fire()
    assert (event["status"], event["fatal"]) == ("failed", True)
    texts.append(event["message"])
    with pytest.raises(AirflowFailException, match="AylaUnprovenError") as failure:
        faces.copy()
    texts.append(str(failure.value))
    # As the history DAG does: a day at once.
    with pytest.raises(AirflowFailException, match="AylaUnprovenError"):
        faces.copy(hours=24)
    assert faces.hour.isoformat() not in faces.announced()
    repairs, states = faces.reconcile()
    assert faces.hour.isoformat() not in repairs
    assert states["unproven"] >= 1
    status, row = faces.report(capsys)
    assert (status, row["state"]) == (1, "unproven")
    texts.append(row["gap"])
    for text in texts:
        for wanted in (name, *ways_out):
            assert wanted in text


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_folders_of_one_event_type_that_change_their_style(
    cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    put_datapoints(cloud, hour_of(NOW) - 2 * ONE_HOUR)
    change_style(cloud, style)
    faces = Faces(tmp_path)
    assert_unproven(faces, f"{cloud.oem_id}/Connection/", capsys, "hour_pattern", "ignored_objects")
    assert not (tmp_path / manifest_path(faces.export_hour)).exists()
    # The others go on, and so does the alert.
    assert Faces(tmp_path, event_type="datapoint").copy()["hours"] == {"landed": 1}
    alert()


@pytest.mark.parametrize("style", ["%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d/%H", "%s"])
def test_an_empty_manifest_of_an_earlier_version_shows_up(
    cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    put_datapoints(cloud, hour_of(NOW) - 2 * ONE_HOUR)
    change_style(cloud, style)
    faces = Faces(tmp_path)
    faces.say_empty()
    assert_unproven(faces, f"{cloud.oem_id}/Connection/", capsys, "hour_pattern", "ignored_objects")


def test_a_pattern_makes_the_hours_land(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_datapoints(cloud, hour_of(NOW) - 2 * ONE_HOUR)
    change_style(cloud, "%Y-%m-%dT%H:%M:%SZ")
    faces = Faces(tmp_path)
    faces.say_empty()
    connect(monkeypatch, cloud, hour_pattern="%Y-%m-%dT%H:%M:%SZ")
    assert faces.report(capsys)[1]["state"] == "changed"
    assert faces.hour.isoformat() in faces.reconcile()[0]
    assert faces.copy(hours=24)["hours"] == {"landed": 24}
    assert faces.report(capsys)[1]["state"] == "landed"


def test_all_event_types_that_change_their_style_are_alerted(cloud: LocalCloud) -> None:
    since = hour_of(NOW) - 8 * ONE_HOUR
    put_datapoints(cloud, since - ONE_HOUR)
    for folder in ("Datapoint", "Connection"):
        change_style(cloud, "%Y-%m-%dT%H:%M:%SZ", since, folder)
    with pytest.raises(AirflowFailException, match="can't be placed in time") as failure:
        alert()
    assert "hour_pattern" in str(failure.value)


@pytest.mark.parametrize("style", ["%Y-%m-%d %H:30", "%Y-%m-%d %H:30:00.000", "%Y%m%dT%H%M", "%Y.%m.%d.%H"])
def test_an_hour_half_of_whose_folders_change_is_not_landed(
    cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    put_datapoints(cloud, hour_of(NOW) - 2 * ONE_HOUR)
    put_hour(cloud, "Connection", HOUR)
    name = change_style(cloud, style)
    faces = Faces(tmp_path)
    assert_unproven(faces, name, capsys, "hour_pattern", "ignored_objects")
    # Its other files are safe all the same.
    assert list(tmp_path.glob("event_type=connection/**/*.csv"))
    assert not (tmp_path / manifest_path(faces.export_hour)).exists()


def test_a_folder_under_another_name_beside_a_missing_one(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hour = HOUR - 40 * ONE_HOUR
    while hour < hour_of(NOW) - 2 * ONE_HOUR:
        put_hour(cloud, "Datapoint", hour)
        put_hour(cloud, "Device Links", hour)
        hour += ONE_HOUR
    faces = Faces(tmp_path)
    assert_unproven(faces, f"{cloud.oem_id}/Device Links/", capsys, "event_folders", "ignored_objects")
    connect(monkeypatch, cloud, event_folders=json.dumps({"connection": "Device Links"}))
    assert faces.copy()["hours"] == {"landed": 1}
    connect(monkeypatch, cloud, ignored_objects=json.dumps(["Device Links/*"]))
    assert Faces(tmp_path / "other").copy()["hours"] == {"empty": 1}


def assert_waiting(faces: Faces, capsys: pytest.CaptureFixture[str]) -> None:
    """Assert that each face calls the hour overdue, and nobody records it as empty."""
    assert not faces.poke().is_done
    with pytest.raises(TimeoutError):
        fire(trigger(faces.event_type, faces.hour), timeout=1)
    for hours in (1, 4):
        with pytest.raises(AylaNotSettledError, match="overdue"):
            faces.copy(hours=hours)
    assert faces.announced() == []
    repairs, states = faces.reconcile()
    assert (repairs, set(states)) == ([], {"overdue", "waiting"})
    assert faces.report(capsys)[1]["state"] == "overdue"
    # A version that recorded it is found out.
    faces.say_empty()
    status, row = faces.report(capsys)
    assert (status, row["state"]) == (1, "unproven")
    assert "nothing proves" in row["gap"]
    assert faces.reconcile()[1]["unproven"] == 1


def test_an_empty_object_in_the_future(
    cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    last = hour_of(NOW) - 12 * ONE_HOUR
    put_datapoints(cloud, last)
    cloud.put_object("Datapoint", "2099-01-01 00:00:00", "f.csv", b"", last + 2 * ONE_HOUR)
    assert_waiting(Faces(tmp_path / "connection", last + 2 * ONE_HOUR), capsys)
    assert_waiting(Faces(tmp_path / "datapoint", last + 2 * ONE_HOUR, "datapoint"), capsys)
    assert "2099-01-01 00:00:00/f.csv" in caplog.text
    caplog.clear()
    with pytest.raises(AirflowFailException, match="seems to be stalled"):
        alert()
    assert "2099-01-01 00:00:00/f.csv" in caplog.text


def test_an_object_that_is_created_today_in_an_old_folder(
    cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = hour_of(NOW) - 12 * ONE_HOUR
    put_datapoints(cloud, last)
    old = f"{last - 20 * ONE_HOUR:%Y-%m-%d %H:%M:%S}"
    cloud.put_object("Datapoint", old, "again.csv", b"a\r\n", datetime.now(UTC) - timedelta(hours=3))
    assert_waiting(Faces(tmp_path, last + 2 * ONE_HOUR), capsys)
    with pytest.raises(AirflowFailException, match="seems to be stalled"):
        alert()


def test_hours_that_ayla_has_removed_and_an_object_of_2019(
    cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_datapoints(cloud, hour_of(NOW) - 2 * ONE_HOUR)
    for folder in ("Datapoint", "Connection"):
        cloud.put_object(folder, "2019-03-01 00:00:00", "left.csv", b"", datetime(2019, 3, 1, 2, tzinfo=UTC))
    removed = hour_of(NOW) - timedelta(days=60)
    faces = Faces(tmp_path, removed)
    assert faces.poke().xcom_value["hours"] == {"expired": 1}
    assert faces.fire()["result"]["hours"] == {"expired": 1}
    assert faces.report(capsys)[1]["state"] == "expired"
    repairs, states = faces.reconcile()
    assert removed.isoformat() not in repairs
    assert states["expired"] >= 24
    assert faces.copy(hours=24)["hours"] == {"expired": 24}
    # The report doesn't call it empty because of the manifest.
    status, row = faces.report(capsys)
    assert (status, row["state"]) == (0, "expired")
    # Neither if an earlier version did.
    other = Faces(tmp_path / "earlier", removed)
    other.say_empty(NOW)
    assert other.report(capsys)[1]["state"] == "expired"
    # What was recorded while Ayla kept it was proven.
    timely = Faces(tmp_path / "timely", removed)
    timely.say_empty()
    assert timely.report(capsys)[1]["state"] == "empty"


@pytest.mark.parametrize("style", ["%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d/%H", "%m-%d-%Y %H:%M:%S", "%s"])
def test_a_look_takes_as_many_listings_after_2000_folders_as_after_one(
    cloud: LocalCloud, tmp_path: Path, style: str
) -> None:
    put_datapoints(cloud, hour_of(NOW) - 2 * ONE_HOUR)
    change_style(cloud, style)

    def cost() -> int:
        before = len(requests_of(cloud, "list"))
        status = AylaHook().export.status([Faces(tmp_path).export_hour], AylaHook().export.rule)
        assert status[0].state is HourState.UNPROVEN
        return len(requests_of(cloud, "list")) - before

    first = cost()
    for back in range(2000):
        put_hour(cloud, "Connection", HOUR - (10 + back) * ONE_HOUR)
    # The number depends on the date, but not on the history.
    assert cost() == first <= 14


def test_an_hour_with_files_costs_one_listing(cloud: LocalCloud) -> None:
    put_datapoints(cloud, hour_of(NOW) - 2 * ONE_HOUR)
    export = AylaHook().export
    export.event_folders()
    before = len(requests_of(cloud, "list"))
    (status,) = export.status([ExportHour(EventType("datapoint"), HOUR)], export.rule)
    assert status.state is HourState.LANDED
    assert len(requests_of(cloud, "list")) - before == 1


@pytest.mark.parametrize("of_hour", [["Connection"], ["Links v2"], ["Connection", "Links v2"]], ids=" and ".join)
def test_an_event_type_of_two_folders_is_one_in_each_face(
    cloud: LocalCloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    of_hour: list[str],
) -> None:
    put_datapoints(cloud, HOUR + 2 * ONE_HOUR)
    for folder in of_hour:
        put_hour(cloud, folder, HOUR)
    newest = hour_of(NOW) - 2 * ONE_HOUR
    put_hour(cloud, of_hour[0], newest)
    connect(monkeypatch, cloud, event_folders=json.dumps({"connection": ["Links v2", "Connection"]}))
    files, faces = len(of_hour), Faces(tmp_path)

    # Before the copy: sensor, trigger, report, reconcile, and the alert, which finds the newest file in each folder.
    assert faces.poke().xcom_value["files"] == files
    assert faces.fire()["result"]["files"] == files
    status, row = faces.report(capsys)
    assert (status, row["state"], row["files"]) == (1, "missing", files)
    assert HOUR.isoformat() in faces.reconcile()[0]
    alert()

    # The copy, the history's copy of a day, and what the page knows.
    result = faces.copy()
    assert (result["files"], result["hours"]) == (files, {"landed": 1})
    assert faces.announced() == [HOUR.isoformat()]
    (event,) = [event for accessor in faces.outlet_events.values() for event in accessor.asset_alias_events]
    assert event.extra["files"] == files
    assert faces.copy(hours=24)["hours"] == {"landed": 1, "empty": 23}
    status, row = faces.report(capsys)
    assert (status, row["state"], row["files"]) == (0, "landed", files)
    assert HOUR.isoformat() not in faces.reconcile()[0]

    # Verify and repair.
    copies = sorted(tmp_path.glob(f"event_type=connection/date={HOUR:%Y-%m-%d}/hour={HOUR:%H}/**/*.csv"))
    assert len(copies) == files
    contents = {copy: copy.read_bytes() for copy in copies}
    for copy in copies:
        copy.unlink()
    (repair,) = faces.verify()
    assert len(repair["untrusted"]) == files
    faces.copy(untrusted=repair["untrusted"])
    assert {copy: copy.read_bytes() for copy in copies} == contents
    assert faces.verify() == []

    # Check names the file of the newest hour, in whichever folder it is.
    assert check(capsys)["newest connection"].startswith(f"{newest:%Y-%m-%d %H:%M} UTC")

"""The first load over the past, a day at a time: which days it has, and that each can be resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_between
from ayla_provider.local_cloud import LocalCloud
from harness.check import differences
from tests.integration.test_sample_dags import ROOT, run
from tests.support.dag_bag import dags_of
from tests.support.fleet import connect

# Other dates make another version of the DAG, and of several versions in its database Airflow warns itself.
pytestmark = pytest.mark.filterwarnings("ignore:Multiple rows returned with uselist=False")

ONE_DAY = timedelta(days=1)
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 2 * ONE_DAY
HOURS = hours_between(DAY, DAY + ONE_DAY)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None, tmp_path: Path) -> Iterator[LocalCloud]:
    """The export of DAY and of some hours after it, and an Airflow that is to bring home DAY."""
    with LocalCloud(start=DAY, end=HOURS[-1] + 4 * ONE_HOUR, max_lag=timedelta(minutes=40)) as cloud:
        connect(monkeypatch, cloud)
        monkeypatch.setenv("AIRFLOW_VAR_AYLA_EXPORT_DESTINATION", f"file://{tmp_path}")
        ask_for(monkeypatch, DAY, DAY + ONE_DAY)
        yield cloud


def ask_for(monkeypatch: pytest.MonkeyPatch, start: datetime, end: datetime) -> None:
    monkeypatch.setenv("AYLA_HISTORY_START", start.isoformat())
    monkeypatch.setenv("AYLA_EXPORT_START", end.isoformat())


def history() -> Any:
    return dags_of(ROOT / "dags")["ayla_export_history"]


def tried(dag_id: str = "ayla_export_history") -> Any:
    """The DAG as dag.test() takes it, which holds the end of a run's interval, and not its start, against end_date."""
    dag = dags_of(ROOT / "dags")[dag_id]
    dag.end_date = None
    for task in dag.tasks:
        task.end_date = None
        task.retries = 0
    return dag


def runs_of(dag: Any) -> list[datetime]:
    """The starts of the intervals of all runs that Airflow's scheduler would ever create."""
    from airflow.timetables.base import TimeRestriction

    asked = TimeRestriction(earliest=dag.start_date, latest=dag.end_date, catchup=dag.catchup)
    found: list[datetime] = []
    last = None
    while info := dag.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=asked):
        last = info.data_interval
        found.append(last.start)
        assert len(found) < 1000, "it never ends"
    return found


def committed(folder: Path) -> set[tuple[str, datetime]]:
    archive = Archive(FileDestination(folder))
    around = hours_between(DAY - ONE_DAY, DAY + 2 * ONE_DAY)
    return {(each, hour) for each in EVENT_TYPES for hour in around if archive.manifest(ExportHour(each, hour))}


def downloads(cloud: LocalCloud) -> list[str]:
    return [request.path for request in cloud.requests if request.step == "download" and request.status in (200, 206)]


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (DAY, DAY + ONE_DAY, 1),
        (DAY, DAY + ONE_DAY + ONE_HOUR, 2),
        (DAY + 7 * ONE_HOUR, DAY + 3 * ONE_DAY, 3),
        ((DAY + 7 * ONE_HOUR).astimezone(None), DAY + 8 * ONE_HOUR, 1),
        (DAY + ONE_DAY, DAY + ONE_DAY, 0),
    ],
)
def test_it_has_a_run_for_each_day_until_the_export_begins_and_none_after(
    monkeypatch: pytest.MonkeyPatch, start: datetime, end: datetime, days: int
) -> None:
    ask_for(monkeypatch, start, end)
    first = start.astimezone(UTC).replace(hour=0)
    assert runs_of(history()) == [first + number * ONE_DAY for number in range(days)]


def test_by_default_it_goes_back_a_year_from_where_the_export_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AYLA_HISTORY_START", raising=False)
    monkeypatch.setenv("AYLA_EXPORT_START", DAY.isoformat())
    days = runs_of(history())
    assert (len(days), days[0], days[-1]) == (365, DAY - 365 * ONE_DAY, DAY - ONE_DAY)


@pytest.mark.ci
def test_a_day_lands_hour_by_hour_and_again_moves_nothing(cloud: LocalCloud, tmp_path: Path) -> None:
    run(tried(), HOURS[-1])
    assert committed(tmp_path) == {(each, hour) for each in EVENT_TYPES for hour in HOURS}
    assert differences(cloud, tmp_path, HOURS) == []
    moved = downloads(cloud)
    answers = [answer for answer in cloud.answer_key() if answer.hour in HOURS]
    assert len(moved) == sum(file.final.size > 0 for answer in answers for file in answer.files)

    run(tried(), HOURS[-1])
    assert downloads(cloud) == moved


@pytest.mark.ci
def test_a_day_that_failed_in_the_middle_moves_only_the_rest(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.faults.add(403, step="download", match=f"{DAY:%Y-%m-%d} 0", times=None)
    failed = tried().test(logical_date=DAY + ONE_DAY)
    assert {ti.state for ti in failed.get_task_instances()} == {"failed"}
    late = {(each, hour) for each in EVENT_TYPES for hour in HOURS if hour.hour >= 10}
    there = committed(tmp_path)
    assert late <= there
    assert len(there) < len(EVENT_TYPES) * len(HOURS)
    before = downloads(cloud)

    cloud.faults.clear()
    run(tried(), HOURS[-1])
    assert differences(cloud, tmp_path, HOURS) == []
    after = downloads(cloud)
    assert len(after) > len(before) > 0
    assert len(after) == len(set(after)), "nothing is moved twice"


def test_first_and_last_day_may_be_parts_of_days(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ask_for(monkeypatch, HOURS[5], HOURS[8])
    run(tried(), HOURS[-1])
    assert committed(tmp_path) == {(each, hour) for each in EVENT_TYPES for hour in HOURS[5:8]}
    assert differences(cloud, tmp_path, HOURS[5:8]) == []


@pytest.fixture
def s3(cloud: LocalCloud, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The files of DAY, and of some hours after it, in S3, as they lay there before the export moved."""
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
    name = "us-dev-data-export-1a2b3c4d"
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=name)
    stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[name]
    for answer in cloud.answer_key():
        for file in answer.files:
            found = cloud.vendor.live(file.object_name)
            if found is None:  # it is still to come
                continue
            key = file.object_name.partition("/")[2]
            client.put_object(Bucket=name, Key=key, Body=b"".join(found.content.chunks(0, found.content.size)))
            stored.keys[key].last_modified = answer.hour + ONE_HOUR
    login, password = keys.values()
    extra = {"region_name": "us-east-1", "endpoint_url": s3_url, "service_config": {"s3": {"bucket_name": name}}}
    connection = {"conn_type": "aws", "login": login, "password": password, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_S3", json.dumps(connection))
    monkeypatch.setenv("AYLA_S3_START", DAY.isoformat())
    monkeypatch.setenv("AYLA_S3_END", (DAY + ONE_DAY).isoformat())
    return stored


@pytest.mark.ci
def test_the_days_before_the_export_moved_come_from_s3_and_go_on_where_they_failed(
    s3: Any, cloud: LocalCloud, tmp_path: Path
) -> None:
    dag = "ayla_export_history_s3"
    assert runs_of(dags_of(ROOT / "dags")[dag]) == [DAY]
    spoiled = {one: one._etag for key, one in s3.keys.items() if f"{DAY:%Y-%m-%d} 0" in key}
    for one in spoiled:
        one._etag = "0" * 32  # which its content hasn't
    failed = tried(dag).test(logical_date=DAY + ONE_DAY)
    assert {ti.state for ti in failed.get_task_instances()} == {"failed"}
    there = committed(tmp_path)
    assert {(each, hour) for each in EVENT_TYPES for hour in HOURS if hour.hour >= 10} <= there
    assert len(there) < len(EVENT_TYPES) * len(HOURS)

    for one, etag in spoiled.items():
        one._etag = etag
    run(tried(dag), HOURS[-1])
    assert committed(tmp_path) == {(each, hour) for each in EVENT_TYPES for hour in HOURS}
    # What Cloud Storage shows of these hours is all there: nothing of it is moved.
    run(tried(), HOURS[-1])
    assert downloads(cloud) == []
    assert differences(cloud, tmp_path, HOURS) == []

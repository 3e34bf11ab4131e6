"""The first load over the past, a day at a time: which days it has, and that each can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.cloud.archive import Archive
from ayla_provider.cloud.destination import FileDestination
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hours import ONE_HOUR, hours_between
from ayla_provider.local_cloud import LocalCloud
from demo.check import differences
from tests.fleet import connect
from tests.integration.test_sample_dags import ROOT, dags_of, run

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


def tried() -> Any:
    """The DAG as dag.test() takes it, which holds the end of a run's interval, and not its start, against end_date."""
    dag = history()
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
    return {(each, hour) for each in EVENT_TYPES for hour in around if archive.manifest(each, hour)}


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


def test_a_day_lands_hour_by_hour_and_again_moves_nothing(cloud: LocalCloud, tmp_path: Path) -> None:
    run(tried(), HOURS[-1])
    assert committed(tmp_path) == {(each, hour) for each in EVENT_TYPES for hour in HOURS}
    assert differences(cloud, tmp_path, HOURS) == []
    moved = downloads(cloud)
    answers = [answer for answer in cloud.answer_key() if answer.hour in HOURS]
    assert len(moved) == sum(file.final.size > 0 for answer in answers for file in answer.files)

    run(tried(), HOURS[-1])
    assert downloads(cloud) == moved


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

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.__main__ import main
from ayla_provider.archive.archive import Archive
from ayla_provider.cli.report import moment
from ayla_provider.cli.report_table import Row, Summary, lag_text
from ayla_provider.destinations import open_destination
from ayla_provider.domain.arrival import ArrivalRule, HourState, HourStatus
from ayla_provider.domain.coverage import Coverage, HourCoverage
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.failure import Failure, note
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.manifest import revise
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaConfigError, AylaError
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from tests.support.fleet import HOUR, connect, put_hour

ARCHIVE = "gs://customer-archive/ayla"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.DEFAULT_BACKOFF_MAX", 0.01)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Any:
    """A local cloud without an object, and the connections that lead to it."""
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        yield cloud


def after(hours: int) -> datetime:
    return HOUR + hours * ONE_HOUR


def iso(hour: datetime) -> str:
    return hour.isoformat()


def copy(*hours: datetime, event_type: str = "datapoint", destination: str = ARCHIVE) -> None:
    """Copy some hours, each as a task of its own would."""
    archive = Archive(open_destination(destination, None))
    for hour in hours:
        archive.take_in(AylaHook().export, [ExportHour(event_type, hour)], ArrivalRule(), written_by={}, last_try=True)


class Run:
    """One run with --json, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str, destination: str = ARCHIVE) -> None:
        capsys.readouterr()
        self.status = main(["report", "--json", "--destination", destination, *arguments])
        self.out, self.err = capsys.readouterr()
        self.document: dict[str, Any] = json.loads(self.out) if self.out else {}
        self.hours: list[dict[str, Any]] = self.document.get("hours", [])
        self.summary: dict[str, Any] = self.document.get("summary", {})

    def at(self, hour: datetime) -> dict[str, Any]:
        (row,) = [row for row in self.hours if row["hour"] == iso(hour)]
        return row


def put_one_of_each(cloud: LocalCloud) -> list[str]:
    """Make the hours from HOUR on one of each kind, and return the arguments of a report on them."""
    put_hour(cloud, "Datapoint", after(0), data=b"12345")
    late = after(1) + ONE_HOUR + timedelta(hours=26.3)
    cloud.put_object("Datapoint", f"{after(1):%Y-%m-%d %H:%M:%S}", "f.csv", b"123", late)
    put_hour(cloud, "Datapoint", after(4), data=b"1234567")
    put_hour(cloud, "Datapoint", after(5), data=b"1")
    put_hour(cloud, "Datapoint", after(8))
    copy(after(0), after(1), after(2), after(4))
    put_hour(cloud, "Datapoint", after(4), data=b"12345678")
    put_hour(cloud, "Datapoint", after(4), data=b"1" * 1000, file="g.csv")
    return ["--event-type", "datapoint", "--since", iso(HOUR), "--until", iso(after(6))]


def test_each_hour_has_its_state_and_what_it_lacks(cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = put_one_of_each(cloud)
    run = Run(capsys, *arguments)
    rows = [(row["state"], row["files"], row["bytes"], row["lag_seconds"], row["gap"]) for row in run.hours]
    assert rows == [
        ("landed", 1, 5, 1800, None),
        ("late", 1, 3, 94680, None),
        ("empty", 0, 0, None, None),
        ("missing", 0, 0, None, "never copied, no events"),
        ("changed", 2, 1008, 1800, "1 new file and 1 replaced file"),
        ("missing", 1, 1, 1800, "never copied, 1 file"),
    ]
    assert [row["hour"] for row in run.hours] == [iso(after(hour)) for hour in range(6)]
    assert {row["event_type"] for row in run.hours} == {"datapoint"}
    assert run.status == 1
    assert not any(secret in run.out + run.err for secret in cloud.secrets)


def test_json_has_the_names_that_are_documented(cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, *put_one_of_each(cloud))
    whose = {"conn": "ayla_default", "destination": ARCHIVE, "destination_conn": None}
    assert list(run.document) == [*whose, "since", "until", "hours", "summary"]
    assert {name: run.document[name] for name in whose} == whose
    assert (run.document["since"], run.document["until"]) == (iso(HOUR), iso(after(6)))
    verdict = run.summary.pop("verdict")
    assert verdict.startswith("2 hours are missing and 1 hour has changed at Ayla since the copy: the reconcile DAG")
    assert "before the first hour" not in verdict
    assert run.summary == {
        "complete": False,
        "states": dict.fromkeys(Coverage, 0) | {"landed": 1, "late": 1, "empty": 1, "missing": 2, "changed": 1},
        "files": 5,
        "bytes": 1017,
        "failed": 0,
        "newest": {"datapoint": iso(after(2))},
        "expiring": None,
        "anomalies": [],
    }
    names = [*run.document, *run.hours[0], *run.summary, "error", "message", "failed_at", "tasks", "passing", *Coverage]
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in page] == []


def test_hours_before_the_archive_are_not_promised_to_be_repaired(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = put_one_of_each(cloud)
    arguments[arguments.index("--since") + 1] = iso(after(-2))
    verdict = Run(capsys, *arguments).summary["verdict"]
    assert verdict.startswith("4 hours are missing and 1 hour has changed")
    assert (
        "2 missing hours are before the first hour in the archive: before AYLA_EXPORT_START, no DAG copies or repairs "
        "anything." in verdict
    )


def test_people_read_a_line_for_each_hour_and_the_verdict(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = put_one_of_each(cloud)
    capsys.readouterr()
    assert main(["report", "--destination", ARCHIVE, *arguments]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    at = [f"{after(hour):%Y-%m-%d %H:%M}" for hour in range(6)]
    assert lines[0] == f"ayla_default and {ARCHIVE}, {at[0]} UTC to {after(6):%Y-%m-%d %H:%M} UTC"
    assert lines[1:10] == [
        "",
        "hour (UTC)        event type  state    files     bytes      lag  what is missing",
        f"{at[0]}  datapoint   landed       1       5 B   30 min",
        f"{at[1]}  datapoint   late         1       3 B   26.3 h",
        f"{at[2]}  datapoint   empty        0       0 B        -",
        f"{at[3]}  datapoint   missing      0       0 B        -  never copied, no events",
        f"{at[4]}  datapoint   changed      2    1.0 kB   30 min  1 new file and 1 replaced file",
        f"{at[5]}  datapoint   missing      1       1 B   30 min  never copied, 1 file",
        "",
    ]
    assert lines[10:16] == [
        f"ayla_default and {ARCHIVE}",
        "6 hours: 1 landed, 1 late, 1 empty, 2 missing, 1 changed",
        "5 files, 1.0 kB",
        "newest of these hours in the archive:",
        f"  datapoint  {at[2]} UTC",
        "",
    ]
    assert lines[16].startswith("2 hours are missing and 1 hour has changed at Ayla since the copy: ")
    assert not any(secret in out + err for secret in cloud.secrets)


def test_nothing_missing_ends_with_0_and_the_newest_hours_are_waited_for(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    now = hour_of(datetime.now(UTC))
    hours = [now - back * ONE_HOUR for back in range(8, 3, -1)]
    for hour in hours:
        put_hour(cloud, "Datapoint", hour)
    copy(*hours)
    run = Run(capsys, "--event-type", "Data-Point", "--since", iso(hours[0]))
    states = [row["state"] for row in run.hours]
    assert states[:5] == ["landed"] * 5
    assert set(states[5:]) <= {"waiting", "overdue"}
    assert states[-2:] == ["waiting", "waiting"]
    assert len(states) == 8
    assert run.status == 0
    assert run.summary["complete"] is True
    assert run.summary["verdict"].startswith("Nothing is missing.")
    assert run.summary["newest"] == {"datapoint": iso(hours[-1])}


def test_a_stalled_exporter_is_overdue_and_nothing_is_missing(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    put_hour(cloud, "Datapoint", HOUR)
    copy(HOUR)
    run = Run(capsys, "--event-type", "datapoint", "--since", iso(HOUR), "--until", iso(after(24)))
    assert [row["state"] for row in run.hours] == ["landed"] + ["overdue"] * 23
    assert run.status == 0
    assert "23 hours are overdue: Ayla's exporter seems to be stalled" in run.summary["verdict"]


def test_an_hour_that_has_just_landed_is_left_to_the_export_dag(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    for minutes, hour in ((70, after(0)), (80, after(1))):
        folder = f"{hour:%Y-%m-%d %H:%M:%S}"
        cloud.put_object("Datapoint", folder, "f.csv", b"1", now - timedelta(minutes=minutes))
    run = Run(capsys, "--event-type", "datapoint", "--since", iso(HOUR), "--until", iso(after(2)))
    assert [row["state"] for row in run.hours] == ["waiting", "missing"]


def test_what_is_older_than_the_source_keeps_has_expired(cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_hour(cloud, "Datapoint", HOUR)
    run = Run(capsys, "--event-type", "datapoint", "--since", "40d", "--until", "39d")
    assert {row["state"] for row in run.hours} == {"expired"}
    assert (len(run.hours), run.status) == (24, 0)


def test_rows_come_oldest_first_over_many_months(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put_hour(cloud, "Datapoint", HOUR - timedelta(days=64))
    put_hour(cloud, "Datapoint", HOUR)
    arguments = ["--event-type", "location", "--event-type", "datapoint", "--until", iso(HOUR)]
    run = Run(capsys, "--since", iso(HOUR - timedelta(days=65)), *arguments, destination=f"file://{tmp_path}")
    hours = [(row["hour"], row["event_type"]) for row in run.hours]
    assert hours == sorted(hours)
    assert len(set(hours)) == len(hours) == 2 * 65 * 24
    missing = [row for row in run.hours if row["gap"] == "never copied, 1 file"]
    assert [(row["event_type"], row["hour"]) for row in missing] == [("datapoint", iso(HOUR - timedelta(days=64)))]


def test_by_default_the_last_two_days_of_the_documented_event_types_and_of_what_the_export_has(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put_hour(cloud, "Activation", after(2))
    run = Run(capsys, destination=f"file://{tmp_path}")
    assert {row["event_type"] for row in run.hours} == {*EVENT_TYPES, "activation"}
    assert len(run.hours) == 6 * 48
    now = hour_of(datetime.now(UTC))
    assert run.hours[0]["hour"] in (iso(now - 48 * ONE_HOUR), iso(now - 49 * ONE_HOUR))
    assert [row["event_type"] for row in run.hours if row["state"] == "missing"].count("activation") > 0
    assert run.status == 1


@pytest.mark.parametrize("since", [[], ["--since", "10h"], ["--since", "2d"]])
def test_hours_before_the_first_one_that_the_dags_copy_arent_missing(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], since: list[str]
) -> None:
    # As in the reconcile DAG, which repairs nothing before this hour.
    first = hour_of(datetime.now(UTC)) - 6 * ONE_HOUR
    put_hour(cloud, "Datapoint", first - ONE_HOUR)
    put_hour(cloud, "Datapoint", first)
    copy(first)
    monkeypatch.setenv("AYLA_EXPORT_START", first.astimezone(timezone(timedelta(hours=2))).isoformat())
    run = Run(capsys, "--event-type", "datapoint", *since)
    assert run.document["since"] == iso(first)
    assert run.hours[0]["state"] == "landed"
    # A time that is named is meant.
    run = Run(capsys, "--event-type", "datapoint", "--since", iso(first - ONE_HOUR), "--until", iso(first))
    assert [row["state"] for row in run.hours] == ["missing"]
    assert "since AYLA_EXPORT_START" in run.summary["verdict"]


def test_a_first_hour_that_isnt_a_time_is_named(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AYLA_EXPORT_START", "yesterday")
    run = Run(capsys)
    assert run.status == 2
    assert "AYLA_EXPORT_START" in run.err


def test_the_reason_of_a_failed_copy_is_shown(cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_hour(cloud, "Datapoint", after(0))
    put_hour(cloud, "Datapoint", after(1))
    copy(after(0))
    put_hour(cloud, "Datapoint", after(0), data=b"replaced")
    cloud.faults.add(403, step="download", match="/b/ayla-data-export/", times=None)
    for hour in (after(0), after(1)):
        with pytest.raises(AylaError):
            copy(hour)
    arguments = ["--event-type", "datapoint", "--since", iso(HOUR), "--until", iso(after(2))]
    run = Run(capsys, *arguments)
    for row in run.hours:
        assert set(row["failure"]) == {"error", "message", "failed_at", "tasks", "passing"}
        assert (row["failure"]["error"], row["failure"]["passing"]) == ("AylaAccessDenied", False)
        assert "refuses the download (403)" in row["failure"]["message"]
    assert run.summary["failed"] == 2
    assert "2 hours have a failed copy: the row says what to fix." in run.summary["verdict"]
    main(["report", "--destination", ARCHIVE, *arguments])
    lines = capsys.readouterr().out.splitlines()
    said = (
        rf"{after(1):%Y-%m-%d %H:%M}  datapoint .* never copied, 1 file; its copy failed at .* UTC: AylaAccessDenied: "
    )
    assert re.match(said, lines[4])

    cloud.faults.clear()
    copy(after(0), after(1))
    run = Run(capsys, *arguments)
    assert [row["failure"] for row in run.hours] == [None, None]
    assert run.status == 0


def test_a_manifest_that_cant_be_read_is_missing_and_named(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put_hour(cloud, "Datapoint", HOUR)
    file = tmp_path / manifest_path(ExportHour("datapoint", HOUR))
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    arguments = ["--event-type", "datapoint", "--since", iso(HOUR), "--until", iso(after(1))]
    run = Run(capsys, *arguments, destination=f"file://{tmp_path}")
    assert run.at(HOUR)["state"] == "missing"
    assert run.at(HOUR)["gap"].startswith(f"its manifest can't be read: file://{file}")
    assert run.status == 1


def test_a_manifest_of_a_newer_version_needs_an_upgrade(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put_hour(cloud, "Datapoint", HOUR)
    file = tmp_path / manifest_path(ExportHour("datapoint", HOUR))
    file.parent.mkdir(parents=True)
    file.write_text('{"format": "ayla-export-manifest/99"}')
    arguments = ["--event-type", "datapoint", "--since", iso(HOUR), "--until", iso(after(1))]
    run = Run(capsys, *arguments, destination=f"file://{tmp_path}")
    assert run.at(HOUR)["gap"].startswith("a newer version of this package wrote its manifest: ")
    said = "1 hour has a manifest of a newer version of this package: upgrade the package. No copy replaces it."
    assert (run.status, run.summary["verdict"]) == (1, said)


def test_the_destination_is_that_of_the_sample_dags_unless_it_is_given(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_hour(cloud, "Datapoint", HOUR)
    arguments = ["report", "--json", "--since", iso(HOUR), "--until", iso(after(1)), "--event-type", "datapoint"]
    assert main(arguments) == 2
    assert "no destination: give --destination" in capsys.readouterr().err
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_EXPORT_DESTINATION", ARCHIVE)
    assert main(arguments) == 1
    assert json.loads(capsys.readouterr().out)["destination"] == ARCHIVE


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"password": "wrong-password"}, [], "refused the sign-in (401"),
        ({"password": None}, [], "Password is missing"),
        ({"bucket": "another-bucket"}, [], "gs://another-bucket/"),
        ({}, ["--conn", "nowhere"], "nowhere"),
        ({}, ["--destination-conn", "nowhere"], "nowhere"),
        ({}, ["--destination", "gs://"], "destination 'gs://': expected a URL such as gs://bucket/prefix"),
        ({}, ["--destination", "gs://no-such-bucket/ayla"], "the bucket does not exist"),
        ({}, ["--since", "3d", "--until", "4d"], "no hour is between"),
        ({}, ["--since", "2999-01-01"], "no hour is between"),
        ({}, ["--event-type", "a/b"], "event type 'a/b'"),
    ],
)
def test_what_cant_be_seen_ends_with_2_and_says_why_and_no_secret(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    arguments: list[str],
    said: str,
) -> None:
    connect(monkeypatch, cloud, **changes)
    run = Run(capsys, *arguments)
    assert run.status == 2
    assert run.out == ""
    (line,) = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert not any(secret in run.err for secret in [*cloud.secrets, "wrong-password"])


def test_a_listing_that_repeats_a_secret_doesnt_get_it_printed(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps({"error": {"code": 403, "message": f"no, {cloud.account.password}"}})
    cloud.faults.add(403, step="list", times=None, body=body, content_type="application/json")
    run = Run(capsys)
    assert run.status == 2
    assert "no, ***" in run.err
    assert not any(secret in run.err for secret in cloud.secrets)


def test_a_person_at_a_terminal_sees_the_progress(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put_hour(cloud, "Datapoint", HOUR)
    assert "compared" not in Run(capsys, destination=f"file://{tmp_path}").err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run = Run(capsys, destination=f"file://{tmp_path}")
    assert run.err.endswith("\r240 hours compared         \n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main(["report", "--destination", f"file://{tmp_path}"])
    assert "compared" not in capsys.readouterr().err, "the table shows it"


def shell(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of the shell, with ``report`` for this program's."""
    report = f"{sys.executable} -m ayla_provider report"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("report", report, 1)],
        env=os.environ | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_in_a_shell_stdout_is_json_alone_even_if_airflow_logs(cloud: LocalCloud, tmp_path: Path) -> None:
    arguments = " ".join(put_one_of_each(cloud))
    # A home without a database, so Airflow logs long complaints.
    env = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}
    run = shell(f"report --json --destination {ARCHIVE} {arguments}", **env)
    assert run.returncode == 1, run.stderr
    assert len(json.loads(run.stdout)["hours"]) == 6
    assert not any(secret in run.stdout + run.stderr for secret in cloud.secrets)


@pytest.mark.parametrize("since", ["48h", "60d"])
def test_a_pipe_that_has_seen_enough_hears_no_complaint(cloud: LocalCloud, tmp_path: Path, since: str) -> None:
    put_hour(cloud, "Datapoint", HOUR)
    run = shell(f"report --destination file://{tmp_path} --event-type datapoint --since {since} | head -n 1")
    assert run.stdout.startswith("ayla_default and file://")
    assert "Traceback" not in run.stderr
    assert "BrokenPipe" not in run.stderr


@pytest.mark.parametrize("arguments", [["--since", "yesterday"], ["--until", "7"], ["--jsn"], ["extra"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["report", *arguments])
    assert end.value.code == 2
    assert "usage" in capsys.readouterr().err


NOW = datetime(2026, 11, 21, 8, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("0h", "2026-11-21T08"),
        ("48h", "2026-11-19T08"),
        ("7d", "2026-11-14T08"),
        ("2026-11-01", "2026-11-01T00"),
        ("2026-11-01T07:59", "2026-11-01T07"),
        ("2026-11-01 07:00:00", "2026-11-01T07"),
        ("2026-11-01T07:00Z", "2026-11-01T07"),
        ("2026-11-01T07:00+02:00", "2026-11-01T05"),
    ],
)
def test_a_time_is_utc_and_means_its_hour(text: str, hour: str) -> None:
    assert moment(text, NOW) == datetime.fromisoformat(f"{hour}:00:00+00:00")


@pytest.mark.parametrize("text", ["", "48", "h", "-2h", "2w", "yesterday", "9" * 9 + "d", "9" * 5000 + "h", "٣h"])
def test_what_is_no_time_is_refused_with_the_ways_to_write_one(text: str) -> None:
    with pytest.raises(AylaConfigError, match="48h or 7d"):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0, "0 min"), (-3, "-3 min"), (26.4, "26 min"), (119.4, "119 min"), (119.6, "2.0 h"), (1578, "26.3 h")],
)
def test_a_lag_is_shown_in_minutes_or_hours(minutes: float, text: str) -> None:
    assert lag_text(timedelta(minutes=minutes)) == text


failures = st.none() | st.builds(
    Failure,
    hour=st.just(ExportHour("datapoint", HOUR)),
    facts=st.text(),
    error=st.just("AylaTransferError"),
    message=st.text(),
    passing=st.booleans(),
    tasks=st.integers(1, 9),
    failed_at=st.just(NOW),
)
made_rows = st.builds(
    Row,
    hour=st.builds(ExportHour, st.sampled_from(EVENT_TYPES), st.integers(0, 50).map(after)),
    state=st.sampled_from(Coverage),
    files=st.integers(0, 10**6),
    bytes=st.integers(0, 10**15),
    lag=st.none() | st.timedeltas(timedelta(days=-1), timedelta(days=30)),
    gap=st.sampled_from(["", "never copied, 1 file"]),
    failure=failures,
)


@given(st.lists(made_rows))
def test_the_summary_is_what_the_rows_come_to(rows: list[Row]) -> None:
    summary = Summary(EVENT_TYPES)
    for row in rows:
        summary.add(row)
    document = json.loads(json.dumps(summary.document()))
    states = [row.state.value for row in rows]
    assert document["states"] == {state.value: states.count(state) for state in Coverage}
    assert document["files"] == sum(row.files for row in rows)
    assert document["bytes"] == sum(row.bytes for row in rows)
    assert document["failed"] == len([row for row in rows if row.failure])
    assert document["complete"] is not bool({"missing", "changed", "unproven", "lost"} & set(states))
    assert document["verdict"].startswith("Nothing is missing.") is document["complete"]
    for event_type in EVENT_TYPES:
        copied = [
            iso(row.hour.start)
            for row in rows
            if row.hour.event_type == event_type and row.state.value in ("landed", "late", "empty")
        ]
        assert document["newest"][event_type] == max(copied, default=None)
    assert summary.text().endswith(document["verdict"])


@given(made_rows)
def test_a_row_is_one_line_that_begins_with_hour_event_type_and_state(row: Row) -> None:
    line = row.line(len("datapoint_ack"))
    assert len(line.splitlines()) == 1
    assert line.split()[:4] == [
        f"{row.hour.start:%Y-%m-%d}",
        f"{row.hour.start:%H:%M}",
        row.hour.event_type,
        row.state.value,
    ]
    assert json.loads(json.dumps(row.document()))["state"] == row.state.value


def test_a_note_on_what_the_source_showed_once_is_not_shown() -> None:
    status = HourStatus(ExportHour("datapoint", HOUR), HourState.LANDED)
    noted = note(None, status, AylaError("why"), now=NOW, written_by={})
    assert Row.of(HourCoverage(status, None, note=noted)).failure is noted
    assert Row.of(HourCoverage(status, None, note=replace(noted, facts="others"))).failure is None
    copied = revise(None, ExportHour("datapoint", HOUR), HourState.LANDED, [], written_at=NOW, written_by={})
    assert Row.of(HourCoverage(status, copied, note=noted)).failure is None


def test_a_lost_hour_is_a_row_of_its_own_and_ends_the_report_with_1(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = put_one_of_each(cloud)
    archive = Archive(open_destination(ARCHIVE, None))
    hour = ExportHour("datapoint", HOUR)
    manifest, stored = archive.records.read_manifest(hour)
    assert manifest
    lost = revise(manifest, hour, manifest.state, [], written_at=NOW, written_by={}, lost=manifest.files)
    archive.records.write_manifest(lost, stored)
    for name in [name for name in cloud.vendor.names if f"/Datapoint/{HOUR:%Y-%m-%d %H}:" in name]:
        cloud.vendor.delete(name)
    run = Run(capsys, *arguments[:-1], iso(after(1)))
    (row,) = run.hours
    assert (row["state"], row["files"], row["bytes"]) == ("lost", 0, 0)
    assert row["gap"] == f"1 of 1 file is lost, found on {NOW:%Y-%m-%d}"
    assert (run.status, run.summary["complete"], run.summary["states"]["lost"]) == (1, False, 1)
    assert run.summary["verdict"] == "1 hour is lost: neither the archive nor Ayla has all of its files any more."

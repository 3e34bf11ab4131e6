"""Freshness of an archive on disk: what is read, kept, sent, and published."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseNotifier
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider.__main__ import main
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.destination import Stored
from ayla_provider.archive.freshness import MUTES_PATH, STATE_PATH, FreshnessLooks, FreshnessStore
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.assets import freshness_alias
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.freshness import Mute
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.errors import AylaAlertError, AylaConfigError, AylaConflictError, AylaDestinationError
from ayla_provider.operators import AylaExportFreshnessOperator, AylaExportToDuckDBOperator, freshness
from tests.test_load_operators import CONNECTION
from tests.warehouse.archive import archive_hour

MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)


def hour(number: float) -> datetime:
    return MIDNIGHT + number * ONE_HOUR


class Note(BaseNotifier):
    """A notifier that writes down what it would send."""

    template_fields = ("text",)

    def __init__(self, text: str, sent: list[str]) -> None:
        super().__init__()
        self.text = text
        self.sent = sent

    def notify(self, context: Any) -> None:
        self.sent.append(self.text)


class Scene:
    """An archive on disk, and a task that looks at it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.archive = folder / "archive"
        self.sent: list[dict[str, Any]] = []
        self.now = hour(4.5)
        self.paused: dict[str, bool] = {}
        self.try_number = 1
        scene = self

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return scene.now

        monkeypatch.setattr(freshness, "datetime", Clock)
        self.copy(*range(4))

    def copy(self, *hours: int, event_type: str = "connection", files: bool = True) -> None:
        """Copy hours, each half an hour after its end."""
        for number in hours:
            manifest = archive_hour(self.archive, event_type, [CONNECTION] if files else [], hour(number))
            self.write(replace(manifest, written_at=hour(number + 1.5).isoformat()))

    def write(self, manifest: manifests.Manifest) -> None:
        records = Records(FileDestination(self.archive))
        records.write_manifest(manifest, records.read_manifest(manifest.hour)[1])

    def load(self, *hours: int) -> None:
        for number in hours:
            made = AylaExportToDuckDBOperator(
                task_id="load",
                event_type="connection",
                archive=f"file://{self.archive}",
                database=str(self.folder / "ayla.duckdb"),
                start=hour(number),
                end=hour(number + 1),
            )
            ti = SimpleNamespace(dag_id="d", run_id="r", task_id="load", try_number=1)
            made.execute({"ti": ti, "outlet_events": OutletEventAccessors()})  # type: ignore[typeddict-item]

    def look(self, now: float | None = None, **changes: Any) -> Any:
        """Run the task, and return its XCom. What it sends gets into :attr:`sent`."""
        self.now = self.now if now is None else hour(now)
        arguments: dict[str, Any] = {
            "task_id": "freshness",
            "archive": f"file://{self.archive}",
            "event_types": ["connection"],
            "on_breach": [self.note],
            "on_recovery": [self.note],
        }
        made = AylaExportFreshnessOperator(**(arguments | changes))
        self.events = OutletEventAccessors()
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="freshness", try_number=self.try_number, get_dag=self.dag)
        return made.execute({"ti": ti, "outlet_events": self.events})  # type: ignore[typeddict-item]

    def dag(self, dag_id: str) -> Any:
        return SimpleNamespace(is_paused=self.paused[dag_id])

    def note(self, context: Any) -> None:
        self.sent.append(dict(context))

    def kinds(self) -> list[tuple[str, str]]:
        return [(context["alert"], context["layer"]) for context in self.sent]

    def published(self) -> list[dict[str, Any]]:
        return [dict(event.extra) for event in self.events[freshness_alias()].asset_alias_events]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_a_stall_and_its_end_are_alerted_once(scene: Scene) -> None:
    assert scene.look() == {"states": {"ok": 1}, "alerts": 0}
    for now in (5, 6, 7, 7.1, 7.2, 8):
        scene.look(now)
    (breach,) = scene.sent
    assert (breach["alert"], breach["event_type"], breach["layer"]) == ("breach", "connection", "copied")
    assert (breach["hour"], breach["lag"], breach["objective"]) == (
        hour(4),
        timedelta(hours=3.1),
        timedelta(hours=3),
    )
    assert breach["link"].endswith("/plugin/ayla-export")
    assert breach["message"].startswith("connection, copied: the hour 2026-11-02 04:00 UTC is late. ")
    scene.copy(4, 5, 6)
    for now in (8.1, 8.2):
        scene.look(now)
    assert scene.kinds() == [("breach", "copied"), ("recovery", "copied")]
    assert scene.sent[1]["alert_id"] == breach["alert_id"]


def test_the_templates_of_a_notifier_have_the_values(scene: Scene) -> None:
    sent: list[str] = []
    note = Note("{{ alert }} {{ event_type }} {{ layer }} {{ hour }} {{ lag }} {{ objective }} {{ link }}", sent)
    scene.look()
    scene.look(7.5, on_breach=[note])
    scene.copy(4, 5)
    scene.look(7.6, on_recovery=[note])
    link = sent[0].split()[-1]
    assert sent == [
        f"breach connection copied 2026-11-02 04:00:00+00:00 3:30:00 3:00:00 {link}",
        f"recovery connection copied 2026-11-02 04:00:00+00:00 1:36:00 3:00:00 {link}",
    ]
    # It is used again.
    assert note.text.startswith("{{ alert }}")


def test_each_layer_is_alerted_for_itself(scene: Scene) -> None:
    scene.load(0, 1, 2, 3)
    warehouses = [{"kind": "duckdb", "database": str(scene.folder / "ayla.duckdb")}]
    arguments: dict[str, Any] = {"typed": timedelta(hours=3.5), "warehouses": warehouses}
    assert scene.look(**arguments) == {"states": {"ok": 3}, "alerts": 0}
    scene.copy(4, 5, 6, 7)
    scene.look(9, **arguments)
    assert scene.kinds() == [("breach", "typed"), ("breach", "loaded_duckdb")]
    scene.load(4, 5, 6, 7)
    scene.look(9.1, **arguments)
    assert sorted(scene.kinds()[2:]) == [("recovery", "loaded_duckdb"), ("recovery", "typed")]


def test_a_warehouse_that_cannot_be_read_is_alerted_when_its_hours_are_late(scene: Scene) -> None:
    scene.load(0, 1, 2, 3)
    good: dict[str, Any] = {"warehouses": [{"kind": "duckdb", "database": str(scene.folder / "ayla.duckdb")}]}
    broken = scene.folder / "broken.duckdb"
    broken.write_bytes(b"not a database" * 1000)
    bad: dict[str, Any] = {"warehouses": [{"kind": "duckdb", "database": str(broken)}]}
    scene.look(**good)
    scene.copy(4, 5)
    assert scene.look(6.6, **bad)["states"] == {"ok": 1, "unknown": 1}
    scene.copy(6)
    scene.look(8.6, **bad)
    assert scene.kinds() == [("breach", "loaded_duckdb")]


def test_hours_without_events_and_with_lost_files_are_complete_at_each_layer(scene: Scene) -> None:
    scene.load(0, 1, 2, 3)
    warehouses = [{"kind": "duckdb", "database": str(scene.folder / "ayla.duckdb")}]
    scene.look(warehouses=warehouses)
    scene.copy(4, files=False)
    scene.copy(5, 6)
    records = Records(FileDestination(scene.archive))
    manifest, _ = records.read_manifest(ExportHour(EventType("connection"), hour(5)))
    assert manifest
    lost = replace(manifest.files[0], lost=hour(6).isoformat())
    scene.write(replace(manifest, files=(lost,)))
    scene.load(6)
    assert scene.look(9.5, warehouses=warehouses)["states"] == {"ok": 2}
    assert scene.sent == []


def test_an_hour_that_may_still_get_files_is_not_complete(scene: Scene) -> None:
    scene.look()
    manifest = archive_hour(scene.archive, "connection", [CONNECTION], hour(4))
    scene.write(replace(manifest, state=HourState.ARRIVING))
    scene.look(7.5)
    assert scene.kinds() == [("breach", "copied")]


def test_a_task_that_dies_before_it_sends_loses_no_alert(scene: Scene) -> None:
    class Dies(BaseException):
        pass

    def die(context: Any) -> None:
        raise Dies

    scene.look()
    with pytest.raises(Dies):
        scene.look(7.5, on_breach=[die])
    scene.look(7.6)
    scene.look(7.7)
    assert scene.kinds() == [("breach", "copied")]


def test_a_notifier_that_fails_is_tried_again_alone(scene: Scene) -> None:
    def fail(context: Any) -> None:
        raise OSError("https://user:secret@example.com refuses")

    scene.look()
    with pytest.raises(AylaAlertError, match="alerts that couldn't be sent: 1") as failure:
        scene.look(7.5, on_breach=[fail, scene.note])
    assert "secret" not in str(failure.value)
    assert len(scene.sent) == 1
    later: list[Any] = []
    scene.look(7.6, on_breach=[later.append, scene.note])
    assert (len(later), len(scene.sent)) == (1, 1)
    # Nothing is left to send.
    scene.look(7.7, on_breach=[later.append, scene.note])
    assert (len(later), len(scene.sent)) == (1, 1)


def test_what_a_failing_task_could_not_publish_is_published_by_the_next_one(scene: Scene) -> None:
    def fail(context: Any) -> None:
        raise OSError

    scene.look()
    with pytest.raises(AylaAlertError):
        scene.look(7.5, on_breach=[fail])
    # Airflow drops the event of a task that fails. This one is a moment later, and sees the same.
    scene.look(7.6)
    (extra,) = scene.published()
    assert extra["tracks"][0]["state"] == "breach"
    scene.look(7.7)
    assert scene.published() == []


def test_an_alert_that_can_never_be_sent_is_given_up_after_a_day(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(context: Any) -> None:
        raise OSError

    scene.look()
    with pytest.raises(AylaAlertError):
        scene.look(7.5, on_breach=[fail])
    with pytest.raises(AylaAlertError):
        scene.look(31, on_breach=[fail])
    assert "isn't tried again" not in capsys.readouterr().out
    monkeypatch.setattr(AylaExportFreshnessOperator, "_oem_id", lambda _: "demo-oem")
    scene.look(31.6, on_breach=[fail])
    said = "the alert breach of the hour 2026-11-02 04:00 UTC, OEM demo-oem, couldn't be sent for a day."
    assert said in capsys.readouterr().out
    scene.look(31.7, on_breach=[fail])
    assert said not in capsys.readouterr().out


def test_the_end_of_a_breach_says_how_many_hours_were_given_up(scene: Scene) -> None:
    arguments: dict[str, Any] = {"lookback": timedelta(days=1)}
    scene.look(**arguments)
    scene.copy(*range(6, 35))
    scene.look(28, **arguments)
    scene.look(29.5, **arguments)
    assert scene.kinds() == [("breach", "copied")]
    scene.look(30.1, **arguments)
    message = scene.sent[1]["message"]
    assert scene.kinds()[1] == ("recovery", "copied")
    assert message.startswith("connection, copied: hours that were still missing when they were looked at last: 2. ")
    assert "no hour is late any more" not in message


def test_of_two_tasks_at_once_one_changes_nothing(scene: Scene) -> None:
    scene.look()
    archive = FileDestination(scene.archive)
    one, other = FreshnessStore(archive), FreshnessStore(archive)
    records = one.read(), other.read()
    records[0].published = "one"
    one.write(records[0])
    records[1].published = "other"
    with pytest.raises(AylaConflictError):
        other.write(records[1])
    assert FreshnessStore(archive).read().published == "one"


def test_while_a_dag_is_paused_nobody_is_alerted(scene: Scene) -> None:
    dags = {"copied": ["one", "two"], "loaded": "three"}
    scene.paused = {"one": False, "two": False, "three": True}
    scene.look(dags=dags)
    scene.paused["two"] = True
    assert scene.look(7.5, dags=dags) == {"states": {"paused": 1}, "alerts": 0}
    scene.paused["two"] = False
    scene.look(8, dags=dags)
    assert scene.sent == []
    scene.look(11.1, dags=dags)
    assert scene.kinds() == [("breach", "copied")]


def test_a_dag_that_nobody_knows_is_not_paused(scene: Scene) -> None:
    scene.look(dags={"copied": "unknown"})
    scene.look(7.5, dags={"copied": "unknown"})
    assert scene.kinds() == [("breach", "copied")]


def test_the_event_says_what_the_page_shows_and_comes_at_once_only_with_news(scene: Scene) -> None:
    scene.look()
    (extra,) = scene.published()
    (track,) = extra["tracks"]
    assert track == {
        "event_type": "connection",
        "layer": "copied",
        "state": "ok",
        "objective": 10800,
        "complete_to": hour(4).isoformat(),
        "newest": hour(4).isoformat(),
        "lag": 1800,
        "late": 0,
        "hour": None,
        "since": None,
        "muted_until": None,
        "hours": 0,
        "share": None,
        "lag_p50": None,
        "lag_p95": None,
        "lag_p99": None,
    }
    assert json.loads(json.dumps(extra)) == extra
    scene.look(4.6)
    assert scene.published() == []
    scene.look(4.8)
    assert len(scene.published()) == 1
    scene.look(7.1)
    scene.look(7.15)
    assert scene.published() == []
    # A task that is tried again may have ended before Airflow recorded its event.
    scene.try_number = 2
    scene.look(7.16)
    (extra,) = scene.published()
    assert (extra["tracks"][0]["state"], extra["tracks"][0]["hour"]) == ("breach", hour(4).isoformat())


def test_an_objective_can_differ_by_event_type(scene: Scene) -> None:
    scene.copy(*range(4), event_type="location")
    arguments: dict[str, Any] = {
        "event_types": ["connection", "location", "datapoint"],
        "copied": {"Connection": timedelta(hours=2), "location": timedelta(hours=6)},
    }
    scene.look(**arguments)
    assert scene.look(7.5, **arguments)["states"] == {"breach": 1, "ok": 1}
    assert [context["event_type"] for context in scene.sent] == ["connection"]


class Counting(FileDestination):
    """A folder that counts what is asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []
        self.listings: list[str] = []

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        self.reads.append(path)
        return super().read(path)

    def folder(self, path: str) -> dict[str, Stored]:
        self.listings.append(path)
        return super().folder(path)


def test_a_look_asks_only_for_hours_that_were_not_complete(scene: Scene) -> None:
    scene.copy(*range(4, 30))
    archive = Counting(scene.archive)
    asked: list[tuple[datetime, datetime]] = []

    def loaded(event_type: str, start: datetime, end: datetime) -> dict[datetime, str]:
        asked.append((start, end))
        return {hour(number): "version" for number in range(30)}

    layers = {(EventType("connection"), "copied"): 3 * ONE_HOUR, (EventType("connection"), "loaded_x"): 4 * ONE_HOUR}
    looks = FreshnessLooks(Records(archive), layers, loaded={"loaded_x": loaded})
    record = FreshnessStore(archive).read()
    looks.look(record, hour(30.5))
    assert len(archive.reads) == 31
    for made in (archive.reads, archive.listings, asked):
        made.clear()
    looks.look(record, hour(30.6))
    assert (archive.reads, archive.listings, asked) == ([], [], [])
    looks.look(record, hour(31.6))
    # One hour is over that nobody has copied yet: one listing.
    assert (archive.reads, len(archive.listings), asked) == ([], 1, [])


def test_what_is_kept_is_small_and_stays_as_it_is(scene: Scene) -> None:
    scene.copy(*range(4, 24))
    scene.look(24.5)
    before = (scene.archive / STATE_PATH).read_bytes()
    store = FreshnessStore(FileDestination(scene.archive))
    assert store.read().dumps().encode() == before
    # Each hour is a number: the minutes that it took.
    assert len(before) < 2000


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"format": "ayla-freshness/1"}', b"\xff"])
def test_a_damaged_record_is_named_and_left_as_it_is(scene: Scene, damage: bytes) -> None:
    scene.look()
    (scene.archive / STATE_PATH).write_bytes(damage)
    with pytest.raises(AylaDestinationError, match="isn't a valid record of freshness"):
        scene.look(5)
    assert (scene.archive / STATE_PATH).read_bytes() == damage


def test_a_record_of_a_newer_version_is_left_as_it_is(scene: Scene) -> None:
    scene.look()
    (scene.archive / STATE_PATH).write_text('{"format": "ayla-freshness/2"}')
    with pytest.raises(AirflowFailException, match="A newer version wrote it"):
        scene.look(5)


def test_mutes_are_kept_in_the_archive(scene: Scene) -> None:
    store = FreshnessStore(FileDestination(scene.archive))
    store.mute(Mute("connection", "", hour(9)), hour(4))
    store.mute(Mute("", "typed", hour(9)), hour(4))
    assert [each.layer for each in store.mute(Mute("", "typed", hour(12)), hour(4))] == ["", "typed"]
    scene.look()
    scene.look(7.5)
    assert scene.sent == []
    assert scene.look(9.1) == {"states": {"breach": 1}, "alerts": 1}
    # The end of a time of silence ends nothing else.
    assert [each.until for each in store.mute(Mute("connection", "", hour(9)), hour(9.5))] == [hour(12)]


def test_mutes_of_another_format_are_refused_and_left_as_they_are(scene: Scene) -> None:
    path = scene.archive / MUTES_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"format": "somebody-else/1", "mutes": []}')
    with pytest.raises(AylaDestinationError, match=r"isn't a valid list of mutes .*its format is 'somebody-else/1'"):
        scene.look()
    path.write_text('{"format": "ayla-freshness/2", "mutes": []}')
    with pytest.raises(AirflowFailException, match="A newer version wrote it"):
        scene.look()
    assert "ayla-freshness/2" in path.read_text()


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(scene: Scene, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["freshness", "--destination", f"file://{scene.archive}", *arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def test_the_command_shows_what_is_late_and_mutes_it(scene: Scene, command: Command) -> None:
    assert "Nothing is known yet" in command()[1]
    scene.look()
    assert command()[0] == 0
    scene.look(7.5)
    status, text = command()
    assert status == 1
    assert "as of 2026-11-02 07:30 UTC" in text
    assert "connection, copied: breach; complete until 2026-11-02 04:00 UTC, " in text
    assert "late: 1, the first 2026-11-02 04:00 UTC" in text
    _, text = command("--mute", "6h", "--layer", "copied")
    assert ": all event types, copied" in text
    _, text = command("--mute", "2d", "--event-type", "Connection")
    assert ": connection, all layers" in text
    document = json.loads(command("--json")[1])
    assert [mute["layer"] for mute in document["mutes"]] == ["copied", None]
    assert document["tracks"][0]["muted_until"] == document["mutes"][1]["until"]
    assert "muted" not in command("--unmute")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layer", "loaded"], "the layers that were checked are copied"),
        (["--mute", "soon"], "'soon' isn't a time"),
        (["--mute", "2020-01-01T00:00"], "is over"),
    ],
)
def test_the_command_says_what_is_wrong(
    scene: Scene, command: Command, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.look()
    try:
        status, text = command(*arguments)
    except SystemExit as ended:
        status, text = int(ended.code or 0), capsys.readouterr().err
    assert status == 2
    assert said in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"copied": 3},
        {"copied": timedelta(minutes=5)},
        {"copied": {"no such/type": timedelta(hours=3)}},
        {"on_breach": "a notifier"},
        {"on_breach": ["a notifier"]},
        {"lookback": timedelta(hours=1)},
    ],
    ids=str,
)
def test_a_wrong_argument_is_an_error_when_airflow_reads_the_dag(wrong: dict[str, Any]) -> None:
    with pytest.raises(AylaConfigError):
        AylaExportFreshnessOperator(task_id="freshness", archive="file:///a", **wrong)


@pytest.mark.parametrize("wrong", [{"copied": None}, {"warehouses": [{"kind": "oracle"}]}, {"warehouses": "duckdb"}])
def test_a_wrong_rendered_argument_fails_the_task_without_retries(scene: Scene, wrong: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="AylaConfigError"):
        scene.look(**wrong)

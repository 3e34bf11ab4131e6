"""Volumes of an archive on disk: what is read, kept, and published."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.destination import Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.volumes import MOST_READ, VolumeLooks, anomalies_between, forget_models, read_book
from ayla_provider.assets import volume_alias
from ayla_provider.cli.report_table import Summary
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import manifest_path, volumes_path
from ayla_provider.domain.typed_manifest import TypedFile, TypedManifest, parse_typed_manifest, typed_manifest_path
from ayla_provider.domain.volume import KEPT, Volumes, index_of
from ayla_provider.errors import AylaDestinationError
from ayla_provider.operators import AylaExportVolumeOperator
from ayla_provider.rows.typed_archive import TypedArchive
from tests.warehouse.archive import archive_hour

TYPE = EventType("connection")
NOW = hour_of(datetime.now(UTC)) - timedelta(days=1)
MODELS = {"LC-A": 400, "LC-B": 800, "LC-C": 200}


class Scene:
    """An archive with months of manifests and receipts, as the copy and the loads leave them."""

    def __init__(self, folder: Path, hours: int = 24 * 7 * 9) -> None:
        self.root = folder / "archive"
        self.archive = FileDestination(self.root)
        self.rows = FileDestination(folder / "archive" / "parquet")
        self.url = f"file://{folder}/archive"
        for number in range(hours, 0, -1):
            self.add(NOW - number * ONE_HOUR)

    def add(self, hour: datetime, **changes: int) -> None:
        """Write an hour's manifest and receipt, in place of others."""
        models = {name: rows for name, rows in (MODELS | changes).items() if rows}
        lines = sum(models.values())
        of = ExportHour(TYPE, hour)
        file = ManifestFile("f", lines, lines, "AAAAAA==", hour.isoformat(), f"{of.partition}/f.csv", lines)
        self._put(manifest_path(of), Manifest(of, HourState.LANDED, 1, (file,), hour.isoformat()).dumps())
        typed = TypedFile("f", lines, "x", ("a",), False, lines, lines, 0, 0)
        receipt = TypedManifest(of, "v", "", 0, "", (), None, (typed,), "", {}, hour.isoformat(), models=models)
        self._put(f"parquet/{typed_manifest_path(of)}", receipt.dumps())

    def _put(self, path: str, text: str) -> None:
        """Write an object, much faster than a destination does: thousands are needed."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # A new file, so that its version is another one.
        file.unlink(missing_ok=True)
        file.write_text(text)

    def learn(self, now: datetime = NOW) -> None:
        for _ in range(6):
            VolumeLooks(self.archive, self.rows).evaluate(TYPE, now)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    Scene(folder).learn()
    return folder


@pytest.fixture
def scene(template: Path, tmp_path: Path) -> Scene:
    import shutil

    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Scene(tmp_path, hours=0)


def run(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    now: datetime,
    try_number: int = 1,
    event_types: tuple[str, ...] = ("Connection",),
) -> tuple[Any, Any]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return now

    from ayla_provider.operators import volumes

    monkeypatch.setattr(volumes, "datetime", Clock)
    made = AylaExportVolumeOperator(task_id="volumes", archive=scene.url, event_types=event_types)
    events = OutletEventAccessors()
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="volumes", try_number=try_number)
    result = made.execute({"ti": ti, "outlet_events": events})  # type: ignore[typeddict-item]
    extras = [dict(event.extra) for event in events[volume_alias()].asset_alias_events]
    return result, extras


def test_a_model_that_loses_half_is_a_warning_and_one_event(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.add(NOW, **{"LC-B": 400})
    result, (extra,) = run(scene, monkeypatch, NOW + ONE_HOUR)
    assert result == {
        "begun": [
            {
                "event_type": "connection",
                "model": "LC-B",
                "direction": "low",
                "hour": NOW.isoformat(),
                "last_hour": NOW.isoformat(),
                "count": 400,
                "expected": 800,
                "hours": 1,
                "over": False,
            }
        ],
        "unusual": 1,
        "without_baseline": [],
    }
    assert extra["anomalies"] == result["begun"]
    assert extra["event_types"] == [{"event_type": "connection", "weeks": 8, "has_baseline": True, "models": 3}]
    assert "connection, model LC-B: 400 rows, about 800 are usual at that time" in capsys.readouterr().out
    scene.add(NOW + ONE_HOUR, **{"LC-B": 400})
    # It goes on: that is no news.
    assert run(scene, monkeypatch, NOW + 2 * ONE_HOUR)[1] == []
    for number in range(2, 5):
        scene.add(NOW + number * ONE_HOUR)
    result, (extra,) = run(scene, monkeypatch, NOW + 5 * ONE_HOUR)
    assert (result["unusual"], extra["anomalies"][0]["over"], extra["anomalies"][0]["hours"]) == (0, True, 2)
    # A task that is tried again may have ended before Airflow recorded its event.
    assert len(run(scene, monkeypatch, NOW + 5 * ONE_HOUR, try_number=2)[1]) == 1


def test_an_hour_with_a_tenth_of_its_lines_is_found_before_it_is_typed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive_hour(scene.root, "connection", [], NOW)
    result, _ = run(scene, monkeypatch, NOW + ONE_HOUR)
    assert [(each["model"], each["count"], each["expected"]) for each in result["begun"]] == [(None, 0, 1400)]


def test_a_file_that_comes_late_takes_the_anomaly_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.add(NOW, **{"LC-B": 400})
    run(scene, monkeypatch, NOW + ONE_HOUR)
    scene.add(NOW)
    result, (extra,) = run(scene, monkeypatch, NOW + ONE_HOUR)
    assert (result["unusual"], extra["anomalies"]) == (0, [])


def test_if_one_event_type_fails_the_next_task_still_publishes_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ("connection", "location")
    run(scene, monkeypatch, NOW, event_types=both)
    scene.add(NOW, **{"LC-B": 400})
    damaged = scene.root / volumes_path(EventType("location"))
    sound = damaged.read_bytes()
    damaged.write_text("{}")
    with pytest.raises(AylaDestinationError, match="isn't a valid record of volumes"):
        run(scene, monkeypatch, NOW + ONE_HOUR, event_types=both)
    damaged.write_bytes(sound)
    _, (extra,) = run(scene, monkeypatch, NOW + ONE_HOUR, event_types=both)
    assert [each["model"] for each in extra["anomalies"]] == ["LC-B"]
    assert run(scene, monkeypatch, NOW + ONE_HOUR, event_types=both)[1] == []


def test_a_receipt_without_models_takes_the_rows_of_its_hour_away(scene: Scene) -> None:
    scene.add(NOW)
    scene.learn(NOW + ONE_HOUR)
    assert index_of(NOW) in read_book(scene.archive, TYPE)[0].volumes.models["LC-B"]
    path = scene.root / "parquet" / typed_manifest_path(ExportHour(TYPE, NOW))
    # An erasure leaves them out.
    document = json.loads(path.read_text())
    del document["models"]
    path.unlink()
    path.write_text(json.dumps(document))
    assert VolumeLooks(scene.archive, scene.rows).evaluate(TYPE, NOW + ONE_HOUR).begun == []
    models = read_book(scene.archive, TYPE)[0].volumes.models
    assert not any(index_of(NOW) in series for series in models.values())
    assert index_of(NOW - ONE_HOUR) in models["LC-B"]


def test_an_erasure_takes_the_rows_of_models_of_old_hours_away_while_a_task_evaluates(scene: Scene) -> None:
    class Evaluated(FileDestination):
        """An archive whose volumes another task evaluates before the first write."""

        evaluated = False

        def write(self, path: str, *arguments: Any, **named: Any) -> Stored:
            if not self.evaluated:
                self.evaluated = True
                scene.add(NOW)
                VolumeLooks(scene.archive, scene.rows).evaluate(TYPE, NOW + ONE_HOUR)
            return super().write(path, *arguments, **named)

    before = read_book(scene.archive, TYPE)[0].volumes
    old = [NOW - number * ONE_HOUR for number in (100, 500)]
    forget_models(Evaluated(scene.root), [ExportHour(TYPE, hour) for hour in old])
    after = read_book(scene.archive, TYPE)[0].volumes
    gone = {index_of(hour) for hour in old}
    for name, series in before.models.items():
        assert series.keys() - after.models[name].keys() == gone | {min(series)}
        assert after.models[name].keys() - series.keys() == {index_of(NOW)}
    # The vendor's lines aren't of a model, nor of a device.
    assert before.lines.keys() - after.lines.keys() == {min(before.lines)}


def test_where_no_volumes_are_kept_there_is_nothing_to_forget(tmp_path: Path) -> None:
    forget_models(FileDestination(tmp_path), [ExportHour(TYPE, NOW)])
    assert list(tmp_path.iterdir()) == []


def test_the_report_names_unusual_hours(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.add(NOW, **{"LC-B": 400})
    run(scene, monkeypatch, NOW + ONE_HOUR)
    assert anomalies_between(scene.archive, [TYPE], NOW - 5 * ONE_HOUR, NOW) == []
    summary = Summary([TYPE])
    summary.anomalies = anomalies_between(scene.archive, [TYPE], NOW, NOW + ONE_HOUR)
    text = summary.text()
    assert f"{NOW:%Y-%m-%d %H:%M} UTC, 1 hour: connection, model LC-B: 400 rows, about 800 are usual" in text
    assert "Hours have an unusual number of lines or rows, 1 time: see above." in text
    assert summary.document()["anomalies"][0]["model"] == "LC-B"
    assert summary.complete


class Counting(FileDestination):
    """A folder that counts what is asked of it."""

    reads = 0
    listings = 0

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        self.reads += 1
        return super().read(path)

    def folder(self, path: str) -> dict[str, Stored]:
        self.listings += 1
        return super().folder(path)


def test_each_evaluation_reads_a_bounded_number_of_objects(scene: Scene) -> None:
    made = scene
    (scene.root / volumes_path(TYPE)).unlink()
    weeks = []
    for _ in range(6):
        archive, rows = Counting(scene.root), Counting(scene.root / "parquet")
        weeks.append(VolumeLooks(archive, rows).evaluate(TYPE, NOW).weeks)
        assert archive.reads <= 1 + 48 + MOST_READ
        assert rows.reads <= 48 + MOST_READ
        assert archive.listings + rows.listings <= 2 * (3 + MOST_READ // 24 + 2)
    assert weeks == [2, 5, 7, 8, 8, 8]
    # Then only the object itself, and the listings of three days.
    assert (archive.reads, rows.reads) == (1, 0)
    assert archive.listings + rows.listings <= 6
    lines = read_book(made.archive, TYPE)[0].volumes.lines
    assert len(lines) == KEPT // ONE_HOUR
    assert set(lines.values()) == {1400}


def test_the_first_evaluation_alerts_of_nothing(tmp_path: Path) -> None:
    made = Scene(tmp_path, hours=60)
    made.add(NOW - ONE_HOUR, **{"LC-A": 0, "LC-B": 1})
    assert VolumeLooks(made.archive, made.rows).evaluate(TYPE, NOW).begun == []


def test_after_days_without_an_evaluation_what_is_missing_is_learned(scene: Scene) -> None:
    for number in range(5 * 24):
        scene.add(NOW + number * ONE_HOUR)
    later = NOW + timedelta(days=5)
    scene.learn(later)
    lines = read_book(scene.archive, TYPE)[0].volumes.lines
    assert all(index_of(NOW) + number in lines for number in range(5 * 24))


def test_a_crash_between_reading_and_writing_changes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.add(NOW, **{"LC-B": 400})

    class Dies(FileDestination):
        def write(self, path: str, *_: Any, **__: Any) -> Stored:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        VolumeLooks(Dies(scene.root), scene.rows).evaluate(TYPE, NOW + ONE_HOUR)
    assert len(run(scene, monkeypatch, NOW + ONE_HOUR)[0]["begun"]) == 1


def test_an_hour_that_could_not_be_read_is_read_and_judged_the_next_time(scene: Scene) -> None:
    scene.add(NOW, **{"LC-B": 400})

    class Unavailable(FileDestination):
        def read(self, path: str) -> tuple[bytes, Stored] | None:
            if path.endswith(f"hour={NOW:%H}.json"):
                raise AylaDestinationError("the store doesn't answer")
            return super().read(path)

    later = NOW + ONE_HOUR
    assert VolumeLooks(Unavailable(scene.root), Unavailable(scene.root / "parquet")).evaluate(TYPE, later).begun == []
    (begun,) = VolumeLooks(scene.archive, scene.rows).evaluate(TYPE, later).begun
    assert (begun.model, begun.start) == ("LC-B", NOW)


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"format": "ayla-volumes/1"}', b"\xff"])
def test_a_damaged_record_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    (scene.root / volumes_path(TYPE)).write_bytes(damage)
    with pytest.raises(AylaDestinationError, match="isn't a valid record of volumes"):
        run(scene, monkeypatch, NOW)


def test_a_record_of_a_newer_version_is_left_as_it_is(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene.root / volumes_path(TYPE)
    path.write_text(json.dumps({"format": "ayla-volumes/2"}))
    with pytest.raises(AirflowFailException, match="A newer version wrote it"):
        run(scene, monkeypatch, NOW)


ROW = b"1a2b3c4d,%b,LC000X%09d,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"


@pytest.mark.parametrize("most", [10**12, 1], ids=["whole", "in parts"])
def test_a_receipt_states_the_rows_of_each_model(tmp_path: Path, most: int) -> None:
    files = [
        b"".join(ROW % (model, number) for number, model in enumerate(models))
        for models in ([b"LC-A"] * 3 + [b"LC-B"], [b"LC-B"] * 2 + [b""])
    ]
    manifest = archive_hour(tmp_path, "connection", files, NOW)
    rows = FileDestination(tmp_path / "parquet")
    made = TypedArchive(FileDestination(tmp_path), rows, max_bytes_per_task=most).ensure(manifest.hour, {}).manifest
    assert bool(made.parts) == (most == 1)
    assert made.models is not None
    assert dict(made.models) == {"LC-A": 3, "LC-B": 3}
    assert sum(made.models.values()) < made.rows
    assert parse_typed_manifest(made.dumps(), "a test", manifest.hour).models == made.models


@pytest.mark.parametrize("policy", [{"oem_model": "drop"}, {"oem_model": "hash"}])
def test_a_receipt_names_no_models_that_a_policy_hides(tmp_path: Path, policy: dict[str, str]) -> None:
    from ayla_provider.domain.privacy import PrivacyPolicy

    manifest = archive_hour(tmp_path, "connection", [ROW % (b"LC-A", 1)], NOW)
    typed = TypedArchive(
        FileDestination(tmp_path), FileDestination(tmp_path / "parquet"), policy=PrivacyPolicy(policy, "k" * 32)
    )
    made = typed.ensure(manifest.hour, {}).manifest
    assert made.models is None
    assert "LC-A" not in made.dumps()


def test_a_receipt_names_at_most_50_models(tmp_path: Path) -> None:
    lines = [ROW % (b"LC-%03d" % (number % 80), number) for number in range(160)] + [ROW % (b"x" * 500, 999)]
    manifest = archive_hour(tmp_path, "connection", [b"".join(lines)], NOW)
    made = (
        TypedArchive(FileDestination(tmp_path), FileDestination(tmp_path / "parquet"))
        .ensure(manifest.hour, {})
        .manifest
    )
    assert made.models is not None
    assert len(made.models) == 50
    assert "x" * 500 not in made.models
    volumes = Volumes("connection")
    volumes.note_models(NOW, made.models, is_complete=False)
    assert len(volumes.models) == 50

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ayla_provider.__main__ import main
from ayla_provider.domain.completeness import Completeness
from tests.rows.test_completeness import Scene, connection, datapoint, full, hour_at

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    full(scene, last=2)
    return scene


def command(scene: Scene, *more: str, last: int = 1) -> list[str]:
    archives = ["--archive", scene.export.archive.url, "--stream-archive", scene.stream.archive.url]
    hours = ["--since", hour_at(0).start.isoformat(), "--until", hour_at(last).end.isoformat()]
    return ["completeness", *archives, *hours, "--event-type", "Datapoint", *more]


def lose(scene: Scene, events: int = 1) -> None:
    rows = [datapoint(number) for number in range(3 + events)]
    scene.put(0, rows[:3], rows)


def test_sides_that_are_equal_end_with_0(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(scene)) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    columns = "hour event type state both only export only stream other hour differing"
    assert " ".join(lines[2].split()) == columns
    assert lines[3].split() == ["2026-11-01", "07:00", "UTC", "datapoint", "complete", "3", "0", "0", "0", "0"]
    assert lines[-1] == "Each side has all events of the other, as far as the hours were compared."
    assert err == ""


def test_a_loss_ends_with_1_and_is_shown(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    lose(scene)
    assert main(command(scene)) == 1
    out = capsys.readouterr().out
    assert "missing_in_export" in out
    assert "hours: 1 complete, 1 missing_in_export\n" in out
    assert out.endswith("The export lacks events of 1 hour. For a text that you can send to Ayla, add --support.\n")


def test_a_loss_in_the_stream_ends_with_1(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [datapoint(number) for number in range(4)]
    scene.put(0, rows, rows[:3])
    assert main(command(scene)) == 1
    assert capsys.readouterr().out.endswith("The stream lacks events of 1 hour.\n")


def test_hours_that_cannot_be_compared_end_with_2_and_say_why(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.stream.put_position(event_types=[])
    assert main(command(scene)) == 2
    out = capsys.readouterr().out
    assert "the stream never had a record of datapoint" in out
    assert out.endswith("No hour can be compared yet. Each line says why.\n")


def test_identities_that_differ_end_with_2(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(-1, 3):
        scene.put(number, [datapoint(number + 10, number)], [datapoint(number + 20, number)])
    assert main(command(scene)) == 2
    assert "the two sides identify them differently" in capsys.readouterr().out


def test_an_archive_without_a_stream_ends_with_2(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    (scene.stream.root / "_stream/position.json").unlink()
    assert main(command(scene)) == 2
    assert "no stream was read into this archive" in capsys.readouterr().err


def test_a_range_without_hours_ends_with_2(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(scene, last=-1)) == 2
    assert "no hour is between" in capsys.readouterr().err


def test_json_has_the_names_that_are_documented(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    lose(scene)
    assert main(command(scene, "--json")) == 1
    document = json.loads(capsys.readouterr().out)
    hour = document["hours"][0]
    assert (hour["event_type"], hour["hour"], hour["state"]) == (
        "datapoint",
        hour_at(0).start.isoformat(),
        "missing_in_export",
    )
    (event,) = hour["missing"]
    assert event == {"only_in": "stream", "id": datapoint(3)["time_uuid"], "time": "2026-11-01T07:00:03+00:00"}
    assert document["summary"]["totals"]["only_stream"] == 1
    page = (ROOT / "docs/completeness.md").read_text(encoding="utf-8")
    names = [*document, *hour, *event, *document["summary"]]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_text_for_support_has_ids_and_no_device(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    lose(scene, events=12)
    assert main(command(scene, "--support")) == 1
    out = capsys.readouterr().out
    assert (
        f"{hour_at(0)}: the export lacks 12 events\n  {datapoint(3)['time_uuid']}, 2026-11-01T07:00:03+00:00\n" in out
    )
    assert "  and 2 more\n" in out
    assert "datapoint: 2 hours compared, 18 events in the stream, 6 in the export, 12 only in the stream" in out
    assert datapoint(3)["dsn"] not in out
    assert scene.export.archive.url not in out


def test_the_text_for_support_of_a_type_without_ids_has_times(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    full(scene, event_type="connection")
    rows = [connection(number) for number in range(4)]
    scene.put(0, rows[:3], rows, "connection")
    assert main([*command(scene, "--support", last=0), "--event-type", "connection"]) == 1
    out = capsys.readouterr().out
    assert "  an event, 2026-11-01T07:00:03+00:00\n" in out


def test_the_text_for_support_says_if_nothing_is_missing(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(scene, "--support")) == 0
    assert capsys.readouterr().out.endswith("No event is missing in the export.\n")


@pytest.mark.parametrize("state", Completeness)
def test_each_state_is_described(state: Completeness) -> None:
    assert f"| `{state.value}` |" in (ROOT / "docs/completeness.md").read_text(encoding="utf-8")

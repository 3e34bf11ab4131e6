"""The operator and the commands that extract data, remove hours, and place holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.__main__ import main
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour, hour_of
from ayla_provider.domain.typed_manifest import quarantine_path
from ayla_provider.operators import AylaExportAccessOperator
from tests.test_reconcile_operator import TaskInstance
from tests.warehouse.archive import archive_hour

HOUR = hour_of(datetime.now(UTC)) - timedelta(hours=30)
DSN = "LC000X000000001"
CONNECTION = f"1a2b3c4d,LC-THERMO-2,{DSN},Mon Feb 03 21:30:45 UTC 2020,,Online\r\n".encode()
OTHER = CONNECTION.replace(b"001,", b"002,")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION + OTHER], HOUR)
    (tmp_path / "requests").mkdir()
    return tmp_path


def extract(folder: Path) -> dict[str, Any]:
    made = AylaExportAccessOperator(
        task_id="extract",
        requests=f"file://{folder}/requests",
        answers=f"file://{folder}/answers",
        archive=f"file://{folder}/archive",
    )
    result: dict[str, Any] = made.execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]
    return result


def test_each_request_gets_an_extract_and_goes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "requests" / "one.json").write_text(json.dumps({"dsn": DSN}))
    result = extract(folder)
    assert (result["requests"], result["events"], result["hours_not_readable"]) == (1, 1, 0)
    (answer,) = (folder / "answers" / "_extracts").iterdir()
    assert result["extracts"] == [f"_extracts/{answer.name}"]
    assert sorted(path.name for path in answer.iterdir()) == ["connection.csv", "events.json", "index.html"]
    assert DSN in (answer / "connection.csv").read_text()
    assert "LC000X000000002" not in "".join(path.read_text() for path in answer.iterdir())
    assert list((folder / "requests").iterdir()) == []
    # Neither XCom nor log names anybody.
    assert DSN not in json.dumps(result) + "".join(capsys.readouterr())
    assert extract(folder)["requests"] == 0


def test_a_request_that_is_not_valid_stops_the_task_before_it_does_anything(folder: Path) -> None:
    (folder / "requests" / "one.json").write_text(json.dumps({"dsn": DSN}))
    (folder / "requests" / "two.json").write_text(json.dumps({"serial": DSN}))
    with pytest.raises(AirflowFailException, match=r"two\.json isn't a valid request") as error:
        extract(folder)
    assert DSN not in str(error.value)
    assert not (folder / "answers").exists()
    assert len(list((folder / "requests").iterdir())) == 2


def test_an_object_with_another_name_stops_the_task_before_it_does_anything(folder: Path) -> None:
    for name in ("one.json", "t.JSON"):
        (folder / "requests" / name).write_text(json.dumps({"dsn": DSN}))
    with pytest.raises(AirflowFailException, match=r"doesn't end in \.json, in lower case: t\.JSON"):
        extract(folder)
    assert not (folder / "answers").exists()
    assert len(list((folder / "requests").iterdir())) == 2


def test_a_task_that_is_killed_begins_the_request_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "requests" / "one.json").write_text(json.dumps({"dsn": DSN}))

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ayla_provider.archive.local.FileDestination.remove", killed)
        with pytest.raises(KeyboardInterrupt):
            extract(folder)
    assert extract(folder)["events"] == 1
    assert len(list((folder / "answers" / "_extracts").iterdir())) == 1


def command(folder: Path, *arguments: str) -> int:
    return main([*arguments, "--destination", f"file://{folder}/archive"])


def test_the_command_writes_an_extract_into_a_new_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    request = folder / "request.json"
    request.write_text(json.dumps({"dsn": DSN}))
    for number, where in enumerate((str(request), f"file://{request}")):
        out = folder / f"out-{number}"
        assert command(folder, "extract", "--request", where, "--out", str(out)) == 0
        assert f"In {out}: 1 event, 0 unreadable lines." in capsys.readouterr().out
        assert DSN in (out / "index.html").read_text()
    assert command(folder, "extract", "--request", str(request), "--out", str(folder / "out-0")) == 2
    assert "exists already" in capsys.readouterr().err
    request.write_text(json.dumps({"dsn": "x", "name": "Jane"}))
    assert command(folder, "extract", "--request", str(request), "--out", str(folder / "new")) == 2
    assert "Jane" not in capsys.readouterr().err


def test_the_command_counts_first_and_holds_keep_hours(
    folder: Path, capsys: pytest.CaptureFixture[str], airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = HOUR - timedelta(days=100)
    archive_hour(folder / "archive", "connection", [CONNECTION], old)
    quarantine = folder / "archive" / quarantine_path(ExportHour(EventType("connection"), old))
    quarantine.parent.mkdir(parents=True, exist_ok=True)
    quarantine.touch()

    def copies() -> int:
        return len(list((folder / "archive").glob("event_type=*/**/*.csv")))

    assert command(folder, "retention", "--keep-archive", "90", "--json") == 0
    counted = json.loads(capsys.readouterr().out)
    # Quarantined lines aren't kept longer than the copies.
    objects = {layer["layer"]: layer["objects"] for layer in counted["layers"]}
    assert (counted["removed"], objects, copies()) == (False, {"quarantine": 1, "archive": 1}, 2)
    subject = folder / "subject.json"
    subject.write_text(json.dumps({"dsn": DSN}))
    key = json.dumps({"conn_type": "generic", "password": "a key of a hold, 32 characters.."})
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_HOLD", key)
    placing = ["hold", "place", "--id", "case-1", "--subject", str(subject), "--key-conn", "ayla_hold"]
    assert command(folder, *placing) == 0
    assert command(folder, "hold", "list") == 0
    shown = capsys.readouterr().out
    assert "case-1: 1 hashed value of a subject, all event types, from the beginning" in shown
    assert DSN not in shown
    assert command(folder, "retention", "--keep-archive", "90", "--remove") == 0
    assert "1 hour stays because of the legal hold case-1" in capsys.readouterr().out
    assert copies() == 2
    assert command(folder, "hold", "release", "--id", "case-1") == 0
    assert command(folder, "hold", "release", "--id", "case-1") == 2
    assert command(folder, "retention", "--keep-archive", "90", "--remove") == 0
    assert copies() == 1
    assert not quarantine.exists()
    assert len(list((folder / "archive" / "_removals").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say how long"),
        (["--keep-archive", "1"], "2 days or more"),
        (["--keep-tables", "90"], "belong together"),
    ],
)
def test_rules_that_make_no_sense_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], airflow_db: None, arguments: list[str], message: str
) -> None:
    assert command(folder, "retention", *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", "--request", "request.json", "--out", "out"],
        ["retention", "--keep-archive", "90", "--remove"],
        ["hold", "list"],
        ["hold", "place", "--id", "case-1", "--since", "2026-11-01"],
        ["hold", "release", "--id", "case-1"],
    ],
    ids=["extract", "retention", "hold list", "hold place", "hold release"],
)
def test_a_place_that_is_no_archive_is_an_error_of_each_command(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    airflow_db: None,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "request.json").write_text(json.dumps({"dsn": DSN}))
    assert main([*arguments, "--destination", f"file://{folder}/mistyped"]) == 2
    assert "it isn't an archive, or nothing was copied into it yet. Nothing was done." in capsys.readouterr().err
    assert not (folder / "mistyped").exists()
    assert not (folder / "out").exists()


def test_typed_rows_in_a_mistyped_place_are_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    (folder / "request.json").write_text(json.dumps({"dsn": DSN}))
    parquet = ["--parquet", f"file://{folder}/mistyped"]
    out = ["--out", str(folder / "out")]
    assert command(folder, "extract", "--request", str(folder / "request.json"), *out, *parquet) == 2
    assert "has no receipt of typed rows" in capsys.readouterr().err
    assert command(folder, "retention", "--keep-parquet", "90", *parquet) == 2
    assert "has no receipt of typed rows" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["requests", "archive"])
def test_the_operator_refuses_a_mistyped_place_and_keeps_the_request(folder: Path, wrong: str) -> None:
    (folder / "requests" / "one.json").write_text(json.dumps({"dsn": DSN}))
    (folder / wrong).rename(folder / "elsewhere")
    with pytest.raises(AirflowFailException, match="Nothing was done"):
        extract(folder)
    assert len(list(folder.glob("*/one.json"))) == 1
    assert not (folder / "answers").exists()


def test_an_extract_finds_unreadable_lines_as_an_erasure_does(folder: Path) -> None:
    from base64 import b64encode

    deep = b64encode(b64encode(f"a note about {DSN.lower()}".encode())).decode()
    archive_hour(folder / "archive", "connection", [CONNECTION * 9 + f"{deep}\nx{DSN}y\n".encode()], HOUR)
    from ayla_provider.archive.local import FileDestination
    from ayla_provider.rows.typed_archive import TypedArchive

    archive, rows = FileDestination(folder / "archive"), FileDestination(folder / "archive" / "parquet")
    TypedArchive(archive, rows, max_malformed=1).ensure(ExportHour(EventType("connection"), HOUR), {})
    (folder / "requests" / "one.json").write_text(json.dumps({"dsn": DSN}))
    assert extract(folder)["unreadable_lines"] == 1

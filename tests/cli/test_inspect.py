from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.__main__ import main
from ayla_provider.domain.csv.columns import CONNECTION_6, DATAPOINT_17_2018, DATAPOINT_22
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, FolderStyle
from ayla_provider.domain.paths import partitioned_path
from ayla_provider.local_cloud.fleet import Fleet
from tests.support.made_rows import Rows, csv

ARCHIVED = partitioned_path("datapoint", datetime(2026, 3, 1, tzinfo=UTC), FolderStyle.SPACE, "Some file.csv")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_the_terminal_cannot_show_is_escaped(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = b"1a2b3c4d,ger\xc3\xa4t-\xe9\x9b\xbb,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["inspect", str(put(tmp_path, "f.csv", row)), "--event-type", "connection"]) == 0
    stdout.seek(0)
    assert "\\u96fb" in stdout.read()


class Run:
    """One run in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        capsys.readouterr()
        self.status = main(["inspect", *map(str, arguments)])
        self.out, self.err = capsys.readouterr()

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    def lines(self, start: str) -> list[str]:
        return [line for line in self.out.splitlines() if line.startswith(start)]


def put(root: Path, name: str, data: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_every_kind_of_file_of_an_archive_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet(seed=3, rows=20)
    seen = set()
    for number in range(12):
        for event_type in EVENT_TYPES:
            for file in fleet.files(event_type, datetime(2026, 3, 1, tzinfo=UTC) + number * ONE_HOUR):
                if file.contents[-1]:
                    run = Run(capsys, put(tmp_path, file.answer.object_name, file.contents[-1]), "--json")
                    assert run.status == 0, run.out
                    assert run.document["event_type"] == event_type
                    seen.add((run.document["layout"], run.document["confirmed"]))
    assert seen == {
        (name, True) for name in ("datapoint-22", "datapoint_ack-24", "connection-6", "location-9", "registration-8")
    }


def test_a_person_sees_what_the_file_is_and_what_each_column_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[*row, "\x1b[31mred"] for row in Rows(DATAPOINT_22, 1, iso=False).rows(20)]
    run = Run(capsys, put(tmp_path, ARCHIVED, csv([*rows, ["cut"]])))
    assert run.status == 0
    head = dict(line.split(maxsplit=1) for line in run.out.split("\n\n")[0].splitlines() if " type " not in line)
    assert "event type   datapoint" in run.out
    assert "line ends    CRLF" in run.out
    assert head["layout"] == "datapoint-22, confirmed"
    assert head["header"] == "no"
    assert head["dates"] == "Wed Feb 05 12:08:26 UTC 2020"
    assert head["rows"] == "20 looked at, 1 more of another length"
    assert run.lines("7 ")[0].split() == ["7", "time_uuid", "a", "UUID", "uuid", "100%"]
    assert run.lines("23 ")[0].split() == ["23", "column_23", "(new)", "text", "text", "100%"]
    assert "The first rows, as they would be loaded" in run.out
    assert any(row[2] in run.out for row in rows)
    assert "\x1b" not in run.out


def test_the_first_rows_are_shown_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows(CONNECTION_6, 1, iso=True).rows(20)
    run = Run(capsys, put(tmp_path, "Connection/2026-03-01 00:00:00/a.csv", csv(rows)), "--json")
    sample = run.document["sample"]
    assert len(sample) == 3
    assert {row["dsn"] for row in sample} <= {row[2] for row in rows}
    assert {row["status"] for row in sample} <= {"Online", "Offline"}


def test_a_first_line_of_plain_words_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [chr(ord("b") + number) * 4 for number in range(len(DATAPOINT_22.columns))]
    path = put(tmp_path, ARCHIVED, csv([words, *Rows(DATAPOINT_22, 1, iso=False).rows(20)]))
    assert Run(capsys, path, "--json").document["header"] is False
    assert "header       no" in Run(capsys, path).out


def test_without_duckdb_everything_else_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "ayla_provider.rows.parquet", raising=False)
    run = Run(capsys, put(tmp_path, ARCHIVED, csv(Rows(DATAPOINT_22, 1, iso=False).rows(2))))
    assert run.status == 0
    assert "layout       datapoint-22, confirmed" in run.out
    assert "pip install 'airflow-provider-ayla[warehouse]'" in run.out


def test_a_layout_that_is_only_documented_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = csv([list(DATAPOINT_17_2018.columns), *Rows(DATAPOINT_17_2018, 1, iso=True).rows(2)], "\n")
    run = Run(capsys, put(tmp_path, "a.csv", data))
    assert run.status == 0
    assert "layout       datapoint-17-2018, documented, but never seen in a file" in run.out
    assert "header       yes" in run.out
    assert "dates        ISO 8601" in run.out
    assert "line ends    LF" in run.out


@pytest.mark.parametrize(
    "folder", ["event_type=connection/date=2026-03-01/hour=00", "1a2b/Connection/2026-03-01 00:00:00", "", "data/x.y"]
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_event_type_comes_from_the_path_or_the_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, scheme: str
) -> None:
    path = put(tmp_path, f"{folder}/a.csv", csv(Rows(CONNECTION_6, 1, iso=True).rows(2)))
    run = Run(capsys, f"{scheme}{path}", "--json")
    assert (run.status, run.document["layout"]) == (0, "connection-6")


def test_a_file_in_the_folder_of_another_event_type_isnt_taken_for_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, "event_type=location/a.csv", csv(Rows(CONNECTION_6, 1, iso=True).rows(2)))
    assert Run(capsys, path, "--json").document["event_type"] == "location"
    assert Run(capsys, path).status == 1
    assert Run(capsys, path, "--event-type", "Connection").status == 0


def test_from_an_unknown_file_to_a_declared_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["7.5", *row] for row in Rows(CONNECTION_6, 1, iso=True).rows(9)]
    path = put(tmp_path, "event_type=connection/a.csv", csv(rows))
    run = Run(capsys, path)
    assert run.status == 1
    assert "layout       none that is known" in run.out
    assert run.lines("5 ")[0].split()[1:4] == ["a", "date", rows[0][4]]
    assert "connection-6: column 4 (event_time) isn't a date" in run.out

    declaration = json.loads(run.out.partition("FILE.json:\n")[2])
    assert declaration[0]["columns"] == ["column_1:number", *CONNECTION_6.columns]
    layouts = put(tmp_path, "layouts.json", json.dumps(declaration).encode())
    run = Run(capsys, path, "--layouts", layouts)
    assert run.status == 0
    assert "layout       my-connection-7, declared" in run.out
    assert Run(capsys, path, "--json").document["draft"] == declaration


def test_an_event_type_of_ones_own_is_found_by_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = put(tmp_path, "1a2b/Device Activation/2026-03-01 00:00:00/a.csv", b"LC1,on\r\n")
    run = Run(capsys, path)
    assert run.status == 1
    assert "--event-type NAME" in run.out
    run = Run(capsys, path, "--event-type", "Device Activation", "--json")
    layouts = put(tmp_path, "layouts.json", json.dumps(run.document["draft"]).encode())
    run = Run(capsys, path, "--layouts", layouts, "--json")
    assert (run.status, run.document["event_type"]) == (0, "device_activation")
    assert [column["name"] for column in run.document["columns"]] == ["column_1", "column_2"]


@pytest.mark.parametrize("data", [b"", b"\r\n", ",".join(CONNECTION_6.columns).encode()])
def test_a_file_without_rows_has_no_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    path = put(tmp_path, "event_type=connection/a.csv", data)
    run = Run(capsys, path)
    assert run.status == 1
    assert "no rows" in run.out
    assert Run(capsys, path, "--json").document["columns"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.csv"], "nowhere.csv can't be read: No such file"),
        (["."], "can't be read: Is a directory"),
        (["gs://bucket/a.csv"], "download it first"),
        (["packed.csv"], "packed with gzip"),
        (["a.csv", "--event-type", "../x"], "event type '../x'"),
        (["a.csv", "--layouts", "nowhere.json"], "nowhere.json can't be read"),
        (["a.csv", "--layouts", "a.csv"], "a.csv isn't JSON"),
        (["a.csv", "--layouts", "layouts.json"], "layouts, declaration 1: unknown field"),
    ],
)
def test_what_cant_be_read_is_an_error_with_another_exit_status(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "a.csv", csv(Rows(CONNECTION_6, 1, iso=True).rows(2)))
    put(tmp_path, "packed.csv", b"\x1f\x8b\x08")
    put(tmp_path, "layouts.json", b'[{"x": 1}]')
    run = Run(capsys, *arguments)
    assert run.status == 2
    assert run.err.startswith("error: ")
    assert said in run.err
    assert run.out == ""


def test_wrong_usage_ends_as_with_the_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["inspect"])
    assert left.value.code == 2


def test_the_help_warns_of_content(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", "--help"])
    assert "PRINTS CONTENT OF ROWS" in " ".join(capsys.readouterr().out.split())

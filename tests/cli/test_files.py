"""``ls``, ``get`` and ``cat``, against a local cloud and against archives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.__main__ import main
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, hours_of
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.local_cloud.contents import SeededContent
from tests.support.archives import archive_hour
from tests.support.fleet import connect

HOUR = datetime(2026, 11, 1, 7, tzinfo=UTC)
CREATED = datetime(2026, 11, 1, 8, 24, 37, tzinfo=UTC)
CSV = b"dsn,val\nAC1,1\n"
ROOT = "ayla://ayla_default/"
FOLDER = f"{ROOT}Datapoint/2026-11-01 07:00:00"
FILE = f"{FOLDER}/Datapoints.csv"
MODULE = "ayla_provider"

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    with LocalCloud() as cloud:
        for folder, name in (("Datapoint", "Datapoints"), ("Connection", "Connections")):
            for time in ("2026-10-31 23:00:00", "2026-11-01 07:00:00", "2026-11-01 08:00:00"):
                cloud.put_object(folder, time, f"{name}.csv", CSV, CREATED)
        connect(monkeypatch, cloud)
        yield cloud


def downloads(cloud: LocalCloud) -> int:
    return sum(request.step == "download" for request in cloud.requests)


def names(out: str) -> list[str]:
    """Return the names in lines of ``ls``, whose sizes and times are in fixed columns."""
    return [line[32:] for line in out.splitlines()]


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_ls_shows_folders_and_files_with_sizes_and_times(cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", ROOT]) == 0
    assert names(capsys.readouterr().out) == ["Connection/", "Datapoint/"]
    assert main(["ls", f"{FOLDER}/"]) == 0
    out, err = capsys.readouterr()
    assert out == "     14 B  2026-11-01 08:24:37  Datapoint/2026-11-01 07:00:00/Datapoints.csv\n"
    assert err == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Datapoint/2026-11-01*", ["Datapoint/2026-11-01 07:00:00/", "Datapoint/2026-11-01 08:00:00/"]),
        ("Data*", ["Datapoint/"]),
        ("*/2026-11-01 07*/*.csv", [f"{name}/2026-11-01 07:00:00/{name}s.csv" for name in ("Connection", "Datapoint")]),
        (
            "Datapoint/2026-11-01 0[78]:00:00/Data?oints.csv",
            [f"Datapoint/2026-11-01 0{n}:00:00/Datapoints.csv" for n in (7, 8)],
        ),
        ("Datapoint/2026-11-01 07:00:00/Datapoints.csv", ["Datapoint/2026-11-01 07:00:00/Datapoints.csv"]),
    ],
)
def test_ls_takes_patterns_and_files(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str], path: str, expected: list[str]
) -> None:
    assert main(["ls", ROOT + path]) == 0
    assert names(capsys.readouterr().out) == expected


def test_ls_below_and_as_json(cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "-r", f"{ROOT}Datapoint"]) == 0
    assert len(names(capsys.readouterr().out)) == 3
    assert main(["ls", "--json", f"{ROOT}Datapoint/*08:00:00/*"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry.pop("crc32c")
    assert entry == {
        "path": "Datapoint/2026-11-01 08:00:00/Datapoints.csv",
        "type": "file",
        "size": len(CSV),
        "modified": "2026-11-01T08:24:37+00:00",
    }
    assert main(["ls", "--json", f"{ROOT}Data*"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"path": "Datapoint", "type": "folder"}]


@pytest.mark.parametrize("command", [["ls"], ["ls", "-r"], ["get"], ["cat"]])
@pytest.mark.parametrize("path", ["Nothing", "Datapoint/2027*", "Datapoint/2026-11-01"])
def test_nothing_ends_with_1(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str], command: list[str], path: str
) -> None:
    assert main([*command, ROOT + path]) == 1
    assert capsys.readouterr() == ("", f"error: {ROOT}{path}: there is nothing\n")


def test_a_name_can_change_no_terminal(cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.put_object("Datapoint", "2026-11-01 09:00:00", "\x1b[2Jevil\u202e.csv", CSV, CREATED)
    assert main(["ls", f"{ROOT}Datapoint/2026-11-01 09:00:00"]) == 0
    out, _ = capsys.readouterr()
    assert "\\x1b[2Jevil\\u202e.csv" in out
    assert "\x1b" not in out


def test_cat_prints_the_bytes(cloud: LocalCloud, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    cloud.put_object("Datapoint", "2026-11-01 09:00:00", "raw.bin", bytes(range(256)), CREATED)
    assert main(["cat", f"{ROOT}Datapoint/2026-11-01 09:00:00/raw.bin"]) == 0
    assert capfdbinary.readouterr() == (bytes(range(256)), b"")


def test_cat_of_wrong_content_ends_with_2(cloud: LocalCloud, capfd: pytest.CaptureFixture[str]) -> None:
    cloud.faults.add(Fault("corrupt", step="download", after_bytes=3))
    assert main(["cat", FILE]) == 2
    assert "crc32c" in capfd.readouterr().err


def test_get_keeps_folders_and_downloads_nothing_twice(
    cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", f"{ROOT}Datapoint/2026-11-01*", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"2 files in {tmp_path}: 2 new files, 28 B."
    expected = {f"Datapoint/2026-11-01 0{n}:00:00/Datapoints.csv": CSV for n in (7, 8)}
    assert tree(tmp_path) == expected
    before = downloads(cloud)
    assert main(["get", f"{ROOT}Datapoint/2026-11-01*", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"2 files in {tmp_path}: 0 new files, 0 B."
    assert downloads(cloud) == before == 2
    # What differs is downloaded again, also if it has the same size.
    (tmp_path / "Datapoint/2026-11-01 07:00:00/Datapoints.csv").write_bytes(CSV[::-1])
    assert main(["get", "--json", f"{ROOT}Datapoint/2026-11-01*", str(tmp_path)]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert {document["path"]: document["new"] for document in documents} == {
        "Datapoint/2026-11-01 07:00:00/Datapoints.csv": True,
        "Datapoint/2026-11-01 08:00:00/Datapoints.csv": False,
    }
    assert tree(tmp_path) == expected


def test_get_goes_on_where_it_ended(cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.faults.add(Fault(403, step="download", match="08:00:00", times=1))
    assert main(["get", f"{ROOT}*", str(tmp_path)]) == 2
    assert "403" in capsys.readouterr().err
    there = tree(tmp_path)
    assert len(there) < 6
    assert set(there.values()) <= {CSV}
    assert main(["get", f"{ROOT}*", str(tmp_path)]) == 0
    assert set(tree(tmp_path).values()) == {CSV}
    assert len(tree(tmp_path)) == 6


def test_wrong_content_never_gets_a_name(cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.faults.add(Fault("corrupt", step="download", after_bytes=3, times=None))
    assert main(["get", FILE, str(tmp_path)]) == 2
    assert "crc32c" in capsys.readouterr().err
    assert tree(tmp_path) == {}


def test_get_refuses_a_name_that_leads_out_of_the_folder(
    cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.put_object("Datapoint", "2026-11-01 09:00:00", "../../../../out.csv", CSV, CREATED)
    assert main(["get", f"{ROOT}Datapoint/2026-11-01 09:00:00", str(tmp_path / "in")]) == 2
    assert "could lead out" in capsys.readouterr().err
    assert tree(tmp_path) == {}


def test_a_connection_that_doesnt_work_ends_with_2_and_shows_no_secret(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(monkeypatch, cloud, password="a-wrong-password")
    for command in (["ls"], ["get"], ["cat"]):
        assert main([*command, FILE]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "refused the sign-in" in err
        assert "a-wrong-password" not in err
    assert main(["ls", "ayla://no_such/"]) == 2
    assert "no_such" in capsys.readouterr().err
    assert main(["ls", "ayla:///"]) == 2
    assert "names no connection" in capsys.readouterr().err


def test_a_reader_that_ends_is_no_error(cloud: LocalCloud) -> None:
    cloud.put_object("Datapoint", "2026-11-01 09:00:00", "big.csv", SeededContent(1, 40_000_000), CREATED)
    command = [sys.executable, "-m", MODULE, "cat", f"{ROOT}Datapoint/2026-11-01 09:00:00/big.csv"]
    finished = subprocess.run(
        ["bash", "-c", '"$@" | head -c 10 | wc -c', "bash", *command],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (finished.stdout.strip(), "Traceback" in finished.stderr) == ("10", False)


@pytest.mark.ci
def test_a_large_file_isnt_in_memory(cloud: LocalCloud) -> None:
    size = 120_000_000
    cloud.put_object("Datapoint", "2026-11-01 09:00:00", "big.csv", SeededContent(1, size), CREATED)
    program = (
        "import re, sys; from pathlib import Path; from ayla_provider.__main__ import main; "
        "status = main(sys.argv[1:]); "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1], file=sys.stderr); "
        "sys.exit(status)"
    )

    def peak(path: str) -> int:
        finished = subprocess.run(
            [sys.executable, "-c", program, "cat", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=600,
            check=True,
        )
        return int(re.findall(r"^\d+$", finished.stderr, re.MULTILINE)[-1]) * 1024

    assert peak(f"{ROOT}Datapoint/2026-11-01 09:00:00/big.csv") < peak(FILE) + 40_000_000


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    for hour in hours_of(EventType("datapoint"), HOUR - 3 * ONE_HOUR, HOUR):
        archive_hour(FileDestination(root), hour, [CSV])
    return root


def of(root: Path) -> list[str]:
    return ["--destination", f"file://{root}"]


def test_ls_of_an_archive(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "/", *of(archive)]) == 0
    assert names(capsys.readouterr().out) == ["_manifests/", "event_type=datapoint/"]
    assert main(["ls", "event_type=datapoint/date=2026-11-01", *of(archive)]) == 0
    folders = names(capsys.readouterr().out)
    assert folders == [f"event_type=datapoint/date=2026-11-01/hour=0{n}/" for n in (4, 5, 6)]
    assert main(["ls", "-r", "event_type=datapoint", *of(archive)]) == 0
    copies = names(capsys.readouterr().out)
    assert [archive / copy for copy in copies] == sorted((archive / "event_type=datapoint").rglob("*.csv"))
    assert main(["ls", "event_type=*/date=2026-11-01/hour=05/*.csv", *of(archive)]) == 0
    assert names(capsys.readouterr().out) == [copy for copy in copies if "hour=05" in copy]
    assert main(["ls", "event_type=other", *of(archive)]) == 1


@pytest.mark.parametrize("command", [["ls"], ["cat"], ["get"]])
@pytest.mark.parametrize("path", ["..", "../..", "event_type=datapoint/../../x"])
def test_no_command_leaves_the_archive(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], command: list[str], path: str
) -> None:
    folder = [str(tmp_path / "copy")] if command == ["get"] else []
    assert main([*command, path, *folder, *of(archive)]) == 2
    assert "could lead out of the destination. Give a path relative to the archive" in capfd.readouterr().err


def test_cat_of_a_folder_says_what_to_do(archive: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("event_type=datapoint", "/"):
        assert main(["cat", path, *of(archive)]) == 2
        assert "is a folder. To download its files, use get." in capfd.readouterr().err


def test_get_and_cat_of_an_archive_compare_with_the_manifest(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "event_type=datapoint", str(tmp_path / "copy"), *of(archive)]) == 0
    assert set(tree(tmp_path / "copy").values()) == {CSV}
    assert len(tree(tmp_path / "copy")) == 3
    damaged = sorted((archive / "event_type=datapoint").rglob("*.csv"))[1]
    damaged.write_bytes(CSV[::-1])
    assert main(["get", "event_type=datapoint", str(tmp_path / "again"), *of(archive)]) == 2
    assert "is recorded" in capfd.readouterr().err
    assert set(tree(tmp_path / "again").values()) <= {CSV}
    path = str(damaged.relative_to(archive))
    assert main(["cat", path, *of(archive)]) == 2
    assert path in capfd.readouterr().err
    whole = sorted((archive / "event_type=datapoint").rglob("*.csv"))[0]
    assert main(["cat", str(whole.relative_to(archive)), *of(archive)]) == 0
    assert capfd.readouterr().out == CSV.decode()


def test_the_archive_of_the_sample_dags_is_the_default(
    archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_EXPORT_DESTINATION", f"file://{archive}")
    assert main(["ls", "/"]) == 0
    assert len(names(capsys.readouterr().out)) == 2


def test_the_commands_of_the_page(
    cloud: LocalCloud, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import shlex

    monkeypatch.setenv("AIRFLOW_VAR_AYLA_EXPORT_DESTINATION", f"file://{archive}")
    page = (Path(__file__).parents[2] / "docs/files.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m ayla_provider (.*)$", page, re.MULTILINE)
    assert {shlex.split(command)[0] for command in commands} == {"ls", "get", "cat"}
    for command in commands:
        words: list[Any] = shlex.split(command.partition(" | ")[0])
        words = [f"{tmp_path}{word}" if word.startswith("/data") else word for word in words]
        words = [f"file://{archive}" if word.startswith("gs://") else word for word in words]
        assert main(words) == 0, command
    assert len(tree(tmp_path / "data")) == 2 + 3

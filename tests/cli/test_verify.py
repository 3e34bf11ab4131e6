from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
import time_machine

from ayla_provider.__main__ import main
from ayla_provider.archive.findings import Damage
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.cli.verify import VerifyReport
from ayla_provider.domain.arrival import HourState, HourStatus
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.manifest import Manifest, revise
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.typed_manifest import typed_manifest_path
from ayla_provider.errors import AylaLostError
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.rows.test_expressions import CONNECTION
from tests.support.archives import archive_hour, hours_back
from tests.warehouse import archive as typed
from tests.warehouse.loading import archive_of, load

ROOT = Path(__file__).parents[2]
HOURS = hours_back(datetime.now(UTC), 3)

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def manifests(tmp_path: Path) -> list[Manifest]:
    return [archive_hour(FileDestination(tmp_path), hour, [b"1,2\r\n"]) for hour in HOURS]


def until(root: Path) -> list[str]:
    return ["verify", "--destination", f"file://{root}", "--until", HOURS[-1].end.isoformat()]


def test_a_whole_archive_ends_with_0(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(until(tmp_path)) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[2:] == ["3 manifests, 3 files, 15 B", "", "Everything that the manifests name is there."]
    assert err == ""


def test_a_loss_ends_with_1_and_is_named(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifests[0].files[0].path
    (tmp_path / path).unlink()
    assert main(until(tmp_path)) == 1
    out, _ = capsys.readouterr()
    assert f"{HOURS[0]}: missing: the file isn't there: {path}" in out
    assert "1 missing\n" in out
    assert "1 hour is damaged or not complete. Clear its copy task, " in out


def test_a_copy_that_changed_on_the_disk_has_to_be_moved_away(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / manifests[0].files[0].path
    written = copy.stat()
    copy.write_bytes(copy.read_bytes()[:-1] + b"!")
    os.utime(copy, ns=(written.st_atime_ns, written.st_mtime_ns))
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2)):
        assert main([*until(tmp_path), "--read-every", "24h"]) == 1
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert verdict.endswith("Move the damaged files out of the archive first.")


def test_json_has_the_names_that_are_documented(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / manifest_path(HOURS[1])).unlink()
    assert main([*until(tmp_path), "--json", "--event-type", "Datapoint", "--since", HOURS[0].start.isoformat()]) == 1
    document = json.loads(capsys.readouterr().out)
    (finding,) = document["findings"]
    assert finding == {
        "event_type": "datapoint",
        "hour": HOURS[1].start.isoformat(),
        "damage": "no_manifest",
        "path": manifest_path(HOURS[1]),
        "detail": "the hour has no manifest",
    }
    assert document["since"] == HOURS[0].start.isoformat()
    summary = document["summary"]
    assert (summary["whole"], summary["manifests"], summary["files"], summary["bytes"]) == (False, 2, 2, 10)
    assert summary["damages"] == dict.fromkeys(Damage, 0) | {"no_manifest": 1}
    page = (ROOT / "docs/verify.md").read_text(encoding="utf-8")
    names = [*document, *finding, *summary]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_reading_reads_a_share_and_says_so(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*until(tmp_path), "--read-every", "24h"]) == 0
    assert "3 files read, 15 B\n" in capsys.readouterr().out
    assert main([*until(tmp_path), "--read-every", "90d", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert (summary["read_files"], summary["read_bytes"]) == (1, 5)


def test_a_part_of_the_archive_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*until(tmp_path), "--read-every", "90d", "--since", "7d"]) == 2
    assert "--read-every reads everything, a share in each run: leave out --since" in capsys.readouterr().err


@pytest.mark.parametrize("span", ["0d", "-1d", "90", "d", "1.5d", "90m"])
def test_a_wrong_span_is_refused(span: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--destination", "file:///x", "--read-every", span])
    assert ended.value.code == 2


def test_an_orphan_is_named_and_ends_with_0(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    orphan = tmp_path / manifests[0].files[0].path.replace("0.csv", "9.csv")
    orphan.write_bytes(b"x")
    os.utime(orphan, (0, 0))
    assert main(until(tmp_path)) == 0
    assert f"orphan: no manifest names it: {orphan.relative_to(tmp_path)}" in capsys.readouterr().out


def test_an_archive_that_can_not_be_read_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--destination", "file://relative"]) == 2
    assert capsys.readouterr().err.startswith("error: file://relative: ")


@pytest.mark.parametrize("more", [[], ["--event-type", "datapiont"]])
def test_nothing_to_verify_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert main([*until(tmp_path), *more]) == 1
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert verdict.startswith("There is nothing to verify in _manifests/")
    assert verdict.endswith(": check the destination and the event types.")


def test_a_manifest_that_a_copy_could_not_write_again_is_lost(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hour, path = HOURS[1], manifest_path(HOURS[1])
    (tmp_path / path).unlink()
    error = AylaLostError(f"{hour}: its manifest is missing, ... restore {path}")
    Records(FileDestination(tmp_path)).note_failure(HourStatus(hour, HourState.EMPTY), error, datetime.now(UTC), {})
    assert main(until(tmp_path)) == 1
    out, _ = capsys.readouterr()
    assert f"{hour}: lost: its manifest is missing, and Ayla no longer shows all its files: {path}" in out
    assert "Clear" not in out
    assert out.splitlines()[-1].startswith("1 hour has copies but no valid manifest")


def test_a_newer_manifest_needs_an_upgrade(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = manifests[0].dumps().replace("ayla-export-manifest/1", "ayla-export-manifest/99")
    (tmp_path / manifest_path(HOURS[0])).write_text(newer)
    assert main(until(tmp_path)) == 1
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert verdict == "1 record is of a newer version of this package: upgrade the package."


@pytest.mark.parametrize("damage", ["folder", "loop", "link to the folder above"])
def test_what_is_no_file_does_not_end_a_verification(manifests: list[Manifest], tmp_path: Path, damage: str) -> None:
    for path in (manifest_path(HOURS[0]), manifests[1].files[0].path):
        place = tmp_path / path
        place.unlink()
        if damage == "folder":
            place.mkdir()
        else:
            place.symlink_to(place if damage == "loop" else place.parent)
    report = VerifyReport(
        FileDestination(tmp_path),
        FileDestination(tmp_path / "parquet"),
        event_types=None,
        since=None,
        until=HOURS[-1].end,
        expected_retention=None,
    )
    damages = {(finding.damage, finding.hour) for finding in report.findings()}
    assert damages == {(Damage.NO_MANIFEST, HOURS[0]), (Damage.MISSING, HOURS[1])}


def test_verify_removes_nothing(
    manifests: list[Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / manifests[0].files[0].path
    copy.unlink()
    partial = copy.with_name(".0123456789abcdef.partial")
    partial.write_bytes(b"x")
    os.utime(partial, (0, 0))
    assert main(until(tmp_path)) == 1
    assert partial.exists()
    assert "1 missing, 1 unfinished_upload" in capsys.readouterr().out


@pytest.mark.parametrize("days", ["0", "-1", "x", "1.5"])
def test_a_wrong_retention_is_refused(days: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--destination", "file:///x", "--expected-retention", days])
    assert ended.value.code == 2


def test_a_lost_file_ends_with_1_and_says_that_nothing_can_be_done(
    manifests: list[Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records, manifest = Records(FileDestination(tmp_path)), manifests[0]
    stored = records.read_manifest(manifest.hour)[1]
    (tmp_path / manifest.files[0].path).unlink()
    found_at = datetime(2026, 11, 28, tzinfo=UTC)
    lost = revise(manifest, manifest.hour, manifest.state, [], written_at=found_at, written_by={}, lost=manifest.files)
    records.write_manifest(lost, stored)
    assert main(until(tmp_path)) == 1
    out, _ = capsys.readouterr()
    reason = "Ayla no longer has it, as a repair found on 2026-11-28"
    assert f"{HOURS[0]}: lost: {reason}: {manifest.files[0].path}" in out
    assert "1 lost\n" in out
    assert out.splitlines()[-1] == "1 hour is lost for good: neither the archive nor Ayla has all files any more."


def loaded(root: Path, table_prefix: str = "ayla_") -> list[str]:
    """Load an hour into a DuckDB file, and return the command that verifies it."""
    typed.archive_hour(root / "archive", "connection", [CONNECTION])
    with DuckDBWarehouse(root / "ayla.duckdb", table_prefix=table_prefix) as warehouse:
        load(warehouse, archive_of(root), "connection", [typed.HOUR])
    archive = ["--destination", f"file://{root}/archive", "--parquet", f"file://{root}/rows"]
    return ["verify", *archive, "--until", (typed.HOUR + ONE_HOUR).isoformat(), "--duckdb", f"{root}/ayla.duckdb"]


def test_a_duckdb_file_that_agrees_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(loaded(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Everything that the manifests name is there. The warehouse agrees with the receipts."


@pytest.mark.parametrize("more", [[], ["--event-type", "connection"]])
def test_what_differs_in_a_duckdb_file_ends_with_1_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    command = loaded(tmp_path)
    with duckdb.connect(tmp_path / "ayla.duckdb") as duck:
        duck.execute("insert into ayla_connection select * from ayla_connection")
    assert main([*command, *more]) == 1
    out, _ = capsys.readouterr()
    detail = f"DuckDB file {tmp_path}/ayla.duckdb: the table has 2 rows, the ledger says 1"
    hour = ExportHour(EventType("connection"), typed.HOUR)
    assert f"{hour}: more_rows: {detail}: {typed_manifest_path(hour)}" in out
    assert out.splitlines()[-1] == "1 hour differs in the warehouse: load it again, unless someone erased rows."
    assert main([*command, *more, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (finding,) = document["findings"]
    assert (finding["damage"], finding["hour"], finding["detail"]) == ("more_rows", typed.HOUR.isoformat(), detail)
    assert document["summary"]["damages"] == dict.fromkeys(Damage, 0) | {"more_rows": 1}
    # Without the option, nobody looks.
    assert main(command[:-2]) == 0


def test_tables_can_have_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = loaded(tmp_path, table_prefix="iot_")
    assert main([*command, "--table-prefix", "iot_"]) == 0
    with duckdb.connect(tmp_path / "ayla.duckdb") as duck:
        duck.execute("delete from iot_connection")
    assert main([*command, "--table-prefix", "iot_", "--schema", "main"]) == 1
    assert "fewer_rows" in capsys.readouterr().out


@pytest.mark.parametrize("names", [["--schema", "nope"], ["--table-prefix", "other_"]])
def test_a_duckdb_file_without_the_loads_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    assert main([*loaded(tmp_path), *names]) == 2
    assert "has no table of loads" in capsys.readouterr().err


def test_a_duckdb_file_that_can_not_be_read_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = loaded(tmp_path)
    assert main([*command[:-1], f"{tmp_path}/other.duckdb"]) == 2
    assert capsys.readouterr().err == (
        f"error: file://{tmp_path}/archive: --duckdb is {tmp_path}/other.duckdb: there is no such file\n"
    )
    assert not (tmp_path / "other.duckdb").exists()
    (tmp_path / "ayla.duckdb").write_bytes(b"no database" * 1000)
    assert main(command) == 2
    assert f"error: file://{tmp_path}/archive: DuckDB file {tmp_path}/ayla.duckdb: " in capsys.readouterr().err

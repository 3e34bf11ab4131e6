"""Erasures of lines that name a subject in a text: files, typed rows, and tables agree, so that nothing comes back."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.holds import place_hold, release_hold
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hold import hold
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import loads
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.typed_manifest import quarantine_path
from ayla_provider.errors import AylaConfigError, AylaHeldError, AylaUnavailable
from ayla_provider.rows.typed_archive import TypedArchive
from tests.support.erasing import KEYS, duckdb_of, erase, erasure_run, load, request
from tests.support.lake_killing import warehouse_of
from tests.warehouse.archive import HOUR, archive_hour

DSN, USER = "LC000X000000007", "3fa85f64-5717-4562-b3fc-2c963f66afa6"
OTHER_DSN, OTHER_USER = "LC000X000000011", "16e7d6ed-9a5e-4f70-8e36-3a07578112a0"
SUBJECT = {"dsn": DSN, "user_uuid": USER}
OF_HOUR = ExportHour(EventType("datapoint"), HOUR)


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def deep(text: str, times: int) -> str:
    for _ in range(times):
        text = b64(text)
    return text


NAMING = {
    "as_it_is": f"a note about {DSN}",
    "lower": DSN.lower(),
    "no_hyphens": USER.replace("-", ""),
    **{f"base64_{times}": deep(f"x {DSN}", times) for times in range(1, 5)},
    **{f"user_{times}": deep(USER.upper(), times) for times in range(1, 5)},
    "like_a_hash": f"{USER.replace('-', '')}{'0' * 32}",
    "json": json.dumps({"note": f"first line\n{DSN}"}),
    "json_code": '{"user":"' + USER.replace("-", "\\u002d") + '"}',
}
OF_OTHERS = {"none": "nothing here", "glued": f"{DSN}9", "other": OTHER_DSN, "deep_other": deep(OTHER_DSN, 3)}


def line(name: str, text: str, dsn: str = OTHER_DSN, user: str = OTHER_USER) -> str:
    number = abs(hash_of(name + text)) % 10**12
    return (
        f"1a2b3c4d,LC-THERMO-2,{dsn},note_{name},{b64('Note')},string,11111111-2222-11ee-8de9-{number:012},,"
        f"2026-11-01T07:10:02Z,2026-11-01T07:10:02Z,{user},false,false,false,user,,,,,{b64(text)},,output\n"
    )


def hash_of(text: str) -> int:
    return int.from_bytes(b64encode(text.encode())[-16:], "big")


def content(**more: str) -> bytes:
    lines = [line(name, text) for name, text in (NAMING | OF_OTHERS | more).items()]
    lines += [line("own", "mine", DSN, USER), line("of_user", "mine", "LC000X000000012", USER)]
    return "".join(lines).encode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    archive_hour(tmp_path / "archive", "datapoint", [content()])
    load(tmp_path, duckdb_of(tmp_path), [OF_HOUR])
    request(tmp_path, **SUBJECT)
    return tmp_path


class DiesBeforeReceipt(FileDestination):
    """Typed rows on disk, of which no receipt can be written."""

    def write(self, path: str, *arguments: Any, **more: Any) -> Stored:
        if path.endswith(".json"):
            raise KeyboardInterrupt
        return super().write(path, *arguments, **more)


def damage(root: Path, *, is_lost: bool) -> None:
    """Change a byte of the hour's file, and perhaps mark it as lost."""
    (copy,) = (root / "archive").glob("event_type=*/*/*/*.csv")
    data = copy.read_bytes()
    copy.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    if is_lost:
        records = Records(FileDestination(root / "archive"))
        manifest, stored = records.read_manifest(OF_HOUR)
        assert manifest
        files = tuple(replace(file, lost="2026-11-03T05:30:00+00:00") for file in manifest.files)
        records.write_manifest(replace(manifest, files=files), stored)


def in_parquet(root: Path) -> set[str]:
    names: set[str] = set()
    for path in (root / "archive" / "parquet").glob("event_type=*/*/*/*.parquet"):
        names |= set(pq.ParquetFile(path).read().column("property_name").to_pylist())
    return {name.removeprefix("note_") for name in names}


def in_duckdb(root: Path) -> set[str]:
    with duckdb.connect(str(root / "a.duckdb"), read_only=True) as session:
        rows = session.execute("select property_name from ayla_datapoint").fetchall()
    return {name.removeprefix("note_") for (name,) in rows}


def in_files(root: Path) -> set[str]:
    lines = [
        each
        for path in (root / "archive").glob("event_type=*/*/*/*.csv")
        for each in path.read_text().splitlines()
        if each.count(",") > 10
    ]
    return {each.split(",")[3].removeprefix("note_") for each in lines}


@pytest.mark.parametrize("has_own_lines", [True, False], ids=["own", "only_texts"])
@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "damaged"])
@pytest.mark.parametrize("dies", [False, pytest.param(True, marks=pytest.mark.ci)], ids=["at_once", "killed"])
def test_rows_of_others_stay_where_a_file_is_damaged_or_lost_and_tables_have_the_same(
    tmp_path: Path, *, has_own_lines: bool, is_lost: bool, dies: bool
) -> None:
    lines = content().splitlines(keepends=True)
    data = b"".join(lines if has_own_lines else lines[:-2])
    archive_hour(tmp_path / "archive", "datapoint", [data + data])
    load(tmp_path, duckdb_of(tmp_path), [OF_HOUR])
    damage(tmp_path, is_lost=is_lost)
    request(tmp_path, **SUBJECT)
    if dies:
        rows = DiesBeforeReceipt(tmp_path / "archive" / "parquet")
        with pytest.raises(KeyboardInterrupt):
            erasure_run(tmp_path, [duckdb_of(tmp_path)], rows=rows).erase()
    erase(tmp_path, [duckdb_of(tmp_path)])
    assert in_parquet(tmp_path) == in_duckdb(tmp_path) == set(OF_OTHERS)
    assert in_files(tmp_path) == set(OF_OTHERS)
    with duckdb.connect(str(tmp_path / "a.duckdb"), read_only=True) as session:
        ledger = session.execute("select lines, rows, duplicates, quarantined from ayla_loads").fetchone()
    assert ledger
    lines_left, rows_left, duplicates, quarantined = ledger
    assert rows_left == len(OF_OTHERS)
    assert lines_left == rows_left + duplicates + quarantined


def test_files_rows_and_tables_lose_the_same_and_no_load_brings_it_back(root: Path) -> None:
    everything = {*NAMING, *OF_OTHERS, "own", "of_user"}
    assert in_files(root) == in_parquet(root) == in_duckdb(root) == everything
    expected = erasure_run(root, [duckdb_of(root)]).count()
    report = erase(root, [duckdb_of(root)])
    assert in_files(root) == in_parquet(root) == in_duckdb(root) == set(OF_OTHERS)
    # The dry run counts what is erased, in the tables, too.
    lost = len(everything) - len(OF_OTHERS)
    assert {layer: expected.counts[layer] for layer in ("csv_lines", "parquet_rows", "warehouse_rows")} == {
        layer: report.counts[layer] for layer in ("csv_lines", "parquet_rows", "warehouse_rows")
    }
    assert report.counts["warehouse_rows"] == lost
    assert load(root, duckdb_of(root), [OF_HOUR]) == 0
    # Whatever makes the rows again makes the same ones.
    for path in (root / "archive" / "parquet").rglob("*.json"):
        path.unlink()
    load(root, duckdb_of(root), [OF_HOUR], again=True)
    assert in_parquet(root) == in_duckdb(root) == set(OF_OTHERS)


@pytest.mark.parametrize("kind", ["iceberg", "delta"])
def test_tables_of_a_lake_lose_the_same(root: Path, kind: str) -> None:
    pytest.importorskip("pyiceberg" if kind == "iceberg" else "deltalake")
    load(root, warehouse_of(root, kind), [OF_HOUR])
    expected = erasure_run(root, [warehouse_of(root, kind)]).count()
    report = erase(root, [warehouse_of(root, kind)])
    assert report.counts["warehouse_rows"] == expected.counts["warehouse_rows"] == len(NAMING) + 2
    with warehouse_of(root, kind) as warehouse:
        held = warehouse.held("datapoint", HOUR, HOUR + timedelta(hours=1))
    assert held[HOUR].counted == len(OF_OTHERS)
    assert load(root, warehouse_of(root, kind), [OF_HOUR]) == 0


@pytest.mark.parametrize("policy", [{}, {"val_string": "drop"}, {"*": "hash"}, {"val_string": "hash", "dsn": "keep"}])
def test_a_policy_hides_no_text(tmp_path: Path, policy: dict[str, str]) -> None:
    from ayla_provider.domain.privacy import PrivacyPolicy

    archive_hour(tmp_path / "archive", "datapoint", [content()])
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "archive" / "parquet")
    typed = TypedArchive(
        archive, rows, policy=PrivacyPolicy(policy, "the-key-of-the-policy"), erasure_keys=lambda: KEYS
    )
    typed.ensure(OF_HOUR, {})
    request(tmp_path, **SUBJECT)
    erase(tmp_path)
    assert in_files(tmp_path) == set(OF_OTHERS)
    assert typed.ensure(OF_HOUR, {}).manifest.rows == len(OF_OTHERS)


# What the rows of an hour don't show.


def test_a_malformed_line_alone_shows_that_a_file_names_the_subject(tmp_path: Path) -> None:
    bad = f"a malformed line of {DSN}\n".encode()
    lines = [line(f"good_{number}", "x") for number in range(5)]
    archive_hour(tmp_path / "archive", "datapoint", ["".join(lines).encode() + bad])
    load(tmp_path, duckdb_of(tmp_path), [OF_HOUR])
    (waiting,) = request(tmp_path, **SUBJECT)
    run = erasure_run(tmp_path, [])
    wanted = waiting.request.entry(KEYS, run._now, {})
    expected = erasure_run(tmp_path, []).count()
    assert (expected.counts["csv_lines"], expected.counts["quarantined_lines"]) == (1, 1)
    # A try that is killed after the first look at the hour leaves nothing that a later one can't find.
    from ayla_provider.rows.erase import ArchiveErasure, Wanted

    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "archive" / "parquet")
    with ArchiveErasure(
        archive, rows, [Wanted(waiting.request, wanted)], now=run._now, written_by={"run_id": "r"}
    ) as erasure:
        next(iter(erasure.hours()))
    erase(tmp_path, [duckdb_of(tmp_path)])
    assert DSN not in "".join(path.read_text() for path in (tmp_path / "archive").rglob("*.csv"))
    assert not (tmp_path / "archive" / quarantine_path(OF_HOUR)).exists()


def test_a_file_of_which_no_row_is_made_is_read(tmp_path: Path) -> None:
    note = f"ask {DSN} about it\n".encode()
    archive_hour(tmp_path / "archive", "datapoint", [line("x", "x").encode(), note], names={1: "README.txt"})
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "archive" / "parquet")
    typed = TypedArchive(archive, rows, ignored_files=["README*"], erasure_keys=lambda: KEYS)
    typed.ensure(OF_HOUR, {})
    request(tmp_path, **SUBJECT)
    assert erase(tmp_path).counts["csv_lines"] == 1


@pytest.mark.parametrize("word", ["drop", "quarantine", "evolve"])
def test_a_new_column_that_rows_lack_is_read(tmp_path: Path, word: str) -> None:
    lines = [line("a", "x")[:-1] + f",{DSN}\n", line("b", "x")[:-1] + ",wifi\n"]
    archive_hour(tmp_path / "archive", "datapoint", ["".join(lines).encode()])
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "archive" / "parquet")
    typed = TypedArchive(archive, rows, on_new_column=word, erasure_keys=lambda: KEYS)
    typed.ensure(OF_HOUR, {})
    request(tmp_path, **SUBJECT)
    erase(tmp_path)
    assert in_files(tmp_path) == {"b"}
    assert typed.ensure(OF_HOUR, {}).manifest.rows == 1


def test_a_line_that_an_update_replaced_is_found(tmp_path: Path) -> None:
    old, new = line("a", f"of {DSN}"), line("a", f"of {DSN}")
    new = new.replace("T07:10:02Z", "T07:40:02Z").replace(b64(f"of {DSN}"), b64("of nobody"))
    archive_hour(tmp_path / "archive", "datapoint", [old.encode(), new.encode()])
    load(tmp_path, duckdb_of(tmp_path), [OF_HOUR])
    request(tmp_path, dsn=DSN)
    assert erase(tmp_path, [duckdb_of(tmp_path)]).counts["csv_lines"] == 1
    assert load(tmp_path, duckdb_of(tmp_path), [OF_HOUR]) == 0


@pytest.mark.parametrize("left", ["of,nobody\n", line("none", "x").replace(OTHER_DSN, "").replace("string", ""), ""])
@pytest.mark.parametrize("begun", [True, False])
def test_a_file_with_few_lines_left_is_typed_by_the_layout_of_the_others(
    tmp_path: Path, left: str, begun: bool
) -> None:
    own = [line(f"own_{number}", "mine", DSN, USER) for number in range(9)]
    archive_hour(tmp_path / "archive", "datapoint", ["".join(own).encode() + left.encode()])
    later = ExportHour(EventType("datapoint"), HOUR + timedelta(hours=1))
    archive_hour(tmp_path / "archive", "datapoint", [line("later", "x").encode()], later.start)
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "archive" / "parquet")
    typed = TypedArchive(archive, rows, erasure_keys=lambda: KEYS, max_malformed=1)
    typed.ensure(OF_HOUR, {})
    (waiting,) = request(tmp_path, **SUBJECT)
    if begun:
        entry = waiting.request.entry(KEYS, erasure_run(tmp_path, [])._now, {})
        (tmp_path / "archive" / "_erasures").mkdir()
        (tmp_path / "archive" / entry.path).write_text(entry.dumps())
    else:
        erase(tmp_path)
    made = typed.ensure(OF_HOUR, {}, again=True).manifest
    assert made.lines == len(left.splitlines())
    assert DSN not in made.dumps()


def test_files_whose_rows_a_rule_removed_are_read(root: Path) -> None:
    from ayla_provider.domain.removal import Rule
    from ayla_provider.rows.removal import remove_rows
    from tests.support.retaining import KEEP_FOR, LATER

    assert remove_rows(FileDestination(root / "archive" / "parquet"), Rule("rule", KEEP_FOR, LATER), {}).hours == 1
    with pytest.raises(AylaUnavailable, match=r"1 hour of DuckDB file .* must be loaded again"):
        erase(root, [duckdb_of(root)])
    assert in_files(root) == set(OF_OTHERS)
    load(root, duckdb_of(root), [OF_HOUR])
    erase(root, [duckdb_of(root)])
    assert in_duckdb(root) == set(OF_OTHERS)


# Legal holds.


def held(root: Path, **more: Any) -> FileDestination:
    archive = FileDestination(root / "archive")
    place_hold(archive, hold("case-7", placed_at=HOUR, key=KEYS.newest, **more))
    return archive


SHARED: dict[str, Callable[[], str]] = {
    "as its user": lambda: line("shared", "x", DSN, OTHER_USER),
    "in a text": lambda: line("shared", f"of {OTHER_USER}", DSN, USER),
    "deep in a text": lambda: line("shared", deep(f"of {OTHER_USER}", 3), DSN, USER),
    "in a malformed line": lambda: f"{DSN},{OTHER_USER}\n",
}


@pytest.mark.parametrize("where", sorted(SHARED))
def test_a_line_that_names_the_subject_of_a_hold_stops_the_erasure_of_another_subject(
    tmp_path: Path, where: str
) -> None:
    others = "".join(line(f"own_{number}", "mine", DSN, USER) for number in range(5))
    archive_hour(tmp_path / "archive", "datapoint", [(others + SHARED[where]()).encode()])
    load(tmp_path, duckdb_of(tmp_path), [OF_HOUR])
    (waiting,) = request(tmp_path, dsn=DSN)
    archive = held(tmp_path, subject={"user_uuid": [OTHER_USER]})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for run in (lambda: erase(tmp_path, [duckdb_of(tmp_path)]), lambda: erasure_run(tmp_path, []).count()):
        with pytest.raises(AylaHeldError, match=r"'case-7' .* is on 1 CSV line, .* Nothing of it was erased") as caught:
            run()
        assert waiting.id in str(caught.value)
        assert DSN not in str(caught.value)
        assert OTHER_USER not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    release_hold(archive, "case-7")
    assert erase(tmp_path, [duckdb_of(tmp_path)]).counts["csv_lines"] == 6


@pytest.mark.parametrize(
    "of_hold",
    [
        {"subject": {"user_uuid": ["99999999-9a5e-4f70-8e36-3a07578112a0"]}},
        {"subject": {"user_uuid": [OTHER_USER]}, "start": HOUR + timedelta(hours=1)},
        {"subject": {"user_uuid": [OTHER_USER]}, "event_types": [EventType("location")]},
    ],
    ids=["of another user", "of other hours", "of other event types"],
)
def test_a_hold_that_no_line_concerns_stops_nothing(tmp_path: Path, of_hold: dict[str, Any]) -> None:
    lines = line("shared", "x", DSN, OTHER_USER)
    archive_hour(tmp_path / "archive", "datapoint", [lines.encode()])
    load(tmp_path, duckdb_of(tmp_path), [OF_HOUR])
    request(tmp_path, dsn=DSN)
    held(tmp_path, **of_hold)
    assert erase(tmp_path, [duckdb_of(tmp_path)]).counts["warehouse_rows"] == 1


@pytest.mark.parametrize("has_rows", [True, False])
def test_rows_whose_files_are_gone_are_not_erased_under_a_hold(tmp_path: Path, has_rows: bool) -> None:
    from ayla_provider.archive.removal import remove_copies
    from ayla_provider.domain.removal import Rule
    from ayla_provider.rows.removal import remove_rows
    from tests.support.retaining import KEEP_FOR, LATER

    archive_hour(tmp_path / "archive", "datapoint", [line("shared", "x", DSN, OTHER_USER).encode()])
    load(tmp_path, duckdb_of(tmp_path), [OF_HOUR])
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "archive" / "parquet")
    remove_copies(archive, Rule("rule", KEEP_FOR, LATER), {})
    if not has_rows:
        remove_rows(rows, Rule("rule", KEEP_FOR, LATER), {})
    request(tmp_path, dsn=DSN)
    held(tmp_path, subject={"user_uuid": [OTHER_USER]})
    what = "1 Parquet row" if has_rows else "whose files are gone"
    with pytest.raises(AylaHeldError, match=what):
        erase(tmp_path, [duckdb_of(tmp_path)])
    assert in_duckdb(tmp_path) == {"shared"}


# Places that aren't what they should be.


def test_a_place_that_is_no_archive_keeps_the_request(root: Path) -> None:
    (root / "archiv").mkdir()
    wrong = FileDestination(root / "archiv")
    for run in (
        erasure_run(root, [], wrong, FileDestination(root / "archiv" / "parquet")),
        erasure_run(root, [], None, FileDestination(root / "parquet")),
        erasure_run(root, [duckdb_of(root / "archiv")]),
    ):
        for act in (run.count, run.erase):
            with pytest.raises(AylaConfigError, match="Nothing was done"):
                act()
    assert not (root / "archiv" / "_erasures").exists()
    assert not (root / "archive" / "_erasures").exists()
    assert [path.name for path in (root / "requests").iterdir()] == ["ticket-1.json"]


def test_without_a_request_there_is_nothing_to_count_or_erase(root: Path) -> None:
    (root / "requests" / "ticket-1.json").unlink()
    for run in (erasure_run(root, [duckdb_of(root)]).count, erasure_run(root, [duckdb_of(root)]).erase):
        report = run()
        assert (report.ids, report.hours_looked_at, dict(report.counts)) == ([], 0, {})


# The certificate.


def test_the_counts_of_an_erasure_that_was_killed_are_the_least_that_was_erased(root: Path) -> None:
    (waiting,) = request(root, **SUBJECT)
    entry = waiting.request.entry(KEYS, erasure_run(root, [])._now, {})
    (root / "archive" / "_erasures").mkdir()
    (root / "archive" / entry.path).write_text(entry.dumps())
    erase(root, [duckdb_of(root)])
    document = json.loads((root / "archive" / entry.path).read_text())
    assert (document["state"], document["erased_is"]) == ("done", "at_least")
    assert set(document["erased"]) == {
        "csv_lines", "parquet_rows", "warehouse_rows", "hours", "objects", "requests_together"
    }  # fmt: skip


def test_the_counts_of_an_erasure_that_ended_are_exact(root: Path) -> None:
    erase(root, [duckdb_of(root)])
    (path,) = (root / "archive" / "_erasures").iterdir()
    document = json.loads(path.read_text())
    assert document["erased_is"] == "exact"
    manifest = loads((root / "archive" / manifest_path(OF_HOUR)).read_bytes(), "here")
    assert document["erased"]["csv_lines"] == manifest.erased_lines == document["erased"]["warehouse_rows"]

"""Evidence: what each month has, chained from month to month, and what no run explains."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.__main__ import main
from ayla_provider.archive.evidence import collect
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.evidence import NO_MANIFEST, Evidence, Month, change_of, loads
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaConfigError, AylaDestinationError
from tests.support import erasing
from tests.warehouse.archive import archive_hour

ROOT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = Month(2026, 9), Month(2026, 10), Month(2026, 11)
HOUR = datetime(2026, 9, 14, 7, tzinfo=UTC)
ROW = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"


def made_at(month: Month) -> datetime:
    return month.next.start + timedelta(days=2)


class Books:
    """An archive, and the documents about it."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "archive"
        self.folder = folder / "evidence"
        self.folder.mkdir()
        self.documents: list[Evidence] = []

    def add(self, hour: datetime, *contents: bytes, written_at: datetime | None = None) -> Manifest:
        """Write an hour as a copy does, with SHA-256."""
        made = archive_hour(self.archive, "connection", list(contents), hour)
        files = [
            replace(file, sha256=hashlib.sha256(data).hexdigest())
            for file, data in zip(made.files, contents, strict=True)
        ]
        written_at = written_at or hour + timedelta(hours=2)
        return self.write(replace(made, files=tuple(files), written_at=written_at.isoformat()))

    def write(self, manifest: Manifest) -> Manifest:
        records = Records(FileDestination(self.archive))
        records.write_manifest(manifest, records.read_manifest(manifest.hour)[1])
        return manifest

    def make(self, month: Month) -> Evidence:
        evidence = collect(FileDestination(self.archive), month, self.documents, made_at(month))
        (self.folder / f"{month}.json").write_text(evidence.dumps())
        self.documents.append(loads(evidence.dumps(), "it"))
        return evidence

    def change(self, path: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a manifest as somebody does who can write to the bucket."""
        document = json.loads((self.archive / path).read_text())
        change(document)
        (self.archive / path).write_text(json.dumps(document))

    def check(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Run the script of the page."""
        page = (ROOT / "docs" / "evidence.md").read_text()
        (script,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        assert len(script.splitlines()) <= 30
        command = [sys.executable, "-I", "-c", script, str(self.folder), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    made = Books(tmp_path)
    made.add(HOUR, ROW, ROW * 2)
    made.add(HOUR + timedelta(hours=1))
    return made


PATH = manifest_path(ExportHour("connection", HOUR))  # type: ignore[arg-type]


def test_a_document_says_what_each_hour_of_the_month_has(books: Books) -> None:
    evidence = books.make(FIRST)
    assert len(evidence.hours) == 30 * 24
    entries = {entry["hour"]: entry for entry in evidence.hours}
    landed, empty = entries[HOUR.isoformat()], entries[(HOUR + timedelta(hours=1)).isoformat()]
    assert (landed["state"], landed["revision"], empty["state"], empty["files"]) == ("landed", 1, "empty", [])
    assert landed["manifest_sha256"] == hashlib.sha256((books.archive / PATH).read_bytes()).hexdigest()
    assert [file["sha256"] for file in landed["files"]] == [hashlib.sha256(data).hexdigest() for data in (ROW, ROW * 2)]
    assert sum(entry["state"] == NO_MANIFEST for entry in evidence.hours) == 30 * 24 - 2
    assert (evidence.previous, evidence.changes) == ("", ())


def test_nothing_changes_and_the_chain_is_whole(books: Books) -> None:
    first, second = books.make(FIRST), books.make(SECOND)
    assert (second.previous, second.changes) == (first.head, ())
    checked = books.check(str(books.archive))
    assert (checked.returncode, checked.stdout) == (0, f"whole, up to {second.head}\n"), checked.stderr


LATER = made_at(FIRST) + timedelta(days=1)


def late_file(books: Books) -> str:
    books.write(replace(books.add(HOUR, ROW, ROW * 2, ROW * 3, written_at=LATER), revision=2))
    return "files added"


def lost_file(books: Books) -> str:
    old = Records(FileDestination(books.archive)).read_manifest(ExportHour("connection", HOUR))[0]  # type: ignore[arg-type]
    assert old
    books.write(
        manifests.revise(
            old, old.hour, HourState.LANDED, old.files[1:], written_at=LATER, written_by={}, lost=old.files[:1]
        )
    )
    return "files lost"


def removed_by_rule(books: Books) -> str:
    old = Records(FileDestination(books.archive)).read_manifest(ExportHour("connection", HOUR))[0]  # type: ignore[arg-type]
    assert old
    books.write(manifests.after_removal(old, LATER, {}))
    return "files removed by a rule"


def repaired(books: Books) -> str:
    old = Records(FileDestination(books.archive)).read_manifest(ExportHour("connection", HOUR))[0]  # type: ignore[arg-type]
    assert old
    files = [replace(file, version="another") for file in old.files]
    books.write(manifests.revise(old, old.hour, HourState.LANDED, files, written_at=LATER, written_by={"run_id": "r"}))
    return "copies written again"


def replaced(books: Books) -> str:
    made = books.add(HOUR, ROW * 7, ROW * 2, written_at=LATER)
    files = (replace(made.files[0], generation=2), made.files[1])
    books.write(replace(made, files=files, revision=2))
    return "files replaced"


def copied_later(books: Books) -> str:
    books.add(HOUR + timedelta(hours=5), ROW, written_at=LATER)
    return "copied later"


@pytest.mark.parametrize("change", [late_file, lost_file, removed_by_rule, repaired, replaced, copied_later])
def test_what_a_run_changes_in_an_earlier_month_is_stated_and_explained(
    books: Books, change: Callable[[Books], str]
) -> None:
    books.make(FIRST)
    reason = change(books)
    second = books.make(SECOND)
    assert [(entry["reasons"], entry["objections"]) for entry in second.changes] == [([reason], [])]
    # It is known from then on.
    assert books.make(THIRD).changes == ()
    assert books.check().returncode == 0
    if change not in (removed_by_rule, replaced, late_file):
        assert books.check(str(books.archive)).returncode == 0


def remove(books: Books) -> None:
    (books.archive / PATH).unlink()


def another_checksum(document: dict[str, Any]) -> None:
    document["files"][0]["crc32c"] = "AAAAAA=="
    document["written_at"] = LATER.isoformat()
    document["revision"] = 2


def another_sha256(document: dict[str, Any]) -> None:
    document["files"][0]["sha256"] = "0" * 64
    document["written_at"] = LATER.isoformat()


def forgotten_file(document: dict[str, Any]) -> None:
    del document["files"][0]
    document["written_at"] = LATER.isoformat()
    document["revision"] = 2


def backdated(document: dict[str, Any]) -> None:
    document["written_by"] = {"run_id": "somebody"}


def of_the_future(document: dict[str, Any]) -> None:
    document["written_at"] = "2030-01-01T00:00:00+00:00"


def earlier_revision(document: dict[str, Any]) -> None:
    document["written_at"] = LATER.isoformat()
    document["revision"] = 0


def unknown_erasure(document: dict[str, Any]) -> None:
    document["format"] = "ayla-export-manifest/3"
    document["files"][0]["erased"] = {"lines": 1, "size": 0, "crc32c": "AAAAAA==", "by": ["nobody"]}
    document["written_at"] = LATER.isoformat()
    document["revision"] = 2


@pytest.mark.parametrize(
    ("change", "objection"),
    [
        (another_checksum, "has another checksum or size, and no other generation"),
        (another_sha256, "has another SHA-256"),
        (forgotten_file, "it no longer names event_type=connection"),
        (backdated, "before the earlier document"),
        (of_the_future, "in the future"),
        (earlier_revision, "its revision was 1 and is 0"),
        (unknown_erasure, "the erasure nobody isn't in the ledger"),
    ],
)
def test_a_manifest_that_somebody_changed_is_an_objection(
    books: Books, change: Callable[[dict[str, Any]], None], objection: str
) -> None:
    books.make(FIRST)
    books.change(PATH, change)
    assert books.check(str(books.archive)).returncode == 1
    (entry,) = books.make(SECOND).changes
    assert [each for each in entry["objections"] if objection in each]


def test_a_manifest_that_was_removed_is_an_objection_until_it_is_back(books: Books) -> None:
    books.make(FIRST)
    content = (books.archive / PATH).read_bytes()
    remove(books)
    second = books.make(SECOND)
    assert second.objections == ["connection 2026-09-14T07:00: the manifest is gone"]
    (books.archive / PATH).write_bytes(content)
    (entry,) = books.make(THIRD).changes
    assert "before the earlier document" in entry["objections"][0]


def test_a_manifest_that_appears_with_a_time_of_before_is_an_objection(books: Books) -> None:
    books.make(FIRST)
    books.add(HOUR + timedelta(hours=5), ROW, written_at=HOUR + timedelta(hours=7))
    (entry,) = books.make(SECOND).changes
    assert "before the earlier document" in entry["objections"][0]


@pytest.mark.parametrize("month", [FIRST, SECOND])
@pytest.mark.parametrize("field", ["month", "made_at", "export", "previous", "hours", "sha256"])
def test_a_document_that_was_changed_breaks_the_chain(books: Books, month: Month, field: str) -> None:
    books.make(FIRST)
    books.make(SECOND)
    file = books.folder / f"{month}.json"
    document = json.loads(file.read_text())
    if field == "hours":
        document["hours"][300]["state"] = "empty"
    else:
        document[field] = {"month": "2026-07", "made_at": "2026-01-01T00:00:00+00:00"}.get(field, "0" * 64)
    file.write_text(json.dumps(document))
    assert books.check().returncode == 1
    with pytest.raises(AylaDestinationError, match="isn't that of its hash"):
        loads(file.read_text(), "it")


def test_a_document_that_was_made_anew_or_removed_breaks_the_chain(books: Books) -> None:
    first = books.make(FIRST)
    second = books.make(SECOND)
    other = replace(first, hours=first.hours[1:])
    (books.folder / f"{FIRST}.json").write_text(other.dumps())
    assert books.check().returncode == 1
    with pytest.raises(AylaDestinationError, match="doesn't follow from that of 2026-09"):
        collect(FileDestination(books.archive), THIRD, [other, second], made_at(THIRD))
    (books.folder / f"{FIRST}.json").unlink()
    assert books.check().returncode == 1


def test_an_erasure_is_stated_with_its_id(tmp_path: Path) -> None:
    books = Books(tmp_path)
    erasing.make_archive(tmp_path)
    month = Month(erasing.HOUR.year, erasing.HOUR.month)
    before = collect(FileDestination(books.archive), month, [], month.next.start)
    # The erasure has the time of now.
    before = replace(before, made_at=erasing.HOUR + timedelta(days=1))
    erasing.request(tmp_path)
    erasing.erase(tmp_path)
    after = collect(FileDestination(books.archive), month.next, [before], datetime.now(UTC) + timedelta(days=90))
    erased = [entry for entry in after.changes if any("erased" in reason for reason in entry["reasons"])]
    assert erased
    (ledger,) = after.erasures
    assert {reason for entry in erased for reason in entry["reasons"]} == {f"lines erased by {ledger['erasure']}"}
    assert after.objections == []
    text = after.dumps().lower()
    assert not any(value.lower() in text for value in erasing.SUBJECT.values())
    assert "hmac" not in text


def test_the_months_are_made_in_order_and_when_they_are_over(books: Books) -> None:
    with pytest.raises(AylaConfigError, match="2026-09 isn't over"):
        collect(FileDestination(books.archive), FIRST, [], FIRST.next.start - timedelta(seconds=1))
    books.make(FIRST)
    with pytest.raises(AylaConfigError, match="the next month is 2026-10, not 2026-11"):
        books.make(THIRD)


def test_the_command_writes_one_document_for_a_month(
    tmp_path: Path, airflow_db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    last = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    books = Books(tmp_path)
    books.add(last.replace(hour=7), ROW)
    command = ["evidence", "--month", f"{last:%Y-%m}", "--folder", str(books.folder)]
    assert main([*command, "--destination", f"file://{books.archive}"]) == 0
    printed = capsys.readouterr().out
    document = json.loads((books.folder / f"{last:%Y-%m}.json").read_text())
    assert "1 landed, " in printed
    assert printed.endswith(f"of all before it: {document['sha256']}\n")
    assert books.check(str(books.archive)).returncode == 0
    assert main([*command, "--destination", f"file://{books.archive}"]) == 2
    assert "exists. A month has one document" in capsys.readouterr().err


@given(st.integers(1, 9999), st.integers(1, 12))
def test_a_month_is_read_as_it_is_written_and_ends_where_the_next_begins(year: int, number: int) -> None:
    month = Month(year, number)
    assert Month.parse(str(month)) == month
    assert month.next > month
    assert (month.next.year * 12 + month.next.number) - (year * 12 + number) == 1


def test_a_manifest_as_before_is_no_change() -> None:
    entry = {"manifest_sha256": "a"}
    assert change_of(entry, dict(entry), since=LATER, now=LATER, erasures=()) == ([], [])

"""What a document of evidence says of an hour, and which change of an hour it calls explained."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.evidence import Evidence, Month, change_of, entry_of, hash_of, hours_in, known_hours, loads
from ayla_provider.domain.failure import Failure
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Erased, Manifest, ManifestFile
from ayla_provider.errors import AylaConfigError, AylaDestinationError

HOUR = ExportHour(EventType("datapoint"), datetime(2026, 9, 14, 7, tzinfo=UTC))
SINCE = datetime(2026, 10, 2, tzinfo=UTC)
NOW = datetime(2026, 11, 2, tzinfo=UTC)


def old() -> dict[str, Any]:
    file = {"path": "p1", "source": "s1", "generation": 1, "size": 5, "crc32c": "c", "sha256": "d"}
    return {
        "event_type": "datapoint",
        "hour": "2026-09-14T07:00:00+00:00",
        "state": "landed",
        "manifest_sha256": "before",
        "revision": 2,
        "written_at": "2026-09-14T09:00:00+00:00",
        "files": [file, file | {"path": "p2", "source": "s2"}],
    }


def new() -> dict[str, Any]:
    return copy.deepcopy(old()) | {"manifest_sha256": "now", "written_at": SINCE.isoformat()}


def change(new: dict[str, Any], old: dict[str, Any]) -> tuple[list[str], list[str]]:
    return change_of(old, new, since=SINCE, now=NOW, erasures=["known"])


Changing = Callable[[dict[str, Any], dict[str, Any]], object]


def first(entry: dict[str, Any], **fields: object) -> None:
    entry["files"][0] |= fields


def add_file(entry: dict[str, Any]) -> None:
    entry["files"].append(entry["files"][0] | {"path": "p3"})


OTHER = "its content changed, and its revision didn't"


@pytest.mark.parametrize(
    ("changing", "reasons", "objections"),
    [
        (lambda new, old: new.update(manifest_sha256="before"), [], []),
        (lambda new, old: new.pop("manifest_sha256"), [], ["the manifest is gone"]),
        (lambda new, old: old.pop("manifest_sha256"), ["copied later"], []),
        (lambda new, old: None, ["copies written again"], []),
        (
            lambda new, old: new.update(written_at="2026-10-01T23:59:59+00:00"),
            ["copies written again"],
            [
                "the manifest says that it was written at 2026-10-01T23:59:59+00:00, before the earlier document",
            ],
        ),
        (lambda new, old: new.update(written_at=NOW.isoformat()), ["copies written again"], []),
        (
            lambda new, old: new.update(written_at="2026-11-02T00:00:01+00:00"),
            ["copies written again"],
            ["the manifest says that it was written at 2026-11-02T00:00:01+00:00, which is in the future"],
        ),
        (lambda new, old: new.update(revision=1), ["copies written again"], ["its revision was 2 and is 1"]),
        (lambda new, old: new["files"].pop(0), ["copies written again"], ["it no longer names p1"]),
        (lambda new, old: new["files"].clear(), ["copies written again"], ["it no longer names p1"]),
        (lambda new, old: add_file(new), ["files added"], [OTHER]),
        (lambda new, old: (add_file(new), new.update(revision=3)), ["files added"], []),
        (lambda new, old: (first(new, generation=2), new.update(revision=3)), ["files replaced"], []),
        (lambda new, old: first(new, generation=2), ["files replaced"], [OTHER]),
        (
            lambda new, old: (first(new, size=6), new.update(revision=3)),
            ["files replaced"],
            ["p1 has another checksum or size, and no other generation"],
        ),
        (
            lambda new, old: (first(new, crc32c="x"), new.update(revision=3)),
            ["files replaced"],
            ["p1 has another checksum or size, and no other generation"],
        ),
        (
            lambda new, old: (first(new, crc32c="x", source="s9"), new.update(revision=3)),
            ["files replaced"],
            [],
        ),
        (lambda new, old: first(new, sha256="x"), ["copies written again"], ["p1 has another SHA-256"]),
        (lambda new, old: first(old, sha256=None), ["copies written again"], []),
        (lambda new, old: first(new, lost="2026"), ["files lost"], []),
        (lambda new, old: first(old, lost="2026"), ["files restored"], []),
        (lambda new, old: first(new, removed="2026"), ["files removed by a rule"], []),
        (lambda new, old: (first(new, removed="2026"), first(old, removed="2026")), ["copies written again"], []),
        (
            lambda new, old: (first(new, erased={"by": ["known"]}), new.update(revision=3)),
            ["lines erased by known"],
            [],
        ),
        (lambda new, old: first(new, erased={"by": ["known"]}), ["lines erased by known"], [OTHER]),
        (
            lambda new, old: (first(new, erased={"by": ["unknown"]}), new.update(revision=3)),
            ["lines erased by unknown"],
            ["the erasure unknown isn't in the ledger"],
        ),
        (
            lambda new, old: (first(new, erased={"by": ["known"], "lines": 2}), first(old, erased={"by": ["known"]})),
            ["copies written again"],
            ["p1 has other erased lines without another erasure"],
        ),
        (
            lambda new, old: (
                first(new, generation=2),
                first(old, erased={"by": ["known"]}),
                new.update(revision=3),
            ),
            ["files replaced"],
            [],
        ),
        (lambda new, old: new.update(state="empty"), ["landed became empty"], []),
    ],
)
def test_a_change_has_reasons_and_what_no_run_explains(
    changing: Changing, reasons: list[str], objections: list[str]
) -> None:
    now, before = new(), old()
    changing(now, before)
    assert change(now, before) == (reasons, objections)


def test_an_entry_says_all_of_a_manifest_and_of_its_files() -> None:
    files = (
        ManifestFile("s1", 1, 5, "c1", "2026-09-14T08:00:00+00:00", "p1", sha256="d1"),
        ManifestFile("s2", 2, 6, "c2", "2026-09-14T08:00:01+00:00", "p2", lost="l", removed="r"),
        ManifestFile("s3", 3, 7, "c3", "2026-09-14T08:00:02+00:00", "p3", erased=Erased(4, 3, "c4", ("e1", "e2"))),
    )
    manifest = Manifest(HOUR, HourState.LANDED, 2, files, "2026-09-14T09:00:00+00:00", {"dag_id": "d"})
    failure = Failure(HOUR, "facts", "AylaTransferError", "cut", True, 3, NOW, {"run_id": "r"})
    assert entry_of(HOUR, b"bytes", manifest, failure) == {
        "event_type": "datapoint",
        "hour": "2026-09-14T07:00:00+00:00",
        "state": "landed",
        "manifest_sha256": hashlib.sha256(b"bytes").hexdigest(),
        "revision": 2,
        "written_at": "2026-09-14T09:00:00+00:00",
        "written_by": {"dag_id": "d"},
        "files": [
            {
                "path": "p1",
                "source": "s1",
                "generation": 1,
                "created": "2026-09-14T08:00:00+00:00",
                "size": 5,
                "crc32c": "c1",
                "sha256": "d1",
            },
            {
                "path": "p2",
                "source": "s2",
                "generation": 2,
                "created": "2026-09-14T08:00:01+00:00",
                "size": 6,
                "crc32c": "c2",
                "sha256": None,
                "lost": "l",
                "removed": "r",
            },
            {
                "path": "p3",
                "source": "s3",
                "generation": 3,
                "created": "2026-09-14T08:00:02+00:00",
                "size": 7,
                "crc32c": "c3",
                "sha256": None,
                "erased": {"lines": 4, "size": 3, "crc32c": "c4", "by": ["e1", "e2"]},
            },
        ],
        "failure": {
            "error": "AylaTransferError",
            "failed_at": "2026-11-02T00:00:00+00:00",
            "tasks": 3,
            "written_by": {"run_id": "r"},
        },
    }
    assert entry_of(HOUR, None, None, None) == {
        "event_type": "datapoint",
        "hour": "2026-09-14T07:00:00+00:00",
        "state": "no manifest",
    }


FIRST = Month(2026, 9)


def document(month: Month = FIRST, previous: str = "", **fields: Any) -> Evidence:
    parts: dict[str, Any] = {"hours": (old(),), "changes": (), "erasures": ({"id": "known"},)} | fields
    return Evidence(month, SINCE, "gs://export", previous, **parts)


def test_a_hash_is_that_of_the_documented_text() -> None:
    text = b'before\n{"a":"\\u00e9","b":[1,2]}'
    assert hash_of({"b": [1, 2], "a": "é"}, "before") == hashlib.sha256(text).hexdigest()
    facts = {"format": "ayla-evidence/1", "month": "2026-09", "made_at": SINCE.isoformat(), "export": "gs://export"}
    head = hash_of(facts, "previous")
    for entry in (old(), {"changed": 1}, {"id": "known"}):
        head = hash_of(entry, head)
    assert document(previous="previous", changes=({"changed": 1},)).head == head


def test_a_document_is_read_as_it_was_written_and_not_otherwise() -> None:
    written = document().dumps()
    assert loads(written, "it") == document()
    assert written.startswith('{\n "format": "ayla-evidence/1"')
    assert written.endswith("}\n")
    with pytest.raises(AylaDestinationError) as caught:
        loads(written.replace("landed", "empty"), "gs://evidence/2026-09.json")
    assert str(caught.value) == (
        "gs://evidence/2026-09.json isn't a valid document of format ayla-evidence/1 (ValueError: its content isn't "
        "that of its hash). If it was changed, restore it from where you keep a copy."
    )


def test_what_documents_said_last_is_known() -> None:
    now = new()
    one = document()
    two = document(Month(2026, 10), one.head, hours=(), changes=({**old(), "now": now, "objections": ["a", "b"]},))
    assert known_hours([one]) == {("datapoint", "2026-09-14T07:00:00+00:00"): (old(), SINCE)}
    assert known_hours([one, two]) == {("datapoint", "2026-09-14T07:00:00+00:00"): (now, SINCE)}
    assert two.objections == ["datapoint 2026-09-14T07:00: a", "datapoint 2026-09-14T07:00: b"]


@pytest.mark.parametrize("later", [document(Month(2026, 11), document().head), document(Month(2026, 10), "other")])
def test_documents_that_do_not_follow_are_refused(later: Evidence) -> None:
    with pytest.raises(AylaDestinationError) as caught:
        known_hours([document(), later])
    assert str(caught.value) == (
        f"the evidence of {later.month} doesn't follow from that of 2026-09: a document is missing, or was made again. "
        "Restore the documents from where you keep a copy."
    )


def test_a_month_has_its_hours() -> None:
    december = Month.parse("2026-12")
    assert (december, str(december), december.next) == (Month(2026, 12), "2026-12", Month(2027, 1))
    hours = hours_in(Month(2026, 11), ["b", "a"])
    assert (hours[0], hours[719], hours[720]) == (
        ("a", datetime(2026, 11, 1, tzinfo=UTC)),
        ("a", datetime(2026, 11, 30, 23, tzinfo=UTC)),
        ("b", datetime(2026, 11, 1, tzinfo=UTC)),
    )
    assert len(hours) == 1440
    assert [Month(2026, number).has(HOUR) for number in (8, 9, 10)] == [False, True, False]
    at_midnight = ExportHour(HOUR.event_type, datetime(2026, 10, 1, tzinfo=UTC))
    assert (Month(2026, 9).has(at_midnight), Month(2026, 10).has(at_midnight)) == (False, True)
    with pytest.raises(AylaConfigError) as caught:
        Month.parse("2026-13")
    assert str(caught.value) == "'2026-13' isn't a month such as 2026-11"

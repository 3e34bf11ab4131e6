"""The erasure of single hours of an archive and its typed rows: what it counts, writes, removes, and leaves."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest

from ayla_provider.archive.destination import Listed, Stored
from ayla_provider.archive.holds import HeldSubjects
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.completeness import missing_path, record_path
from ayla_provider.domain.erasure import ErasureRequest
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hold import hold
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Erased, Manifest, loads
from ayla_provider.domain.paths import PARTS, Layout, manifest_path, stream_path
from ayla_provider.domain.typed_manifest import (
    TypedManifest,
    parquet_path,
    parse_typed_manifest,
    quarantine_path,
    typed_manifest_path,
)
from ayla_provider.errors import AylaDestinationError, AylaHeldError
from ayla_provider.rows.erase import ArchiveErasure, Held, HourErasure, Wanted
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.transport.checksum import Crc32c
from tests.support import archives
from tests.support.erasing import KEYS
from tests.warehouse.archive import HOUR, archive_hour

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
BY = {"run_id": "erase"}
OF_HOUR = ExportHour(EventType("connection"), HOUR)
SUBJECT, FIRST, SECOND, THIRD = (f"LC000X00000000{number}" for number in range(4))


def line(dsn: str, minute: int = 30) -> bytes:
    return f"1a2b3c4d,LC-THERMO-2,{dsn},Sun Nov 01 07:{minute}:45 UTC 2026,,Online\n".encode()


MALFORMED = f"a malformed line of {SUBJECT}\n".encode()
OF_NOBODY = b"of,nobody\n"
FILES = [
    line(SUBJECT) + line(FIRST) + MALFORMED + line(SUBJECT, 31) + OF_NOBODY,
    line(SECOND),
    line(THIRD) + line(SUBJECT, 32) + line(THIRD, 33),
]
LEFT = [line(FIRST) + OF_NOBODY, FILES[1], line(THIRD) + line(THIRD, 33)]


class Far(FileDestination):
    """A store whose objects aren't files on this machine."""

    def local(self, path: str) -> Path | None:
        return None


def places(root: Path, kind: type[FileDestination] = FileDestination) -> tuple[FileDestination, FileDestination]:
    """Return an archive and its typed rows."""
    return kind(root / "archive"), kind(root / "archive" / "parquet")


def wanted(dsn: str = SUBJECT, start: datetime | None = None, until: datetime = NOW) -> Wanted:
    request = ErasureRequest({"dsn": dsn}, start, until, NOW)
    return Wanted(request, request.entry(KEYS, NOW, {}))


def erased(
    of: tuple[FileDestination, FileDestination], *requests: Wanted, apply: bool = True, **more: Any
) -> list[HourErasure]:
    """Erase, or count, and return what was found; and make sure that a second look finds nothing more."""
    with ArchiveErasure(*of, requests or [wanted()], now=NOW, written_by=BY, apply=apply, **more) as run:
        found = list(run.hours())
        if apply:
            assert list(run.hours()) == []
    return found


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def manifest_in(root: Path, hour: ExportHour = OF_HOUR) -> Manifest:
    return loads((root / "archive" / manifest_path(hour)).read_bytes(), "here")


def receipt_in(root: Path) -> TypedManifest:
    path = typed_manifest_path(OF_HOUR)
    return parse_typed_manifest((root / "archive" / "parquet" / path).read_bytes(), path, OF_HOUR)


def change_receipt(root: Path, **fields: Any) -> None:
    path = root / "archive" / "parquet" / typed_manifest_path(OF_HOUR)
    path.write_text(replace(receipt_in(root), **fields).dumps())


def change_manifest(root: Path, number: int, **fields: Any) -> None:
    """Change the entry of one file in the manifest."""
    manifest = manifest_in(root)
    files = [replace(file, **fields) if each == number else file for each, file in enumerate(manifest.files)]
    (root / "archive" / manifest_path(OF_HOUR)).write_text(replace(manifest, files=tuple(files)).dumps())


def contents(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((root / "archive" / OF_HOUR.partition).glob("*.csv"))]


# The files alone.


@pytest.mark.parametrize("kind", [FileDestination, Far])
def test_the_files_of_an_hour_lose_the_lines_and_its_manifest_says_so(
    tmp_path: Path, kind: type[FileDestination]
) -> None:
    before = archive_hour(tmp_path / "archive", "connection", FILES)
    of, entry = places(tmp_path, kind), wanted().entry.id
    snapshot = everything(tmp_path)
    expected = HourErasure(OF_HOUR, Counter(csv_lines=4), objects=2, bytes=len(FILES[0]) + len(FILES[2]))
    assert erased(of, apply=False) == [expected]
    assert everything(tmp_path) == snapshot
    assert erased(of) == [expected]
    assert contents(tmp_path) == LEFT
    after = manifest_in(tmp_path)
    assert (after.revision, after.written_at, after.written_by) == (before.revision + 1, NOW.isoformat(), BY)
    assert (after.hour, after.state, after.export) == (before.hour, before.state, before.export)
    for number, lines in ((0, 3), (1, 0), (2, 1)):
        left = LEFT[number]
        was = before.files[number]
        version = of[0].folder(OF_HOUR.partition)[was.path].version
        change = {
            "erased": asdict(Erased(lines, len(left), Crc32c(left).base64, (entry,))) if lines else None,
            "version": version if lines else was.version,
        }
        assert asdict(after.files[number]) == asdict(was) | change


class Stating(FileDestination):
    """A store whose listing states the checksum, and that notes what it is told of each object."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.told: list[tuple[str, int, str | None, str]] = []

    def _stored(self, path: str, stat: Any) -> Stored:
        found = super()._stored(path, stat)
        place = self.root / path
        return replace(found, crc32c=Crc32c(place.read_bytes()).base64) if place.is_file() else found

    def write(self, path: str, stream: BinaryIO, **more: Any) -> Stored:
        self.told.append((path, more["size"], more["crc32c"], more["content_type"]))
        return super().write(path, stream, **more)


def test_a_store_that_states_checksums_needs_no_versions(tmp_path: Path) -> None:
    before = archive_hour(tmp_path / "archive", "connection", FILES)
    archive, rows = places(tmp_path, Stating)
    erased((archive, rows))
    assert [file.version for file in manifest_in(tmp_path).files] == [""] * 3
    assert isinstance(archive, Stating)
    manifest, first, third = archive.told
    assert manifest[0] == manifest_path(OF_HOUR)
    for told, number in ((first, 0), (third, 2)):
        left = LEFT[number]
        assert told == (before.files[number].path, len(left), Crc32c(left).base64, "text/csv")


def test_a_second_subject_adds_to_what_the_manifest_says(tmp_path: Path) -> None:
    before = archive_hour(tmp_path / "archive", "connection", FILES)
    of, both = places(tmp_path), (wanted(), wanted(THIRD))
    erased(of, both[0])
    first = manifest_in(tmp_path)
    assert erased(of, both[1]) == [HourErasure(OF_HOUR, Counter(csv_lines=2), objects=1, bytes=len(LEFT[2]))]
    second = manifest_in(tmp_path)
    assert second.revision == before.revision + 2
    assert second.files[0].erased == first.files[0].erased
    ids = tuple(sorted(each.entry.id for each in both))
    assert second.files[2].erased == Erased(3, 0, Crc32c(b"").base64, ids)
    assert contents(tmp_path) == [LEFT[0], LEFT[1], b""]


class Dies(FileDestination):
    """A folder on disk, to which no copy can be written."""

    def write(self, path: str, stream: BinaryIO, **more: Any) -> Stored:
        if path.endswith(".csv"):
            raise KeyboardInterrupt
        return super().write(path, stream, **more)


def test_an_erasure_that_ended_before_the_files_states_the_same_again(tmp_path: Path) -> None:
    before = archive_hour(tmp_path / "archive", "connection", FILES)

    with pytest.raises(KeyboardInterrupt):
        erased(places(tmp_path, Dies))
    begun = manifest_in(tmp_path)
    assert (begun.revision, begun.erased_lines, contents(tmp_path)) == (before.revision + 1, 4, FILES)
    erased(places(tmp_path))
    after = manifest_in(tmp_path)
    assert [file.erased for file in after.files] == [file.erased for file in begun.files]
    assert (after.revision, contents(tmp_path)) == (begun.revision, LEFT)


def test_an_erasure_that_ended_goes_on_with_another_subject(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [line(dsn) for dsn in (SUBJECT, FIRST, SECOND, THIRD)]
    archive_hour(tmp_path / "archive", "connection", [b"".join(lines)])
    requests = [wanted(dsn) for dsn in (SUBJECT, FIRST, SECOND)]
    erased(places(tmp_path), requests[0])
    with pytest.raises(KeyboardInterrupt):
        erased(places(tmp_path, Dies), requests[1])
    assert contents(tmp_path) == [b"".join(lines[1:])]
    erased(places(tmp_path), *requests[1:])
    assert contents(tmp_path) == [lines[3]]
    ids = tuple(sorted(each.entry.id for each in requests))
    (file,) = manifest_in(tmp_path).files
    assert file.erased is not None
    assert asdict(file.erased) == asdict(Erased(3, len(lines[3]), Crc32c(lines[3]).base64, ids))
    assert "damaged" not in caplog.text


def test_a_file_whose_killed_erasure_nobody_asks_for_any_more_counts_as_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [line(dsn) for dsn in (SUBJECT, FIRST, SECOND, THIRD)]
    archive_hour(tmp_path / "archive", "connection", [b"".join(lines)])
    erased(places(tmp_path), wanted())
    with pytest.raises(KeyboardInterrupt):
        erased(places(tmp_path, Dies), wanted(FIRST))
    before = manifest_in(tmp_path)
    erased(places(tmp_path), wanted(SECOND))
    assert contents(tmp_path) == [lines[1] + lines[3]]
    assert manifest_in(tmp_path) == before
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("damage", [FILES[0][:-1], FILES[0] + line(SECOND)])
def test_a_damaged_file_loses_the_lines_and_its_entry_stays(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    before = archive_hour(tmp_path / "archive", "connection", FILES)
    path = before.files[0].path
    (tmp_path / "archive" / path).write_bytes(damage)
    (found,) = erased(places(tmp_path))
    assert (found.counts, found.objects) == ({"csv_lines": 4}, 2)
    after = manifest_in(tmp_path)
    assert asdict(after.files[0]) == asdict(before.files[0])
    assert after.files[2].erased
    assert SUBJECT.encode() not in b"".join(contents(tmp_path))
    assert f"{path} is damaged" in caplog.text
    assert caplog.text.count("is damaged") == 1


def test_files_in_the_layout_of_the_source_lose_the_lines(tmp_path: Path) -> None:
    archive, rows = places(tmp_path)
    before = archives.archive_hour(archive, OF_HOUR, FILES, layout=Layout.MIRROR)
    (found,) = erased((archive, rows))
    assert found == HourErasure(OF_HOUR, Counter(csv_lines=4), objects=2, bytes=len(FILES[0]) + len(FILES[2]))
    assert [(tmp_path / "archive" / file.path).read_bytes() for file in before.files] == LEFT
    assert manifest_in(tmp_path).erased_lines == 4


def test_files_of_a_stream_stay_gzipped(tmp_path: Path) -> None:
    archive, rows = places(tmp_path, Stating)
    texts = [f'{{"dsn":"{dsn}"}}\n'.encode() for dsn in (FIRST, SUBJECT, SECOND)]
    packed = gzip.compress(b"".join(texts))
    known, unknown = stream_path(OF_HOUR.event_type, HOUR, 1), stream_path(None, HOUR, 2)
    for path in (known, unknown):
        archives.store(archive, path, packed)
    assert isinstance(archive, Stating)
    archive.told.clear()
    of_datapoints = ExportHour(EventType("datapoint"), HOUR)
    assert erased((archive, rows)) == [
        HourErasure(hour, Counter(stream_lines=1), objects=1, bytes=len(packed)) for hour in (OF_HOUR, of_datapoints)
    ]
    assert {(path, kind) for path, _, _, kind in archive.told} == {
        (path, "application/gzip") for path in (known, unknown)
    }
    for path in (known, unknown):
        data = (tmp_path / "archive" / path).read_bytes()
        assert gzip.decompress(data) == texts[0] + texts[2]
        # The header of a fast compression.
        assert (data[:3], data[8]) == (b"\x1f\x8b\x08", 4)


def test_hours_come_in_the_order_of_time_and_only_those_of_the_span(tmp_path: Path) -> None:
    of = places(tmp_path)
    for number in range(4):
        for event_type in ("registration", "connection"):
            archive_hour(tmp_path / "archive", event_type, [line(SUBJECT)], HOUR + timedelta(hours=number))
    request = wanted(start=HOUR + timedelta(hours=1), until=HOUR + timedelta(hours=3))
    with ArchiveErasure(*of, [request], now=NOW, written_by=BY) as run:
        assert run.looked_at == 0
        hours = [found.hour for found in run.hours()]
        assert run.looked_at == 4
        assert list(run.hours()) == []
        assert run.looked_at == 4
    assert hours == [
        ExportHour(EventType(event_type), HOUR + timedelta(hours=number))
        for number in (1, 2)
        for event_type in ("connection", "registration")
    ]


def test_an_hour_that_changes_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [line(FIRST)])
    with ArchiveErasure(*places(tmp_path), [wanted()], now=NOW, written_by=BY) as run:
        assert list(run.hours()) == []
        archive_hour(tmp_path / "archive", "connection", [line(SUBJECT)], generation=2, revision=2)
        (found,) = run.hours()
        assert (found.hour, found.counts) == (OF_HOUR, {"csv_lines": 1})
        assert list(run.hours()) == []


def test_an_object_in_an_archive_tier_stops_all_and_the_rest_of_an_upload_nothing(tmp_path: Path) -> None:
    unfinished, offline = {"f0.csv"}, set[str]()

    class Tiers(FileDestination):
        def tree(self, prefix: str) -> Iterator[Listed]:
            for listed in sorted(super().tree(prefix), key=lambda each: each.stored.path):
                name = listed.stored.path.rpartition("-")[2]
                yield replace(listed, unfinished=name in unfinished, offline=name in offline)

    manifest = archive_hour(tmp_path / "archive", "connection", FILES)
    (tmp_path / "archive" / manifest_path(OF_HOUR)).unlink()
    (found,) = erased(places(tmp_path, Tiers))
    assert found.counts == {"csv_lines": 1}
    offline.add("f2.csv")
    archive = Tiers(tmp_path / "archive")
    with pytest.raises(AylaDestinationError) as raised:
        erased(places(tmp_path, Tiers))
    assert str(raised.value) == (
        f"{archive.url}/{manifest.files[2].path} is in an archive tier, so nothing can be erased from it. Restore it, "
        "and clear the task. The other hours are done by the next try."
    )


def test_parts_and_comparisons_of_an_hour_go(tmp_path: Path) -> None:
    archive, rows = places(tmp_path)
    archive_hour(tmp_path / "archive", "connection", [line(SUBJECT)])
    archive_hour(tmp_path / "archive", "registration", [line(FIRST)])
    other = ExportHour(EventType("registration"), HOUR)
    of_hour = [
        (archive, f"{PARTS}/{OF_HOUR.partition}/1.json"),
        (rows, f"{PARTS}/{OF_HOUR.partition}/1.parquet"),
        (archive, record_path(OF_HOUR)),
        (archive, missing_path(OF_HOUR)),
    ]
    for destination, path in [*of_hour, (archive, record_path(other))]:
        archives.store(destination, path, b"x")
    before = everything(tmp_path)
    expected = HourErasure(OF_HOUR, Counter(csv_lines=1), objects=5, bytes=len(line(SUBJECT)))
    assert erased((archive, rows), apply=False) == [expected]
    assert everything(tmp_path) == before
    assert erased((archive, rows)) == [expected]
    gone = {str((destination.root / path).relative_to(tmp_path)) for destination, path in of_hour}
    assert everything(tmp_path).keys() == before.keys() - gone


# The typed rows.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with the typed rows of an hour."""
    root = tmp_path_factory.mktemp("made")
    archive_hour(root / "archive", "connection", FILES)
    TypedArchive(*places(root), erasure_keys=lambda: KEYS, max_malformed=1).ensure(OF_HOUR, {"run_id": "load"})
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(made, tmp_path / "root")
    return tmp_path / "root"


def devices(root: Path) -> list[str]:
    """Return the devices of the typed rows."""
    table = pq.ParquetFile(root / "archive" / "parquet" / parquet_path(OF_HOUR)).read()
    return sorted(table.column("dsn").to_pylist())


def malformed(root: Path) -> list[bytes]:
    path = root / "archive" / quarantine_path(OF_HOUR)
    return pq.ParquetFile(path).read().column("row_bytes").to_pylist() if path.exists() else []


def what_became(receipt: TypedManifest) -> list[tuple[int, int, int, int]]:
    """Return the numbers of each file of a receipt."""
    return [(file.lines, file.loaded, file.duplicates, file.quarantined) for file in receipt.files]


@pytest.mark.parametrize("kind", [FileDestination, Far])
def test_rows_malformed_lines_and_receipt_are_those_of_the_files_that_are_left(
    root: Path, tmp_path: Path, kind: type[FileDestination]
) -> None:
    before, entry = receipt_in(root), wanted()
    assert what_became(before) == [(5, 3, 0, 2), (1, 1, 0, 0), (3, 3, 0, 0)]
    sizes = [
        len(FILES[0]),
        len(FILES[2]),
        before.size,
        (root / "archive" / quarantine_path(OF_HOUR)).stat().st_size,
    ]
    counts = Counter(csv_lines=4, parquet_rows=3, quarantined_lines=1)
    snapshot = everything(root)
    # Two files, the Parquet file, the malformed lines, and the receipt.
    expected = HourErasure(OF_HOUR, counts, objects=5, bytes=sum(sizes))
    assert erased(places(root, kind), entry, apply=False) == [expected]
    assert everything(root) == snapshot
    with ArchiveErasure(*places(root, kind), [entry], now=NOW, written_by=BY) as run:
        (found,) = run.hours()
        assert run.without_models == {OF_HOUR}
        assert list(run.hours()) == []
    after = receipt_in(root)
    assert found == replace(expected, before=before.version, receipt=after)
    assert contents(root) == LEFT
    assert devices(root) == [FIRST, SECOND, THIRD, THIRD]
    assert malformed(root) == [OF_NOBODY.rstrip()]
    # As a load makes them of the files.
    fresh = TypedArchive(
        FileDestination(root / "archive"),
        FileDestination(tmp_path / "fresh"),
        erasure_keys=lambda: KEYS,
        max_malformed=1,
    )
    archives.store(FileDestination(root / "archive"), entry.entry.path, entry.entry.dumps().encode())
    made = fresh.ensure(OF_HOUR, {}).manifest
    assert (after.version, after.files) == (made.version, made.files)
    assert after.columns == before.columns
    rows = (root / "archive" / "parquet" / after.path).read_bytes()
    assert (after.path, after.size, after.crc32c) == (before.path, len(rows), Crc32c(rows).base64)
    assert (after.quarantine, after.models, after.parts) == (quarantine_path(OF_HOUR), None, ())
    assert after.written_by == {**BY, "erasures": entry.entry.id}
    assert datetime.fromisoformat(after.written_at) > datetime.fromisoformat(before.written_at)
    assert before.models is not None


def test_malformed_lines_of_nobody_else_go_with_their_file(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [FILES[2] + MALFORMED])
    of = places(tmp_path)
    TypedArchive(*of, erasure_keys=lambda: KEYS, max_malformed=1).ensure(OF_HOUR, {})
    (found,) = erased(of)
    assert found.counts == {"csv_lines": 2, "parquet_rows": 1, "quarantined_lines": 1}
    assert not (tmp_path / "archive" / quarantine_path(OF_HOUR)).exists()
    after = receipt_in(tmp_path)
    assert (after.quarantine, what_became(after)) == ("", [(2, 2, 0, 0)])


def test_a_receipt_names_all_erasures_that_changed_it(root: Path) -> None:
    first, second = wanted(), wanted(THIRD)
    erased(places(root), first)
    (found,) = erased(places(root), second)
    assert found.counts == {"csv_lines": 2, "parquet_rows": 2}
    after = receipt_in(root)
    assert after.written_by == {**BY, "erasures": " ".join(sorted((first.entry.id, second.entry.id)))}
    assert what_became(after) == [(2, 1, 0, 1), (1, 1, 0, 0), (0, 0, 0, 0)]


def test_an_erasure_that_ended_before_the_receipt_writes_the_same_one(root: Path) -> None:
    old = receipt_in(root)
    erased(places(root))
    expected = receipt_in(root)
    change_receipt(root, **{name: getattr(old, name) for name in ("version", "files", "size", "crc32c", "written_by")})
    assert receipt_in(root) != expected
    (found,) = erased(places(root))
    assert (found.counts, found.objects, found.before) == ({}, 1, old.version)
    assert replace(receipt_in(root), written_at="") == replace(expected, written_at="")
    assert found.receipt == receipt_in(root)


def test_what_an_erasure_that_ended_stated_does_not_count_twice_with_another_subject(root: Path) -> None:
    requests = [wanted(), wanted(THIRD)]
    with pytest.raises(KeyboardInterrupt):
        erased(places(root, Dies), requests[0])
    assert contents(root) == FILES
    erased(places(root), *requests)
    assert contents(root) == [LEFT[0], LEFT[1], b""]
    counts = [file.erased.lines if file.erased else 0 for file in manifest_in(root).files]
    assert counts == [3, 0, 3]
    # The receipt is computed of these counts.
    assert what_became(receipt_in(root)) == [(2, 1, 0, 1), (1, 1, 0, 0), (0, 0, 0, 0)]


def test_a_rule_that_removed_the_malformed_lines_changes_no_other_number(root: Path) -> None:
    (root / "archive" / quarantine_path(OF_HOUR)).unlink()
    (found,) = erased(places(root))
    assert found.counts == {"csv_lines": 4, "parquet_rows": 3}
    after = receipt_in(root)
    assert (after.quarantine, what_became(after)) == ("", [(2, 1, 0, 1), (1, 1, 0, 0), (2, 2, 0, 0)])


def test_lines_that_were_left_out_stay_so_if_the_malformed_ones_are_gone(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [line(FIRST) * 2 + MALFORMED + OF_NOBODY + line(SUBJECT)])
    of = places(tmp_path)
    TypedArchive(*of, erasure_keys=lambda: KEYS, max_malformed=1).ensure(OF_HOUR, {})
    assert what_became(receipt_in(tmp_path)) == [(5, 2, 1, 2)]
    (tmp_path / "archive" / quarantine_path(OF_HOUR)).unlink()
    erased(of)
    assert what_became(receipt_in(tmp_path)) == [(3, 1, 1, 1)]


def test_rows_of_files_that_a_rule_removed_are_counted_as_they_are(root: Path) -> None:
    for number, file in enumerate(manifest_in(root).files):
        change_manifest(root, number, removed=NOW.isoformat())
        (root / "archive" / file.path).unlink()
    (found,) = erased(places(root))
    assert found.counts == {"parquet_rows": 3, "quarantined_lines": 1}
    assert what_became(receipt_in(root)) == [(2, 1, 0, 1), (1, 1, 0, 0), (2, 2, 0, 0)]


def test_rows_that_can_not_be_told_apart_are_made_again(root: Path) -> None:
    receipt = root / "archive" / "parquet" / typed_manifest_path(OF_HOUR)
    rows = root / "archive" / "parquet" / parquet_path(OF_HOUR)
    change_receipt(root, privacy={"dsn": "drop"})
    notes = rows.with_name("notes.txt")
    notes.touch()
    before = receipt_in(root)
    with ArchiveErasure(*places(root), [wanted()], now=NOW, written_by=BY) as run:
        (found,) = run.hours()
        assert run.without_models == {OF_HOUR}
    assert (found.untyped, found.before, found.receipt) == (True, before.version, None)
    assert found.counts == {"csv_lines": 4, "quarantined_lines": 1, "parquet_rows": 3}
    # Two files, the Parquet file, the malformed lines, and all typed rows.
    assert found.objects == 5
    assert not receipt.exists()
    assert not rows.exists()
    assert notes.exists()
    assert contents(root) == LEFT


def test_rows_that_can_not_be_told_apart_and_not_be_made_again_stop_the_erasure(root: Path) -> None:
    change_receipt(root, privacy={"dsn": "drop"})
    change_manifest(root, 1, lost=NOW.isoformat())
    (root / "archive" / "parquet" / parquet_path(OF_HOUR)).unlink()
    with pytest.raises(AylaDestinationError) as raised:
        erased(places(root))
    _, rows = places(root)
    assert str(raised.value) == (
        f"{OF_HOUR}: its typed rows may name whom to erase, and don't show it, because a privacy policy hides it. They "
        "can't be made again, because files of the hour are lost, or were removed by a rule. Remove what begins with "
        f"{rows.url}/{OF_HOUR.partition}, and clear the task."
    )


# Rows that prove that the files have nothing of a subject.


def read_of(root: Path, request: Wanted, **more: Any) -> int:
    """Count how many of an hour's files a look for a subject reads."""
    read: list[str] = []

    class Watched(FileDestination):
        def blocks(self, path: str) -> Iterator[bytes]:
            if path.endswith(".csv"):
                read.append(path)
            return super().blocks(path)

    assert erased(places(root, Watched), request, apply=False, **more) == []
    return len(set(read))


NOBODY = "LC000X000000009"


def with_duplicates(root: Path) -> None:
    change_receipt(
        root, identity="time_uuid", files=tuple(replace(file, duplicates=1) for file in receipt_in(root).files)
    )


def without_layout(root: Path) -> None:
    change_receipt(root, files=tuple(replace(file, layout="") for file in receipt_in(root).files))


SPOILS: dict[str, Callable[[Path], object]] = {
    "no receipt": lambda root: (root / "archive" / "parquet" / typed_manifest_path(OF_HOUR)).unlink(),
    "a damaged receipt": lambda root: (root / "archive" / "parquet" / typed_manifest_path(OF_HOUR)).write_text("{"),
    "rows of other files": lambda root: change_receipt(root, version="0" * 16 + ".1"),
    "rows that a rule removed": lambda root: change_receipt(root, removed=NOW.isoformat()),
    "rows without a lost file": lambda root: change_receipt(root, lost=("a.csv",)),
    "a row file is missing": lambda root: (root / "archive" / "parquet" / parquet_path(OF_HOUR)).unlink(),
    "malformed lines are missing": lambda root: (root / "archive" / quarantine_path(OF_HOUR)).unlink(),
    "columns were left out": lambda root: change_receipt(root, version=f"{receipt_in(root).version}-new_drop"),
    "devices are hidden": lambda root: change_receipt(root, privacy={"dsn": "drop"}),
    "devices are hashed": lambda root: change_receipt(root, privacy={"dsn": "hash"}),
    "texts are hidden": lambda root: change_receipt(root, privacy={"val_string": "drop"}),
    "lines were replaced": with_duplicates,
    "a file has no rows": without_layout,
}
"""What makes rows no proof. Then the three files are read."""

LEAVES: dict[str, Callable[[Path], object]] = {
    "nothing changed": lambda root: None,
    "users are hidden": lambda root: change_receipt(root, privacy={"user_uuid": "drop"}),
    "places are hidden": lambda root: change_receipt(root, privacy={"ip": "drop", "lat": "hash", "long": "drop"}),
    "devices are kept": lambda root: change_receipt(root, privacy={"dsn": "keep"}),
}
"""What doesn't. Then no file is read."""


@pytest.mark.parametrize("how", [*SPOILS, *LEAVES])
def test_files_are_read_unless_the_rows_prove_that_nobody_is_in_them(root: Path, how: str) -> None:
    (SPOILS | LEAVES)[how](root)
    assert read_of(root, wanted(NOBODY)) == (3 if how in SPOILS else 0)


def test_a_file_that_the_manifest_does_not_name_is_read(root: Path) -> None:
    (root / "archive" / OF_HOUR.partition / "another.csv").write_bytes(line(FIRST))
    assert read_of(root, wanted(NOBODY)) == 4


def test_hashes_that_are_known_prove_as_devices_do(root: Path) -> None:
    change_receipt(root, privacy={"dsn": "hash"})
    assert read_of(root, wanted(NOBODY), hashes={"dsn": ["0" * 64]}) == 0
    assert read_of(root, wanted(NOBODY), hashes={"user_uuid": ["0" * 64]}) == 3


# Legal holds.


def holds_on(user: str, **more: Any) -> HeldSubjects:
    placed = hold("case-7", placed_at=HOUR, key=KEYS.newest, subject={"user_uuid": [user]}, **more)
    return HeldSubjects([placed], KEYS.keys)


USER, NO_USER = "3fa85f64-5717-4562-b3fc-2c963f66afa6", "3fa85f64-5717-4562-b3fc-2c963f66afa7"
SHARED = f"{SUBJECT} and {USER}\n".encode()


def test_what_a_hold_is_on_is_counted_and_nothing_of_its_hour_is_erased(tmp_path: Path) -> None:
    shared = [line(SUBJECT, minute).replace(b",,", f",{USER},".encode()) for minute in (30, 32)]
    archive_hour(tmp_path / "archive", "connection", [shared[0] + line(SUBJECT, 31) + SHARED, shared[1]])
    of, request = places(tmp_path), wanted()
    TypedArchive(*of, erasure_keys=lambda: KEYS, max_malformed=1).ensure(OF_HOUR, {})
    before = everything(tmp_path)
    (found,) = erased(of, request, apply=False, held=holds_on(USER))
    layers = {"csv_lines": 3, "quarantined_lines": 1, "parquet_rows": 2}
    assert found.held == {Held("case-7", request.entry.id, layer): count for layer, count in layers.items()}
    with pytest.raises(AylaHeldError) as raised:
        erased(of, request, held=holds_on(USER))
    assert f"the legal hold 'case-7' of {of[0].url} is on lines of {OF_HOUR} that the request" in str(raised.value)
    assert request.entry.id in str(raised.value)
    assert everything(tmp_path) == before
    later = holds_on(USER, start=HOUR + timedelta(hours=1))
    assert erased(of, request, apply=False, held=later)[0].held == {}
    assert erased(of, request, apply=False, held=holds_on(NO_USER))[0].held == {}


@pytest.mark.parametrize("policy", [{"dsn": "hash"}, {"*": "drop"}])
def test_a_hold_is_on_rows_that_hide_whom_they_name_if_the_files_are_gone(root: Path, policy: dict[str, str]) -> None:
    change_receipt(root, privacy=policy)
    request = wanted()
    (found,) = erased(places(root), request, apply=False, held=holds_on(NO_USER))
    assert found.held == {}
    for number, file in enumerate(manifest_in(root).files):
        change_manifest(root, number, removed=NOW.isoformat())
        (root / "archive" / file.path).unlink()
    (found,) = erased(places(root), request, apply=False, held=holds_on(NO_USER))
    assert found.held == {Held("case-7", request.entry.id, "parquet_rows"): 3}
    change_receipt(root, privacy={"dsn": "keep"})
    (found,) = erased(places(root), request, apply=False, held=holds_on(NO_USER))
    assert found.held == {}

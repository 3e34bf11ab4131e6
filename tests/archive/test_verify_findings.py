"""What each finding of a verification says: its hour, its object, and what is wrong with it, in full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.destination import Listed, Stored
from ayla_provider.archive.findings import Damage, Finding
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.arrival import HourState, HourStatus
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour, hour_of
from ayla_provider.domain.manifest import Manifest, after_removal, revise
from ayla_provider.domain.paths import Layout, manifest_path
from ayla_provider.errors import AylaError, AylaLostError, AylaTransferError
from ayla_provider.transport.checksum import Crc32c
from tests.support.archives import archive_hour, hours_back, store

NOW = datetime.now(UTC)
END = hour_of(NOW) - timedelta(days=1)
LATER = NOW + timedelta(days=2)
DATA = b"1,2,3\r\n"


class Tiered(FileDestination):
    """A store with an archive tier, and with the rests of uploads."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.offline: set[str] = set()
        self.unfinished: set[str] = set()

    def tree(self, prefix: str) -> Iterator[Listed]:
        for listed in super().tree(prefix):
            path = listed.stored.path
            yield replace(listed, offline=path in self.offline, unfinished=path in self.unfinished)

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        return (b"{", self.find(path)) if path in self.offline else super().read(path)  # type: ignore[return-value]


def filled(destination: FileDestination, count: int) -> list[Manifest]:
    return [archive_hour(destination, hour, [DATA, DATA * 2]) for hour in hours_back(NOW, count)]


def found(destination: FileDestination, scope: Scope | None = None) -> set[Finding]:
    findings = list(Verification(destination, scope or Scope(None, None, END), now=LATER).findings())
    assert len(set(findings)) == len(findings)
    return set(findings)


def test_each_finding_names_its_hour_and_says_what_is_wrong(tmp_path: Path) -> None:
    store_ = Tiered(tmp_path)
    missing, short, flipped, cold, bare, bad, frozen, newer, fine = filled(store_, 9)
    first = {manifest.hour: manifest.files[0].path for manifest in (missing, short, flipped, cold, fine)}
    (tmp_path / first[missing.hour]).unlink()
    (tmp_path / first[short.hour]).write_bytes(DATA[:-1])
    (tmp_path / first[flipped.hour]).write_bytes(b"1,2,4\r\n")
    (tmp_path / first[cold.hour]).write_bytes(b"1,2,5\r\n")
    (tmp_path / manifest_path(bare.hour)).unlink()
    (tmp_path / manifest_path(bad.hour)).write_bytes(b"{")
    text = newer.dumps().replace("ayla-export-manifest/1", "ayla-export-manifest/99")
    (tmp_path / manifest_path(newer.hour)).write_text(text)
    store_.offline |= {first[cold.hour], manifest_path(frozen.hour)}
    orphan, rest = first[fine.hour].replace("0.csv", "8.csv"), first[fine.hour].replace("0.csv", "9.csv")
    for path in (orphan, rest):
        store(store_, path, DATA)
    store_.unfinished.add(rest)
    findings = found(store_)
    told = {finding for finding in findings if finding.hour in (bad.hour, newer.hour)}
    was, now_is = Crc32c(DATA).base64, Crc32c(b"1,2,4\r\n").base64
    assert findings - told == {
        Finding(Damage.MISSING, missing.hour, first[missing.hour], "the file isn't there"),
        Finding(Damage.DAMAGED, short.hour, first[short.hour], "it has 6 bytes, its manifest says 7"),
        Finding(Damage.DAMAGED, flipped.hour, first[flipped.hour], f"it has crc32c {now_is}, its manifest says {was}"),
        Finding(
            Damage.OFFLINE,
            cold.hour,
            first[cold.hour],
            "it was written again since it was copied, and is in an archive tier",
        ),
        Finding(Damage.NO_MANIFEST, bare.hour, manifest_path(bare.hour), "the hour has no manifest"),
        Finding(Damage.OFFLINE, frozen.hour, manifest_path(frozen.hour), "the manifest is in an archive tier"),
        Finding(Damage.ORPHAN, fine.hour, orphan, "no manifest names it"),
        Finding(Damage.UNFINISHED, fine.hour, rest, f"an upload that began on {NOW:%Y-%m-%d}"),
    }
    assert {(finding.damage, finding.hour, finding.path) for finding in told} == {
        (Damage.UNREADABLE, bad.hour, manifest_path(bad.hour)),
        (Damage.NEWER, newer.hour, manifest_path(newer.hour)),
    }
    for finding in told:
        # The error names the object, and says what to do.
        assert f"{store_.url}/{finding.path}" in finding.detail


def test_an_archive_without_manifests_says_what_to_check(tmp_path: Path) -> None:
    detail = "there is no manifest of what is verified: check the destination and the event types"
    destination = FileDestination(tmp_path)
    assert found(destination) == {Finding(Damage.NO_MANIFEST, None, "_manifests/", detail)}
    filled(destination, 1)
    scope = Scope([EventType("location")], None, END)
    folder = "_manifests/event_type=location/"
    assert found(destination, scope) == {Finding(Damage.NO_MANIFEST, None, folder, detail)}


def test_lost_files_say_since_when_and_files_that_are_back_say_so(tmp_path: Path) -> None:
    destination = FileDestination(tmp_path)
    gone, other, back = filled(destination, 3)
    for manifest in (gone, other, back):
        written = Records(destination).read_manifest(manifest.hour)[1]
        marked = revise(
            manifest, manifest.hour, manifest.state, [], written_at=NOW, written_by={}, lost=manifest.files[:1]
        )
        Records(destination).write_manifest(marked, written)
    (tmp_path / gone.files[0].path).unlink()
    (tmp_path / other.files[0].path).write_bytes(b"1,2,4\r\n")
    since = f"Ayla no longer has it, as a repair found on {NOW:%Y-%m-%d}"
    assert found(destination) == {
        Finding(Damage.LOST, gone.hour, gone.files[0].path, since),
        Finding(Damage.LOST, other.hour, other.files[0].path, since),
        Finding(Damage.RESTORED, back.hour, back.files[0].path, "it is there again"),
    }


def test_a_manifest_that_a_copy_could_not_write_again_is_told_as_lost(tmp_path: Path) -> None:
    destination = FileDestination(tmp_path)
    bare, bad, noted_otherwise, of_another_error, without_note, *_ = filled(destination, 6)
    for manifest in (bare, noted_otherwise, of_another_error, without_note):
        (tmp_path / manifest_path(manifest.hour)).unlink()
    (tmp_path / manifest_path(bad.hour)).write_bytes(b"{")

    def note(manifest: Manifest, error: AylaError) -> None:
        status = HourStatus(manifest.hour, HourState.EMPTY, ())
        Records(destination).note_failure(status, error, NOW, {})

    note(bare, AylaLostError(f"restore {manifest_path(bare.hour)}"))
    note(bad, AylaLostError(f"restore {manifest_path(bad.hour)}"))
    note(noted_otherwise, AylaLostError("a file is lost"))
    note(of_another_error, AylaTransferError(f"not {manifest_path(of_another_error.hour)}"))
    shown = "Ayla no longer shows all its files"
    detail = "the hour has no manifest"
    assert found(destination) == {
        Finding(Damage.LOST, bare.hour, manifest_path(bare.hour), f"its manifest is missing, and {shown}"),
        Finding(Damage.LOST, bad.hour, manifest_path(bad.hour), f"its manifest can't be read, and {shown}"),
        *(
            Finding(Damage.NO_MANIFEST, manifest.hour, manifest_path(manifest.hour), detail)
            for manifest in (noted_otherwise, of_another_error, without_note)
        ),
    }


def test_a_manifest_that_can_not_be_read_any_more_is_a_finding_of_its_own(tmp_path: Path) -> None:
    class Failing(FileDestination):
        """A store in which a manifest breaks after it was read."""

        def read(self, path: str) -> tuple[bytes, Stored] | None:
            record = super().read(path)
            if path == manifest_path(manifest.hour):
                (tmp_path / path).write_bytes(b"{")
            return record

    manifest, _ = filled(FileDestination(tmp_path), 2)
    (tmp_path / manifest.files[0].path).unlink()
    (finding,) = found(Failing(tmp_path))
    path = manifest_path(manifest.hour)
    assert (finding.damage, finding.hour, finding.path) == (Damage.UNREADABLE, manifest.hour, path)
    assert f"{tmp_path}/{path}" in finding.detail


def test_a_verification_counts_what_it_looked_at_and_hands_out_each_manifest(tmp_path: Path) -> None:
    destination = FileDestination(tmp_path)
    manifests = filled(destination, 3)
    # Removed by a rule of the customer's own, as the scope says.
    old = archive_hour(destination, ExportHour(EventType("location"), END - timedelta(days=100)), [DATA, DATA])
    for file in old.files:
        (tmp_path / file.path).unlink()
    seen: list[Manifest] = []
    scope = Scope(None, None, END, timedelta(days=50))
    verification = Verification(destination, scope, now=LATER, read_every=timedelta(days=1), on_manifest=seen.append)
    findings = [finding for finding in verification.findings() if finding.damage is not Damage.NO_MANIFEST]
    counts = verification.counts
    assert findings == []
    assert seen == [*manifests, old]
    assert (counts.manifests, counts.files, counts.bytes) == (4, 8, 3 * 21 + 14)
    assert (counts.removed, counts.read_files, counts.read_bytes) == (2, 6, 63)
    assert counts.first == {manifests[0].hour.event_type: manifests[0].hour.start, old.hour.event_type: old.hour.start}


@pytest.mark.parametrize(
    ("start", "end", "dates"),
    [
        ("2026-11-20T05", "2026-11-25T01", ["2026-11-2"]),
        ("2026-11-20T05", "2026-11-20T06", ["2026-11-20"]),
        # The last hour is that before the end.
        ("2026-11-20T05", "2026-11-21T00", ["2026-11-20"]),
        ("2026-10-31T23", "2026-12-02T00", ["2026-10-31", "2026-11-", "2026-12-01"]),
    ],
)
def test_a_scope_lists_the_days_of_each_month_that_it_has(start: str, end: str, dates: list[str]) -> None:
    first, last = (datetime.fromisoformat(f"{time}:00:00+00:00") for time in (start, end))
    scope = Scope([EventType("datapoint"), EventType("location")], first, last)
    expected = [f"a/event_type={name}/date={date}" for name in ("datapoint", "location") for date in dates]
    assert scope.prefixes("a/") == expected
    assert scope.prefixes() == [path.removeprefix("a/") for path in expected]
    assert Scope(None, first, last).prefixes("a/") == ["a/event_type="]
    assert Scope([EventType("location")], None, last).prefixes() == ["event_type=location/"]


def test_a_scope_has_its_first_hour_and_not_the_one_at_its_end() -> None:
    hour = ExportHour(EventType("datapoint"), END)
    after = END + timedelta(hours=1)
    assert hour in Scope([hour.event_type], hour.start, after)
    assert hour in Scope(None, None, after)
    assert hour not in Scope(None, None, END)
    assert hour not in Scope(None, after, after + timedelta(days=1))
    assert hour not in Scope([EventType("location")], None, after)


def test_other_bytes_of_a_file_of_this_minute_are_found_after_the_wait(tmp_path: Path) -> None:
    destination = FileDestination(tmp_path)
    manifest, _ = filled(destination, 2)
    path = manifest.files[0].path
    (tmp_path / path).write_bytes(b"1,2,4\r\n")
    waits: list[float] = []
    findings = Verification(destination, Scope(None, None, END), now=datetime.now(UTC), wait=waits.append).findings()
    assert [(finding.damage, finding.hour, finding.path) for finding in findings] == [
        (Damage.DAMAGED, manifest.hour, path)
    ]
    assert waits == [30]


def test_of_a_mirror_the_months_are_listed_that_it_has(tmp_path: Path) -> None:
    listings: list[str] = []

    class Noting(FileDestination):
        def tree(self, prefix: str) -> Iterator[Listed]:
            listings.append(prefix)
            return super().tree(prefix)

    destination = Noting(tmp_path)
    hours = [ExportHour(EventType("datapoint"), datetime(2026, month, 5, 7, tzinfo=UTC)) for month in (3, 4)]
    for hour in (*hours, ExportHour(hours[0].event_type, hours[0].end)):
        archive_hour(destination, hour, [DATA], layout=Layout.MIRROR)
    scope = Scope([hours[0].event_type], hours[0].start, hours[0].end + timedelta(hours=1))
    assert found(destination, scope) == set()
    month = "1a2b3c4d/Datapoint/2026-03"
    days = "event_type=datapoint/date=2026-03-05"
    assert listings == [f"_manifests/{days}", days, month]


def test_files_that_a_rule_removed_are_counted_and_are_no_loss(tmp_path: Path) -> None:
    destination = FileDestination(tmp_path)
    manifest, _ = filled(destination, 2)
    written = Records(destination).read_manifest(manifest.hour)[1]
    Records(destination).write_manifest(after_removal(manifest, NOW, {}), written)
    for file in manifest.files:
        (tmp_path / file.path).unlink()
    verification = Verification(destination, Scope(None, None, END), now=LATER)
    assert list(verification.findings()) == []
    assert (verification.counts.files, verification.counts.removed) == (4, 2)


def test_a_long_verification_says_how_many_manifests_it_has_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ayla_provider.archive.verify._CHUNK", 2)
    monkeypatch.setattr("ayla_provider.archive.verify._PROGRESS_EVERY", 0.0)
    caplog.set_level("INFO", "ayla_provider.archive.verify")
    destination = FileDestination(tmp_path)
    filled(destination, 5)
    assert found(destination) == set()
    assert [record.getMessage() for record in caplog.records] == [
        "Listed the archive",
        "Checked 2 manifests",
        "Checked 4 manifests",
        "Checked 5 manifests",
    ]


def test_copies_in_folders_of_their_own_are_copies_of_their_hour(tmp_path: Path) -> None:
    destination = FileDestination(tmp_path)
    filled(destination, 1)
    before = hours_back(NOW, 3)[0]
    folder = f"1a2b3c4d/Datapoint/{before.start:%Y-%m-%d %H}:00:00"
    # The name of a file can have folders, also one that looks like another hour.
    store(destination, f"{folder}/a/b/Datapoint/2020-01-01 00:00:00/0.csv", DATA)
    # A copy of another archive is in a folder more.
    other = hours_back(NOW, 4)[0]
    store(destination, f"backup/1a2b3c4d/Datapoint/{other.start:%Y-%m-%d %H}:00:00/0.csv", DATA)
    listed = hours_back(NOW, 2)[0]
    archive_hour(destination, listed, [DATA], layout=Layout.MIRROR)
    assert found(destination) == {
        Finding(Damage.NO_MANIFEST, before, manifest_path(before), "the hour has no manifest")
    }

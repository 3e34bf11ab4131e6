"""What is wrong with an archive: compares what a manifest names with what a listing shows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ayla_provider.archive.destination import Stored
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.domain.units import files_text


class Damage(StrEnum):
    """One kind of difference between the manifests and the objects of an archive."""

    MISSING = "missing"
    """A manifest names a file that isn't there."""
    DAMAGED = "damaged"
    """A file has another size or another checksum than its manifest says."""
    NO_MANIFEST = "no_manifest"
    """An hour has no manifest."""
    UNREADABLE = "unreadable_manifest"
    """A manifest can't be read."""
    NEWER = "newer_format"
    """A newer version of this package wrote the manifest, so that its files can't be checked."""
    ORPHAN = "orphan"
    """No manifest names this object, which is older than a day."""
    UNFINISHED = "unfinished_upload"
    """The rest of an upload that began more than a day ago."""
    ROWS_MISSING = "rows_missing"
    """A receipt names typed rows that aren't there."""
    ROWS_DAMAGED = "rows_damaged"
    """Typed rows have another size or another checksum than their receipt says."""
    RECEIPT = "unreadable_receipt"
    """A receipt of typed rows can't be read."""
    LEDGER = "ledger_differs"
    """A warehouse's ledger has another version of an hour than its receipt, or other numbers of rows."""
    FEWER_ROWS = "fewer_rows"
    """A warehouse's table has fewer rows of an hour than its ledger says."""
    MORE_ROWS = "more_rows"
    """A warehouse's table has more rows of an hour than its ledger says."""
    OFFLINE = "not_readable_now"
    """What must be read is in an archive tier."""
    LOST = "lost"
    """A file that its manifest marks as lost: a repair found that Ayla no longer has it."""
    RESTORED = "restored"
    """A file that its manifest marks as lost is there again."""

    @property
    def is_loss(self) -> bool:
        """Whether the archive has less than it should, or nobody can say so."""
        return self not in (Damage.ORPHAN, Damage.UNFINISHED, Damage.OFFLINE, Damage.RESTORED)

    @property
    def can_be_repaired(self) -> bool:
        """Whether a copy of the hour can repair it, if the vendor still has the files."""
        return self in _REASONS


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with the archive."""

    damage: Damage
    hour: ExportHour | None
    """None if the object's path doesn't say it."""
    path: str
    """The object, relative to the destination."""
    detail: str
    """For people."""

    def document(self) -> dict[str, str | None]:
        """Return the finding for JSON."""
        return {
            "event_type": self.hour.event_type if self.hour else None,
            "hour": self.hour.start.isoformat() if self.hour else None,
            "damage": self.damage.value,
            "path": self.path,
            "detail": self.detail,
        }

    def __str__(self) -> str:
        where = f"{self.hour}: " if self.hour else ""
        return f"{where}{self.damage.value}: {self.detail}: {self.path}"


@dataclass(frozen=True, slots=True)
class Repair:
    """An hour to copy again."""

    hour: ExportHour
    reason: str
    """What is wrong: ``1 file missing in the archive``."""
    untrusted: tuple[str, ...]
    """Paths of copies and manifests to write again; ``*`` for all copies."""

    def __str__(self) -> str:
        return f"{self.hour}: {self.reason}"


def repair_of(hour: ExportHour, findings: Sequence[Finding]) -> Repair:
    """
    Return the repair of an hour.

    :param findings: those of this hour that can be repaired
    """
    damages = Counter(finding.damage for finding in findings)
    reasons = [text(damages[damage]) for damage, text in _REASONS.items() if damages[damage]]
    paths = tuple(finding.path for finding in findings)
    if len(paths) > _MOST_PATHS:
        # So that the list fits where it is handed on.
        paths = ("*", *(finding.path for finding in findings if finding.damage in _OF_MANIFESTS))
    return Repair(hour, " and ".join(reasons), paths)


_OF_MANIFESTS = (Damage.NO_MANIFEST, Damage.UNREADABLE)

_MOST_PATHS = 50
"""How many copies of an hour a repair names."""

_REASONS: dict[Damage, Callable[[int], str]] = {
    Damage.NO_MANIFEST: lambda count: "no manifest in the archive",
    Damage.UNREADABLE: lambda count: "its manifest can't be read",
    Damage.MISSING: lambda count: f"{files_text(count)} missing in the archive",
    Damage.DAMAGED: lambda count: f"{files_text(count)} damaged in the archive",
    Damage.RESTORED: lambda count: f"{files_text(count, 'lost')} back in the archive",
}


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A file whose listing contradicts its manifest entry, or doesn't confirm it."""

    entry: ManifestFile
    stored: Stored | None
    """What the listing shows; None if it doesn't show the file."""
    detail: str
    """For people."""
    proven: bool = True
    """False if only the content can tell: someone wrote the file again, in the same size."""


def suspect(entry: ManifestFile, stored: Stored | None) -> Suspicion | None:
    """
    Compare a file's manifest entry with what a listing shows of it; None if they agree.

    A listing that states no checksum proves the content by the version. An entry of an earlier version has none; then
    only the size is compared. A file that is marked as lost is always suspect, because it can be back.
    """
    if entry.lost:
        return Suspicion(entry, stored, f"Ayla no longer has it, as a repair found on {entry.lost[:10]}", proven=False)
    if stored is None:
        return Suspicion(entry, None, "the file isn't there")
    if stored.size != entry.held_size:
        return Suspicion(entry, stored, f"it has {stored.size} bytes, its manifest says {entry.held_size}")
    if stored.crc32c is not None:
        if stored.crc32c == entry.held_crc32c:
            return None
        return Suspicion(entry, stored, wrong_checksum(stored.crc32c, entry))
    if entry.version in ("", stored.version):
        return None
    return Suspicion(entry, stored, "it was written again since it was copied", proven=False)


def wrong_checksum(crc32c: str, entry: ManifestFile) -> str:
    """Return the detail of a file whose bytes are others than those that were copied."""
    return f"it has crc32c {crc32c}, its manifest says {entry.held_crc32c}"

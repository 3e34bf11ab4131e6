"""What the archive has of each hour, compared with the source: complete, missing or changed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from ayla_provider.domain.arrival import PATIENCE, SHORTEST_RETENTION, HourState, HourStatus
from ayla_provider.domain.failure import Failure, facts_of
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.units import files_text
from ayla_provider.domain.unplaced import advise

LEFT_TO_THE_EXPORT = ONE_HOUR
"""How long after an hour settles the export DAG has time to copy it, before the hour counts as missing."""


class Coverage(StrEnum):
    """What the archive has of one hour."""

    LANDED = "landed"
    """It has every file of the source, in the newest generation."""
    LATE = "late"
    """The same, but a file came after the hour's patience was over."""
    EMPTY = "empty"
    """It has a manifest without files, and the source has no files."""
    WAITING = "waiting"
    """It has nothing, and files may still come: the hour is open, arriving or pending."""
    OVERDUE = "overdue"
    """It has nothing, because the exporter is stalled."""
    MISSING = "missing"
    """It has no manifest, although the hour is settled at the source."""
    CHANGED = "changed"
    """It has a manifest, but the source has new files or newer generations."""
    EXPIRED = "expired"
    """It has no files, and the source no longer keeps files of that time."""
    UNPROVEN = "unproven"
    """Whatever the manifest says, the source has an object that can't be placed in time and can be one of its files.
    Or the manifest says that there were no events, and nothing proves that."""
    LOST = "lost"
    """Neither the archive nor the source has all files of its manifest any more."""

    @property
    def complete(self) -> bool:
        """Whether the archive has all that the source shows, and all that it had."""
        return self not in (Coverage.MISSING, Coverage.CHANGED, Coverage.UNPROVEN, Coverage.LOST)


def _without_manifest(state: HourState) -> Coverage:
    match state:
        case HourState.OPEN | HourState.ARRIVING | HourState.PENDING:
            return Coverage.WAITING
        case HourState.LANDED | HourState.EMPTY:
            return Coverage.MISSING
        case HourState.OVERDUE:
            return Coverage.OVERDUE
        case HourState.EXPIRED:
            return Coverage.EXPIRED
        case HourState.UNPROVEN:
            return Coverage.UNPROVEN
        case _:
            assert_never(state)


@dataclass(frozen=True, slots=True)
class HourCoverage:
    """One hour: its status at the source, and the archive's manifest."""

    status: HourStatus
    manifest: Manifest | None
    problem: str = ""
    """Why the manifest can't be read; empty if it can, or if there is none."""
    is_newer: bool = False
    """Whether a newer version of this package wrote the manifest, so that no copy replaces it."""
    note: Failure | None = None
    """The note of the last task that couldn't copy the hour, perhaps an old one."""
    patience: timedelta = PATIENCE
    """A file that comes later than this after the hour's end is late."""
    may_have_expired: bool = False
    """Whether the hour is so old that the source may have removed its files, and what proved that it has none."""

    @property
    def hour(self) -> ExportHour:
        """The hour."""
        return self.status.hour

    @property
    def new_files(self) -> list[ExportFile]:
        """Files of the source that the manifest lacks, or that the archive has lost."""
        if self._is_removed:
            return []
        known = self._generations()
        return [file for file in self.status.files if file.name not in known]

    @property
    def replaced_files(self) -> list[ExportFile]:
        """Files of the source that the manifest has in another generation."""
        if self._is_removed:
            return []
        known = self._generations()
        return [file for file in self.status.files if known.get(file.name, file.generation) != file.generation]

    @property
    def _is_removed(self) -> bool:
        """Whether a rule removed the hour's copies because of their age, so that nothing of it is copied any more."""
        return self.manifest is not None and bool(self.manifest.removed)

    def _generations(self) -> dict[str, int]:
        return {file.source: file.generation for file in self.manifest.copied} if self.manifest else {}

    @property
    def state(self) -> Coverage:
        """
        What the archive has.

        A file in the manifest that the source no longer shows has expired there; that isn't a change. Whether the
        copies still exist isn't checked.
        """
        if self.problem:
            return Coverage.MISSING
        is_known = self._has_expired_files or self._is_removed
        if self.status.state is HourState.UNPROVEN and not is_known:
            return Coverage.UNPROVEN
        if self.manifest is None:
            return _without_manifest(self.status.state)
        if self.new_files or self.replaced_files:
            return Coverage.CHANGED
        if self.manifest.lost:
            return Coverage.LOST
        if not self.manifest.files:
            return self._without_files(self.manifest)
        return Coverage.LATE if self.lag and self.lag > self.patience else Coverage.LANDED

    def _without_files(self, manifest: Manifest) -> Coverage:
        """Return what a manifest without files means. Earlier versions wrote some for hours that weren't proven."""
        match self.status.state:
            case HourState.OVERDUE if not self.may_have_expired:
                return Coverage.UNPROVEN
            case HourState.EXPIRED if manifest.state is HourState.EXPIRED or self._was_written_late(manifest):
                return Coverage.EXPIRED
            case _:
                return Coverage.EMPTY

    def _was_written_late(self, manifest: Manifest) -> bool:
        """Whether the source may already have removed the hour's files when a manifest was written."""
        try:
            return datetime.fromisoformat(manifest.written_at) - self.hour.start > SHORTEST_RETENTION
        except (ValueError, TypeError):
            # A person changed it.
            return True

    @property
    def _has_expired_files(self) -> bool:
        """Whether the archive has files of an hour of which the source no longer shows any."""
        return self.manifest is not None and bool(self.manifest.files) and not self.status.files

    @property
    def needs_repair(self) -> bool:
        """Whether a copy would complete the archive, now that the hour is settled at the source."""
        return self.state in (Coverage.MISSING, Coverage.CHANGED) and self.status.state.settled

    @property
    def failure(self) -> Failure | None:
        """The note; None if the hour was copied or marked since, or if the source no longer shows the same files."""
        if self.note is None or self.state.complete or self.state is Coverage.LOST:
            return None
        return self.note if self.note.facts == facts_of(self.status) else None

    @property
    def files(self) -> int:
        """How many files the archive has, or would have after a copy."""
        return len({file.name for file in self.status.files} | self._generations().keys())

    @property
    def bytes(self) -> int:
        """The bytes that the archive has, or would have after a copy."""
        sizes = {file.source: file.size for file in self.manifest.copied} if self.manifest else {}
        sizes.update((file.name, file.size) for file in self.status.files)
        return sum(sizes.values())

    @property
    def lag(self) -> timedelta | None:
        """How long after the hour's end the newest file came; None without files."""
        created = [file.created for file in self.status.files]
        if self.manifest:
            created += [datetime.fromisoformat(file.created) for file in self.manifest.files]
        return max(created) - self.hour.end if created else None


def describe_gap(coverage: HourCoverage) -> str:
    """
    Return what the archive lacks of an hour, for people: ``1 new file, 26.3 h late``.

    The text says how late the newest of these files came, if it came after the patience was over.
    """
    if coverage.state is Coverage.UNPROVEN and coverage.status.obstacle:
        return advise(coverage.status.obstacle, coverage.hour.event_type)
    if coverage.state is Coverage.UNPROVEN:
        return (
            "its manifest says that there were no events, and nothing proves that: Ayla's bucket has no file of a "
            "later hour"
        )
    if coverage.is_newer:
        return "a newer version of this package wrote its manifest"
    if coverage.problem:
        return "its manifest can't be read"
    if coverage.state is Coverage.LOST and coverage.manifest:
        return describe_lost(coverage.manifest)
    if coverage.manifest is None:
        lacking = coverage.status.files
        gap = f"never copied, {files_text(len(lacking))}" if lacking else "never copied, no events"
    else:
        new, replaced = coverage.new_files, coverage.replaced_files
        lacking = (*new, *replaced)
        counts = ((len(new), "new"), (len(replaced), "replaced"))
        gap = " and ".join(files_text(count, kind) for count, kind in counts if count)
    newest = max((file.created for file in lacking), default=coverage.hour.end)
    lag = newest - coverage.hour.end
    if lag > coverage.patience:
        gap += f", {lag / ONE_HOUR:.1f} h late"
    return gap


def describe_lost(manifest: Manifest) -> str:
    """Return which files of an hour are lost, for people: ``1 of 2 files is lost, found on 2026-11-28``."""
    lost = manifest.lost
    share = f"{len(lost):,} of {files_text(len(manifest.files))} {'is' if len(lost) == 1 else 'are'} lost"
    return f"{share}, found on {max(file.lost for file in lost)[:10]}"

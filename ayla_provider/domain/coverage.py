"""The source beside the archive, hour by hour: what is there, what is missing, what changed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ayla_provider.domain.arrival import PATIENCE, HourState, HourStatus
from ayla_provider.domain.failure import Failure, facts_of
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.units import files_text

LEFT_TO_THE_EXPORT = ONE_HOUR
"""How long an hour that settled is left to the DAG that copies it, before anything else counts it as missing."""


class Coverage(StrEnum):
    """What the archive has of one hour of one event type."""

    LANDED = "landed"
    """Every file of the source, in its newest generation."""
    LATE = "late"
    """The same, but a file came later than the patience after the hour's end."""
    EMPTY = "empty"
    """A manifest without files, and none at the source."""
    WAITING = "waiting"
    """Nothing, and the hour may still get files: open, arriving or pending."""
    OVERDUE = "overdue"
    """Nothing, since the exporter is stalled."""
    MISSING = "missing"
    """No manifest, although the hour is settled at the source."""
    CHANGED = "changed"
    """A manifest, but the source has new files or newer generations."""
    EXPIRED = "expired"
    """Nothing, and the source keeps nothing of that time any more."""

    @property
    def complete(self) -> bool:
        """Whether the archive has all that the source shows."""
        return self not in (Coverage.MISSING, Coverage.CHANGED)


_WITHOUT_MANIFEST = {
    HourState.LANDED: Coverage.MISSING,
    HourState.EMPTY: Coverage.MISSING,
    HourState.OVERDUE: Coverage.OVERDUE,
    HourState.EXPIRED: Coverage.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class HourCoverage:
    """One hour of one event type: its status at the source, and the archive's manifest."""

    status: HourStatus
    manifest: Manifest | None
    problem: str = ""
    """Why the manifest that stands there can't be read."""
    note: Failure | None = None
    """What the last task left that couldn't copy the hour, perhaps long ago."""

    @property
    def event_type(self) -> str:
        """The event type."""
        return self.status.event_type

    @property
    def hour(self) -> datetime:
        """The hour's start, aware, UTC."""
        return self.status.hour

    @property
    def new_files(self) -> list[ExportFile]:
        """Files of the source that the manifest lacks."""
        known = self._generations()
        return [file for file in self.status.files if file.name not in known]

    @property
    def replaced_files(self) -> list[ExportFile]:
        """Files of the source that the manifest has in another generation."""
        known = self._generations()
        return [file for file in self.status.files if known.get(file.name, file.generation) != file.generation]

    def _generations(self) -> dict[str, int]:
        return {file.source: file.generation for file in self.manifest.files} if self.manifest else {}

    @property
    def state(self) -> Coverage:
        """
        What the archive has.

        A file in the manifest that the source no longer shows has expired there; that is no change. Whether the copies
        still stand is the customer's own affair.
        """
        if self.manifest is None:
            return Coverage.MISSING if self.problem else _WITHOUT_MANIFEST.get(self.status.state, Coverage.WAITING)
        if self.new_files or self.replaced_files:
            return Coverage.CHANGED
        if not self.manifest.files:
            return Coverage.EMPTY
        return Coverage.LATE if self.lag and self.lag > PATIENCE else Coverage.LANDED

    @property
    def needs_repair(self) -> bool:
        """Whether a copy would complete the archive, now that the hour is settled at the source."""
        return not self.state.complete and self.status.state.settled

    @property
    def failure(self) -> Failure | None:
        """The note, unless the hour was copied since, or the source shows something else than it did then."""
        noted = self.note is not None and self.note.facts == facts_of(self.status)
        return self.note if noted and not self.state.complete else None

    @property
    def files(self) -> int:
        """How many files the archive has, or would have after a copy."""
        return len({file.name for file in self.status.files} | self._generations().keys())

    @property
    def bytes(self) -> int:
        """The bytes that the archive has, or would have after a copy."""
        sizes = {file.source: file.size for file in self.manifest.files} if self.manifest else {}
        sizes.update((file.name, file.size) for file in self.status.files)
        return sum(sizes.values())

    @property
    def lag(self) -> timedelta | None:
        """How long after the hour's end its newest file came; None without files."""
        created = [file.created for file in self.status.files]
        if self.manifest:
            created += [datetime.fromisoformat(file.created) for file in self.manifest.files]
        return max(created) - (self.hour + ONE_HOUR) if created else None


def describe_gap(coverage: HourCoverage) -> str:
    """
    Return what an hour lacks, for people: ``1 new file, 26.3 h late``.

    How late the newest of the files came is told if it was later than the patience.
    """
    if coverage.problem:
        return "its manifest can't be read"
    if coverage.manifest is None:
        lacking = coverage.status.files
        told = f"never copied, {files_text(len(lacking))}" if lacking else "never copied, no events"
    else:
        new, replaced = coverage.new_files, coverage.replaced_files
        lacking = (*new, *replaced)
        counts = ((len(new), "new"), (len(replaced), "replaced"))
        told = " and ".join(files_text(count, kind) for count, kind in counts if count)
    lag = max((file.created for file in lacking), default=coverage.hour) - (coverage.hour + ONE_HOUR)
    return told + (f", {lag / ONE_HOUR:.1f} h late" if lag > PATIENCE else "")

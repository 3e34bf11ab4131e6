"""What a run made of a stream, and how far the stream was read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.domain import stream as positions
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import STREAM_POSITION
from ayla_provider.domain.stream import Gap, StreamPosition


@dataclass(slots=True)
class StreamReport:
    """What a run did: counts and bytes, no names."""

    batches: int = 0
    """Batches with records that were committed, also one that an earlier run had begun."""
    records: int = 0
    """Records that were committed."""
    unreadable: int = 0
    """Records of these that aren't events of a known type."""
    files: int = 0
    bytes: int = 0
    """Bytes of the files."""
    files_by_folder: Counter[str] = field(default_factory=Counter)
    """The files by the first folder of their paths: ``event_type=datapoint``, or that of the unreadable records."""
    bytes_by_folder: Counter[str] = field(default_factory=Counter)
    """The bytes of the files, in the same way."""
    gaps: list[Gap] = field(default_factory=list)
    """The gaps that were found."""
    unacknowledged_gaps: tuple[Gap, ...] = ()
    """The gaps, also of earlier runs, that nobody accepted yet."""
    hours: list[Manifest] = field(default_factory=list)
    """The hours to announce: complete, or changed since they were. Also those of an earlier run that failed."""
    lag: timedelta = timedelta(0)
    """How far behind the stream the archive was when the run began."""
    complete_to: datetime | None = None
    """The end of the complete hours; None if none is."""
    seconds: float = 0.0

    @property
    def unacknowledged(self) -> int:
        """How many gaps nobody accepted yet."""
        return len(self.unacknowledged_gaps)

    def document(self) -> dict[str, Any]:
        """Return the counts, for JSON."""
        return {
            "batches": self.batches,
            "records": self.records,
            "unreadable": self.unreadable,
            "files": self.files,
            "bytes": self.bytes,
            "gaps": len(self.gaps),
            "unacknowledged_gaps": self.unacknowledged,
            "hours": dict(sorted(Counter(manifest.state.value for manifest in self.hours).items())),
            "complete_to": self.complete_to.isoformat() if self.complete_to else None,
            "lag_seconds": self.lag.total_seconds(),
        }


def read_position(destination: Destination) -> tuple[StreamPosition, Stored] | tuple[None, None]:
    """
    Return how far a stream was read into a destination, and the version of that document; None for both without one.

    :raises AylaDestinationError: if it can't be read
    """
    record = destination.read(STREAM_POSITION)
    if record is None:
        return None, None
    content, stored = record
    return positions.loads(content, url_of(destination, STREAM_POSITION)), stored

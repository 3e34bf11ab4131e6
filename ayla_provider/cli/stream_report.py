"""Shows what the archive of a stream has, and what was lost. Changes nothing, and reads only small records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.records import Records
from ayla_provider.cli.report_table import lag_text
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType, parse_event_type
from ayla_provider.domain.hour import ExportHour, describe_hour, hours_of
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.stream import Gap, ShardPosition, StreamPosition, describe_gap, gap_facts
from ayla_provider.domain.units import counted, size_text
from ayla_provider.errors import AylaConfigError, AylaDestinationError

_AT_ONCE = 8
"""How many manifests are read at once."""


@dataclass(slots=True)
class TypeCounts:
    """What the archive has of an event type."""

    landed: int = 0
    """Complete hours with records."""
    empty: int = 0
    """Complete hours without records."""
    gap: int = 0
    """Hours of which records expired before they were read, also what somebody has acknowledged. None gets complete."""
    open: int = 0
    """Hours that may still get records, with records or without."""
    files: int = 0
    bytes: int = 0

    def add(self, manifest: Manifest, *, has_gap: bool) -> None:
        """
        Count an hour that has a manifest.

        :param has_gap: whether records of it may be lost
        """
        if has_gap:
            self.gap += 1
        elif manifest.state is HourState.OPEN:
            self.open += 1
        elif manifest.state is HourState.EMPTY:
            self.empty += 1
        else:
            self.landed += 1
        self.files += len(manifest.files)
        self.bytes += manifest.size

    def document(self) -> dict[str, int]:
        """Return the counts, for JSON."""
        return {
            "landed": self.landed,
            "empty": self.empty,
            "open": self.open,
            "gap": self.gap,
            "files": self.files,
            "bytes": self.bytes,
        }


class StreamArchiveReport:
    """
    One look at the archive of a stream.

    :param archive: the stream's destination
    :param position: how far the stream was read into it
    :param destination_conn_id: as the draining task has it
    :param event_types: in any spelling; None for all that the stream ever had
    :param since: the first hour, aware
    :param until: the end of the last hour, aware
    :param now: aware
    :raises AylaConfigError: if there is no hour to show
    """

    def __init__(
        self,
        archive: Destination,
        position: StreamPosition,
        *,
        destination_conn_id: str | None,
        event_types: Sequence[str] | None,
        since: datetime,
        until: datetime,
        now: datetime,
    ) -> None:
        if since >= until:
            raise AylaConfigError(f"no hour is between {describe_hour(since)} and {describe_hour(until)}")
        self._archive = archive
        self._position = position
        self._destination_conn_id = destination_conn_id
        self._since = since
        self._until = until
        self._now = now
        names = event_types or position.event_types
        self.counts: dict[EventType, TypeCounts] = {parse_event_type(name): TypeCounts() for name in names}

    def read(self) -> None:
        """
        Read the manifests, and count the hours.

        :raises AylaDestinationError: if the archive can't be read
        """
        records = Records(self._archive)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ayla-report") as pool:
            for event_type, counts in self.counts.items():
                hours = hours_of(event_type, self._since, self._until)
                manifests = records.read_manifests(hours, pool)
                for manifest in manifests.values():
                    if isinstance(manifest, AylaDestinationError):
                        raise manifest
                    counts.add(manifest, has_gap=self._has_gap(manifest.hour))
                for hour in hours:
                    if hour not in manifests and hour.start >= self._position.since:
                        # An hour of a gap never becomes complete. Others do, with or without records.
                        counts.gap += self._has_gap(hour)
                        counts.open += hour.end > self._position.complete_to and not self._has_gap(hour)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps that nobody has acknowledged."""
        return self._position.unacknowledged

    @property
    def status(self) -> int:
        """The exit status: 0 if nothing was lost, or somebody acknowledged it; otherwise 1."""
        return 1 if self.gaps else 0

    @property
    def lag(self) -> timedelta | None:
        """How far the archive is behind the stream; None if nothing was read, or if all shards were read to the end."""
        read_to = [shard.read_to for shard in self._unread.values()]
        known = [time for time in read_to if time is not None]
        return self._lag_of(min(known)) if known else None

    @property
    def verdict(self) -> str:
        """What the gaps mean, and what to do."""
        if not self.gaps:
            return "All gaps are acknowledged." if self._position.gaps else "No records were lost."
        gaps = counted(len(self.gaps), "gap isn't acknowledged", "gaps aren't acknowledged")
        return (
            f"{gaps}: records expired in the stream before they were read. The export may have their events. To "
            "acknowledge the loss, run the draining task once with accept_loss."
        )

    def text(self) -> Iterator[str]:
        """Yield the lines for people."""
        span = f"{describe_hour(self._since)} to {describe_hour(self._until)}"
        yield f"{self._position.stream} in {self._archive.url}, {span}\n"
        yield from self._hours_text()
        yield ""
        complete_to = self._position.proven_to
        yield f"hours are complete up to: {describe_hour(complete_to) if complete_to else 'none yet'}"
        yield f"lag: {lag_text(self.lag)}"
        if self._position.pending:
            yield "a batch was begun, and isn't finished: the next run finishes it"
        yield ""
        yield from self._shards_text()
        if self.gaps:
            yield ""
            yield "gaps:"
            for gap in self.gaps:
                yield f"  {describe_gap(gap)}"
        yield f"\n{self.verdict}"

    def document(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        complete_to = self._position.proven_to
        return {
            "stream": self._position.stream,
            "destination": self._archive.url,
            "destination_conn": self._destination_conn_id,
            "since": self._since.isoformat(),
            "until": self._until.isoformat(),
            "event_types": {event_type: counts.document() for event_type, counts in self.counts.items()},
            "complete_to": complete_to.isoformat() if complete_to else None,
            "lag_seconds": _seconds(self.lag),
            "shards": [self._shard_document(shard, self._unread[shard]) for shard in sorted(self._unread)],
            "gaps": [gap_facts(gap) for gap in self.gaps],
            "summary": {"complete": not self.gaps, "verdict": self.verdict},
        }

    @property
    def _unread(self) -> dict[str, ShardPosition]:
        """The shards that can still have unread records."""
        return {shard: position for shard, position in self._position.shards.items() if not position.closed}

    def _has_gap(self, hour: ExportHour) -> bool:
        return any(known.gap.touches(hour) for known in self._position.gaps)

    def _lag_of(self, read_to: datetime) -> timedelta:
        return max(self._now - read_to, timedelta(0))

    def _hours_text(self) -> Iterator[str]:
        width = max(map(len, ["event type", *self.counts]))
        states = f"{'landed':>6}  {'empty':>6}  {'open':>6}  {'gap':>6}"
        yield f"{'event type':{width}}  {states}  {'files':>7}  {'bytes':>8}"
        for event_type, counts in self.counts.items():
            hours = f"{counts.landed:>6,}  {counts.empty:>6,}  {counts.open:>6,}  {counts.gap:>6,}"
            yield f"{event_type:{width}}  {hours}  {counts.files:>7,}  {size_text(counts.bytes):>8}"

    def _shards_text(self) -> Iterator[str]:
        width = max(map(len, ["shard", *self._unread]))
        yield f"{'shard':{width}}  {'read up to':25}  lag"
        for shard, position in sorted(self._unread.items()):
            read_to = position.read_to
            time = read_to.isoformat(timespec="seconds") if read_to else "its beginning"
            yield f"{shard:{width}}  {time:25}  {lag_text(self._lag_of(read_to) if read_to else None)}"
        ended = len(self._position.shards) - len(self._unread)
        if ended:
            yield f"{counted(ended, 'closed shard was', 'closed shards were')} read to the end"

    def _shard_document(self, shard: str, position: ShardPosition) -> dict[str, Any]:
        read_to = position.read_to
        return {
            "shard": shard,
            "after": None if position.after is None else str(position.after),
            "read_to": read_to.isoformat() if read_to else None,
            "lag_seconds": _seconds(self._lag_of(read_to) if read_to else None),
        }


def _seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else round(duration.total_seconds())

"""
Compares the typed rows of an export with those of a stream, hour by hour, and keeps what it finds.

It reads the receipts of both sides, and each Parquet file at most once: an hour's file stays on this disk until the
next hour is compared, whose neighbour it is.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.archive.private import open_private
from ayla_provider.archive.records import Records, write_json
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.completeness import (
    Completeness,
    HourCompleteness,
    Obstacle,
    StreamCoverage,
    export_obstacle,
    missing_path,
    obstacle_of,
    record_path,
    state_of,
    stream_obstacle,
    with_identities_judged,
)
from ayla_provider.domain.events import ACTIVATION, EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_of
from ayla_provider.domain.json_fields import UNREADABLE
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.typed_manifest import TypedManifest, same_files
from ayla_provider.errors import AylaConfigError, AylaDestinationError
from ayla_provider.rows.duck import MEMORY, connect, literal
from ayla_provider.rows.match import EXPORT, STREAM, HourMatch, Likeness
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.rows.verify import read_receipt
from ayla_provider.transport.checksum import CHUNK, Crc32c

log = logging.getLogger(__name__)

_AROUND = (-1, 1)
"""The hours, before and after, in which an event can be instead."""

_WRITERS = 8
"""How many records are read or written at once."""


@dataclass(frozen=True, slots=True)
class Side:
    """
    An archive and its typed rows.

    :param archive: with the manifests
    :param rows: with the receipts
    """

    archive: Destination
    rows: Destination


class CompletenessComparison:
    """
    Compares an export with a stream.

    Use it as a context manager, in one thread.

    :param export: the export's archive
    :param stream: the archive of the stream's records. The results go there
    :param coverage: what of the stream was read
    :param now: aware
    :param memory: what DuckDB may take, as it writes sizes
    """

    def __init__(
        self, export: Side, stream: Side, coverage: StreamCoverage, *, now: datetime, memory: str = MEMORY
    ) -> None:
        self._sides = {EXPORT: _OpenSide(export, is_stream=False), STREAM: _OpenSide(stream, is_stream=True)}
        self._results = stream.archive
        self._coverage = coverage
        self._now = now
        self._memory = memory
        self._closing = contextlib.ExitStack()
        self._folder = Path()
        self._duck: Any = None

    def __enter__(self) -> CompletenessComparison:
        """Open what the comparison works with."""
        self._folder = self._closing.enter_context(scratch_folder())
        self._duck = self._closing.enter_context(contextlib.closing(connect(memory=self._memory, folder=self._folder)))
        self._duck.execute("set preserve_insertion_order = false")
        for side in self._sides.values():
            self._closing.callback(side.forget)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove it."""
        self._closing.close()

    def compare(self, event_type: EventType, start: datetime, end: datetime) -> list[HourCompleteness]:
        """
        Compare the hours of an event type, keep the results, and return them, the oldest first.

        :param start: aware, on the hour
        :param end: aware, on the hour, exclusive
        :raises AylaConfigError: if there is no hour, an archive is of the other kind, or the export can't have
            the event type
        :raises AylaError: if a side can't be read, or the results can't be written
        """
        if event_type == ACTIVATION:
            raise AylaConfigError(f"{event_type} is an event type of streams alone: leave it out of event_types")
        hours = hours_of(event_type, start, end)
        around = hours_of(event_type, hours[0].start - ONE_HOUR, hours[-1].end + ONE_HOUR)
        for side in self._sides.values():
            side.read_manifests(around)
        results, kept = [], {}
        for hour in hours:
            result, path = self._compare(hour)
            results.append(result)
            if path and result.has_few_matches:
                # If this holds for the whole event type, the disk would fill with ids that say nothing.
                path.unlink()
            elif path:
                kept[hour] = path
        judged = with_identities_judged(results)
        for number, result in enumerate(judged):
            if result.missing_path and result.hour not in kept:
                judged[number], path = self._compare(result.hour)
                kept |= {result.hour: path} if path else {}
        self._keep(judged, kept)
        return judged

    def _compare(self, hour: ExportHour) -> tuple[HourCompleteness, Path | None]:
        """Return the result, and the Parquet file of the missing events, if there are any."""
        for side in self._sides.values():
            side.forget(before=hour.start - ONE_HOUR)
        obstacle = self._obstacle(hour)
        if obstacle:
            return HourCompleteness(hour, obstacle.state, obstacle.reason), None
        export, stream = (self._sides[name].receipt(hour) for name in (EXPORT, STREAM))
        likeness = Likeness.of(hour.event_type, self._sides[EXPORT].receipts(hour), self._sides[STREAM].receipts(hour))
        if export.path and stream.path and not likeness.names_devices:
            reason = "the typed rows of the two sides have neither an id nor dsn in common: check the privacy policies"
            return HourCompleteness(hour, Completeness.IDENTITIES_DIFFER, reason), None
        match = HourMatch(self._duck, likeness, str(hour))
        lone = dict(zip(self._sides, match.within(*(side.fetch(hour) for side in self._sides.values())), strict=True))
        if any(lone.values()):
            match.around(*(self._around(side, hour) for side in self._sides.values()))
        result = HourCompleteness(
            hour,
            Completeness.COMPLETE,
            **asdict(match.counts()),
            unreadable=export.quarantined + stream.quarantined,
            export_version=export.version,
            stream_version=stream.version,
        )
        undecided = self._undecided(result)
        if undecided:
            return HourCompleteness(hour, undecided.state, undecided.reason), None
        state = state_of(
            result,
            unreadable_export=self._explained(match, hour, STREAM, EXPORT) if result.only_stream else 0,
            unreadable_stream=self._explained(match, hour, EXPORT, STREAM) if result.only_export else 0,
        )
        if not result.only_export and not result.only_stream:
            return replace(result, state=state), None
        path = self._folder / f"{hour.start:%Y%m%d%H}.parquet"
        missing = match.save(path)
        return replace(result, state=state, missing=missing, missing_path=missing_path(hour)), path

    def _explained(self, match: HourMatch, hour: ExportHour, having: str, lacking: str) -> int:
        """Return how many events that one side lacks can be among its lines that couldn't be read."""
        side = self._sides[lacking]
        receipts = [receipt for receipt in side.receipts(hour) if receipt.quarantined]
        count, lines = 0, []
        for number, receipt in enumerate(receipts):
            path = self._folder / f"lines-{number}.parquet"
            if side.fetch_lines(receipt, path):
                lines.append(path)
            else:
                # Nobody can look at them, so each can be one of the events.
                count += receipt.quarantined
        if lines:
            rows = [path for path in (side.fetch(receipt.hour) for receipt in side.receipts(hour)) if path]
            count += match.explained(having, lines, rows)
        return count

    def _obstacle(self, hour: ExportHour) -> Obstacle | None:
        export, stream = self._sides[EXPORT], self._sides[STREAM]
        found = obstacle_of(hour, self._now, export.manifest(hour), stream.manifest(hour), self._coverage)
        if found is None:
            return export.problem(hour) or stream.problem(hour)
        problem = {Completeness.NOT_SETTLED: export, Completeness.STREAM_OPEN: stream}.get(found.state)
        return (problem.unreadable(hour, found.state) if problem else None) or found

    def _around(self, side: _OpenSide, hour: ExportHour) -> dict[int, Path | None]:
        """Return the typed rows before and after an hour, as far as they exist."""
        neighbours = {place: _moved(hour, place) for place in _AROUND}
        return {place: side.fetch(other) for place, other in neighbours.items() if side.has_rows(other)}

    def _undecided(self, result: HourCompleteness) -> Obstacle | None:
        """Return why nobody can say yet whether an event is missing: the other side may have it in another hour."""
        for place in _AROUND:
            other = _moved(result.hour, place)
            obstacle = None
            export, stream = self._sides[EXPORT], self._sides[STREAM]
            if result.only_stream:
                obstacle = export_obstacle(other, self._now, export.manifest(other)) or export.problem(other)
            if result.only_export and not obstacle:
                obstacle = stream_obstacle(other, stream.manifest(other)) or stream.problem(other)
            if obstacle:
                reason = f"an event without a partner can be in the hour {'before' if place < 0 else 'after'}"
                return Obstacle(obstacle.state, f"{reason}, and {obstacle.reason}")
        return None

    def _keep(self, results: Sequence[HourCompleteness], kept: dict[ExportHour, Path]) -> None:
        """Write the records, and before each of them the missing events."""

        def keep(result: HourCompleteness) -> None:
            path = record_path(result.hour)
            content, stored = self._results.read(path) or (b"", None)
            if content == result.dumps().encode():
                return
            if result.missing_path:
                self._put(result.missing_path, kept[result.hour])
            elif _names_missing(content):
                # Nothing is ever deleted in an archive.
                self._put(missing_path(result.hour), empty)
            write_json(self._results, path, result.dumps(), stored)

        empty = self._folder / "empty.parquet"
        self._duck.execute(
            "copy (select ''::varchar as only_in, ''::varchar as id, now() as time, ''::varchar as source_object "
            f"where false) to {literal(str(empty))} (format parquet)"
        )
        with ThreadPoolExecutor(_WRITERS, "ayla-completeness") as pool:
            list(pool.map(keep, results))
        for local in kept.values():
            local.unlink(missing_ok=True)

    def _put(self, path: str, local: Path) -> None:
        checksum = Crc32c()
        with local.open("rb") as file:
            while block := file.read(CHUNK):
                checksum.update(block)
        stored: Stored | None = self._results.folder(path.rpartition("/")[0]).get(path)
        with local.open("rb") as file:
            self._results.write(
                path,
                file,
                size=local.stat().st_size,
                crc32c=checksum.base64,
                replaces=stored,
                content_type="application/vnd.apache.parquet",
            )


def _moved(hour: ExportHour, place: int) -> ExportHour:
    return replace(hour, start=hour.start + place * ONE_HOUR)


def _names_missing(record: bytes) -> bool:
    """Whether an earlier record names missing events."""
    try:
        return bool(json.loads(record)["missing_path"])
    except UNREADABLE:
        return False


class _OpenSide:
    """The manifests, receipts and Parquet files of a side that are needed now."""

    def __init__(self, side: Side, *, is_stream: bool) -> None:
        self._side = side
        self._is_stream = is_stream
        self._name = STREAM if is_stream else EXPORT
        self._records = Records(side.archive)
        self._typed = TypedArchive(side.archive, side.rows)
        self._manifests: dict[ExportHour, Manifest | AylaDestinationError] = {}
        self._receipts: dict[ExportHour, TypedManifest | Obstacle] = {}
        self._files: dict[ExportHour, tuple[contextlib.ExitStack, Path | None]] = {}

    def read_manifests(self, hours: Iterable[ExportHour]) -> None:
        """
        Read the manifests of some hours, in place of those that were read before.

        :raises AylaConfigError: if one is of the other kind of archive
        """
        self.forget()
        with ThreadPoolExecutor(_WRITERS, "ayla-completeness") as pool:
            self._manifests = self._records.read_manifests(hours, pool)
        for hour, manifest in self._manifests.items():
            if isinstance(manifest, Manifest) and manifest.is_stream != self._is_stream:
                held, expected = ("export", "stream") if self._is_stream else ("stream", "export")
                raise AylaConfigError(
                    f"{self._side.archive.url} holds {hour} of {_articled(held)}, and is given as the archive of "
                    f"{_articled(expected)}: exchange the two archives, or correct the URL."
                )

    def manifest(self, hour: ExportHour) -> Manifest | None:
        """Return the manifest of an hour; None if there is none that can be read."""
        found = self._manifests.get(hour)
        return found if isinstance(found, Manifest) else None

    def unreadable(self, hour: ExportHour, state: Completeness) -> Obstacle | None:
        """Return that the manifest of an hour can't be read; None if it can, or if there is none."""
        found = self._manifests.get(hour)
        return Obstacle(state, str(found)) if isinstance(found, AylaDestinationError) else None

    def problem(self, hour: ExportHour) -> Obstacle | None:
        """Return why there are no typed rows of an hour with a manifest; None if there are, or if it has no files."""
        found = self._receipt(hour)
        return found if isinstance(found, Obstacle) else None

    def has_rows(self, hour: ExportHour) -> bool:
        """Whether an hour is known, with or without rows."""
        return self.manifest(hour) is not None and self.problem(hour) is None

    def receipt(self, hour: ExportHour) -> TypedManifest:
        """Return the receipt of an hour without a problem."""
        found = self._receipt(hour)
        assert isinstance(found, TypedManifest)  # noqa: S101 - for the type checker: the caller has asked before
        return found

    def receipts(self, hour: ExportHour) -> list[TypedManifest]:
        """Return the receipts of an hour, and of those around it, as far as they exist."""
        hours = [_moved(hour, place) for place in (0, *_AROUND)]
        return [self.receipt(each) for each in hours if self.has_rows(each)]

    def _receipt(self, hour: ExportHour) -> TypedManifest | Obstacle:
        if hour not in self._receipts:
            self._receipts[hour] = self._read_receipt(hour)
        return self._receipts[hour]

    def _read_receipt(self, hour: ExportHour) -> TypedManifest | Obstacle:
        manifest = self.manifest(hour)
        if manifest and not manifest.files:
            return _without_rows(hour)
        try:
            receipt = read_receipt(self._side.rows, hour)
        except AylaDestinationError as error:
            return Obstacle(Completeness.NOT_TYPED, str(error))
        if receipt and receipt.removed:
            return Obstacle(Completeness.NOT_TYPED, f"a rule removed the typed rows of {hour} in {self._side.rows.url}")
        if receipt is None:
            return Obstacle(Completeness.NOT_TYPED, f"{self._side.rows.url} has no typed rows of {hour}: type it first")
        if manifest and not same_files(receipt.version, manifest):
            return Obstacle(
                Completeness.NOT_TYPED,
                f"the typed rows of {hour} in {self._side.rows.url} are older than the {self._name}'s files: load the "
                "hour again",
            )
        return receipt

    def fetch(self, hour: ExportHour) -> Path | None:
        """
        Bring the typed rows of an hour to this disk, unless they are there; None if there are none.

        :raises AylaDestinationError: if they can't be read, or differ from their receipt
        """
        if hour not in self._files:
            closing = contextlib.ExitStack()
            self._files[hour] = (closing, closing.enter_context(self._typed.fetched(self.receipt(hour))))
        return self._files[hour][1]

    def fetch_lines(self, receipt: TypedManifest, local: Path) -> bool:
        """
        Bring the malformed lines of an hour to this disk.

        :returns: whether they are there. A lifecycle rule may have removed them
        """
        if not receipt.quarantine:
            return False
        try:
            with open_private(local, "wb") as file:
                for block in self._side.archive.blocks(receipt.quarantine):
                    file.write(block)
        except AylaDestinationError as error:
            log.info("The malformed lines of %s can't be read: %s", receipt.hour, error)
            return False
        return True

    def forget(self, before: datetime | None = None) -> None:
        """
        Remove what is no longer needed from this disk.

        :param before: the first hour that is needed, aware; None for nothing
        """
        for hour in [hour for hour in self._files if before is None or hour.start < before]:
            self._files.pop(hour)[0].close()
        for hour in [hour for hour in self._receipts if before is None or hour.start < before]:
            del self._receipts[hour]


def _articled(kind: str) -> str:
    return f"an {kind}" if kind == "export" else f"a {kind}"


def _without_rows(hour: ExportHour) -> TypedManifest:
    """Return the receipt of an hour without files. A load may not have written one."""
    return TypedManifest(hour, "empty", "", 0, "", (), None, (), "", {}, "")

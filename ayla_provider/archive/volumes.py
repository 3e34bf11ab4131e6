"""Keeps beside an archive how many lines and rows its hours had, and judges the hours that are new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ayla_provider.archive.destination import Destination, Stored, stored_at, url_of
from ayla_provider.archive.records import Records, write_json
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of, hours_of
from ayla_provider.domain.json_fields import UNREADABLE, require, require_format, time_field, typed_field
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import manifest_path, volumes_path
from ayla_provider.domain.typed_manifest import MOST_MODELS as MOST_NAMED
from ayla_provider.domain.typed_manifest import TypedManifest, parse_typed_manifest, typed_manifest_path
from ayla_provider.domain.volume import (
    FEWEST_WEEKS,
    KEPT,
    MOST_MODELS,
    Anomaly,
    Direction,
    Volumes,
    hour_at,
    index_of,
)
from ayla_provider.errors import AylaConflictError, AylaDestinationError

FORMAT = "ayla-volumes/1"

RECENT = timedelta(days=2)
"""Hours of this time are judged, and read again if files came late."""

MOST_READ = 400
"""How many manifests and receipts of an event type are read at most in one evaluation, besides those of two days."""

SHOWN_ANOMALIES = 50
"""How many anomalies a document shows."""

SHOWN_FOR = timedelta(days=7)
"""How long an anomaly that is over is shown."""

_MOST_TRIES = 5
"""How often an object is written again that another task writes at the same time."""

_READERS = 16
"""How many manifests are read at once."""


@dataclass(slots=True)
class VolumeBook:
    """What is kept of an event type from one evaluation to the next."""

    volumes: Volumes
    manifests: dict[int, str] = field(default_factory=dict)
    """The index of a recent hour to the version of the manifest that was read."""
    receipts: dict[int, str] = field(default_factory=dict)
    """The same for receipts."""
    learned_to: datetime | None = None
    """Everything from this hour on was looked for, aware; None before the first evaluation."""
    evaluated_to: datetime | None = None
    """Everything before this hour was looked for, aware; None before the first evaluation."""
    published: str = ""
    """A digest of what was published last."""

    def dumps(self) -> str:
        """Return it as JSON text: the inverse of :func:`parse_book`."""
        volumes = self.volumes
        document = {
            "format": FORMAT,
            "event_type": volumes.event_type,
            "learned_to": self.learned_to and self.learned_to.isoformat(),
            "evaluated_to": self.evaluated_to and self.evaluated_to.isoformat(),
            "published": self.published,
            "lines": _packed(volumes.lines),
            "models": {name: _packed(series) for name, series in sorted(volumes.models.items())},
            "anomalies": [each.document(volumes.event_type) | {"normal": each.normal} for each in volumes.anomalies],
            "manifests": {hour_at(at).isoformat(): version for at, version in sorted(self.manifests.items())},
            "receipts": {hour_at(at).isoformat(): version for at, version in sorted(self.receipts.items())},
        }
        return json.dumps(document, separators=(",", ":")) + "\n"


def _packed(series: Mapping[int, int]) -> dict[str, Any]:
    """Return numbers of hours in little space: the first hour, and a number or null for each hour from then on."""
    if not series:
        return {"start": None, "counts": []}
    first, last = min(series), max(series)
    return {"start": hour_at(first).isoformat(), "counts": [series.get(at) for at in range(first, last + 1)]}


def _unpacked(document: Any) -> dict[int, int]:
    if document["start"] is None:
        return {}
    counts = typed_field(document, "counts", list)
    require(len(counts) <= 2 * (KEPT // ONE_HOUR), "it has too many hours")
    first = index_of(time_field(document, "start"))
    require(all(count is None or (type(count) is int and count >= 0) for count in counts), "a number isn't one")
    return {first + number: count for number, count in enumerate(counts) if count is not None}


def parse_book(text: bytes, where: str, event_type: EventType) -> VolumeBook:
    """
    Return the book in a JSON text.

    :param where: its URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if it isn't such a book
    """
    try:
        document: dict[str, Any] = json.loads(text)
        require_format(document["format"], FORMAT, where)
        require(document["event_type"] == event_type, "it is of another event type")
        models = typed_field(document, "models", dict)
        require(len(models) <= MOST_MODELS, "it has too many models")
        return VolumeBook(
            volumes=Volumes(
                event_type,
                _unpacked(document["lines"]),
                {name: _unpacked(series) for name, series in models.items()},
                [_anomaly(each) for each in typed_field(document, "anomalies", list)],
            ),
            manifests=_versions(document["manifests"]),
            receipts=_versions(document["receipts"]),
            learned_to=_optional_time(document, "learned_to"),
            evaluated_to=_optional_time(document, "evaluated_to"),
            published=typed_field(document, "published", str),
        )
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} isn't a valid record of volumes ({type(error).__name__}: {error!s:.200}). Move it away: the next "
            "task makes it again from the manifests and receipts."
        ) from error


def _optional_time(document: Any, name: str) -> datetime | None:
    return None if document[name] is None else time_field(document, name)


def _versions(document: Any) -> dict[int, str]:
    return {_index(hour): str(version) for hour, version in document.items()}


def _index(hour: str) -> int:
    return index_of(time_field({"hour": hour}, "hour"))


def _anomaly(document: Any) -> Anomaly:
    return Anomaly(
        model=document["model"] or "",
        direction=Direction(document["direction"]),
        start=time_field(document, "hour"),
        last=time_field(document, "last_hour"),
        count=typed_field(document, "count", int),
        expected=typed_field(document, "expected", int),
        hours=typed_field(document, "hours", int),
        normal=typed_field(document, "normal", int),
        over=typed_field(document, "over", bool),
    )


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """
    What an evaluation of an event type found.

    :param begun: the anomalies that began
    :param weeks: how many weeks of numbers there are for the newest hour
    :param is_new: whether anything is to be published
    """

    volumes: Volumes
    begun: list[Anomaly]
    weeks: int
    is_new: bool

    def document(self) -> dict[str, Any]:
        """Return the state of the baseline for JSON."""
        return {
            "event_type": self.volumes.event_type,
            "weeks": self.weeks,
            "has_baseline": self.weeks >= FEWEST_WEEKS,
            "models": len(self.volumes.models),
        }


def document_of(reports: Sequence[VolumeReport], now: datetime) -> dict[str, Any]:
    """
    Return all reports for JSON: with at most :data:`SHOWN_ANOMALIES`, those that aren't over first, then the newest.

    :param now: aware
    """
    shown = [(report, each) for report in reports for each in recent_anomalies(report.volumes, now)]
    shown.sort(key=lambda item: item[1].start, reverse=True)
    shown.sort(key=lambda item: item[1].over)
    return {
        "evaluated_at": now.isoformat(),
        "event_types": [report.document() for report in reports],
        "anomalies": [each.document(report.volumes.event_type) for report, each in shown[:SHOWN_ANOMALIES]],
        "left_out": max(0, len(shown) - SHOWN_ANOMALIES),
    }


def recent_anomalies(volumes: Volumes, now: datetime) -> list[Anomaly]:
    """Return the anomalies that aren't over, and those of the last days."""
    return [each for each in volumes.anomalies if not each.over or now - each.last <= SHOWN_FOR]


def read_book(archive: Destination, event_type: EventType) -> tuple[VolumeBook, Stored | None]:
    """
    Return the book of an event type, and its version; a new one and None if there is none.

    :raises AylaDestinationError: if it can't be read
    """
    path = volumes_path(event_type)
    content, stored = archive.read(path) or (b"", None)
    if stored is None:
        return VolumeBook(Volumes(event_type)), None
    return parse_book(content, url_of(archive, path), event_type), stored


def forget_models(archive: Destination, hours: Collection[ExportHour]) -> None:
    """
    Take out of what is kept how many rows the models had in some hours. Anomalies that were found stay.

    :raises AylaConflictError: if other tasks evaluate the volumes all the time
    :raises AylaDestinationError: if the archive can't be read or written
    """
    for event_type in sorted({hour.event_type for hour in hours}):
        starts = [hour.start for hour in hours if hour.event_type == event_type]
        for tries_left in reversed(range(_MOST_TRIES)):
            book, stored = read_book(archive, event_type)
            before = book.dumps()
            for start in starts:
                book.volumes.forget_models(start)
            if stored is None or book.dumps() == before:
                break
            try:
                write_json(archive, volumes_path(event_type), book.dumps(), stored)
                break
            except AylaConflictError:
                if not tries_left:
                    raise


def anomalies_between(
    archive: Destination, event_types: Sequence[EventType], start: datetime, end: datetime
) -> list[tuple[str, Anomaly]]:
    """
    Return the anomalies that touch some hours, with their event types, the oldest first: at most the newest ones.

    :param start: the first hour, aware
    :param end: the end of the last hour, aware
    :raises AylaDestinationError: if the archive can't be read
    """
    found = []
    for event_type in event_types:
        book, _ = read_book(archive, event_type)
        found += [(str(event_type), each) for each in book.volumes.anomalies if each.start < end and each.last >= start]
    found.sort(key=lambda item: (item[1].start, item[0], item[1].model))
    return found[-SHOWN_ANOMALIES:]


class VolumeLooks:
    """
    Reads the numbers of hours from manifests and receipts, and judges the recent ones.

    In each evaluation, of each event type, it lists the manifests and the receipts of three days, reads those that are
    new, and learns from at most :data:`MOST_READ` hours more, the newest first, until it has nine weeks.

    :param rows: the typed rows
    """

    def __init__(self, archive: Destination, rows: Destination) -> None:
        self._archive = archive
        self._rows = rows
        self._records = Records(archive)
        self._news: list[tuple[VolumeBook, Stored]] = []
        """The books whose verdict is new, as they are to be written once it is published."""

    def evaluate(self, event_type: EventType, now: datetime) -> VolumeReport:
        """
        Read what is new of an event type, judge it, and keep the numbers.

        The verdict stays new until :meth:`note_published`.

        :param now: aware
        :raises AylaConflictError: if another task has evaluated it at the same time
        :raises AylaDestinationError: if archive or rows can't be read or written
        """
        book, stored = read_book(self._archive, event_type)
        before = book.dumps()
        end = hour_of(now)
        recent = end - RECENT
        with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-volumes") as pool:
            if book.evaluated_to is not None and book.evaluated_to < recent:
                # Nothing was evaluated for days. What is between then and now is learned, too.
                book.learned_to = None
            # First what is learned, so that the recent hours are judged by it.
            self._learn(book, event_type, recent, end, pool)
            # Nobody wants to hear of two days ago when this is switched on.
            begun = self._read_recent(book, event_type, recent, end, pool, is_first=stored is None)
        book.evaluated_to = end
        book.volumes.forget_before(end - KEPT)
        _forget_versions(book, index_of(recent))
        newest = sorted(book.volumes.lines)[-24:]
        weeks = max((book.volumes.weeks(hour_at(at)) for at in newest), default=0)
        report = VolumeReport(book.volumes, begun, weeks, is_new=False)
        digest = _digest(report, now)
        is_new = digest != book.published
        if book.dumps() != before or stored is None:
            stored = write_json(self._archive, volumes_path(event_type), book.dumps(), stored)
        if is_new:
            book.published = digest
            self._news.append((book, stored))
        return VolumeReport(book.volumes, begun, weeks, is_new)

    def note_published(self) -> None:
        """
        Note that the new verdicts of all evaluations are published.

        :raises AylaConflictError: if another task has evaluated one of the event types at the same time
        :raises AylaDestinationError: if the archive can't be written
        """
        for book, stored in self._news:
            path = volumes_path(EventType(book.volumes.event_type))
            write_json(self._archive, path, book.dumps(), stored)
        self._news.clear()

    def _learn(self, book: VolumeBook, event_type: EventType, recent: datetime, end: datetime, pool: Executor) -> None:
        """Read hours before the recent ones that weren't read yet. None of them is judged."""
        oldest = end - KEPT
        known_to = book.learned_to
        stop = recent if known_to is None else min(recent, known_to)
        start = max(oldest, stop - MOST_READ * ONE_HOUR)
        if start < stop:
            hours = hours_of(event_type, start, stop)
            for hour, manifest in self._records.read_manifests(hours, pool).items():
                if isinstance(manifest, Manifest):
                    _note_manifest(book, manifest)
                else:
                    book.volumes.lines.pop(index_of(hour.start), None)
            for receipt in pool.map(self._receipt, self._with_receipt(hours, pool)):
                _note_receipt(book, receipt)
        book.learned_to = min(start, recent)

    def _read_recent(
        self,
        book: VolumeBook,
        event_type: EventType,
        recent: datetime,
        end: datetime,
        pool: Executor,
        *,
        is_first: bool,
    ) -> list[Anomaly]:
        """Read the recent hours that are new or changed, and judge them in their order, except at the first time."""
        hours = hours_of(event_type, recent, end)
        stored = stored_at(self._archive, [manifest_path(hour) for hour in hours], pool)
        changed = [hour for hour in hours if _is_new(stored, manifest_path(hour), book.manifests, hour)]
        lines = list(zip(changed, pool.map(self._manifest, changed), strict=True))
        stored_receipts = stored_at(self._rows, [typed_manifest_path(hour) for hour in hours], pool)
        retyped = [hour for hour in hours if _is_new(stored_receipts, typed_manifest_path(hour), book.receipts, hour)]
        receipts = list(zip(retyped, pool.map(self._receipt, retyped), strict=True))
        begun: list[Anomaly] = []
        # All numbers first, so that those of an earlier hour are known when a later one is judged.
        # What couldn't be read now is read again: the store may answer the next time.
        for hour, manifest in lines:
            if manifest is not None:
                book.manifests[index_of(hour.start)] = stored[manifest_path(hour)].version
                _note_manifest(book, manifest)
        for hour, receipt in receipts:
            if receipt is not None:
                book.receipts[index_of(hour.start)] = stored_receipts[typed_manifest_path(hour)].version
                _note_receipt(book, receipt)
        if is_first:
            return []
        for hour, manifest in lines:
            if manifest is not None and index_of(hour.start) in book.volumes.lines:
                anomaly = book.volumes.judge_lines(hour.start)
                begun += [anomaly] if anomaly else []
        for hour, receipt in receipts:
            if receipt is not None:
                begun += book.volumes.judge_models(hour.start)
        return begun

    def _manifest(self, hour: ExportHour) -> Manifest | None:
        try:
            return self._records.read_manifest(hour)[0]
        except AylaDestinationError:
            # Other tasks say so. It has no numbers.
            return None

    def _receipt(self, hour: ExportHour) -> TypedManifest | None:
        path = typed_manifest_path(hour)
        try:
            found = self._rows.read(path)
            return parse_typed_manifest(found[0], url_of(self._rows, path), hour) if found else None
        except AylaDestinationError:
            return None

    def _with_receipt(self, hours: Sequence[ExportHour], pool: Executor) -> list[ExportHour]:
        listed = stored_at(self._rows, [typed_manifest_path(hour) for hour in hours], pool)
        return [hour for hour in hours if typed_manifest_path(hour) in listed]


def _is_new(stored: Mapping[str, Stored], path: str, read: Mapping[int, str], hour: ExportHour) -> bool:
    return path in stored and read.get(index_of(hour.start)) != stored[path].version


def _note_manifest(book: VolumeBook, manifest: Manifest) -> None:
    lines, index = manifest.lines, index_of(manifest.hour.start)
    # What is lost or erased isn't what the fleet sent. An hour that isn't settled can still get files.
    is_whole = not manifest.lost and manifest.state.settled
    if lines is None or not is_whole:
        book.volumes.lines.pop(index, None)
    else:
        book.volumes.note_lines(manifest.hour.start, lines)


def _note_receipt(book: VolumeBook, receipt: TypedManifest | None) -> None:
    if receipt is None:
        return
    if receipt.models is None or receipt.lost:
        # After an erasure, nobody may see how many rows of a model went.
        book.volumes.forget_models(receipt.hour.start)
        return
    is_complete = len(receipt.models) < MOST_NAMED
    book.volumes.note_models(receipt.hour.start, receipt.models, is_complete=is_complete)


def _forget_versions(book: VolumeBook, index: int) -> None:
    book.manifests = {at: version for at, version in book.manifests.items() if at >= index}
    book.receipts = {at: version for at, version in book.receipts.items() if at >= index}


def _digest(report: VolumeReport, now: datetime) -> str:
    """Return what tells a verdict from another one."""
    shown = [(each.model, each.start, each.over) for each in recent_anomalies(report.volumes, now)]
    facts = [report.document()["has_baseline"], shown]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

"""Compare an archive with the local cloud's answer key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import FAILURES, MANIFESTS, manifest_path
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.answers import HourAnswer
from ayla_provider.local_cloud.objects import StoredObject


def differences(
    cloud: LocalCloud, bucket: Path, hours: Sequence[datetime], event_types: Collection[str] = EVENT_TYPES
) -> list[str]:
    """
    Return the differences between an archive on disk and its source, in some hours.

    :param bucket: the folder of a ``file://`` destination
    :param hours: the hours that must be there
    :param event_types: the event types that must be there
    """
    dates = {(f"date={hour:%Y-%m-%d}", f"hour={hour:%H}") for hour in hours}
    archive = {}
    for path in bucket.rglob("*"):
        parts = path.relative_to(bucket).parts
        if path.is_file() and (parts[0] == MANIFESTS or parts[1:3] in dates):
            archive["/".join(parts)] = path.read_bytes()
    wanted = {path for path in archive if not path.startswith(f"{MANIFESTS}/")}
    wanted |= {manifest_path(_hour_of(answer)) for answer in cloud.answer_key() if answer.hour in hours}
    return compare(cloud, {path: archive[path] for path in archive.keys() & wanted}, hours, event_types)


def compare(
    cloud: LocalCloud,
    archive: Mapping[str, bytes],
    hours: Sequence[datetime],
    event_types: Collection[str] = EVENT_TYPES,
    lost: Mapping[str, StoredObject] | None = None,
    left: Callable[[datetime, bytes], bytes] | None = None,
) -> list[str]:
    """
    Return the differences between an archive and its source; an empty list if they are equal, byte for byte.

    :param archive: the contents of the archive, by path; notes on failures are ignored
    :param hours: the hours that must be there, and no others
    :param event_types: the event types that must be there, and no others
    :param lost: what the source had, by name, of the files that neither it nor the archive has any more. Exactly these
        must be marked as lost
    :param left: returns what erasures leave of a file of an hour; None if nobody was erased
    """
    problems: list[str] = []
    expected, wanted = set(), set(hours)
    for answer in cloud.answer_key():
        if answer.hour in wanted and answer.event_type in event_types:
            path = manifest_path(_hour_of(answer))
            expected.add(path)
            where = f"{answer.event_type} {answer.hour:%Y-%m-%d %H:%M}"
            try:
                manifest = manifests.loads(archive[path], path) if path in archive else None
            except AylaError as error:
                problems.append(f"{where}: {error}")
                continue
            if manifest is None:
                problems.append(f"{where}: no manifest")
                continue
            expected.update(entry.path for entry in manifest.files)
            problems.extend(
                f"{where}: {problem}"
                for problem in _problems_of_hour(cloud, answer, manifest, archive, lost or {}, left)
            )
    unexpected = sorted(archive.keys() - expected)
    problems.extend(f"{path} has no source" for path in unexpected if not path.startswith(f"{FAILURES}/"))
    return problems


def not_loaded(
    cloud: LocalCloud, warehouse: Path, hours: Sequence[datetime], event_types: Collection[str] = EVENT_TYPES
) -> list[str]:
    """
    Return the hours whose rows, duplicates or malformed lines in a DuckDB file differ from the source.

    :param warehouse: a file that no other process has open
    :param hours: the hours that must be there
    :param event_types: the event types that must be there
    """
    with duckdb.connect(str(warehouse), read_only=True) as duck:
        loads = duck.execute("select event_type, folder_hour, lines, rows, quarantined from ayla_loads").fetchall()
    loaded = {(event_type, hour.astimezone(UTC)): counts for event_type, hour, *counts in loads}
    problems = []
    for answer in cloud.answer_key():
        if answer.hour in hours and answer.event_type in event_types and answer.files:
            lines = sum(file.final.rows for file in answer.files)
            malformed = sum(file.final.malformed_rows for file in answer.files)
            counts = loaded.get((answer.event_type, answer.hour))
            if counts != [lines, answer.distinct_rows, malformed]:
                problems.append(
                    f"{answer.event_type} {answer.hour:%Y-%m-%d %H:%M}: expected {lines} lines, {answer.distinct_rows} "
                    f"rows and {malformed} malformed lines, but the table has {counts}"
                )
    return problems


def _hour_of(answer: HourAnswer) -> ExportHour:
    return ExportHour(EventType(answer.event_type), answer.hour)


def _problems_of_hour(
    cloud: LocalCloud,
    answer: HourAnswer,
    manifest: Manifest,
    archive: Mapping[str, bytes],
    lost: Mapping[str, StoredObject],
    left: Callable[[datetime, bytes], bytes] | None,
) -> Iterator[str]:
    if manifest.hour != _hour_of(answer):
        yield "the manifest is of another hour"
    if manifest.state is not (HourState.LANDED if answer.files else HourState.EMPTY):
        yield f"the manifest says {manifest.state.value}"
    entries = {entry.source: entry for entry in manifest.files}
    if not len(manifest.files) == len(entries) == len({entry.path for entry in manifest.files}):
        yield "the manifest contains a file twice"
    for file in answer.files:
        source = lost.get(file.object_name) or cloud.vendor.live(file.object_name)
        entry = entries.pop(file.object_name, None)
        if source is None or entry is None:
            yield f"{file.object_name!r} isn't in the manifest"
            continue
        if bool(entry.lost) != (file.object_name in lost):
            yield f"{entry.path} is {'' if entry.lost else 'not '}marked as lost"
        whole = b"".join(source.content.chunks(0, source.content.size))
        wanted = left(answer.hour, whole) if left else whole
        if not entry.lost and archive.get(entry.path) != wanted:
            yield f"{entry.path} differs from {'the source' if wanted == whole else 'what an erasure leaves'}"
        erased_lines = _lines(whole) - _lines(wanted)
        if not entry.lost and (entry.erased.lines if entry.erased else 0) != erased_lines:
            yield f"{erased_lines} lines of {entry.path} are erased, and the manifest states {entry.erased}"
        facts = (source.generation, source.content.size, source.content.crc32c)
        if (entry.generation, entry.size, entry.crc32c) != facts:
            yield f"the manifest states another generation, size or checksum for {entry.path}"
    for name in entries:
        yield f"{name!r} is in the manifest, but not in the source"


def _lines(content: bytes) -> int:
    """Return the number of lines, also counting a last one without a line end."""
    return content.count(b"\n") + (content[-1:] not in (b"", b"\n"))

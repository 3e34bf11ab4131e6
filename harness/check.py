"""Compares an archive with what the local cloud's answer key says of its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import FAILURES, MANIFESTS, manifest_path
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.answers import HourAnswer


def differences(cloud: LocalCloud, bucket: Path, hours: Sequence[datetime]) -> list[str]:
    """
    Return what is missing, different, or too much in an archive on disk, over some hours of it.

    :param bucket: the folder of a ``file://`` destination
    :param hours: the hours that must be there
    """
    dates = {(f"date={hour:%Y-%m-%d}", f"hour={hour:%H}") for hour in hours}
    archive = {}
    for path in bucket.rglob("*"):
        parts = path.relative_to(bucket).parts
        if path.is_file() and (parts[0] == MANIFESTS or parts[1:3] in dates):
            archive["/".join(parts)] = path.read_bytes()
    wanted = {path for path in archive if not path.startswith(f"{MANIFESTS}/")}
    wanted |= {manifest_path(_hour_of(answer)) for answer in cloud.answer_key() if answer.hour in hours}
    return compare(cloud, {path: archive[path] for path in archive.keys() & wanted}, hours)


def compare(cloud: LocalCloud, archive: Mapping[str, bytes], hours: Sequence[datetime]) -> list[str]:
    """
    Return what is missing, different, or too much; an empty list if an archive is the source, byte for byte.

    :param archive: all that stands there, by path; notes on failures are passed over
    :param hours: the hours that must be there, and no other
    """
    found: list[str] = []
    expected, wanted = set(), set(hours)
    for answer in cloud.answer_key():
        if answer.hour in wanted:
            path = manifest_path(_hour_of(answer))
            expected.add(path)
            where = f"{answer.event_type} {answer.hour:%Y-%m-%d %H:%M}"
            try:
                manifest = manifests.loads(archive[path], path) if path in archive else None
            except AylaError as error:
                found.append(f"{where}: {error}")
                continue
            if manifest is None:
                found.append(f"{where}: no manifest")
                continue
            expected.update(entry.path for entry in manifest.files)
            found.extend(f"{where}: {told}" for told in _of_hour(cloud, answer, manifest, archive))
    strays = archive.keys() - expected
    return found + [f"{path} has no source" for path in sorted(strays) if not path.startswith(f"{FAILURES}/")]


def not_loaded(cloud: LocalCloud, warehouse: Path, hours: Sequence[datetime]) -> list[str]:
    """
    Return which hours a DuckDB file holds other than the source: rows, duplicates and malformed lines.

    :param warehouse: a file that nobody has open
    :param hours: the hours that must be there
    """
    with duckdb.connect(str(warehouse), read_only=True) as duck:
        loads = duck.execute("select event_type, folder_hour, lines, rows, quarantined from ayla_loads").fetchall()
    found = {(event_type, hour.astimezone(UTC)): counts for event_type, hour, *counts in loads}
    wrong = []
    for answer in cloud.answer_key():
        if answer.hour in hours and answer.files:
            lines = sum(file.final.rows for file in answer.files)
            malformed = sum(file.final.malformed_rows for file in answer.files)
            here = found.get((answer.event_type, answer.hour))
            if here != [lines, answer.distinct_rows, malformed]:
                wrong.append(
                    f"{answer.event_type} {answer.hour:%Y-%m-%d %H:%M}: of {lines} lines {answer.distinct_rows} are "
                    f"rows and {malformed} malformed; the table's lines, rows and malformed ones are {here}"
                )
    return wrong


def _hour_of(answer: HourAnswer) -> ExportHour:
    return ExportHour(EventType(answer.event_type), answer.hour)


def _of_hour(cloud: LocalCloud, answer: HourAnswer, manifest: Manifest, archive: Mapping[str, bytes]) -> Iterator[str]:
    if manifest.hour != _hour_of(answer):
        yield "the manifest is of another hour"
    if manifest.state is not (HourState.LANDED if answer.files else HourState.EMPTY):
        yield f"the manifest says {manifest.state.value}"
    entries = {entry.source: entry for entry in manifest.files}
    if not len(manifest.files) == len(entries) == len({entry.path for entry in manifest.files}):
        yield "the manifest has a file twice"
    for file in answer.files:
        source = cloud.vendor.live(file.object_name)
        entry = entries.pop(file.object_name, None)
        if source is None or entry is None:
            yield f"{file.object_name!r} is missing in the manifest"
            continue
        if archive.get(entry.path) != b"".join(source.content.chunks(0, source.content.size)):
            yield f"{entry.path} isn't what the source holds"
        facts = (source.generation, source.content.size, source.content.crc32c)
        if (entry.generation, entry.size, entry.crc32c) != facts:
            yield f"the manifest states another generation, size or checksum for {entry.path}"
    for name in entries:
        yield f"{name!r} is in the manifest, but not in the source"

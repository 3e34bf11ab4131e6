"""Compares an archive on disk with what the local cloud's answer key says of its source."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ayla_provider.cloud.archive import Archive
from ayla_provider.cloud.destination import FileDestination
from ayla_provider.domain.layout import MANIFESTS
from ayla_provider.local_cloud import LocalCloud


def differences(cloud: LocalCloud, bucket: Path, hours: Sequence[datetime]) -> list[str]:
    """
    Return what is missing, different, or too much in an archive; an empty list if it is the source, byte for byte.

    :param bucket: the folder of a ``file://`` destination
    :param hours: the hours that must be there
    """
    archive = Archive(FileDestination(bucket))
    found: list[str] = []
    expected = set()
    for answer in cloud.answer_key():
        if answer.hour not in hours:
            continue
        where = f"{answer.event_type} {answer.hour:%Y-%m-%d %H:%M}"
        manifest = archive.manifest(answer.event_type, answer.hour)
        if manifest is None:
            found.append(f"{where}: no manifest")
            continue
        entries = {entry.source: entry for entry in manifest.files}
        for file in answer.files:
            source = cloud.vendor.live(file.object_name)
            entry = entries.pop(file.object_name, None)
            if source is None or entry is None:
                found.append(f"{where}: {file.object_name!r} is missing in the manifest")
                continue
            expected.add(bucket / entry.path)
            copy = (bucket / entry.path).read_bytes() if (bucket / entry.path).exists() else None
            if copy != b"".join(source.content.chunks(0, source.content.size)):
                found.append(f"{where}: {entry.path} isn't what the source holds")
            if (entry.generation, entry.crc32c) != (source.generation, source.content.crc32c):
                found.append(f"{where}: the manifest states another generation or checksum for {entry.path}")
        found.extend(f"{where}: {source!r} is in the manifest, but not in the source" for source in entries)
    of_hours = {(f"date={hour:%Y-%m-%d}", f"hour={hour:%H}") for hour in hours}
    for path in bucket.rglob("*"):
        parts = path.relative_to(bucket).parts
        if path.is_file() and parts[0] != MANIFESTS and path not in expected and parts[1:3] in of_hours:
            found.append(f"{path.relative_to(bucket)} has no source")
    return found

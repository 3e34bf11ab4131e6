"""Archives that were made without a copy: hours with files, and their manifests."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EVENT_FOLDERS, EventType
from ayla_provider.domain.hour import ExportHour, FolderStyle, format_folder
from ayla_provider.domain.manifest import Manifest, ManifestFile, revise
from ayla_provider.domain.paths import ExportFile, Layout, destination_path
from ayla_provider.transport.checksum import Crc32c


def store(destination: Destination, path: str, data: bytes) -> Stored:
    """Write an object."""
    checksum = Crc32c(data).base64
    return destination.write(
        path, io.BytesIO(data), size=len(data), crc32c=checksum, replaces=None, content_type="text/csv"
    )


def archive_hour(
    destination: Destination,
    hour: ExportHour,
    contents: Sequence[bytes] = (),
    *,
    layout: Layout = Layout.PARTITIONED,
    versions: bool = True,
) -> Manifest:
    """
    Write an hour as a copy does.

    :param contents: of its files
    :param versions: whether its manifest states versions, as those of earlier versions of the package don't
    """
    folder = format_folder(hour.start)
    entries = []
    for number, data in enumerate(contents):
        name = f"1a2b3c4d/{EVENT_FOLDERS.get(hour.event_type, hour.event_type)}/{folder}/{number}.csv"
        created = hour.end + timedelta(minutes=30)
        checksum = Crc32c(data).base64
        file = ExportFile(
            hour.event_type, hour.start, FolderStyle.SPACE, f"{number}.csv", name, len(data), checksum, 1, created
        )
        path = destination_path(file, layout)
        stored = store(destination, path, data)
        entries.append(ManifestFile.of(file, path, checksum, 1, stored.version if versions else ""))
    state = HourState.LANDED if contents else HourState.EMPTY
    manifest = revise(None, hour, state, entries, written_at=datetime.now(UTC), written_by={"run_id": "test"})
    Records(destination).write_manifest(manifest, None)
    return manifest


def hours_back(now: datetime, count: int, event_type: str = "datapoint") -> list[ExportHour]:
    """Return consecutive hours, the oldest first; the last one ended a day ago."""
    last = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=1, hours=1)
    return [ExportHour(EventType(event_type), last - timedelta(hours=back)) for back in range(count - 1, -1, -1)]

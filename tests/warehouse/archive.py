"""Archives on disk, as the copy leaves them, of files that the tests make up."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EVENT_FOLDERS
from ayla_provider.domain.hour import ExportHour, FolderStyle, format_folder
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import partitioned_path
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.transport.checksum import Crc32c

HOUR = datetime(2026, 11, 1, 7, tzinfo=UTC)


def put(destination: Destination, path: str, data: bytes) -> None:
    """Write an object, replacing any other."""
    standing: Stored | None = destination.folder(path.rpartition("/")[0]).get(path)
    destination.write(
        path, io.BytesIO(data), size=len(data), crc32c=Crc32c(data).base64, replaces=standing, content_type="text/csv"
    )


def archive_hour(
    root: Path,
    event_type: str,
    files: Sequence[bytes | tuple[datetime, bytes]],
    hour: datetime = HOUR,
    *,
    generation: int = 1,
    revision: int = 1,
    names: Mapping[int, str] | None = None,
) -> Manifest:
    """
    Write an hour's files and their manifest; a file may come with the time of its folder.

    :param names: of the files that have another one than ``f<number>.csv``, by their numbers
    """
    destination = FileDestination(root)
    entries = []
    for number, given in enumerate(files):
        time, data = given if isinstance(given, tuple) else (hour, given)
        name = (names or {}).get(number, f"f{number}.csv")
        path = partitioned_path(event_type, time, FolderStyle.SPACE, name)
        put(destination, path, data)
        folder = EVENT_FOLDERS.get(event_type, event_type.title())
        source = f"1a2b3c4d/{folder}/{format_folder(time)}/{name}"
        created = hour.isoformat()
        entries.append(ManifestFile(source, generation, len(data), Crc32c(data).base64, created, path))
    state = HourState.LANDED if files else HourState.EMPTY
    manifest = Manifest(ExportHour(event_type, hour), state, revision, tuple(entries), hour.isoformat(), {})
    records = Records(destination)
    records.write_manifest(manifest, records.read_manifest(ExportHour(event_type, hour))[1])
    return manifest


def archive_fleet(root: Path, fleet: Fleet, event_type: str, hour: datetime) -> Manifest:
    """Write what a made-up export holds of an hour."""
    files = [(file.answer.folder_time, file.contents[-1]) for file in fleet.files(event_type, hour)]
    return archive_hour(root, event_type, files, hour)

"""Archives of a stream, as a drain leaves them, of records that the tests make up."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.transport.checksum import Crc32c

HOUR = datetime(2026, 11, 20, 7, tzinfo=UTC)
SHARD = "shardId-000000000001"
STREAM = "kinesis://eu-west-1/ayla"


def line_of(number: int, record: bytes, *, place: int = 0) -> bytes:
    """Return the line of a record, without its end."""
    envelope: dict[str, Any] = {"shard": SHARD, "sequence": str(49610351375069880172831461320730 + number)}
    if place:
        envelope["place"] = place
    envelope |= {"arrived_at": (HOUR + timedelta(minutes=30)).isoformat(), "key": "AC000W000000001"}
    return json.dumps(envelope, separators=(",", ":")).encode()[:-1] + b',"event":' + record + b"}"


def archive_stream_hour(
    destination: Destination,
    event_type: str,
    batches: Sequence[Sequence[bytes]],
    hour: datetime = HOUR,
    *,
    state: HourState = HourState.OPEN,
) -> Manifest:
    """
    Write an hour of a stream, in place of what is there.

    :param batches: the records of each batch
    """
    lines = []
    number = 0
    for records in batches:
        lines.append([line_of(number + at, record) for at, record in enumerate(records)])
        number += len(records)
    return archive_stream_lines(destination, event_type, lines, hour, state=state)


def archive_stream_lines(
    destination: Destination,
    event_type: str,
    batches: Sequence[Sequence[bytes]],
    hour: datetime = HOUR,
    *,
    state: HourState = HourState.OPEN,
) -> Manifest:
    """
    Write an hour of a stream of lines that may be of any form.

    :param batches: the lines of each batch, without their ends
    """
    of_hour = ExportHour(EventType(event_type), hour)
    records = Records(destination)
    previous, stored = records.read_manifest(of_hour)
    files = []
    for batch, lines in enumerate(batches, 1):
        data = gzip.compress(b"".join(line + b"\n" for line in lines), 1, mtime=0)
        path = f"{of_hour.partition}/{batch:010d}.jsonl.gz"
        put(destination, path, data)
        created = (hour + timedelta(hours=1, minutes=batch)).isoformat()
        files.append(ManifestFile(path, batch, len(data), Crc32c(data).base64, created, path, len(lines)))
    manifest = Manifest(
        of_hour,
        state,
        previous.revision + 1 if previous else 1,
        tuple(files),
        hour.isoformat(),
        {"run_id": "test"},
        STREAM,
        is_stream=True,
    )
    records.write_manifest(manifest, stored)
    return manifest


def put(destination: Destination, path: str, data: bytes) -> None:
    """Write an object, replacing any other."""
    replaces = destination.folder(path.rpartition("/")[0]).get(path)
    destination.write(
        path,
        io.BytesIO(data),
        size=len(data),
        crc32c=Crc32c(data).base64,
        replaces=replaces,
        content_type="application/gzip",
    )

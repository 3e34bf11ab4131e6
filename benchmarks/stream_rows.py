"""Datapoints of a stream as Ayla's pipeline writes them, in any number, and their archive as a drain leaves it."""

from __future__ import annotations

import gzip
import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.stream import MOST_RECORDS
from ayla_provider.transport.checksum import Crc32c

HOUR = datetime(2026, 11, 20, 7, tzinfo=UTC)
OEM = "1a2b3c4d"
STREAM = "kinesis://us-east-1/fleet"

RESPELLED = 100
"""One record in this many holds a number such as 21.50, which readers of JSON write as 21.5."""

_DEVICES = 20_000
_USERS = 5_000
_MARK = '"<value>"'


def records(count: int, start: datetime = HOUR) -> Iterator[tuple[str, bytes]]:
    """Yield the partition key and the data of datapoints, evenly spread over an hour."""
    rng = random.Random(1)  # noqa: S311 (made-up data)
    for number in range(count):
        time = start + timedelta(hours=1) * number / count
        dsn = f"AC000W{rng.randrange(_DEVICES):09}"
        yield dsn, _record(rng, number, dsn, time)


def _record(rng: random.Random, number: int, dsn: str, time: datetime) -> bytes:
    base_type, value = _value(rng, number)
    iso = f"{time:%Y-%m-%dT%H:%M:%SZ}"
    document = {
        "metadata": {
            "oem_id": OEM,
            "oem_model": "LC-THERMO-2",
            "dsn": dsn,
            "property_name": f"property_{rng.randrange(40)}",
            "display_name": f"Property {rng.randrange(40)}",
            "base_type": base_type,
            "event_type": "datapoint",
        },
        "datapoint": {
            "id": str(uuid.UUID(int=rng.getrandbits(128))),
            "updated_at": iso,
            "created_at": iso,
            "echo": False,
            "closed": False,
            "value": "<value>",
            "metadata": {},
            "user_uuid": str(uuid.UUID(int=rng.randrange(_USERS) << 64)),
            "discarded": False,
            "scope": "user",
            "direction": "output",
        },
    }
    text = json.dumps(document, separators=(",", ":")).replace(_MARK, value)
    return f'{text[:-1]},"timestamp":{time.timestamp() / 1e9:.8f}E12}}'.encode()


def _value(rng: random.Random, number: int) -> tuple[str, str]:
    """Return a base type, and the JSON of a value: half of the numbers are texts, as in Ayla's documents."""
    if number % RESPELLED == 0:
        return "decimal", f"{rng.randrange(10, 100)}.50"
    base_type = rng.choice(("integer", "decimal", "boolean", "string"))
    if base_type == "string":
        return base_type, json.dumps(f"state-{rng.randrange(1000)}")
    numbers = {"integer": rng.randrange(1000), "decimal": rng.randrange(1, 1000) / 10, "boolean": rng.randrange(2)}
    text = str(numbers[base_type])
    return base_type, text if rng.random() < 0.5 else json.dumps(text)


def make_archive(root: Path, count: int) -> ExportHour:
    """Write an archive of one hour of datapoints, in files as a drain writes them."""
    archive, hour = FileDestination(root), ExportHour(EventType("datapoint"), HOUR)
    files: list[ManifestFile] = []
    lines: list[bytes] = []
    for number, (key, data) in enumerate(records(count)):
        lines.append(_line(number, key, data))
        if len(lines) >= MOST_RECORDS:
            files.append(_file(archive, hour, len(files) + 1, lines))
            lines = []
    if lines:
        files.append(_file(archive, hour, len(files) + 1, lines))
    written = HOUR.isoformat()
    manifest = Manifest(hour, HourState.LANDED, 1, tuple(files), written, {}, STREAM, is_stream=True)
    Records(archive).write_manifest(manifest, None)
    return hour


def _line(number: int, key: str, data: bytes) -> bytes:
    envelope = {
        "shard": "shardId-000000000001",
        "sequence": f"4961035137506988017283146132073{number:025}",
        "arrived_at": HOUR.isoformat(),
        "key": key,
    }
    return json.dumps(envelope, separators=(",", ":")).encode()[:-1] + b',"event":' + data + b"}\n"


def _file(archive: FileDestination, hour: ExportHour, batch: int, lines: list[bytes]) -> ManifestFile:
    path = f"{hour.partition}/{batch:010}.jsonl.gz"
    data = gzip.compress(b"".join(lines), 1, mtime=0)
    local = archive.root / path
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_bytes(data)
    return ManifestFile(path, batch, len(data), Crc32c(data).base64, HOUR.isoformat(), path, len(lines))

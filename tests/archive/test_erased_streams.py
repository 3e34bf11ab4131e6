"""What is erased doesn't come in by a drain, and goes from the files of a stream."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import write_json
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.domain.erasure import ErasureEntry, ErasureKeys, ErasureRequest
from ayla_provider.domain.manifest import loads
from ayla_provider.errors import AylaConfigError
from ayla_provider.rows.erase import ArchiveErasure, Wanted
from ayla_provider.rows.typed_archive import TypedArchive
from tests.support.memory_stream import MemoryStream, datapoint, made_stream
from tests.support.stream_archives import drain, manifests_of, position_of
from tests.support.traces import layers_with

DSN = "LC000X000000007"
KEYS = ErasureKeys.parse("a-key-of-sixteen-characters", "x")


def filled() -> MemoryStream:
    """A stream with records of two devices, and one that is no event of a known type."""
    stream = made_stream(2)
    first, second = (shard.id for shard in stream.state().shards)
    start = stream.now - timedelta(hours=6)
    for number in range(8):
        at = start + timedelta(minutes=20 * number)
        record = datapoint(at, number)
        mine = record.replace(b"AC000W000000001", DSN.encode())
        stream.put(first if number % 2 else second, mine if number % 4 == 0 else record, arrived_at=at)
    stream.put(first, f"not JSON of {DSN}".encode(), arrived_at=start)
    stream.put(second, b"not JSON of anybody", arrived_at=start)
    return stream


def entry_of(stream: MemoryStream) -> tuple[ErasureRequest, ErasureEntry]:
    request = ErasureRequest({"dsn": DSN}, None, stream.now, stream.now)
    return request, request.entry(KEYS, stream.now, {})


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): gzip.decompress(path.read_bytes()) for path in sorted(root.rglob("*.gz"))}


def without(lines: dict[str, bytes]) -> dict[str, bytes]:
    """What the drain of everything gives, without the lines of the device, and without empty files."""
    kept = {}
    for path, text in lines.items():
        left = [line for line in text.splitlines(keepends=True) if not _is_of_device(line)]
        if left:
            kept[path] = b"".join(left)
    return kept


def _is_of_device(line: bytes) -> bool:
    from base64 import b64decode

    document = json.loads(line)
    inner = b64decode(document["data"]) if "data" in document else b""
    return DSN.encode() in line or DSN.encode() in inner


def test_a_drain_leaves_out_what_is_erased(tmp_path: Path) -> None:
    drain(tmp_path / "all", filled())
    stream = filled()
    _, entry = entry_of(stream)
    write_json(FileDestination(tmp_path / "some"), entry.path, entry.dumps(), None)
    archive = StreamArchive(FileDestination(tmp_path / "some"), erasure_keys=lambda: KEYS)
    archive.drain(stream, stream.now, written_by={})
    assert layers_with(tmp_path / "all", {"dsn": DSN}).keys() == {"event_type", "_unreadable"}
    assert layers_with(tmp_path / "some", {"dsn": DSN}) == {}
    assert content(tmp_path / "some") == without(content(tmp_path / "all"))
    for manifest in manifests_of(tmp_path / "some").values():
        assert all((tmp_path / "some" / file["path"]).stat().st_size == file["size"] for file in manifest["files"])


def test_without_the_key_nothing_is_drained(tmp_path: Path) -> None:
    stream = filled()
    _, entry = entry_of(stream)
    write_json(FileDestination(tmp_path), entry.path, entry.dumps(), None)
    with pytest.raises(AylaConfigError, match="this task has no key"):
        drain(tmp_path, stream)
    assert content(tmp_path) == {}


def test_the_files_of_a_stream_are_erased_and_drained_and_typed_on(tmp_path: Path) -> None:
    stream = filled()
    drain(tmp_path, stream)
    before = content(tmp_path)
    archive, rows = FileDestination(tmp_path), FileDestination(tmp_path / "parquet")
    typed = TypedArchive(archive, rows, erasure_keys=lambda: KEYS)
    hours = [loads(path.read_bytes(), "here").hour for path in sorted((tmp_path / "_manifests").rglob("*.json"))]
    for hour in hours:
        typed.ensure(hour, {})
    assert layers_with(tmp_path, {"dsn": DSN}).keys() == {"event_type", "_unreadable", "parquet"}
    request, entry = entry_of(stream)
    write_json(archive, entry.path, entry.dumps(), None)
    with ArchiveErasure(archive, rows, [Wanted(request, entry)], now=stream.now, written_by={}) as erasure:
        found = list(erasure.hours())
        assert list(erasure.hours()) == []
    assert sum(hour.counts["stream_lines"] for hour in found) == 3
    assert layers_with(tmp_path, {"dsn": DSN}) == {}
    assert {path: text for path, text in content(tmp_path).items() if text} == without(before)
    formats = {json.loads(path.read_bytes())["format"] for path in (tmp_path / "_manifests").rglob("*.json")}
    assert "ayla-stream-manifest/2" in formats
    for hour in hours:
        report = typed.ensure(hour, {})
        assert not report.made
        assert report.manifest.lines == report.manifest.rows + report.manifest.duplicates + report.manifest.quarantined
    # The next drain goes on.
    StreamArchive(archive, erasure_keys=lambda: KEYS).drain(stream, stream.now, written_by={})
    assert layers_with(tmp_path, {"dsn": DSN}) == {}
    assert position_of(tmp_path)["pending"] is None

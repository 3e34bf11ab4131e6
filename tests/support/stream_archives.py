"""Looks at a stream's archive on disk, without the code that makes it."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive, StreamReport
from tests.support.memory_stream import MemoryStream

RUN = {"dag_id": "a_dag", "run_id": "run 1", "task_id": "drain", "try_number": "1"}


def drain(root: Path, stream: MemoryStream, **changes: Any) -> StreamReport:
    """Drain a stream into a folder, at the time of the stream."""
    arguments = {"written_by": RUN, "max_records": 40} | changes
    return StreamArchive(FileDestination(root)).drain(stream, stream.now, **arguments)


def files_of(root: Path) -> dict[str, bytes]:
    """Return the content of all files of records, by path."""
    return {str(path.relative_to(root)): gzip.decompress(path.read_bytes()) for path in root.rglob("*.jsonl.gz")}


def manifests_of(root: Path) -> dict[str, dict[str, Any]]:
    """Return all manifests, by event type and hour: ``datapoint 06``."""
    found = {}
    for path in sorted(root.glob("_manifests/**/*.json")):
        document = json.loads(path.read_bytes())
        found[f"{document['event_type']} {document['hour'][8:13]}"] = document
    return found


def position_of(root: Path) -> dict[str, Any]:
    """Return the position document."""
    document: dict[str, Any] = json.loads((root / "_stream" / "position.json").read_bytes())
    return document


def records_of(root: Path) -> Counter[tuple[str, int, bytes]]:
    """Return the shard, the number and the bytes of all records that files have, each with how often."""
    found: Counter[tuple[str, int, bytes]] = Counter()
    for content in files_of(root).values():
        for line in content.splitlines(keepends=True):
            document = json.loads(line)
            assert line.endswith(b"\n")
            data = base64.b64decode(document["data"]) if "data" in document else _event_of(line)
            found[document["shard"], int(document["sequence"]), data] += 1
    return found


def _event_of(line: bytes) -> bytes:
    """Return the bytes of the event of a line."""
    return line.partition(b',"event":')[2].removesuffix(b"}\n")


def expected_of(stream: MemoryStream) -> Counter[tuple[str, int, bytes]]:
    """Return what :func:`records_of` has to return once all is drained."""
    return Counter((shard, record.number, record.data) for shard, record in stream.everything())


def check_manifests(root: Path) -> None:
    """Check that manifests name exactly the files of the hours, as they are."""
    named: Counter[str] = Counter()
    for document in manifests_of(root).values():
        assert document["format"] == "ayla-stream-manifest/1"
        for file in document["files"]:
            named[file["path"]] += 1
            content = (root / file["path"]).read_bytes()
            assert (len(content), gzip.decompress(content).count(b"\n")) == (file["size"], file["lines"])
            assert (
                FileDestination(root).crc32c(FileDestination(root).folder(_folder(file["path"]))[file["path"]])
                == (file["crc32c"])
            )
    assert named == Counter(path for path in files_of(root) if not path.startswith("_unreadable/"))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]

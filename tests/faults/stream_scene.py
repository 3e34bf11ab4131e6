"""A stream of Kinesis whose shard was split, drains of it, and what must be true of its archive."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.stream import StreamArchive, StreamReport
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.paths import STREAM_POSITION
from ayla_provider.errors import AylaError
from ayla_provider.stream.kinesis import KinesisStream
from ayla_provider.transport.checksum import Crc32c
from harness.kinesis_double import REGION, KinesisDouble
from tests.faults.table import Cell
from tests.support.kinesis import Made, refusal
from tests.support.memory_stream import datapoint

RUN = {"dag_id": "a_dag", "run_id": "a run", "task_id": "drain", "try_number": "1"}

TRIES = Config(retries={"mode": "standard", "total_max_attempts": 3}, read_timeout=20)
"""As a task has them, but fewer."""

OPERATIONS = {
    "describe": "DescribeStreamSummary",
    "shards": "ListShards",
    "iterator": "GetShardIterator",
    "reshard": "GetShardIterator",
    "records": "GetRecords",
    "more": "GetRecords",
}

_CODES = {
    "400": (400, "InternalFailureOfSomeKind"),
    "403": (400, "AccessDeniedException"),
    "429": (429, "TooManyRequestsException"),
    "500": (500, "InternalFailure"),
    "throttled": (400, "ProvisionedThroughputExceededException"),
    "expired": (400, "ExpiredIteratorException"),
}
"""Fault to status and code of the answer."""


class Split:
    """A stream with records in a shard that was split, and in the two shards that continue it."""

    def __init__(self, double: KinesisDouble) -> None:
        made = Made(double)
        self.url, self.name = double.url, made.name
        hour = hour_of(datetime.now(UTC)) - ONE_HOUR
        self.contents = [datapoint(hour + timedelta(seconds=number), number) for number in range(30)]
        made.put(self.contents[:10])
        made.split()
        made.put(self.contents[10:20], 0)
        made.put(self.contents[20:], 1)
        self.first_shard = "shardId-000000000000"

    def open(self) -> KinesisStream:
        """Return a stream with a client of its own."""
        keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
        client = boto3.client("kinesis", endpoint_url=self.url, region_name=REGION, config=TRIES, **keys)
        return KinesisStream(client, self.name, REGION)


class WireFault:
    """The fault of a cell, in place of answers of Kinesis."""

    def __init__(self, cell: Cell, split: Split, stream: KinesisStream, act: Callable[[], None] | None = None) -> None:
        self.fired = 0
        self._cell, self._split, self._act = cell, split, act
        self._seen = 0
        stream.client.meta.events.register("before-send.kinesis", self._send)

    def _send(self, request: Any, event_name: str = "", **_: Any) -> AWSResponse | None:
        if not self._is_at_step(event_name.rpartition(".")[2], json.loads(request.body)):
            return None
        if self.fired and self._cell.times == "once":
            return None
        self.fired += 1
        if self._act:
            self._act()
            return None
        match self._cell.fault:
            case "reset":
                raise ConnectionClosedError(endpoint_url=request.url)
            case "slow":
                raise ReadTimeoutError(endpoint_url=request.url)
            case "shortened":
                return _response(request.url, 200, b'{"Records": [{"Data": "aaaa')
        status, code = _CODES[self._cell.fault]
        return _response(request.url, status, json.dumps(refusal(code)[1]).encode())

    def _is_at_step(self, operation: str, body: Mapping[str, Any]) -> bool:
        if operation != OPERATIONS[self._cell.step]:
            return False
        if operation == "GetShardIterator":
            is_first = body["ShardId"] == self._split.first_shard
            return is_first == (self._cell.step == "iterator")
        self._seen += 1
        return self._cell.step != "more" or self._seen > 1


class _Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()


def _response(url: str, status: int, content: bytes) -> AWSResponse:
    return AWSResponse(url, status, {"content-type": "application/x-amz-json-1.1"}, _Body(content))


def drain(archive: StreamArchive, stream: KinesisStream) -> StreamReport:
    """Drain all that is in a stream, in one batch."""
    return archive.drain(stream, datetime.now(UTC) + timedelta(minutes=1), written_by=RUN)


def outcome_of(archive: StreamArchive, stream: KinesisStream) -> tuple[str, str]:
    """Drain; return a letter of the table, and what an error says."""
    try:
        drain(archive, stream)
    except AylaError as error:
        return ("t" if error.retryable else "x"), str(error)
    return "r", ""


def contents_of(destination: Destination) -> dict[str, bytes]:
    """Return the content of all objects, by path."""
    paths = [listed.stored.path for folder in ("event_type=", "_") for listed in destination.tree(folder)]
    return {path: b"".join(destination.blocks(path)) for path in paths}


def check_nothing_half(archive: Mapping[str, bytes], split: Split) -> None:
    """Check that each file is complete, that no record is there twice, and that manifests name files as they are."""
    found = Counter(record for path, data in archive.items() for record in _records(path, data))
    assert found <= Counter(split.contents)
    for path, data in archive.items():
        if not path.startswith("_manifests/"):
            continue
        for file in json.loads(data)["files"]:
            content = archive[file["path"]]
            assert (len(content), Crc32c(content).base64) == (file["size"], file["crc32c"])
            assert len(gzip.decompress(content).splitlines()) == file["lines"]


def check_complete(archive: Mapping[str, bytes], split: Split) -> None:
    """Check that each record is there once, in files that manifests name, and that the position says so."""
    check_nothing_half(archive, split)
    found = Counter(record for path, data in archive.items() for record in _records(path, data))
    assert found == Counter(split.contents)
    manifests = [json.loads(data) for path, data in archive.items() if path.startswith("_manifests/")]
    named = {file["path"] for manifest in manifests for file in manifest["files"]}
    assert named == {path for path in archive if path.endswith(".jsonl.gz")}
    position = json.loads(archive[STREAM_POSITION])
    assert (position["pending"], position["gaps"], position["ended"]) == (None, [], True)


def _records(path: str, data: bytes) -> list[bytes]:
    if not path.endswith(".jsonl.gz"):
        return []
    lines = gzip.decompress(data).splitlines()
    return [
        base64.b64decode(json.loads(line)["data"])
        if path.startswith("_unreadable/")
        else line.partition(b',"event":')[2].removesuffix(b"}")
        for line in lines
    ]

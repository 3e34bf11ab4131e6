"""Streams in the doubles of Kinesis, and answers of Kinesis that no double gives."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.config import Config

from ayla_provider.domain.stream import Page, Shard, ShardPosition
from ayla_provider.stream.kinesis import KinesisStream
from harness.kinesis_double import REGION, KinesisDouble

ONE_TRY = Config(retries={"total_max_attempts": 1}, read_timeout=20)


class Made:
    """A stream that a test has made in a double."""

    def __init__(self, double: KinesisDouble, shards: int = 1) -> None:
        self.client = double.client(config=ONE_TRY)
        self.name = f"stream-{time.monotonic_ns()}"
        self.client.create_stream(StreamName=self.name, ShardCount=shards)
        self.wait()
        self.reader = KinesisStream(self.client, self.name, REGION)

    def wait(self) -> None:
        """Wait until a change of the stream is done."""
        for _ in range(500):
            summary = self.client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
            if summary["StreamStatus"] == "ACTIVE":
                return
            time.sleep(0.02)
        raise AssertionError("the stream doesn't become active")

    def open_shards(self) -> list[dict[str, Any]]:
        listed = self.client.list_shards(StreamName=self.name)["Shards"]
        return [shard for shard in listed if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]

    def put(self, contents: Iterable[bytes], shard: int = 0) -> list[int]:
        """Put records into an open shard, and return their numbers."""
        hash_key = self.open_shards()[shard]["HashKeyRange"]["StartingHashKey"]
        entries = [{"Data": data, "PartitionKey": "key", "ExplicitHashKey": hash_key} for data in contents]
        numbers: list[int] = []
        for start in range(0, len(entries), 500):
            answer = self.client.put_records(StreamName=self.name, Records=entries[start : start + 500])
            numbers += [int(entry["SequenceNumber"]) for entry in answer["Records"]]
        return numbers

    def split(self) -> None:
        """Split the first open shard in two."""
        shard = self.open_shards()[0]
        low, high = (int(shard["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
        half = str((low + high) // 2)
        self.client.split_shard(StreamName=self.name, ShardToSplit=shard["ShardId"], NewStartingHashKey=half)
        self.wait()

    def merge(self) -> None:
        """Merge the two open shards with the lowest hash keys."""
        shards = sorted(self.open_shards(), key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))
        first, second = (shard["ShardId"] for shard in shards[:2])
        self.client.merge_shards(StreamName=self.name, ShardToMerge=first, AdjacentShardToMerge=second)
        self.wait()

    def pages(
        self, position: ShardPosition | None = None, until: datetime | None = None, shard: int = 0
    ) -> Iterator[Page]:
        state = self.reader.state()
        return self.reader.read(state.shards[shard], position or ShardPosition(), until or far(), state)


def far() -> datetime:
    return datetime.now(UTC) + timedelta(days=30)


def data_of(pages: Iterable[Page]) -> list[bytes]:
    return [record.data for page in pages for record in page.records]


def position_after(pages: Iterable[Page]) -> ShardPosition:
    """Return the position that somebody has who read these pages."""
    after: int | None = None
    last: Page | None = None
    for page in pages:
        last = page
        after = page.records[-1].number if page.records else after
    assert last
    return ShardPosition(after, last.read_to, last.closed)


def read_all(stream: KinesisStream) -> dict[str, list[Page]]:
    """Read each shard of a stream to its end, and check that parents come before children."""
    state = stream.state()
    read: dict[str, list[Page]] = {}
    present = {shard.id for shard in state.shards}
    for shard in state.shards:
        assert {parent for parent in shard.parents if parent in present} <= set(read)
        read[shard.id] = list(stream.read(shard, ShardPosition(), far(), state))
    return read


Answer = tuple[int, dict[str, Any]]
"""A status, and the JSON of an answer."""


def refusal(code: str, status: int = 400, message: str = "because") -> Answer:
    return status, {"__type": code, "message": message}


def page(*records: dict[str, Any], behind: int = 0, after: str | None = "iterator") -> Answer:
    return 200, {"Records": list(records), "NextShardIterator": after, "MillisBehindLatest": behind}


def record(number: int, arrived_at: datetime, data: bytes = b"{}") -> dict[str, Any]:
    return {
        "SequenceNumber": str(number),
        "ApproximateArrivalTimestamp": arrived_at.timestamp(),
        "PartitionKey": "key",
        "Data": base64.b64encode(data).decode(),
    }


class _Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


class Wire:
    """Answers that a client gets in place of the service's: by operation, each once, then the service's own."""

    def __init__(self, client: Any) -> None:
        self._answers: dict[str, Iterator[Answer]] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        client.meta.events.register("before-send.kinesis", self._send)

    def answer(self, operation: str, answers: Iterable[Answer]) -> None:
        self._answers[operation] = iter(answers)

    def _send(self, request: Any, event_name: str = "", **_: Any) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        self.requests.append((operation, json.loads(request.body)))
        made = next(self._answers.get(operation, iter(())), None)
        if made is None:
            return None
        status, content = made
        headers = {"content-type": "application/x-amz-json-1.1"}
        return AWSResponse(request.url, status, headers, _Body(json.dumps(content).encode()))


SHARD = Shard("shardId-000000000000")


def made_up(
    clock: Callable[[], datetime] | None = None, retention: int = 24
) -> tuple[KinesisStream, Wire, dict[str, Any]]:
    """Return a stream behind which nothing is, and what answers for it."""
    import boto3

    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
    client = boto3.client("kinesis", endpoint_url="http://127.0.0.1:1", region_name=REGION, config=ONE_TRY, **keys)
    wire = Wire(client)
    summary = {
        "StreamStatus": "ACTIVE",
        "StreamCreationTimestamp": datetime(2026, 1, 1, tzinfo=UTC).timestamp(),
        "RetentionPeriodHours": retention,
    }
    shards = [{"ShardId": SHARD.id, "SequenceNumberRange": {"StartingSequenceNumber": "1"}}]
    wire.answer("DescribeStreamSummary", [(200, {"StreamDescriptionSummary": summary})])
    wire.answer("ListShards", [(200, {"Shards": shards})])
    wire.answer("GetShardIterator", [(200, {"ShardIterator": "iterator"})] * 1000)
    stream = KinesisStream(client, "made-up", REGION, **({"clock": clock} if clock else {}))
    return stream, wire, summary

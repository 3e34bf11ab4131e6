"""From Kinesis to an archive on disk: real boto3 against a double of Kinesis on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.stream.kinesis import MOST_RECORDS, KinesisStream
from benchmarks.results import Result, compared
from benchmarks.stream_rows import records
from harness.kinesis_double import KINESALITE, REGION, KinesisDouble
from harness.stream_feeder import MOST_RECORDS as MOST_PUT

RECORDS = 100_000
SHARDS = 8
STREAM = "fleet"

_PEER = "boto3 alone"
HOW = {
    _PEER: "`get_records` of one shard after the other, as fast as the double answers: the records are counted, not "
    "kept. Ours keeps the service's pace of 2 MiB/s for each shard, and writes, checksums and commits the files. The "
    "double's own CPU isn't counted on either side"
}


def measure(rounds: int) -> list[Result]:
    """Drain a stream into an empty archive, and read it with boto3 alone, alternately."""
    if not KINESALITE.exists():
        print("kinesalite isn't installed, and draining isn't measured: it needs npm")
        return []
    double = KinesisDouble(KINESALITE)
    took: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
    try:
        _fill(double.client())
        for _ in range(rounds):
            for engine in ENGINES:
                took[engine].append(_run(engine, double.url))
    finally:
        double.close()
    what = f"{RECORDS:,} records of {SHARDS} shards of Kinesis to an archive on disk"
    mine, theirs = took["ours"], took["boto3_alone"]
    return [
        *compared(
            what,
            "records/s",
            [RECORDS / each["seconds"] for each in mine],
            {_PEER: [RECORDS / each["seconds"] for each in theirs]},
        ),
        *compared(
            f"{what}: CPU of a record",
            "µs",
            [each["cpu"] / RECORDS * 1e6 for each in mine],
            {_PEER: [each["cpu"] / RECORDS * 1e6 for each in theirs]},
        ),
    ]


def _fill(client: Any) -> None:
    """Put datapoints of the last hour into a new stream."""
    client.create_stream(StreamName=STREAM, ShardCount=SHARDS)
    while client.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamStatus"] != "ACTIVE":
        time.sleep(0.1)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    entries = ({"PartitionKey": key, "Data": data} for key, data in records(RECORDS, start))
    for part in _parts(entries):
        refused = client.put_records(StreamName=STREAM, Records=part)["FailedRecordCount"]
        if refused:
            raise ValueError(f"the double refused {refused} records")


def _parts(entries: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for entry in entries:
        part.append(entry)
        if len(part) == MOST_PUT:
            yield part
            part = []
    if part:
        yield part


def _run(engine: str, url: str) -> dict[str, float]:
    """Measure an engine in its own process, to measure its CPU."""
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as folder:
        command = [sys.executable, "-m", "benchmarks.draining", engine, url, folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {engine}: {took['seconds']:.1f} s, {took['cpu']:.2f} s of CPU", flush=True)
    if took["records"] != RECORDS:
        raise ValueError(f"{engine} read {took['records']:,} records")
    return took


def ours(client: Any, folder: Path) -> int:
    """Drain the stream as the operator does, and return the number of records."""
    archive = StreamArchive(FileDestination(folder))
    report = archive.drain(KinesisStream(client, STREAM, REGION), datetime.now(UTC), written_by={})
    return report.records


def boto3_alone(client: Any, folder: Path) -> int:
    """Count the records of each shard."""
    count = 0
    for shard in client.list_shards(StreamName=STREAM)["Shards"]:
        place = {"StreamName": STREAM, "ShardId": shard["ShardId"]}
        iterator = client.get_shard_iterator(**place, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        while True:
            answer = client.get_records(ShardIterator=iterator, Limit=MOST_RECORDS)
            if not answer["Records"]:
                break
            count += len(answer["Records"])
            iterator = answer["NextShardIterator"]
    return count


ENGINES = {engine.__name__: engine for engine in (ours, boto3_alone)}


def main() -> None:
    """Run one engine on a double, and print the records, the seconds, and those of CPU."""
    import boto3

    engine, url, folder = sys.argv[1:]
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
    client = boto3.client("kinesis", endpoint_url=url, region_name=REGION, **keys)
    start, cpu = time.perf_counter(), time.process_time()
    count = ENGINES[engine](client, Path(folder))
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"records": count, "seconds": seconds, "cpu": used}))


if __name__ == "__main__":
    main()

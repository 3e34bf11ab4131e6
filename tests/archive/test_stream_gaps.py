"""What a drain says of records that it couldn't read, and of those that it could: gaps, errors, and counts."""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.stream import Gap
from ayla_provider.errors import AylaDestinationError, AylaStreamLossError, AylaStreamResetError
from tests.archive.test_stream_crashes import crash
from tests.support.archives import store
from tests.support.memory_stream import START, MemoryStream, connection, datapoint, made_stream
from tests.support.stream_archives import RUN, drain, files_of, position_of

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
FIRST, SECOND_SHARD = "shardId-000000000000", "shardId-000000000001"


def put(stream: MemoryStream, hours: int, shard: str = FIRST) -> None:
    """Put a datapoint, some hours after the stream was created."""
    stream.now = START + hours * HOUR
    stream.put(shard, datapoint(stream.now, hours))


def begun(root: Path, shards: int, *, counts: bool = False, steps: int = 2) -> MemoryStream:
    """Drain the first hour, and begin a batch of nine others, of which some files are missing."""
    stream = made_stream(shards, counts=counts)
    for number in range(shards):
        put(stream, 0, f"shardId-{number:012}")
    stream.now += SECOND
    drain(root, stream)
    for hours in range(1, 10):
        for number in range(shards):
            put(stream, hours, f"shardId-{number:012}")
    stream.now += SECOND
    assert crash(root, stream, steps, max_records=1000)
    return stream


@pytest.mark.parametrize("shards", [1, 2])
def test_the_gap_of_a_batch_that_expired_is_from_the_last_read_to_the_first_record_left(
    tmp_path: Path, shards: int
) -> None:
    stream = begun(tmp_path, shards)
    # Of the hours 1 to 9, the first three expire.
    stream.now = START + 27 * HOUR + SECOND
    report = drain(tmp_path, stream, accept_loss=True)
    # Of two shards, nobody knows which of them lacks how many.
    lost = 3 if shards == 1 else None
    of_batch = [gap for gap in report.gaps if gap.start == START + SECOND]
    assert of_batch == [Gap(f"shardId-{n:012}", START + SECOND, START + 4 * HOUR, lost) for n in range(shards)]
    assert report.records == 6 * shards
    assert report.unacknowledged == 0


def test_a_batch_of_which_nothing_is_left_is_a_gap_to_where_it_ended(tmp_path: Path) -> None:
    stream = begun(tmp_path, 1)
    ended = stream.now
    stream.now += 40 * HOUR
    with pytest.raises(AylaStreamLossError) as raised:
        drain(tmp_path, stream)
    gap = position_of(tmp_path)["gaps"][0]
    assert (gap["shard"], gap["lost"], gap["acknowledged"]) == (FIRST, 9, False)
    start, end = (START + SECOND).isoformat(), ended.isoformat()
    assert (gap["start"], gap["end"]) == (start, end)
    assert f"shard {FIRST}, from {start} to {end}, 9 records" in str(raised.value)


def test_a_batch_of_a_stream_made_again_is_a_gap_of_each_shard_that_it_read(tmp_path: Path) -> None:
    old = begun(tmp_path, 2)
    ended = old.now
    new = made_stream(2, created_at=START + 12 * HOUR, now=START + 13 * HOUR)
    gaps = drain(tmp_path, new, accept_loss=True).gaps
    expected = [Gap(shard, START + SECOND, ended) for shard in (FIRST, SECOND_SHARD)]
    # And then, of each, what arrived before the new one was made.
    assert gaps == expected + [Gap(shard, ended, new.created_at) for shard in (FIRST, SECOND_SHARD)]


def test_a_shard_that_vanished_is_a_gap_from_its_last_read_to_what_has_expired(tmp_path: Path) -> None:
    stream = made_stream(2)
    for shard in (FIRST, SECOND_SHARD):
        put(stream, 0, shard)
    stream.now += SECOND
    drain(tmp_path, stream)
    stream.now = START + 2 * HOUR
    # The child of the first one comes and goes between two runs.
    stream.open("shardId-000000000002", (FIRST,))
    stream.now = START + 3 * HOUR
    stream.open("shardId-000000000003", ("shardId-000000000002",))
    stream.now = START + 40 * HOUR
    expired = START + 16 * HOUR
    gaps = drain(tmp_path, stream, accept_loss=True).gaps
    assert gaps == [
        Gap(FIRST, START + SECOND, expired),
        Gap("shardId-000000000002", START + SECOND, expired),
        Gap(SECOND_SHARD, START + SECOND, expired),
    ]


def test_an_error_shows_five_gaps_and_how_many_more_there_are(tmp_path: Path) -> None:
    stream = made_stream(6)
    drain(tmp_path, stream)
    stream.open("the child of all", tuple(stream.shards))
    stream.now += 30 * HOUR
    with pytest.raises(AylaStreamLossError) as raised:
        drain(tmp_path, stream)
    gap = f"from {START.isoformat()} to {(START + 6 * HOUR).isoformat()}"
    described = "; ".join(f"shard shardId-{number:012}, {gap}" for number in range(5))
    assert str(raised.value) == (
        f"kinesis://eu-west-1/fleet: records expired before they were read: {described}; and 2 more. All that was "
        f"still there is in {FileDestination(tmp_path).url}, and later runs go on. Drain the stream more often, or "
        "let it keep records for longer. To acknowledge the loss, run the task once with accept_loss."
    )


def test_each_error_of_a_stream_says_what_to_do(tmp_path: Path) -> None:
    stream = begun(tmp_path / "made again", 1)
    url = FileDestination(tmp_path).url
    new = made_stream(1, created_at=START + HOUR, now=START + HOUR)
    with pytest.raises(AylaStreamResetError) as reset:
        drain(tmp_path / "made again", new)
    assert str(reset.value) == (
        f"kinesis://eu-west-1/fleet was created at {new.created_at.isoformat()}, and the stream of the archive "
        f"{url}/made again was created at {START.isoformat()}. Records of that stream may be lost. To go on with the "
        "new one, run the task once with accept_loss."
    )

    path = "event_type=datapoint/date=2026-11-29/hour=07/0000000002.jsonl.gz"
    store(FileDestination(tmp_path / "made again"), path, gzip.compress(b"other\n"))
    with pytest.raises(AylaDestinationError) as other:
        drain(tmp_path / "made again", stream)
    assert str(other.value) == (
        f"{url}/made again/{path} has other lines than the batch that it is of. Find out what wrote it, and move it "
        "away. Then clear the task: it writes the file again, if the stream still has the records."
    )


def test_a_batch_that_the_stream_gives_otherwise_names_the_first_file_of_it(tmp_path: Path) -> None:
    stream = begun(tmp_path, 1, steps=8)
    records = stream.shards[FIRST].records
    records[1:] = [record._replace(data=record.data.replace(b"value", b"other")) for record in records[1:]]
    present = sorted(path for path in files_of(tmp_path) if path.endswith("2.jsonl.gz"))
    with pytest.raises(AylaStreamResetError) as raised:
        drain(tmp_path, stream)
    shown = present[0] if len(present) == 1 else f"{present[0]}, and {len(present) - 1} more"
    assert str(raised.value) == (
        "kinesis://eu-west-1/fleet returns other records for the batch 2 than an earlier run read, and the archive "
        f"has {shown} of it already. Move the files of this batch away, and clear the task: the batch is then read "
        "again."
    )


def test_a_report_counts_all_batches_by_folder(tmp_path: Path) -> None:
    stream = made_stream(1, page=1)
    for hours in range(5):
        put(stream, hours)
    stream.put(FIRST, connection(stream.now))
    for _ in range(2):
        stream.put(FIRST, b"no event")
    stream.now += SECOND
    report = drain(tmp_path, stream, max_records=2)
    files = Counter(path.partition("/")[0] for path in files_of(tmp_path))
    sizes: Counter[str] = Counter()
    for path in files_of(tmp_path):
        sizes[path.partition("/")[0]] += (tmp_path / path).stat().st_size
    assert set(files) == {"event_type=datapoint", "event_type=connection", "_unreadable"}
    assert (report.files_by_folder, report.bytes_by_folder) == (files, sizes)
    assert (report.files, report.bytes) == (files.total(), sizes.total())
    assert (report.records, report.unreadable) == (8, 2)
    assert report.batches == position_of(tmp_path)["batch"] - 1 > 2


def test_the_lag_is_that_of_the_shard_that_was_read_least_far(tmp_path: Path) -> None:
    stream = made_stream(2)
    assert drain(tmp_path, stream).lag == timedelta(0)
    stream.now += HOUR
    # A closed shard that was read to its end doesn't count, however old it is.
    stream.open("shardId-000000000002", (FIRST,))
    stream.now += SECOND
    drain(tmp_path, stream)
    stream.now += 3 * HOUR
    assert drain(tmp_path, stream, written_by=RUN | {"run_id": "run 2"}).lag == 3 * HOUR


@pytest.mark.parametrize("steps", range(1, 16, 2))
def test_a_batch_that_expired_in_part_has_its_gap_once_although_a_run_ended(tmp_path: Path, steps: int) -> None:
    stream = begun(tmp_path, 1)
    stream.now = START + 27 * HOUR + SECOND
    crash(tmp_path, stream, steps, max_records=1000, accept_loss=True)
    drain(tmp_path, stream, accept_loss=True)
    starts = [(gap["start"], gap["lost"]) for gap in position_of(tmp_path)["gaps"]]
    assert starts.count(((START + SECOND).isoformat(), 3)) == 1
    assert sum(lost or 0 for _, lost in starts) == 3

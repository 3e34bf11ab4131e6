"""What a drained stream becomes: files, hours, gaps, and a position."""

from __future__ import annotations

import gzip
import io
import json
import logging
import random
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive import stream_reading, stream_spool
from ayla_provider.archive.archive import Archive
from ayla_provider.archive.compare import reconcile
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.stream import Page, Shard, ShardPosition, StreamState
from ayla_provider.errors import (
    AylaConfigError,
    AylaDestinationError,
    AylaStreamLossError,
    AylaStreamResetError,
    AylaUnavailable,
)
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from ayla_provider.transport.checksum import Crc32c
from tests.archive.test_stream_crashes import crash
from tests.support.client import hours_at, put, take_in
from tests.support.memory_stream import BIG, OEM, START, MemoryStream, connection, datapoint, live, made_stream
from tests.support.stream_archives import (
    RUN,
    check_manifests,
    drain,
    expected_of,
    files_of,
    manifests_of,
    position_of,
    records_of,
)

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)

LATER_RUN = RUN | {"run_id": "run 2"}


def put_at(stream: MemoryStream, minutes: int, shard: int = 0) -> None:
    """Put a datapoint, some minutes after the stream was created."""
    stream.now = START + minutes * MINUTE
    stream.put(f"shardId-{shard:012}", datapoint(stream.now, minutes))


def states(root: Path) -> dict[str, tuple[str, int]]:
    """Return the state and the revision of each hour."""
    return {name: (each["state"], each["revision"]) for name, each in manifests_of(root).items()}


def test_the_first_run_begins_with_the_oldest_record_and_files_have_lines_by_shard_and_number(tmp_path: Path) -> None:
    stream = made_stream(2)
    for minutes in range(5):
        put_at(stream, minutes, shard=minutes % 2)
    stream.put("shardId-000000000001", b"Test Message", key="TEST_DSN")
    stream.now += MINUTE
    report = drain(tmp_path, stream)
    files = files_of(tmp_path)
    path = "event_type=datapoint/date=2026-11-29/hour=06/0000000001.jsonl.gz"
    assert sorted(files) == ["_unreadable/date=2026-11-29/hour=06/0000000001.jsonl.gz", path]
    lines = [json.loads(line) for line in files[path].splitlines()]
    assert [line["event"]["datapoint"]["value"] for line in lines] == [0, 2, 4, 1, 3]
    assert {name: value for name, value in lines[0].items() if name != "event"} == {
        "shard": "shardId-000000000000",
        "sequence": str(stream.shards["shardId-000000000000"].records[0].number),
        "arrived_at": START.isoformat(),
        "key": "a key",
    }
    (unreadable,) = map(json.loads, files["_unreadable/date=2026-11-29/hour=06/0000000001.jsonl.gz"].splitlines())
    assert (unreadable["reason"], unreadable["data"], unreadable["key"]) == (
        "not JSON",
        "VGVzdCBNZXNzYWdl",
        "TEST_DSN",
    )
    assert (report.batches, report.records, report.unreadable, report.files) == (1, 6, 1, 2)
    position = position_of(tmp_path)
    assert (position["oem_id"], position["batch"], position["pending"]) == (OEM, 2, None)
    assert int(position["shards"]["shardId-000000000000"]["after"]) > BIG


def test_an_hour_is_open_until_every_shard_was_read_an_hour_past_its_end(tmp_path: Path) -> None:
    stream = made_stream(2)
    put_at(stream, 45)
    stream.put("shardId-000000000000", connection(stream.now - HOUR))
    stream.now = START + 89 * MINUTE
    assert drain(tmp_path, stream).hours == []
    # 06:15 and 07:15; the stream was created at 06:30, so no hour is empty before 07:00.
    assert states(tmp_path) == {"connection 29T06": ("open", 1), "datapoint 29T07": ("open", 1)}
    stream.now = START + 92 * MINUTE
    report = drain(tmp_path, stream)
    assert [str(manifest.hour) for manifest in report.hours] == ["connection 2026-11-29 06:00 UTC"]
    assert states(tmp_path) == {"connection 29T06": ("landed", 1), "datapoint 29T07": ("open", 1)}
    stream.now = START + 211 * MINUTE
    report = drain(tmp_path, stream, written_by=LATER_RUN)
    assert states(tmp_path) == {
        "connection 29T06": ("landed", 1),
        "connection 29T07": ("empty", 1),
        "connection 29T08": ("empty", 1),
        "datapoint 29T07": ("landed", 1),
        "datapoint 29T08": ("empty", 1),
    }
    assert len(report.hours) == 4
    assert report.complete_to == START + 150 * MINUTE


def test_a_late_record_gives_its_hour_another_revision_and_another_announcement(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 45)
    stream.now = START + 240 * MINUTE
    drain(tmp_path, stream)
    for number in range(20):
        stream.put("shardId-000000000000", datapoint(START + 45 * MINUTE - number * HOUR, number))
    stream.now += MINUTE
    report = drain(tmp_path, stream, written_by=LATER_RUN)
    assert {manifest.state.value for manifest in report.hours} == {"landed"}
    assert len(report.hours) == 20
    assert states(tmp_path)["datapoint 29T07"] == ("landed", 2)
    # An hour that was empty has files now, and an hour without a record before has its first ones.
    assert records_of(tmp_path) == expected_of(stream)
    check_manifests(tmp_path)
    stream.now += MINUTE
    assert drain(tmp_path, stream, written_by=RUN | {"run_id": "run 3"}).hours == []


def test_a_retry_and_a_cleared_run_announce_again_what_the_run_completed(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 45)
    stream.now = START + 240 * MINUTE
    first = drain(tmp_path, stream).hours
    again = drain(tmp_path, stream, written_by=RUN | {"try_number": "2"}).hours
    assert [manifest.hour for manifest in first] == [manifest.hour for manifest in again] != []
    assert drain(tmp_path, stream, written_by=LATER_RUN).hours == []


def test_a_stream_without_records_has_a_position_and_no_hours(tmp_path: Path) -> None:
    stream = made_stream(2)
    stream.now += 5 * HOUR
    report = drain(tmp_path, stream)
    assert (report.batches, report.records, report.hours) == (0, 0, [])
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "_stream/position.json"
    ]
    assert position_of(tmp_path)["batch"] == 1


def test_parents_are_read_before_children_over_many_batches(tmp_path: Path) -> None:
    stream, chance = made_stream(1, page=3), random.Random(1)
    for _ in range(6):
        live(stream, chance, HOUR, 20)
        stream.open(f"shardId-{len(stream.shards):012}", tuple(_open_shards(stream)))
        stream.open(f"shardId-{len(stream.shards):012}")
    stream.now += SECOND * 3
    report = drain(tmp_path, stream, max_records=10)
    assert report.batches > 8
    assert records_of(tmp_path) == expected_of(stream)
    batch_of: dict[str, list[int]] = {}
    for path, content in files_of(tmp_path).items():
        for line in content.splitlines():
            batch_of.setdefault(json.loads(line)["shard"], []).append(int(Path(path).name[:10]))
    for shard in stream.shards.values():
        for parent in set(shard.parents) & batch_of.keys():
            if shard.id in batch_of:
                assert max(batch_of[parent]) <= min(batch_of[shard.id])


def _open_shards(stream: MemoryStream) -> list[str]:
    return [shard.id for shard in stream.shards.values() if shard.closed_at is None]


@pytest.mark.parametrize("counts", [True, False])
def test_what_expired_is_a_gap_and_the_rest_is_drained_before_the_run_fails(tmp_path: Path, counts: bool) -> None:
    stream = made_stream(1, counts=counts)
    put_at(stream, 10)
    stream.now += SECOND
    drain(tmp_path, stream)
    for minutes in (20, 60, 30 * 60, 31 * 60):
        put_at(stream, minutes)
    stream.now = START + 32 * HOUR
    with pytest.raises(AylaStreamLossError) as raised:
        drain(tmp_path, stream, written_by=LATER_RUN)
    expected = "shard shardId-000000000000, from 2026-11-29T06:40:01+00:00 to 2026-11-29T14:30:00+00:00"
    assert expected + (", 2 records;" if counts else "") in str(raised.value).replace(". All", ";")
    assert sum(records_of(tmp_path).values()) == 3
    # Later runs go on, and announce what the failed run couldn't.
    put_at(stream, 33 * 60)
    stream.now += HOUR
    report = drain(tmp_path, stream, written_by=RUN | {"run_id": "run 3"})
    assert (report.records, report.unacknowledged) == (1, 1)
    assert "datapoint 2026-11-30 12:00 UTC" in [str(manifest.hour) for manifest in report.hours]
    assert [gap["acknowledged"] for gap in position_of(tmp_path)["gaps"]] == [False]
    assert drain(tmp_path, stream, accept_loss=True).unacknowledged == 0
    assert [gap["acknowledged"] for gap in position_of(tmp_path)["gaps"]] == [True]


def test_hours_whose_records_may_have_expired_are_neither_empty_nor_complete(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 10)
    stream.now += SECOND
    drain(tmp_path, stream)
    # Of the hour from 14:00 to 15:00, the first half expires unread.
    for minutes in (60, 8 * 60 + 20, 30 * 60):
        put_at(stream, minutes)
    stream.now = START + 32 * HOUR
    with pytest.raises(AylaStreamLossError, match=r"from 2026-11-29T06:40:01.* to 2026-11-29T14:30:00"):
        drain(tmp_path, stream, written_by=LATER_RUN)
    report = drain(tmp_path, stream, accept_loss=True)
    announced = {str(manifest.hour): manifest.state.value for manifest in report.hours}
    # An event may have happened an hour before or after its arrival.
    assert next(iter(announced.items())) == ("datapoint 2026-11-29 16:00 UTC", "empty")
    assert announced["datapoint 2026-11-30 12:00 UTC"] == "landed"
    documents = [json.loads(path.read_bytes()) for path in tmp_path.glob("_manifests/**/*.json")]
    not_complete = {each["hour"][:13]: each["state"] for each in documents if each["hour"] < "2026-11-29T16"}
    assert not_complete == {"2026-11-29T06": "open", "2026-11-29T14": "open"}
    assert position_of(tmp_path)["open_hours"] == {}


def test_a_loss_that_is_accepted_at_once_does_not_fail_the_run(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 10)
    stream.now += SECOND
    drain(tmp_path, stream)
    stream.now = START + 32 * HOUR
    report = drain(tmp_path, stream, accept_loss=True)
    assert (len(report.gaps), report.unacknowledged) == (1, 0)


def test_a_shard_that_expired_before_its_end_was_read_is_a_gap_and_its_unseen_child_too(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 10)
    stream.now += SECOND
    drain(tmp_path, stream)
    put_at(stream, 20)
    stream.open("shardId-000000000001", ("shardId-000000000000",))
    stream.now += HOUR
    stream.put("shardId-000000000001", datapoint(stream.now))
    stream.open("shardId-000000000002", ("shardId-000000000001",))
    stream.now += 40 * HOUR
    stream.put("shardId-000000000002", datapoint(stream.now))
    stream.now += SECOND
    with pytest.raises(AylaStreamLossError, match=r"shardId-000000000000, from .*; shard shardId-000000000001, from "):
        drain(tmp_path, stream, written_by=LATER_RUN)
    assert sum(records_of(tmp_path).values()) == 2
    assert drain(tmp_path, stream).gaps == []


def test_a_shard_that_was_read_to_its_end_expires_without_a_gap(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 10)
    stream.open("shardId-000000000001", ("shardId-000000000000",))
    for _ in range(8):
        stream.now += 6 * HOUR
        stream.put("shardId-000000000001", datapoint(stream.now))
        drain(tmp_path, stream)
    stream.now += SECOND
    assert drain(tmp_path, stream).gaps == []
    assert list(position_of(tmp_path)["shards"]) == ["shardId-000000000001"]
    assert records_of(tmp_path) == expected_of(stream)


def test_a_lag_of_half_of_the_retention_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = made_stream(1)
    drain(tmp_path, stream)
    stream.now += 12 * HOUR
    drain(tmp_path, stream)
    assert "so records are lost soon" not in caplog.text
    stream.now += 12 * HOUR + SECOND
    report = drain(tmp_path, stream)
    assert "was read up to 2026-11-29T18:30:00+00:00, 12:00:01 ago. It keeps records for 1 day" in caplog.text
    assert report.lag == 12 * HOUR + SECOND


@pytest.mark.parametrize("steps", [3, 8, 1000])
def test_a_stream_made_again_stops_until_the_loss_is_accepted(tmp_path: Path, steps: int) -> None:
    old = made_stream(2)
    live(old, random.Random(1), HOUR, 40)
    crash(tmp_path, old, steps)
    before = records_of(tmp_path)
    new = made_stream(2, created_at=START + 2 * HOUR, now=START + 2 * HOUR)
    live(new, random.Random(2), HOUR, 40)
    new.now += 3 * SECOND
    with pytest.raises(AylaStreamResetError, match="was created at 2026-11-29T08:30:00"):
        drain(tmp_path, new)
    report = drain(tmp_path, new, accept_loss=True)
    assert len(report.gaps) >= 2
    assert report.unacknowledged == 0
    assert records_of(tmp_path) == before + expected_of(new)
    check_manifests(tmp_path)


def test_what_expired_of_a_stream_made_again_is_in_the_gap(tmp_path: Path) -> None:
    old = made_stream(1)
    put_at(old, 10)
    old.now += SECOND
    drain(tmp_path, old)
    new = made_stream(1, created_at=START + 2 * HOUR, now=START + 3 * HOUR)
    new.put("shardId-000000000000", datapoint(new.now))
    new.now = START + 60 * HOUR
    (gap,) = drain(tmp_path, new, accept_loss=True).gaps
    assert gap.end == START + 36 * HOUR


def test_a_manifest_that_was_removed_is_written_again_with_all_files(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 10)
    stream.now += SECOND
    drain(tmp_path, stream)
    before = manifests_of(tmp_path)["datapoint 29T06"]["files"]
    (manifest,) = tmp_path.glob("_manifests/**/hour=06.json")
    manifest.unlink()
    put_at(stream, 20)
    stream.now += SECOND
    drain(tmp_path, stream)
    after = manifests_of(tmp_path)["datapoint 29T06"]["files"]
    assert [file["path"][-19:] for file in after] == ["0000000001.jsonl.gz", "0000000002.jsonl.gz"]
    assert [after[0][name] for name in ("path", "size", "crc32c")] == [
        before[0][name] for name in ("path", "size", "crc32c")
    ]


def test_an_earlier_version_of_the_position_does_not_bring_records_twice(tmp_path: Path) -> None:
    stream = made_stream(1)
    path = tmp_path / "_stream" / "position.json"
    kept = {}
    for batch in range(1, 4):
        put_at(stream, 60 * batch)
        stream.now += SECOND
        drain(tmp_path, stream)
        kept[batch] = path.read_bytes()
    before = manifests_of(tmp_path)
    path.write_bytes(kept[1])
    with pytest.raises(AylaDestinationError, match="has records of the later batch 3"):
        drain(tmp_path, stream, written_by=LATER_RUN)
    assert {name: each["files"] for name, each in manifests_of(tmp_path).items()} == {
        name: each["files"] for name, each in before.items()
    }
    path.write_bytes(kept[3])
    assert drain(tmp_path, stream).records == 0


def test_a_position_ahead_of_its_shard_stops_until_the_loss_is_accepted(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 10)
    put_at(stream, 11)
    stream.now += SECOND
    drain(tmp_path, stream)
    stream.shards["shardId-000000000000"].records.clear()
    put_at(stream, 12)
    stream.now += SECOND
    with pytest.raises(AylaStreamResetError, match="ahead"):
        drain(tmp_path, stream)
    report = drain(tmp_path, stream, accept_loss=True)
    assert (report.records, len(report.gaps), report.unacknowledged) == (1, 1, 0)


def test_a_batch_whose_records_expired_before_it_was_finished_has_what_is_left(tmp_path: Path) -> None:
    outcomes = set()
    for steps in range(2, 24):
        root, stream = tmp_path / str(steps), made_stream(1, counts=True)
        for hours in range(10):
            put_at(stream, hours * 60)
        stream.now += SECOND
        assert crash(root, stream, steps, max_records=1000)
        was_there = records_of(root)
        stream.now += 18 * HOUR
        # Half of the records have expired.
        try:
            drain(root, stream)
        except AylaStreamLossError:
            outcomes.add("lost")
        else:
            outcomes.add("complete")
        left = {one: 1 for one in expected_of(stream) if b"2026-11-29T1" in one[2]}
        assert set(left) <= set(records_of(root))
        assert was_there.keys() <= records_of(root).keys()
        assert set(records_of(root).values()) == {1}
        check_manifests(root)
        drain(root, stream)
    assert outcomes == {"lost", "complete"}


def test_a_batch_that_is_read_again_with_other_records_is_refused_if_it_has_files(tmp_path: Path) -> None:
    for steps, refused in ((2, False), (8, True)):
        root, stream = tmp_path / str(steps), made_stream(1)
        for hours in range(10):
            put_at(stream, hours * 60)
        stream.now += SECOND
        assert crash(root, stream, steps, max_records=1000)
        records = stream.shards["shardId-000000000000"].records
        # All of them, because the files are written at once, and any of them may be there.
        for place, record in enumerate(records):
            records[place] = record._replace(data=datapoint(START + place * HOUR, 99))
        if refused:
            with pytest.raises(AylaStreamResetError, match="Move the files of this batch away"):
                drain(root, stream)
        else:
            drain(root, stream)
            assert records_of(root) == expected_of(stream)


def test_another_version_of_zlib_finishes_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in range(2, 24, 3):
        root, stream = tmp_path / str(steps), made_stream(1)
        for hours in range(5):
            put_at(stream, hours * 60)
        stream.now += SECOND
        monkeypatch.setattr(stream_spool, "_LEVEL", 1)
        assert crash(root, stream, steps, max_records=1000)
        monkeypatch.setattr(stream_spool, "_LEVEL", 9)
        drain(root, stream)
        assert records_of(root) == expected_of(stream)
        check_manifests(root)


def test_a_file_that_another_run_wrote_with_another_zlib_is_taken_as_it_is(tmp_path: Path) -> None:
    stream, path = made_stream(1), "event_type=datapoint/date=2026-11-29/hour=06/0000000001.jsonl.gz"
    put_at(stream, 10)
    stream.now += SECOND
    drain(tmp_path / "whole", stream)
    content = gzip.compress(files_of(tmp_path / "whole")[path], 9)
    _write(tmp_path / "other", path, content)
    drain(tmp_path / "other", stream)
    assert (tmp_path / "other" / path).read_bytes() == content
    check_manifests(tmp_path / "other")
    _write(tmp_path / "foreign", path, gzip.compress(b"something else"))
    with pytest.raises(Exception, match=r"0000000001.jsonl.gz was written by someone else"):
        drain(tmp_path / "foreign", stream)
    with pytest.raises(AylaDestinationError, match="has other lines than the batch that it is of"):
        drain(tmp_path / "foreign", stream)


def _write(root: Path, path: str, content: bytes) -> None:
    FileDestination(root).write(
        path,
        io.BytesIO(content),
        size=len(content),
        crc32c=Crc32c(content).base64,
        replaces=None,
        content_type="application/gzip",
    )


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: data + b"x", lambda data: b"x" * len(data)])
def test_damaged_gzip_has_no_checksum_of_its_content(damage: Any) -> None:
    data = gzip.compress(random.Random(1).randbytes(3_000_000))
    assert stream_spool.content_crc32c([data[:100], data[100:]]) == Crc32c(zlib.decompress(data, 31)).base64
    assert stream_spool.content_crc32c([damage(data)]) is None


def test_records_of_another_oem_are_refused_and_nothing_of_the_batch_is_committed(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 10)
    stream.put("shardId-000000000000", datapoint(stream.now, oem_id="another"))
    stream.now += SECOND
    with pytest.raises(AylaConfigError, match=r"OEM 'another', and .* is of the OEM '1234abcd'"):
        drain(tmp_path, stream)
    assert not tmp_path.exists() or files_of(tmp_path) == {}
    with pytest.raises(AylaConfigError, match=r"OEM '1234abcd', and .* is of the OEM 'another'"):
        drain(tmp_path, stream, oem_id="another")
    stream.shards["shardId-000000000000"].records.pop()
    drain(tmp_path, stream, oem_id=OEM)
    with pytest.raises(AylaConfigError, match="has records of the OEM '1234abcd', and oem_id is 'another'"):
        drain(tmp_path, stream, oem_id="another")


def test_each_stream_needs_a_destination_of_its_own(tmp_path: Path) -> None:
    drain(tmp_path, made_stream(1))
    with pytest.raises(AylaConfigError, match="is the archive of the stream kinesis://eu-west-1/fleet"):
        drain(tmp_path, made_stream(1, url="kinesis://eu-west-1/other"))


def test_the_archive_of_an_export_is_refused(cloud: LocalCloud, export: Export, tmp_path: Path) -> None:
    put(cloud, 2, "a.csv", b"of a\r\n")
    put(cloud, 5, "later.csv")
    take_in(Archive(FileDestination(tmp_path)), export, 2)
    with pytest.raises(AylaConfigError, match="is the archive of an export"):
        drain(tmp_path, made_stream(1))
    assert not (tmp_path / "_stream").exists()


def test_the_archive_of_a_stream_is_refused_by_all_that_an_export_has(
    cloud: LocalCloud, export: Export, tmp_path: Path
) -> None:
    (hour,) = hours_at(2)
    put(cloud, 2, "a.csv", b"of a\r\n")
    put(cloud, 5, "later.csv")
    stream = made_stream(1, created_at=hour.start, now=hour.start)
    stream.put("shardId-000000000000", datapoint(hour.start))
    stream.now += MINUTE
    drain(tmp_path, stream)
    destination = FileDestination(tmp_path)
    refused = pytest.raises(
        AylaConfigError, match=r"is the archive of a stream|is the archive of the stream kinesis://"
    )
    with refused:
        take_in(Archive(destination), export, 2)
    with refused:
        # An hour that the stream doesn't have.
        put(cloud, 3, "a.csv", b"of a\r\n")
        take_in(Archive(destination), export, 3)
    with refused:
        reconcile(export, Records(destination), [hour.event_type], hour.start, hour.end, ArrivalRule())
    with refused:
        list(Verification(destination, Scope([hour.event_type], hour.start, hour.end), now=hour.end).findings())


def test_hours_without_their_position_are_refused(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 10)
    stream.now += SECOND
    drain(tmp_path, stream)
    (tmp_path / "_stream/position.json").unlink()
    with pytest.raises(AylaDestinationError, match=r"_stream/position.json is missing"):
        drain(tmp_path, stream)


class _StuckStream(MemoryStream):
    """A stream whose shards end nowhere."""

    def read(self, shard: Shard, position: ShardPosition, until: Any, state: StreamState) -> Iterator[Page]:
        for page in super().read(shard, position, until, state):
            while True:
                yield page._replace(at_end=False)


@pytest.mark.parametrize("records", [0, 1])
def test_a_shard_that_repeats_its_answers_ends_the_run(tmp_path: Path, records: int) -> None:
    stream = _StuckStream()
    stream.open("shardId-000000000000")
    for minutes in range(records):
        put_at(stream, minutes)
    stream.now += SECOND
    expected = "repeats the record" if records else f"{stream_reading._MOST_IDLE_PAGES} answers in a row"
    with pytest.raises(AylaUnavailable, match=expected):
        drain(tmp_path, stream)


def test_a_stopped_run_ends_and_the_next_one_goes_on(tmp_path: Path) -> None:
    stream = made_stream(2)
    live(stream, random.Random(1), HOUR, 100)
    archive = StreamArchive(FileDestination(tmp_path))
    archive.stop()
    with pytest.raises(AylaUnavailable, match="the task was ended"):
        archive.drain(stream, stream.now, written_by=RUN)
    stream.now += 3 * SECOND
    drain(tmp_path, stream)
    assert records_of(tmp_path) == expected_of(stream)


def test_a_batch_is_bounded_and_no_shard_is_left_behind(tmp_path: Path) -> None:
    stream = made_stream(20, page=10)
    for shard in stream.shards:
        for number in range(30):
            stream.put(shard, datapoint(stream.now, number))
    stream.now += SECOND
    report = drain(tmp_path, stream, max_records=50)
    assert records_of(tmp_path) == expected_of(stream)
    # A batch ends with the page that exceeds it, and eight shards are read at once.
    assert 600 / (50 + 8 * 10) <= report.batches <= 12
    largest = drain(tmp_path / "bytes", stream, max_bytes=1, max_records=10_000)
    assert 600 / (9 * 10) <= largest.batches <= 60


def test_lines_of_many_hours_wait_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_spool, "_IN_MEMORY", 1000)
    stream = made_stream(2)
    stream.now += 31 * 24 * HOUR
    stream.retention = 40 * 24 * HOUR
    for number in range(400):
        time = stream.now - (number % 30) * 24 * HOUR
        stream.put(f"shardId-{number % 2:012}", datapoint(time, number))
    stream.now += SECOND
    drain(tmp_path, stream, max_records=1000)
    assert records_of(tmp_path) == expected_of(stream)
    for content in files_of(tmp_path).values():
        places = [(line["shard"], int(line["sequence"])) for line in map(json.loads, content.splitlines())]
        assert places == sorted(places)


def test_progress_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream_reading, "_PROGRESS_EVERY", 0.0)
    stream = made_stream(1)
    put_at(stream, 1)
    stream.now += SECOND
    with caplog.at_level(logging.INFO):
        drain(tmp_path, stream)
    assert "kinesis://eu-west-1/fleet: 1 record read, " in caplog.text
    hour = ExportHour(EventType("datapoint"), START.replace(minute=0))
    assert f"Committed {hour}: open, 1 file, " in caplog.text

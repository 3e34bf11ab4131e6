"""Reading Kinesis with boto3: each record once, and no loss without a word."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.domain.stream import Gap, Shard, ShardPosition, StreamState
from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaStreamResetError, AylaUnavailable
from ayla_provider.stream import kinesis as module
from ayla_provider.stream.kinesis import MARGIN, KinesisStream
from harness.kinesis_double import REGION, KinesisDouble
from tests.support.aggregated import aggregated
from tests.support.kinesis import (
    ONE_TRY,
    SHARD,
    Made,
    Wire,
    data_of,
    far,
    made_up,
    page,
    position_after,
    read_all,
    record,
    refusal,
)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b'{"n": %d}' % n for n in range(start, start + count)]


def test_each_record_is_read_once_and_in_order(kinesis: KinesisDouble) -> None:
    made = Made(kinesis)
    before = datetime.now(UTC)
    numbers = made.put(numbered(20))
    pages = list(made.pages())
    records = [one for each in pages for one in each.records]
    assert [one.data for one in records] == numbered(20)
    assert [one.number for one in records] == numbers
    assert {(one.key, one.place) for one in records} == {("key", 0)}
    assert all(timedelta(0) <= one.arrived_at - before + timedelta(seconds=1) < MINUTE for one in records)
    assert (pages[-1].at_end, pages[-1].closed) == (True, False)
    assert [each.at_end for each in pages[:-1]] == [False] * (len(pages) - 1)
    # Nothing can have arrived before the stream was created, seconds ago.
    assert pages[-1].read_to == made.reader.state().created_at

    more = made.put(numbered(5, 20))
    later = list(made.pages(position_after(pages)))
    assert [one.number for each in later for one in each.records] == more
    assert not any(each.gap for each in pages + later)
    assert data_of(made.pages(position_after(later))) == []


def test_the_state_says_what_the_service_says(kinesis: KinesisDouble) -> None:
    made = Made(kinesis, shards=3)
    made.client.increase_stream_retention_period(StreamName=made.name, RetentionPeriodHours=30)
    made.wait()
    state = made.reader.state()
    assert abs(datetime.now(UTC) - state.created_at) < MINUTE
    assert (state.created_at.tzinfo, state.retention) == (UTC, 30 * HOUR)
    assert [(one.parents, one.closed) for one in state.shards] == [((), False)] * 3
    assert made.reader.url == f"kinesis://us-east-1/{made.name}"


def test_reshards_lose_and_repeat_nothing(kinesis: KinesisDouble) -> None:
    made = Made(kinesis, shards=2)
    contents = numbered(60)
    made.put(contents[:10], 0)
    made.put(contents[10:20], 1)
    made.split()
    for shard, start in enumerate((20, 30, 40)):
        made.put(contents[start : start + 10], shard)
    made.merge()
    made.put(contents[50:], 0)
    read = read_all(made.reader)
    assert sorted(data_of(itertools.chain(*read.values()))) == sorted(contents)
    closed = {shard.id: shard.closed for shard in made.reader.state().shards}
    assert sorted(closed.values()) == [False, False, True, True, True]
    assert {shard: pages[-1].closed for shard, pages in read.items()} == closed


def test_the_end_of_a_closed_shard_is_not_the_present() -> None:
    """Its children are read from there on, and may have had records for hours."""
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    wire.answer("GetRecords", [page(record(1, NOW - 6 * HOUR)), page(record(2, NOW - 5 * HOUR), after=None)])
    *_, last = stream.read(SHARD, ShardPosition(), NOW, state)
    assert (last.at_end, last.closed, last.read_to) == (True, True, NOW - 5 * HOUR - MARGIN)


def test_a_batch_may_stop_at_any_page(kinesalite: KinesisDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RECORDS", 7)
    made = Made(kinesalite)
    made.put(numbered(40))
    position, read = ShardPosition(), []
    for _ in range(20):
        first = next(made.pages(position))
        read += data_of([first])
        position = ShardPosition(position_after([first]).after or position.after, first.read_to)
    assert read == numbered(40)


def test_reading_ends_before_the_first_record_that_arrived_too_late() -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    arrivals = [-3, -1, -2, 0, -4, 1]
    entries = [record(n, NOW + minutes * MINUTE) for n, minutes in enumerate(arrivals, 1)]
    wire.answer("GetRecords", [page(*entries, behind=1000)])
    (only,) = stream.read(SHARD, ShardPosition(), NOW, state)
    assert [one.number for one in only.records] == [1, 2, 3]
    assert (only.at_end, only.closed, only.read_to) == (True, False, NOW - MARGIN)


def test_a_closed_shard_that_ends_too_late_is_not_finished() -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    wire.answer("GetRecords", [page(record(1, NOW - HOUR), record(2, NOW), after=None)])
    (only,) = stream.read(SHARD, ShardPosition(), NOW, state)
    assert ([one.number for one in only.records], only.at_end, only.closed) == ([1], True, False)


def test_empty_answers_are_not_the_end_while_the_reader_is_behind() -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    behind = [page(behind=1000 - n) for n in range(20)]
    wire.answer("GetRecords", [*behind, page(record(1, NOW - HOUR), behind=500), page(behind=400), page()])
    first, last = stream.read(SHARD, ShardPosition(), NOW, state)
    assert ([one.number for one in first.records], first.at_end, first.read_to) == ([1], False, NOW - HOUR - MARGIN)
    assert (last.records, last.at_end, last.read_to) == ([], True, NOW - MARGIN)


def test_repeated_records_are_read_once() -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    one, two, three = (record(n, NOW - HOUR) for n in (9, 10, 11))
    wire.answer("GetRecords", [page(one, two), page(one, two, two), page(two, three, two), page()])
    pages = stream.read(SHARD, ShardPosition(), NOW, state)
    assert [one.number for each in pages for one in each.records] == [9, 10, 11]


def test_aggregated_records_are_taken_apart(kinesalite: KinesisDouble) -> None:
    made = Made(kinesalite)
    first, second, third = made.put([b"one", aggregated([("a", b"two"), ("b", b"three")]), b"four"])
    records = [one for each in made.pages() for one in each.records]
    assert [(one.number, one.place, one.key, one.data) for one in records] == [
        (first, 0, "key", b"one"),
        (second, 0, "a", b"two"),
        (second, 1, "b", b"three"),
        (third, 0, "key", b"four"),
    ]
    pages = made.pages(ShardPosition(second, datetime.now(UTC)))
    assert data_of(pages) == [b"four"]


def test_numbers_are_not_compared_as_text() -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    wire.answer("GetRecords", [page(*(record(n, NOW - HOUR) for n in (99, 100))), page()])
    pages = stream.read(SHARD, ShardPosition(99, NOW - HOUR), NOW, state)
    assert [one.number for each in pages for one in each.records] == [100]


@pytest.mark.parametrize(
    "answer", [page(record(5, NOW - HOUR), record(4, NOW - HOUR)), page(behind=1000), page(record(3, NOW - HOUR))]
)
def test_answers_that_bring_nothing_new_come_to_an_end(answer: Any) -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    wire.answer("GetRecords", itertools.repeat(answer))
    with pytest.raises(AylaUnavailable, match="300 answers of Kinesis in a row brought nothing new"):
        list(stream.read(SHARD, ShardPosition(5, NOW - HOUR), NOW, state))


def test_iterators_that_always_expire_come_to_an_end() -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    wire.answer("GetRecords", itertools.repeat(refusal("ExpiredIteratorException")))
    with pytest.raises(AylaUnavailable, match="brought nothing new"):
        list(stream.read(SHARD, ShardPosition(), NOW, state))


def test_an_iterator_that_expires_is_replaced(movable: KinesisDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RECORDS", 10)
    made = Made(movable)
    made.put(numbered(35))
    pages = made.pages()
    read = data_of([next(pages)])
    movable.move(timedelta(seconds=310))
    assert read + data_of(pages) == numbered(35)


def moved(made: Made, double: KinesisDouble, ahead: timedelta) -> None:
    double.move(ahead)
    made.reader.clock = lambda: datetime.now(UTC) + ahead


def test_records_that_expired_are_stated_and_the_rest_is_read(movable: KinesisDouble) -> None:
    made = Made(movable)
    made.put(numbered(10))
    position = position_after(made.pages())
    made.put(numbered(5, 10))
    moved(made, movable, 25 * HOUR)
    made.put(numbered(5, 15))
    first, *others = made.pages(position)
    assert data_of([first, *others]) == numbered(5, 15)
    assert first.gap
    assert first.gap == Gap(SHARD.id, position.read_to, first.gap.end, None)
    assert abs(first.gap.end - datetime.now(UTC) - HOUR) < MINUTE
    assert not any(each.gap for each in others)
    # The next read begins after what was lost.
    later = list(made.pages(position_after([first, *others])))
    assert (data_of(later), later[0].gap) == ([], None)


def test_all_records_expired(movable: KinesisDouble) -> None:
    made = Made(movable)
    made.put(numbered(10))
    position = position_after(made.pages())
    moved(made, movable, 25 * HOUR)
    (only,) = made.pages(position)
    assert only.gap
    assert (only.records, only.at_end, only.gap.start) == ([], True, position.read_to)
    later = ShardPosition(position.after, only.read_to)
    assert [each.gap for each in made.pages(later)] == [None]


def test_a_shard_that_was_idle_for_longer_than_the_retention_lost_nothing(movable: KinesisDouble) -> None:
    made = Made(movable)
    made.put(numbered(10))
    last = position_after(made.pages())
    moved(made, movable, 25 * HOUR)
    # The record at the position has expired, but the shard was read to its end an hour ago.
    position = ShardPosition(last.after, datetime.now(UTC) + 24 * HOUR)
    assert [each.gap for each in made.pages(position)] == [None]
    made.put(numbered(3, 10))
    pages = list(made.pages(position))
    assert (data_of(pages), [each.gap for each in pages]) == (numbered(3, 10), [None, None])


def test_a_record_that_is_still_there_proves_that_nothing_is_lost() -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    wire.answer("GetRecords", [page(record(7, NOW - 3 * DAY), record(8, NOW - 2 * DAY)), page()])
    pages = list(stream.read(SHARD, ShardPosition(7, NOW - 3 * DAY), NOW, state))
    assert [one.number for each in pages for one in each.records] == [8]
    assert [each.gap for each in pages] == [None, None]


@pytest.mark.parametrize("age", [25, 23])
@pytest.mark.parametrize("how", ["oldest", "refusal", "empty", "empty for ever"])
def test_an_expired_position_is_noticed_however_kinesis_answers(how: str, age: int) -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    left = [page(record(9, NOW - HOUR)), page()]
    answers = {"oldest": left, "refusal": left, "empty": [page(), *left]}
    answers["empty for ever"] = [page(behind=1000)] * (module.MOST_EMPTY_PAGES + 1) + left
    wire.answer("GetRecords", answers[how])
    if how == "refusal":
        valid = (200, {"ShardIterator": "iterator"})
        wire.answer("GetShardIterator", [refusal("InvalidArgumentException"), valid])
    position = ShardPosition(7, NOW - age * HOUR)
    first, _ = stream.read(SHARD, position, NOW, state)
    assert [one.number for one in first.records] == [9]
    assert first.gap == (Gap(SHARD.id, position.read_to, NOW - DAY) if age == 25 else None)


def test_a_shard_without_records_has_lost_some_if_nobody_looked_for_too_long() -> None:
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    wire.answer("GetRecords", [page(record(9, NOW - HOUR)), page()])
    position = ShardPosition(None, NOW - 30 * HOUR)
    first, _ = stream.read(SHARD, position, NOW, state)
    assert first.gap == Gap(SHARD.id, position.read_to, NOW - DAY)


def test_the_child_of_a_shard_that_was_empty_has_lost_nothing(movable: KinesisDouble, tmp_path: Path) -> None:
    made = Made(movable)
    moved(made, movable, 72 * HOUR)
    made.split()
    made.put(numbered(1))
    now = made.reader.clock() + MINUTE
    report = StreamArchive(FileDestination(tmp_path)).drain(made.reader, now, written_by={})
    assert (report.records, report.gaps) == (1, [])


def test_a_position_of_another_stream_is_refused(kinesalite: KinesisDouble) -> None:
    made = Made(kinesalite)
    numbers = made.put(numbered(3))
    ahead = ShardPosition(numbers[-1] + 2**60, datetime.now(UTC))
    with pytest.raises(AylaStreamResetError, match=rf"shardId-0+ of stream .* doesn't have the number {ahead.after}"):
        list(made.pages(ahead))
    with pytest.raises(AylaStreamResetError, match="Use a new destination"):
        list(made.pages(ShardPosition(1, datetime.now(UTC))))
    made.split()
    made.put(numbered(1))
    with pytest.raises(AylaStreamResetError, match="ahead"):
        list(made.pages(ahead))


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"]
)
def test_throttling_is_waited_for_and_logged_once(
    code: str, kinesalite: KinesisDouble, caplog: pytest.LogCaptureFixture
) -> None:
    made = Made(kinesalite)
    made.put(numbered(5))
    Wire(made.client).answer("GetRecords", [refusal(code)] * 6)
    with caplog.at_level(logging.INFO):
        assert data_of(made.pages()) == numbered(5)
    assert [one.getMessage().count(code) for one in caplog.records if "throttle" in one.getMessage()] == [1]


def test_throttling_without_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.02)
    stream, wire, _ = made_up()
    state = stream.state()
    wire.answer("GetRecords", itertools.repeat(refusal("ProvisionedThroughputExceededException")))
    with pytest.raises(AylaUnavailable, match="has throttled for 0 seconds"):
        list(stream.read(SHARD, ShardPosition(), NOW, state))


class Clock:
    """A clock that only waits move."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_reading_keeps_the_pace_that_the_service_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "PAUSE", 0.2)
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    large = bytes(1024 * 1024)
    few = [page(record(n, NOW - HOUR)) for n in range(100, 105)]
    wire.answer("GetRecords", [page(*(record(n, NOW - HOUR, large) for n in range(10))), *few, page()])
    times = [clock.time for _ in stream.read(SHARD, ShardPosition(), NOW, state)]
    assert times == pytest.approx([0, 5, 5.2, 5.4, 5.6, 5.8, 6], abs=0.01)


def test_waits_grow_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "FIRST_WAIT", 1.0)
    stream, wire, _ = made_up(lambda: NOW)
    state = stream.state()
    times: list[float] = []

    def throttled() -> Any:
        while True:
            times.append(clock.time)
            yield refusal("LimitExceededException")

    wire.answer("GetRecords", throttled())
    with pytest.raises(AylaUnavailable, match="has throttled for 271 seconds"):
        list(stream.read(SHARD, ShardPosition(), NOW, state))
    assert [after - before for before, after in itertools.pairwise(times)] == [1, 2, 4, 8, 16] + [30] * 8


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (refusal("AccessDeniedException", message="not authorized"), AylaAccessDenied, "not authorized.*kms:Decrypt"),
        (refusal("UnrecognizedClientException"), AylaAccessDenied, "kinesis:GetRecords"),
        (refusal("KMSAccessDeniedException"), AylaAccessDenied, "kms:Decrypt"),
        (refusal("KMSDisabledException"), AylaConfigError, "Enable the key"),
        (refusal("InternalFailure", 500), AylaUnavailable, "500 InternalFailure.*usually temporary"),
        (refusal("ServiceUnavailable", 503), AylaUnavailable, "503"),
        (refusal("ResourceNotFoundException"), AylaUnavailable, "doesn't exist any more"),
        (refusal("InvalidArgumentException"), AylaUnavailable, "refuses its own iterator"),
        (page({"SequenceNumber": "x"}), AylaUnavailable, "a record that isn't valid"),
    ],
)
def test_an_error_says_what_to_do(answer: Any, error: type[Exception], message: str) -> None:
    stream, wire, _ = made_up()
    state = stream.state()
    wire.answer("GetRecords", [answer])
    with pytest.raises(error, match=rf"(?s)shardId-000000000000 of stream 'kinesis://us-east-1/made-up'.*{message}"):
        list(stream.read(SHARD, ShardPosition(), NOW, state))


def test_denied_access_names_the_rights() -> None:
    stream, wire, _ = made_up()
    wire.answer("DescribeStreamSummary", [refusal("AccessDeniedException")])
    actions = "DescribeStreamSummary, kinesis:ListShards, kinesis:GetShardIterator and kinesis:GetRecords"
    with pytest.raises(AylaAccessDenied, match=actions):
        stream.state()


def test_a_stream_that_does_not_exist_is_reported(kinesis: KinesisDouble) -> None:
    stream = KinesisStream(kinesis.client(config=ONE_TRY), "no-such", REGION)
    with pytest.raises(AylaConfigError, match=r"'kinesis://us-east-1/no-such' doesn't exist. Compare its name"):
        stream.state()


@pytest.mark.parametrize(
    ("status", "error"), [("CREATING", AylaUnavailable), ("DELETING", AylaConfigError), ("ACTIVE", None)]
)
def test_a_stream_that_comes_or_goes_is_not_read(status: str, error: type[Exception] | None) -> None:
    stream, wire, summary = made_up()
    wire.answer("DescribeStreamSummary", [(200, {"StreamDescriptionSummary": summary | {"StreamStatus": status}})])
    if error is None:
        assert stream.state().retention == DAY
    else:
        with pytest.raises(error, match="is being"):
            stream.state()


def test_no_credentials_and_no_answer_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    client = boto3.Session().client("kinesis", endpoint_url="http://127.0.0.1:1", region_name=REGION, config=ONE_TRY)
    with pytest.raises(AylaAccessDenied, match="no credentials"):
        KinesisStream(client, "any", REGION).state()
    stream, wire, _ = made_up()
    wire.answer("DescribeStreamSummary", [])
    with pytest.raises(AylaUnavailable, match="no answer from Kinesis"):
        stream.state()


def test_all_pages_of_the_list_of_shards_are_read() -> None:
    stream, wire, _ = made_up()
    shards = [
        {"ShardId": f"shardId-{n:012}", "SequenceNumberRange": {"StartingSequenceNumber": str(n)}} for n in range(2500)
    ]
    shards[0] |= {"ParentShardId": shards[2400]["ShardId"], "AdjacentParentShardId": "shardId-expired"}
    shards[2400]["SequenceNumberRange"] = {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"}
    pages = [{"Shards": shards[n : n + 1000], "NextToken": "more"} for n in (0, 1000, 2000)]
    pages[-1].pop("NextToken")
    wire.answer("ListShards", [(200, each) for each in pages])
    ids = [shard.id for shard in stream.state().shards]
    assert sorted(ids) == [shard["ShardId"] for shard in shards]
    assert ids.index("shardId-000000002400") < ids.index("shardId-000000000000")


def test_a_stream_described_wrongly_is_reported() -> None:
    stream, wire, _ = made_up()
    wire.answer("DescribeStreamSummary", [(200, {"StreamDescriptionSummary": {"StreamStatus": "ACTIVE"}})])
    with pytest.raises(AylaUnavailable, match="in a way that isn't valid"):
        stream.state()


def test_records_are_the_same_however_they_are_parsed(kinesis: KinesisDouble) -> None:
    made = Made(kinesis)
    made.put([*numbered(3), b"\x00\xff not text", "späť".encode()])
    quick = [one for each in made.pages() for one in each.records]
    made.client.meta.events.unregister("before-parse.kinesis.GetRecords", unique_id="ayla-records")
    assert [one for each in made.pages() for one in each.records] == quick


def test_records_that_expire_during_a_read_are_not_passed_over() -> None:
    times = iter([NOW, NOW, *[NOW + 2 * DAY] * 10])
    stream, wire, _ = made_up(lambda: next(times))
    wire.answer("GetRecords", [page(record(9, NOW - HOUR)), refusal("ExpiredIteratorException")])
    state = StreamState(NOW - 9 * DAY, DAY, (SHARD,))
    pages = stream.read(SHARD, ShardPosition(), NOW, state)
    assert [one.number for one in next(pages).records] == [9]
    with pytest.raises(AylaUnavailable, match="expire faster than they are read"):
        next(pages)


@pytest.mark.ci
def test_many_records_of_several_shards_are_read_once(kinesalite: KinesisDouble) -> None:
    made = Made(kinesalite, shards=2)
    contents = numbered(30_000)
    made.put(contents[:15_000], 0)
    made.put(contents[15_000:], 1)
    read = read_all(made.reader)
    assert sorted(data_of(itertools.chain(*read.values()))) == sorted(contents)


def test_a_shard_of_an_unknown_id_is_gone(kinesalite: KinesisDouble) -> None:
    made = Made(kinesalite)
    state = made.reader.state()
    with pytest.raises(AylaUnavailable, match="doesn't exist any more"):
        list(made.reader.read(Shard("shardId-000000000009"), ShardPosition(), far(), state))

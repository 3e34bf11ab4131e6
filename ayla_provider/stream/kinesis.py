"""Amazon Kinesis Data Streams."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from urllib3.exceptions import HTTPError

from ayla_provider.domain.stream import Gap, Page, Shard, ShardPosition, StreamRecord, StreamState
from ayla_provider.errors import (
    TEMPORARY,
    AylaAccessDenied,
    AylaConfigError,
    AylaStreamResetError,
    AylaUnavailable,
)
from ayla_provider.stream.kpl import user_records
from ayla_provider.transport.deadline import Deadline, SlowAnswerError, watch_pools
from ayla_provider.transport.network import DEADLINE, MOST_PAGES
from ayla_provider.transport.redaction import from_outside

log = logging.getLogger(__name__)

ACTIONS = "kinesis:DescribeStreamSummary, kinesis:ListShards, kinesis:GetShardIterator and kinesis:GetRecords"
"""The rights that reading needs."""

MARGIN = timedelta(minutes=1)
"""How far clocks may differ, and how far the arrival times of neighbors may be out of order."""

MOST_RECORDS = 10_000
"""Records of an answer: the service's limit."""

PAUSE = 0.2
"""Seconds from one read of a shard to the next: the service allows five a second."""

BYTES_A_SECOND = 2 * 1024 * 1024
"""How much of a shard the service delivers. It lets a reader that got more wait."""

FIRST_WAIT = 1.0
"""Seconds to wait when the service throttles. Each further wait is twice as long."""

LONGEST_WAIT = 30.0
PATIENCE = 300.0
"""Seconds to wait in all, until a request that the service throttles counts as failed."""

MOST_IDLE_PAGES = 300
"""Answers in a row that bring a reader no further: a minute at full pace."""

MOST_EMPTY_PAGES = 10
"""Empty answers at the position of a known record, until it counts as expired."""

_THROTTLED = ("ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException")
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
)
_KEY_DENIED = ("KMSAccessDeniedException",)
_KEY_UNUSABLE = ("KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException", "KMSOptInRequired")
_CONNECTION_ERRORS = (BotoCoreError, HTTPError, OSError, SlowAnswerError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError)


class _ExpiredError(Exception):
    """An iterator is older than five minutes."""


class _InvalidError(Exception):
    """The service doesn't accept a sequence number."""


class _GoneError(Exception):
    """The stream or the shard doesn't exist."""


def _now() -> datetime:
    return datetime.now(UTC)


class KinesisStream:
    """
    A stream of Amazon Kinesis.

    :param client: boto3's client for Kinesis; several threads use it
    :param name: the stream's name
    :param region: for the URL
    :param clock: returns the current time: aware, UTC
    """

    def __init__(self, client: Any, name: str, region: str, clock: Callable[[], datetime] = _now) -> None:
        self.client = client
        self.name = name
        self.url = f"kinesis://{region}/{name}"
        self.clock = clock
        self._was_throttled = False
        self._ranges: dict[str, tuple[int, int | None]] = {}
        client.meta.events.register("before-parse.kinesis.GetRecords", _take_records, unique_id="ayla-records")
        # boto3 has no public way to do this. Without it, there are still boto3's timeouts for each read.
        with contextlib.suppress(AttributeError):
            watch_pools(client._endpoint.http_session._pool_classes_by_scheme)

    def state(self) -> StreamState:
        """See :class:`~ayla_provider.stream.base.Stream`."""
        what = f"stream {self.url!r}"
        try:
            return self._state(what)
        except _GoneError:
            raise AylaConfigError(
                f"{what} doesn't exist. Compare its name, and the account and the region of the AWS connection, with "
                "the stream that Ayla delivers to."
            ) from None
        except _InvalidError as error:
            raise AylaConfigError(f"{what}: Kinesis doesn't accept the name: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise AylaUnavailable(f"{what}: Kinesis describes it in a way that isn't valid. {TEMPORARY}") from None

    def _state(self, what: str) -> StreamState:
        summary = self.call("describe_stream_summary", what, StreamName=self.name)["StreamDescriptionSummary"]
        self._check_status(what, summary["StreamStatus"])
        listed = self._list_shards(what)
        self._ranges = {entry["ShardId"]: _range(entry) for entry in listed}
        return StreamState(
            created_at=summary["StreamCreationTimestamp"].astimezone(UTC),
            retention=timedelta(hours=int(summary["RetentionPeriodHours"])),
            shards=_parents_first([_shard(entry) for entry in listed]),
        )

    @staticmethod
    def _check_status(what: str, status: str) -> None:
        if status == "CREATING":
            raise AylaUnavailable(f"{what} is being created. {TEMPORARY}")
        if status == "DELETING":
            raise AylaConfigError(f"{what} is being deleted. Name the stream that Ayla delivers to now.")

    def _list_shards(self, what: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        # The service accepts the name and the filter with the first page alone.
        arguments: dict[str, Any] = {"StreamName": self.name, "ShardFilter": {"Type": "FROM_TRIM_HORIZON"}}
        for _ in range(MOST_PAGES):
            page = self.call("list_shards", what, **arguments)
            listed += page["Shards"]
            if not page.get("NextToken"):
                return listed
            arguments = {"NextToken": page["NextToken"]}
        raise AylaUnavailable(f"{what}: the list of shards does not end after {MOST_PAGES} pages. {TEMPORARY}")

    def read(self, shard: Shard, position: ShardPosition, until: datetime, state: StreamState) -> Iterator[Page]:
        """
        See :class:`~ayla_provider.stream.base.Stream`.

        Kinesis doesn't promise that arrival times grow with the numbers. So a page ends before the first record that
        arrived at ``until`` or later, whatever follows it. The ``read_to`` of a page is a minute before the arrival of
        its last record. At the end of an open shard, it is a minute before the request that found nothing more. At
        the end of a closed shard it doesn't move on to the present: the shard's children are read from there on.

        A number that Kinesis still returns proves that nothing after it is lost. Without that proof, records may be
        lost if ``position.read_to`` is as old as the stream's retention.
        """
        start, end = self._ranges.get(shard.id, (0, None))
        if position.after is not None and (position.after < start or (end is not None and position.after > end)):
            raise _reset(self, shard, position.after)
        return _ShardReader(self, shard, position, until, state).pages()

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        self.client.close()

    def call(self, operation: str, what: str, **arguments: Any) -> Mapping[str, Any]:
        """
        Send a request, and wait as long as the service throttles.

        :param operation: the client's method
        :param what: describes the stream or the shard in errors
        """
        wait, waited = FIRST_WAIT, 0.0
        while True:
            try:
                with Deadline(DEADLINE) as deadline:
                    answer: Mapping[str, Any] = getattr(self.client, operation)(**arguments)
                    deadline.check()
                return answer
            except ClientError as error:
                code = _code(error)
                if code not in _THROTTLED:
                    raise _translated(what, error) from None
            except _NO_CREDENTIALS as error:
                raise AylaAccessDenied(
                    f"{what}: the AWS connection has no credentials, and neither has the machine "
                    f"({from_outside(error)}). Reading needs {ACTIONS}."
                ) from None
            except _CONNECTION_ERRORS as error:
                raise AylaUnavailable(
                    f"{what}: no answer from Kinesis ({type(error).__name__}: {from_outside(error)}), also after "
                    f"retries. {TEMPORARY}"
                ) from None
            if waited + wait > PATIENCE:
                raise AylaUnavailable(
                    f"{what}: Kinesis has throttled for {waited:.0f} seconds ({code}). Other readers of the stream use "
                    f"the same limit of each shard. {TEMPORARY}"
                )
            self._note_throttling(what, code)
            time.sleep(wait)
            waited += wait
            wait = min(2 * wait, LONGEST_WAIT)

    def _note_throttling(self, what: str, code: str) -> None:
        if not self._was_throttled:
            self._was_throttled = True
            log.warning("%s: Kinesis throttles (%s), so reading waits. This is logged once.", what, code)


class _ShardReader:
    """One read of a shard, from a position on."""

    def __init__(
        self, stream: KinesisStream, shard: Shard, position: ShardPosition, until: datetime, state: StreamState
    ) -> None:
        self._stream = stream
        self._shard = shard
        self._position = position
        self._until = until
        self._retention = state.retention
        listed = {other.id for other in state.shards}
        self._is_new = position.after is None and any(parent in listed for parent in shard.parents)
        """
        Whether nothing of it can have expired: Kinesis lists shards that were open within the retention, so a shard
        that continues one of them is younger.
        """
        self._what = f"shard {shard.id} of stream {stream.url!r}"
        self._read_to = position.read_to or state.created_at
        self._newest: int | None = None
        """The greatest number that Kinesis returned."""
        self._least_behind: int | None = None
        """The least ``MillisBehindLatest``."""
        self._idle_pages = 0
        self._called = self._next_call = 0.0
        self._found_position = False
        """Whether Kinesis returned the record at the position."""
        self._found_older = False
        """Whether Kinesis returned a record before the position."""
        self._from_oldest = position.after is None
        """Whether reading began at the oldest record that is left."""
        self._is_first_page = True

    def pages(self) -> Iterator[Page]:
        """Yield the pages: see :meth:`KinesisStream.read`."""
        iterator: str | None = self._iterator()
        while True:
            asked = self._stream.clock()
            try:
                answer = self._get_records(iterator)
            except _ExpiredError:
                self._count_idle_page()
                iterator = self._iterator()
                continue
            received = _records(answer, self._what)
            self._keep_pace(received)
            iterator = answer.get("NextShardIterator")
            behind = int(answer.get("MillisBehindLatest") or 0)
            self._check_progress(received, behind)
            records = self._after_position(received)
            is_closed = iterator is None
            # kinesalite returns an empty page before the one that ends a closed shard.
            is_end = is_closed or not (received or behind or self._shard.closed)
            if not records and not self._from_oldest and self._misses_position(is_end):
                # Kinesis answers differently for a position that has expired. What is left has greater numbers.
                self._from_oldest = True
                iterator = self._iterator()
                continue
            if records or is_end:
                page = self._page(records, asked, is_end, is_closed)
                yield page
                if page.at_end:
                    return

    def _iterator(self) -> str | None:
        """Return an iterator behind what was read; at the position, if nothing was read."""
        arguments: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if self._newest is not None:
            self._check_not_overtaken()
            arguments = _at("AFTER_SEQUENCE_NUMBER", self._newest)
        elif self._position.after is not None and not self._from_oldest:
            arguments = _at("AT_SEQUENCE_NUMBER", self._position.after)
        names = {"StreamName": self._stream.name, "ShardId": self._shard.id}
        try:
            answer = self._stream.call("get_shard_iterator", self._what, **names, **arguments)
        except (_InvalidError, _GoneError) as error:
            if not self._from_oldest and self._newest is None:
                # So Kinesis answers for a number that has expired, and also for one that isn't the stream's.
                self._from_oldest = True
                return self._iterator()
            if isinstance(error, _GoneError):
                raise self._gone() from None
            raise AylaUnavailable(f"{self._what}: Kinesis refuses an iterator: {error}. {TEMPORARY}") from None
        if not answer.get("ShardIterator"):
            raise AylaUnavailable(f"{self._what}: Kinesis answered without an iterator. {TEMPORARY}")
        return str(answer["ShardIterator"])

    def _get_records(self, iterator: str | None) -> Mapping[str, Any]:
        time.sleep(max(0.0, self._next_call - time.monotonic()))
        self._called = time.monotonic()
        try:
            return self._stream.call("get_records", self._what, ShardIterator=iterator, Limit=MOST_RECORDS)
        except _GoneError:
            raise self._gone() from None
        except _InvalidError as error:
            raise AylaUnavailable(f"{self._what}: Kinesis refuses its own iterator: {error}. {TEMPORARY}") from None

    def _keep_pace(self, received: Sequence[StreamRecord]) -> None:
        """Let the next request wait until the service accepts one."""
        size = sum(len(record.data) + len(record.key) for record in received)
        self._next_call = self._called + max(PAUSE, size / BYTES_A_SECOND)

    def _gone(self) -> AylaUnavailable:
        return AylaUnavailable(
            f"{self._what} doesn't exist any more: it expired, or the stream was deleted. The task's next attempt "
            "looks at the stream again."
        )

    def _check_progress(self, received: Sequence[StreamRecord], behind: int) -> None:
        """Make sure that reading comes to an end, whatever the service answers."""
        newest = max((record.number for record in received), default=None)
        is_newer = newest is not None and (self._newest is None or newest > self._newest)
        is_nearer = self._least_behind is None or behind < self._least_behind
        if is_newer:
            self._newest = newest
        if is_nearer:
            self._least_behind = behind
        if is_newer or is_nearer:
            self._idle_pages = 0
        else:
            self._count_idle_page()

    def _count_idle_page(self) -> None:
        self._idle_pages += 1
        if self._idle_pages >= MOST_IDLE_PAGES:
            raise AylaUnavailable(
                f"{self._what}: {MOST_IDLE_PAGES} answers of Kinesis in a row brought nothing new, and not the end "
                f"either. {TEMPORARY}"
            )

    def _check_not_overtaken(self) -> None:
        """Make sure that no record can have expired between the last page and the next one."""
        if self._stream.clock() - self._read_to >= self._retention:
            raise AylaUnavailable(
                f"{self._what}: records expire faster than they are read. The task's next attempt states what is lost."
            )

    def _after_position(self, received: Sequence[StreamRecord]) -> list[StreamRecord]:
        """Return the records after all that were read, each once."""
        after = self._position.after
        records = []
        for record in received:
            if after is None or record.number > after:
                records.append(record)
                after = record.number
            elif record.number == self._position.after:
                self._found_position = True
            elif not records:
                self._found_older = True
        return records

    def _misses_position(self, is_end: bool) -> bool:
        """Return whether Kinesis should have returned the record at the position by now."""
        if self._found_position or self._found_older:
            return False
        return is_end or self._idle_pages >= MOST_EMPTY_PAGES

    def _page(self, records: list[StreamRecord], asked: datetime, is_end: bool, is_closed: bool) -> Page:
        if self._found_older and not self._found_position and self._position.after is not None:
            # Records expire in the order of their numbers. If an older one is left, this one never was in the shard.
            raise _reset(self._stream, self._shard, self._position.after)
        gap = self._gap() if self._is_first_page else None
        self._is_first_page = False
        in_time = _until(records, self._until)
        is_cut = len(in_time) < len(records)
        read_to = self._read_to
        if in_time:
            read_to = in_time[-1].arrived_at - MARGIN
        if is_cut:
            read_to = min(self._until, asked) - MARGIN
        elif is_end and not is_closed:
            read_to = asked - MARGIN
        self._read_to = max(self._read_to, read_to)
        if in_time:
            # Of these, each read begins after the last one that was delivered.
            self._position = ShardPosition(in_time[-1].number, self._read_to)
            self._found_position = True
        delivered = [part for record in in_time for part in user_records(record)]
        return Page(delivered, self._read_to, is_end or is_cut, is_closed and not is_cut, gap)

    def _gap(self) -> Gap | None:
        """Return what may be lost between the position and the first record that is left."""
        is_first_read = self._position.after is None and self._position.read_to is None
        if is_first_read or self._is_new or self._found_position:
            return None
        horizon = self._stream.clock() - self._retention
        if self._position.read_to is not None and self._position.read_to > horizon:
            return None
        return Gap(self._shard.id, self._position.read_to, horizon)


def _at(kind: str, number: int) -> dict[str, Any]:
    return {"ShardIteratorType": kind, "StartingSequenceNumber": str(number)}


def _until(records: list[StreamRecord], until: datetime) -> list[StreamRecord]:
    """Return the records before the first one that arrived too late."""
    for index, record in enumerate(records):
        if record.arrived_at >= until:
            return records[:index]
    return records


def _reset(stream: KinesisStream, shard: Shard, number: int) -> AylaStreamResetError:
    return AylaStreamResetError(
        f"shard {shard.id} of stream {stream.url!r} doesn't have the number {number}, up to which it was read: the "
        "position is of another stream, or ahead of this one. Use a new destination for this stream."
    )


def _take_records(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """
    Take the records out of an answer before botocore parses it.

    botocore checks each field of each record against its model, and parses times of any form. That takes several times
    as long as to read the JSON. If botocore doesn't call this, it parses the records itself.
    """
    if response_dict.get("status_code") != 200:
        return
    try:
        answer = json.loads(response_dict["body"])
        records = answer.pop("Records")
    except (KeyError, TypeError, ValueError, AttributeError):
        return
    response_dict["body"] = json.dumps(answer).encode()
    customized_response_dict["RawRecords"] = records


def _records(answer: Mapping[str, Any], what: str) -> list[StreamRecord]:
    try:
        if "RawRecords" in answer:
            return [_raw_record(entry) for entry in answer["RawRecords"]]
        return [_parsed_record(entry) for entry in answer["Records"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError):
        raise AylaUnavailable(f"{what}: Kinesis answered with a record that isn't valid. {TEMPORARY}") from None


def _raw_record(entry: Mapping[str, Any]) -> StreamRecord:
    return StreamRecord(
        int(entry["SequenceNumber"]),
        0,
        datetime.fromtimestamp(entry["ApproximateArrivalTimestamp"], UTC),
        entry.get("PartitionKey") or "",
        base64.b64decode(entry["Data"]),
    )


def _parsed_record(entry: Mapping[str, Any]) -> StreamRecord:
    return StreamRecord(
        int(entry["SequenceNumber"]),
        0,
        entry["ApproximateArrivalTimestamp"].astimezone(UTC),
        entry.get("PartitionKey") or "",
        entry["Data"],
    )


def _range(entry: Mapping[str, Any]) -> tuple[int, int | None]:
    numbers = entry["SequenceNumberRange"]
    end = numbers.get("EndingSequenceNumber")
    return int(numbers["StartingSequenceNumber"]), None if end is None else int(end)


def _shard(entry: Mapping[str, Any]) -> Shard:
    parents = (entry.get("ParentShardId"), entry.get("AdjacentParentShardId"))
    is_closed = entry["SequenceNumberRange"].get("EndingSequenceNumber") is not None
    return Shard(entry["ShardId"], tuple(parent for parent in parents if parent), is_closed)


def _parents_first(shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """Return the shards in an order in which each comes after its parents."""
    by_id = {shard.id: shard for shard in sorted(shards, key=lambda shard: shard.id)}
    ordered: dict[str, Shard] = {}
    while by_id:
        ready = [shard for shard in by_id.values() if not any(parent in by_id for parent in shard.parents)]
        # Parents of each other, which can't be: in any order.
        for shard in ready or list(by_id.values()):
            ordered[shard.id] = by_id.pop(shard.id)
    return tuple(ordered.values())


def _translated(what: str, error: ClientError) -> Exception:
    """Return what an error of the service means."""
    code = _code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = from_outside(error.response.get("Error", {}).get("Message", ""))
    if code == "ExpiredIteratorException":
        return _ExpiredError(text)
    if code == "InvalidArgumentException":
        return _InvalidError(text)
    if code == "ResourceNotFoundException":
        return _GoneError(text)
    if code in _KEY_DENIED:
        return AylaAccessDenied(
            f"{what}: the credentials may not use the KMS key that the stream is encrypted with ({code}: {text}). "
            "Allow kms:Decrypt for the key, in IAM and in the key's own policy."
        )
    if code in _KEY_UNUSABLE:
        return AylaConfigError(
            f"{what}: the KMS key that the stream is encrypted with can't be used ({code}: {text}). Enable the key."
        )
    if code in _DENIED or status in (401, 403):
        return AylaAccessDenied(
            f"{what}: Kinesis denies access ({status} {code}: {text}). Reading needs {ACTIONS}, and kms:Decrypt if the "
            "stream is encrypted with a key of your own."
        )
    return AylaUnavailable(f"{what}: Kinesis answered {status} {code}, also after retries. {TEMPORARY}")


def _code(error: ClientError) -> str:
    return from_outside(error.response.get("Error", {}).get("Code", ""))

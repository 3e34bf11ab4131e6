"""What an export of a size needs in 30 days: requests, bytes, storage, and work of a warehouse. Prices aren't known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

DAYS = 30
HOURS = 24 * DAYS

REQUESTS_OF_AN_HOUR = 11
"""Of both buckets and of the sign-in, to copy an hour with one file; see ``make gate``."""
REQUESTS_OF_A_FILE = 2
"""To copy each further file."""
REQUESTS_OF_A_LOOK = 2
"""To look whether an hour with files has landed."""

_BIGQUERY_MINIMUM = 10_000_000
"""Bytes that BigQuery bills at least for each table of a query."""
_BIGQUERY_TABLES = 3
"""Of the script of a load: the rows' table, the staged rows, and the ledger."""

_SNOWFLAKE_MINIMUM = 60
"""Seconds that Snowflake bills at least when a virtual warehouse resumes."""

_KINESIS_RECORDS, _KINESIS_BYTES = 1_000, 1_000_000
"""What a shard takes in a second."""
_KINESIS_UNIT = 25_000
"""Bytes of a payload unit."""
_HUB_EVENTS, _HUB_BYTES = 1_000, 1_000_000
"""What a throughput unit takes in a second."""
_HUB_EVENT = 64_000
"""Bytes of a billed event."""


@dataclass(frozen=True, slots=True)
class Size:
    """
    How large an export is, and how it is used.

    :param devices: how many there are
    :param events: of one device in a day, of all event types together
    :param event_types: how many are copied and loaded
    :param files: of an event type in an hour
    :param line: bytes of a line of Ayla's files
    :param looks: how often a wait looks for an hour
    :param loads: how often an hour is loaded, because some files come late
    :param months: how long everything is kept
    :param parquet: bytes of the typed rows, as a share of the lines
    :param row: bytes of a row in a warehouse, uncompressed
    :param snowflake: seconds that a virtual warehouse works for a load
    :param record: bytes of a record of the stream
    :param peak: how many times the mean the busiest second has
    """

    devices: int
    events: float
    event_types: int = 5
    files: int = 4
    line: int = 250
    looks: int = 3
    loads: float = 1.1
    months: int = 12
    parquet: float = 0.15
    row: int = 350
    snowflake: float = 10.0
    record: int = 600
    peak: float = 5.0


class Quantity(NamedTuple):
    """
    A number that somebody may bill.

    :param group: what it belongs to
    :param unit: what is counted; a size is in bytes, with the unit ``B`` or ``B kept``
    """

    group: str
    name: str
    amount: float
    unit: str


def estimate(size: Size) -> list[Quantity]:
    """Return what an export of a size needs in 30 days."""
    return [Quantity(group, *each) for group, quantities in _groups(size) for each in quantities]


def _groups(size: Size) -> Iterator[tuple[str, Iterator[tuple[str, float, str]]]]:
    yield "Events", _events(size)
    yield "Requests", _requests(size)
    yield "Bytes out of buckets", _egress(size)
    yield "Storage", _storage(size)
    yield "BigQuery", _bigquery(size)
    yield "Snowflake", _snowflake(size)
    yield "Stream: Kinesis", _kinesis(size)
    yield "Stream: Event Hubs", _event_hubs(size)


def _rows(size: Size) -> float:
    return size.devices * size.events * DAYS


def _loads(size: Size) -> float:
    return HOURS * size.event_types * size.loads


def _events(size: Size) -> Iterator[tuple[str, float, str]]:
    yield "in 30 days", _rows(size), "events"
    yield "in a second", _rows(size) / DAYS / 86_400, "events"
    yield "in an hour", _rows(size) / HOURS, "events"


def _requests(size: Size) -> Iterator[tuple[str, float, str]]:
    hours = HOURS * size.event_types
    yield "waits", hours * size.looks * REQUESTS_OF_A_LOOK, "requests"
    yield "copies", hours * (REQUESTS_OF_AN_HOUR + (size.files - 1) * REQUESTS_OF_A_FILE), "requests"


def _egress(size: Size) -> Iterator[tuple[str, float, str]]:
    lines = _rows(size) * size.line
    yield "Ayla's, to the workers that copy", lines, "B"
    yield "your archive, to the workers that load", lines * size.loads, "B"
    yield "your typed rows, to each warehouse", lines * size.parquet * size.loads, "B"


def _storage(size: Size) -> Iterator[tuple[str, float, str]]:
    lines = _rows(size) * size.line * size.months
    yield "archive", lines, "B kept"
    yield "typed rows", lines * size.parquet, "B kept"
    yield "each warehouse, uncompressed", _rows(size) * size.row * size.months, "B kept"


def _bigquery(size: Size) -> Iterator[tuple[str, float, str]]:
    # A script reads its day's partition to delete the hour, and the staged rows to insert them. Over a day, the
    # partition holds half a day on average. Nearly all events are datapoints: the other event types cost the minimum.
    least = _BIGQUERY_MINIMUM * _BIGQUERY_TABLES
    hour = _rows(size) * size.row / HOURS
    billed = max(hour * 12 + hour, least) + (size.event_types - 1) * least
    yield "load jobs, free", _loads(size), "jobs"
    yield "scripts", _loads(size), "jobs"
    yield "bytes billed", HOURS * size.loads * billed, "B"


def _snowflake(size: Size) -> Iterator[tuple[str, float, str]]:
    # The loads of an hour come one after the other, and the virtual warehouse is suspended in between.
    seconds = size.event_types * size.loads * size.snowflake
    yield "loads", _loads(size), "loads"
    yield "virtual warehouse", HOURS * max(seconds, _SNOWFLAKE_MINIMUM) / 3600, "hours"


def _kinesis(size: Size) -> Iterator[tuple[str, float, str]]:
    shards = _units(size, _KINESIS_RECORDS, _KINESIS_BYTES)
    yield "shards", shards, "shards"
    yield "shard hours", shards * HOURS, "hours"
    yield "payload units", _rows(size) * math.ceil(size.record / _KINESIS_UNIT), "units"


def _event_hubs(size: Size) -> Iterator[tuple[str, float, str]]:
    units = _units(size, _HUB_EVENTS, _HUB_BYTES)
    yield "throughput units", units, "units"
    yield "throughput unit hours", units * HOURS, "hours"
    yield "ingress events", _rows(size) * math.ceil(size.record / _HUB_EVENT), "events"


def _units(size: Size, records: int, content: int) -> int:
    """
    Return how many shards or throughput units the busiest second needs.

    :param records: that one of them takes in a second
    :param content: the bytes that it takes
    """
    busiest = _rows(size) / DAYS / 86_400 * size.peak
    return max(1, math.ceil(busiest / records), math.ceil(busiest * size.record / content))

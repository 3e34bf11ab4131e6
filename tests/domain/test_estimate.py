from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain import estimate as module
from ayla_provider.domain.estimate import Size, estimate

GATE = Path(__file__).parents[2] / "benchmarks" / "gate.json"
SIZE = Size(devices=10_000, events=1440)


def amounts(size: Size) -> dict[str, float]:
    return {f"{each.group}: {each.name}": each.amount for each in estimate(size)}


def test_the_requests_are_those_that_are_measured() -> None:
    measured = json.loads(GATE.read_text())["requests"]
    assert measured["an hour of one file"] == module.REQUESTS_OF_AN_HOUR
    assert measured["each further file"] == module.REQUESTS_OF_A_FILE
    assert measured["a poke of an hour with files"] == module.REQUESTS_OF_A_LOOK


def test_an_example_that_can_be_done_on_paper() -> None:
    found = amounts(replace(SIZE, files=1, event_types=1, loads=1, looks=1, months=1, line=100, parquet=0.2, row=200))
    assert found["Events: in 30 days"] == 10_000 * 1440 * 30 == 432_000_000
    assert found["Events: in an hour"] == 600_000
    assert found["Requests: waits"] == 720 * 2
    assert found["Requests: copies"] == 720 * 11
    assert found["Bytes out of buckets: Ayla's, to the workers that copy"] == 43_200_000_000
    assert found["Storage: typed rows"] == pytest.approx(8_640_000_000)
    # Each script reads half a day of 24 x 120 MB, and its own 120 MB.
    assert found["BigQuery: bytes billed"] == 720 * 13 * 120_000_000
    # 167 events a second, five times as many at the peak.
    assert (found["Stream: Kinesis: shards"], found["Stream: Event Hubs: throughput units"]) == (1, 1)
    assert found["Stream: Kinesis: payload units"] == 432_000_000


def test_the_busiest_second_decides_on_the_shards_by_records_or_by_bytes() -> None:
    # 167 events a second.
    assert amounts(replace(SIZE, peak=6.1))["Stream: Kinesis: shards"] == 2
    assert amounts(replace(SIZE, peak=5, record=1_300))["Stream: Kinesis: shards"] == 2
    assert amounts(replace(SIZE, record=25_001))["Stream: Kinesis: payload units"] == 2 * 432_000_000


def test_a_small_export_costs_the_minimum_of_a_warehouse() -> None:
    found = amounts(Size(devices=1, events=1, loads=1))
    assert found["BigQuery: bytes billed"] == 720 * 5 * 30_000_000
    assert found["Snowflake: virtual warehouse"] == 12


@given(st.integers(1, 10**6), st.floats(0, 10**5), st.integers(2, 20))
def test_more_devices_never_need_less(devices: int, events: float, more: int) -> None:
    small, large = amounts(Size(devices, events)), amounts(Size(devices * more, events))
    assert [name for name, amount in small.items() if large[name] < amount] == []


def test_each_quantity_has_its_group_its_name_and_its_unit() -> None:
    # 864 events a second.
    size = Size(
        devices=86_400,
        events=864.0,
        event_types=2,
        files=3,
        line=100,
        looks=4,
        loads=1.5,
        months=2,
        parquet=0.25,
        row=200,
        snowflake=30.0,
        record=70_000,
        peak=2.0,
    )
    rows, loads = 86_400 * 864 * 30, 720 * 2 * 1.5
    hour = rows * 200 / 720
    units = math.ceil(864 * 2 * 70_000 / 1_000_000)
    expected = [
        ("Events", "in 30 days", rows, "events"),
        ("Events", "in a second", 864, "events"),
        ("Events", "in an hour", 864 * 3600, "events"),
        ("Requests", "waits", 720 * 2 * 4 * 2, "requests"),
        ("Requests", "copies", 720 * 2 * (11 + 2 * 2), "requests"),
        ("Bytes out of buckets", "Ayla's, to the workers that copy", rows * 100, "B"),
        ("Bytes out of buckets", "your archive, to the workers that load", rows * 100 * 1.5, "B"),
        ("Bytes out of buckets", "your typed rows, to each warehouse", rows * 100 * 0.25 * 1.5, "B"),
        ("Storage", "archive", rows * 100 * 2, "B kept"),
        ("Storage", "typed rows", rows * 100 * 2 * 0.25, "B kept"),
        ("Storage", "each warehouse, uncompressed", rows * 200 * 2, "B kept"),
        ("BigQuery", "load jobs, free", loads, "jobs"),
        ("BigQuery", "scripts", loads, "jobs"),
        ("BigQuery", "bytes billed", 720 * 1.5 * (13 * hour + 30_000_000), "B"),
        ("Snowflake", "loads", loads, "loads"),
        ("Snowflake", "virtual warehouse", 720 * 90 / 3600, "hours"),
        ("Stream: Kinesis", "shards", units, "shards"),
        ("Stream: Kinesis", "shard hours", units * 720, "hours"),
        ("Stream: Kinesis", "payload units", rows * 3, "units"),
        ("Stream: Event Hubs", "throughput units", units, "units"),
        ("Stream: Event Hubs", "throughput unit hours", units * 720, "hours"),
        ("Stream: Event Hubs", "ingress events", rows * 2, "events"),
    ]
    found = estimate(size)
    assert [(each.group, each.name, each.unit) for each in found] == [
        (group, name, unit) for group, name, _, unit in expected
    ]
    assert [each.amount for each in found] == pytest.approx([amount for *_, amount, _ in expected])


def test_an_export_without_events_still_has_a_shard_and_a_throughput_unit() -> None:
    found = amounts(Size(devices=1, events=0))
    assert (found["Stream: Kinesis: shards"], found["Stream: Event Hubs: throughput units"]) == (1, 1)

"""Anomalies over many seeds: false alarms in 30 days, and losses that are found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.volume import KEPT, Anomaly, Volumes, expect, index_of, judge, rest_of
from tests.support.proofs import scale
from tests.support.volumes import LEARNED, START, VolumeFleet

SEEDS = range(1, 1 + scale(1, 20))
SIZES = {"datapoint": 1.0, "datapoint_ack": 0.3, "connection": 0.1, "location": 0.02, "registration": 0.002}
"""Event type to how many rows it has, compared with others: the last ones are small fleets."""


def days(seed: int, event_type: str) -> Iterator[tuple[datetime, Volumes, VolumeFleet]]:
    """Yield each hour that is judged, with the numbers up to it."""
    fleet = VolumeFleet(seed, SIZES[event_type], name=event_type)
    volumes = Volumes(event_type)
    for hour in fleet.hours():
        rows = {model: count for model, count in fleet.hour(hour).items() if count}
        volumes.note_lines(hour, sum(rows.values()))
        volumes.note_models(hour, rows)
        if hour >= START + LEARNED:
            yield hour, volumes, fleet
            volumes.forget_before(hour - KEPT)


def alarms(seed: int) -> list[Anomaly]:
    """Return what is alarmed in 30 days of an OEM in which nothing is wrong."""
    found = []
    for event_type in SIZES:
        for hour, volumes, _ in days(seed, event_type):
            anomaly = volumes.judge_lines(hour)
            found += [anomaly] if anomaly else []
            found += volumes.judge_models(hour)
    return found


@pytest.mark.proof("20 fleets of five event types, 30 days each: at most one false alarm")
@pytest.mark.parametrize("seed", SEEDS)
def test_there_is_at_most_one_false_alarm_in_30_days(seed: int) -> None:
    found = alarms(seed)
    assert len(found) <= 1, [each.describe("") for each in found]


@pytest.mark.proof("20 fleets, a model loses half of its rows: found in the first two hours")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_model_that_loses_half_of_its_rows_is_found_within_an_hour(seed: int) -> None:
    """The second hour is judged an hour after the first one."""
    chance = random.Random(seed)
    begin = START + LEARNED + chance.randrange(24 * 28) * ONE_HOUR
    lossy = ""
    found = []
    for hour, volumes, fleet in days(seed, "datapoint"):
        is_changing = fleet.release <= hour < fleet.release + timedelta(days=4)
        if hour < begin or (not lossy and (is_changing or hour.date() in fleet.holidays)):
            continue
        index = index_of(hour)
        counts = {model: series[index] for model, series in volumes.models.items()}
        expected = {model: expect(volumes.models[model], index) for model in counts}
        large = [model for model, each in expected.items() if each and each.usual >= 150]
        lossy = lossy or chance.choice(large)
        counts[lossy] //= 2
        found.append(judge(counts[lossy], expected[lossy], rest_of(counts, expected, lossy)).direction)
        if len(found) == 2:
            break
    assert "low" in found, lossy

"""Anomalies over many seeds: false alarms in 30 days, and losses that are found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.volume import KEPT, Anomaly, Direction, Volumes, expect, index_of
from tests.support.proofs import scale
from tests.support.volumes import LEARNED, START, VolumeFleet

SEEDS = range(1, 1 + scale(1, 20))
SIZES = {"datapoint": 1.0, "datapoint_ack": 0.3, "connection": 0.1, "location": 0.02, "registration": 0.002}
"""Event type to how many rows it has, compared with others: the last ones are small fleets."""
WATCHED = scale(["datapoint_ack", "registration"], list(SIZES), ci=list(SIZES))
"""The event types in which false alarms are looked for."""
LOSSES = scale(10, 20)
"""How many losses there are in a fleet."""
FOUND_FROM = 200
"""How many rows an hour a model must have so that the loss of half is found. See docs/anomalies.md."""


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
    for event_type in WATCHED:
        for hour, volumes, _ in days(seed, event_type):
            anomaly = volumes.judge_lines(hour)
            found += [anomaly] if anomaly else []
            found += volumes.judge_models(hour)
    return found


@pytest.mark.ci
@pytest.mark.proof("20 fleets of five event types, 30 days each: at most one false alarm")
@pytest.mark.parametrize("seed", SEEDS)
def test_there_is_at_most_one_false_alarm_in_30_days(seed: int) -> None:
    found = alarms(seed)
    assert len(found) <= 1, [each.describe("") for each in found]


@pytest.mark.proof("20 fleets, a model loses half of its rows 400 times: found in the first two hours")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_model_that_loses_half_of_its_rows_is_found_within_an_hour(seed: int) -> None:
    """The second hour is judged an hour after the first one."""
    chance = random.Random(seed)
    starts = set(chance.sample(range(24 * 28), LOSSES))
    missed = []
    loss: Loss | None = None
    for hour, volumes, fleet in days(seed, "datapoint"):
        if loss:
            if not loss.is_found_in(hour):
                missed.append(f"{hour}: {loss.model}")
            loss.undo()
            loss = None
        if (hour - START - LEARNED) // ONE_HOUR not in starts or is_unlike_others(fleet, hour):
            continue
        expected = {model: expect(series, index_of(hour)) for model, series in volumes.models.items()}
        large = [model for model, each in expected.items() if each and each.usual >= FOUND_FROM]
        if large:
            loss = Loss(volumes, chance.choice(large), chance)
            loss.is_found_in(hour)
    assert missed == []


def is_unlike_others(fleet: VolumeFleet, hour: datetime) -> bool:
    """Return whether the growth isn't known in an hour, or the hour is one of a holiday."""
    is_changing = fleet.release <= hour < fleet.release + timedelta(days=4)
    # Two holidays in a row are most of three days.
    recent = [day for day in fleet.holidays if timedelta(0) <= hour.date() - day <= timedelta(days=3)]
    return is_changing or hour.date() in fleet.holidays or len(recent) > 1


class Loss:
    """A model that loses half of its rows in some hours."""

    def __init__(self, volumes: Volumes, model: str, chance: random.Random) -> None:
        self.volumes = volumes
        self.model = model
        self.is_found = False
        self._chance = chance
        self._whole: dict[int, int] = {}

    def is_found_in(self, hour: datetime) -> bool:
        """Lose each row of an hour, or not, by the toss of a coin, and say whether it is found then."""
        rows, index = self.volumes.models[self.model], index_of(hour)
        self._whole[index] = rows[index]
        rows[index] = self._chance.getrandbits(rows[index]).bit_count()
        begun = self.volumes.judge_models(hour)
        self.is_found |= any(each.model == self.model and each.direction is Direction.LOW for each in begun)
        return self.is_found

    def undo(self) -> None:
        """Leave the fleet to the next loss as it was."""
        self.volumes.models[self.model].update(self._whole)
        self.volumes.anomalies.clear()

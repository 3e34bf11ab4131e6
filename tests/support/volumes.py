"""A seeded fleet's rows an hour, for two months: with rhythm, growth, holidays, and a firmware release."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ayla_provider.domain.hour import ONE_HOUR

START = datetime(2026, 9, 7, tzinfo=UTC)
"""A Monday."""

LEARNED = timedelta(weeks=9)
"""The time before the days that are judged."""

JUDGED = timedelta(days=30)


@dataclass(frozen=True)
class Model:
    """A model, and how its devices behave."""

    name: str
    rows: float
    """An hour, at first and on average."""
    growth: float
    """A week."""
    evening: float
    """How much more than on average it has at the best hour of the day, 0 to 1."""
    weekend: float
    """The share of a weekday's rows that a day of the weekend has."""
    holiday: float
    """The share of a usual day's rows that a public holiday has."""


class VolumeFleet:
    """
    The rows an hour of each model.

    Each seed has its own models, peaks, growth, holidays and day of a firmware release, after which one model has twice
    the rows of one property. The numbers are made by a Poisson process whose rate changes from hour to hour by some
    percent, as in real fleets: weather, and outages of a provider.
    """

    def __init__(self, seed: int, scale: float = 1.0, name: str = "") -> None:
        self._chance = random.Random(f"{seed} {name}")
        chance = self._chance
        # All devices are in the homes, or in the offices, of some countries.
        weekend = chance.uniform(0.65, 1.3)
        self.models = [self._model(number, scale, weekend) for number in range(chance.randint(3, 7))]
        self._peaks = {model.name: chance.uniform(16, 22) for model in self.models}
        judged = START + LEARNED
        days = chance.sample(range(1, 29), 2)
        # One of them is in the time that is learned, too: nobody's weeks are without holidays.
        self.holidays = {(judged + timedelta(days=day)).date() for day in days}
        self.holidays.add((START + timedelta(days=chance.randint(20, 60))).date())
        self.release = judged + timedelta(days=chance.randint(3, 20))
        self.released = chance.choice(self.models)
        self.share = chance.uniform(0.1, 0.5)
        """The share of the released model's rows that are of the property."""
        self._drift = {model.name: 0.0 for model in self.models}
        self._common = 0.0

    def _model(self, number: int, scale: float, weekend: float) -> Model:
        chance = self._chance
        own_weekend = weekend * chance.uniform(0.9, 1.1)
        return Model(
            name=f"LC-MODEL-{number}",
            rows=scale * math.exp(chance.uniform(math.log(150), math.log(6000))),
            growth=chance.uniform(-0.01, 0.05),
            evening=chance.uniform(0.2, 0.7),
            weekend=own_weekend,
            # Like a Sunday, in each model's own way.
            holiday=own_weekend * chance.uniform(0.85, 1.15),
        )

    def rate(self, model: Model, hour: datetime) -> float:
        """Return how many rows an hour is to have, without chance."""
        age = (hour - START) / timedelta(weeks=1)
        of_day = 1 + model.evening * math.cos((hour.hour - self._peaks[model.name]) / 24 * 2 * math.pi)
        rate = model.rows * (1 + model.growth) ** age * of_day
        # A holiday at a weekend is a day of the weekend.
        if hour.weekday() >= 5:
            rate *= model.weekend
        elif hour.date() in self.holidays:
            rate *= model.holiday
        if model is self.released and hour >= self.release:
            # Devices take the release within two days.
            taken = min(1.0, (hour - self.release) / timedelta(days=2))
            rate *= 1 + self.share * taken
        return rate

    def hour(self, hour: datetime) -> dict[str, int]:
        """Return the rows of each model in an hour. Ask for the hours one after the other."""
        chance = self._chance
        # What all devices have in common, such as the weather, and what a model has alone.
        self._common = 0.9 * self._common + chance.gauss(0, 0.01)
        rows = {}
        for model in self.models:
            self._drift[model.name] = 0.8 * self._drift[model.name] + chance.gauss(0, 0.02)
            rate = self.rate(model, hour) * math.exp(self._common + self._drift[model.name])
            rows[model.name] = max(0, round(chance.gauss(rate, math.sqrt(rate))))
        return rows

    def hours(self) -> list[datetime]:
        """Return all hours, the learned and the judged ones."""
        return [START + number * ONE_HOUR for number in range((LEARNED + JUDGED) // ONE_HOUR)]

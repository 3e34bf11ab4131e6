"""
Whether an hour has unusually few or many rows, from the weeks before. Pure: no I/O and no clock.

The expectation of an hour is the median of the same hour of the week in up to eight weeks, each scaled by how much the
fleet has grown since. Both are medians, so that a holiday or an outage in one of the weeks changes nothing. How far an
hour may be from it depends on how much such hours differ (median absolute deviation), and on chance: small fleets have
a wide band. What is too little to be certain in one hour can be certain in two, so the hour before counts too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Any

DAY, WEEK = 24, 7 * 24
"""In hours."""

_ONE_HOUR = timedelta(hours=1)

MOST_WEEKS, FEWEST_WEEKS = 8, 4
"""How many weeks the expectation is made of. With fewer, there is no baseline yet."""

KEPT = timedelta(hours=WEEK * (MOST_WEEKS + 1))
"""How long the numbers of an hour are kept: to scale the oldest week, the one before the hour is compared with it."""

_SCALE = 1.4826
"""Times the median absolute deviation of a normal distribution, it is the standard deviation."""

_DEVIATIONS = 5.0
"""How many standard deviations an hour may be from its expectation. An OEM has some ten thousand numbers a month."""

_CHANCE = 6.5
"""How many standard deviations an hour must be away if its rows come by chance alone. Square roots of such numbers all
have the same one, a half. Small fleets also differ by what a logarithm doesn't show."""

_LOW = math.log(1 / 0.65)
"""An hour with two thirds of its expectation is never unusual."""

_HIGH = math.log(2.5)
"""An hour with two and a half times its expectation is never unusual: new firmware, or a campaign, doubles rows."""

_DEAD_BAND = 40
"""How many rows an hour must differ by at least."""

_COMPARABLE = 30
"""How many rows an hour a model is expected to have at least, to be compared with others."""

_FEWEST_OTHERS = 2
"""How many such models there must be to know what the rest of the fleet does."""

_GROWTH_HOURS = 3 * DAY
"""Of so many hours, the median says how much the fleet has grown. A holiday is a minority of them."""

_ODD_DAY = math.log(1.15)
"""If half of the other models are as far from their expectation, the day isn't like the same day of other weeks."""

_NORMAL_HOURS = 3
"""After so many usual hours, one after the other, an anomaly is over."""

MOST_MODELS = 50
"""How many models of an event type are watched."""

MOST_ANOMALIES = 100
"""How many anomalies of an event type are kept."""


class Direction(StrEnum):
    """How an hour differs from its expectation."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    What is thought of an hour.

    :param count: its rows, or lines
    :param expected: how many were to be expected; None if there is no baseline yet
    :param direction: None if the hour isn't unusual
    """

    count: int
    expected: int | None
    direction: Direction | None = None


def index_of(hour: datetime) -> int:
    """Return the number of an hour, from 1970 on."""
    return int(hour.timestamp()) // 3600


def hour_at(index: int) -> datetime:
    """Return the start of an hour: the inverse of :func:`index_of`."""
    return datetime.fromtimestamp(index * 3600, UTC)


Series = Mapping[int, int]
"""The index of an hour to its rows or lines. Hours that nobody knows aren't in it."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """
    What is to be expected of an hour.

    :param usual: from the same hour of other weeks
    :param lowest: from the same hour of the weekday that has the fewest rows then, at most ``usual``: as on a holiday
    :param highest: the same of the weekday that has the most
    :param spread: the standard deviation, of logarithms
    :param hours: of how many hours this is the sum
    """

    usual: float
    lowest: float
    highest: float
    spread: float
    hours: int = 1


def expect(series: Series, index: int) -> Expectation | None:
    """Return what is to be expected of an hour, by the weeks before it; None if there is no baseline yet."""
    weeks = [week for week in range(1, MOST_WEEKS + 1) if index - week * WEEK in series]
    if len(weeks) < FEWEST_WEEKS:
        return None
    growth = {week: _growth(series, index, week) for week in weeks}
    logs = [_log(series[index - week * WEEK]) + growth[week] for week in weeks]
    usual = median(logs)
    spread = max(_spread(logs, series, index, growth), 1 / math.sqrt(math.exp(usual)))
    of_weekdays = _of_weekdays(series, index, growth)
    return Expectation(
        usual=math.expm1(usual),
        lowest=math.expm1(min([usual, *of_weekdays])),
        highest=math.expm1(max([usual, *of_weekdays])),
        spread=spread,
    )


def together(first: Expectation | None, second: Expectation | None) -> Expectation | None:
    """Return what is to be expected of two hours, one after the other; None if nobody knows it of one of them."""
    if first is None or second is None:
        return None
    usual = first.usual + second.usual
    if min(first.usual, second.usual) <= 0:
        return None
    # More rows vary less by chance. Everything else, such as the weather, can be the same in both hours.
    beyond_chance = max(each.spread**2 - 1 / each.usual for each in (first, second))
    return Expectation(
        usual=usual,
        lowest=first.lowest + second.lowest,
        highest=first.highest + second.highest,
        spread=math.sqrt(max(0.0, beyond_chance) + 1 / usual),
        hours=first.hours + second.hours,
    )


def _log(count: float) -> float:
    return math.log1p(count)


def _deviation(values: Sequence[float]) -> float:
    """Return the median absolute deviation."""
    middle = median(values)
    return median(abs(value - middle) for value in values)


def _growth(series: Series, index: int, week: int) -> float:
    """Return how much the last hours have grown since some weeks ago, as a logarithm."""
    return math.log(median(_ratios(series, index, week, _GROWTH_HOURS) or [1.0]))


def _ratios(series: Series, index: int, week: int, hours: int) -> list[float]:
    """Return the ratios of each of the last hours to the same hour some weeks ago."""
    ratios = []
    for at in range(index - hours, index):
        now, before = series.get(at), series.get(at - week * WEEK)
        if now is not None and before is not None:
            ratios.append((1 + now) / (1 + before))
    return ratios


def _spread(logs: Sequence[float], series: Series, index: int, growth: Mapping[int, float]) -> float:
    """Return how much such hours differ. Few weeks say little about a single hour, so the others count more."""
    own = _SCALE * _deviation(logs)
    ratios = _ratios_of_days(series, index, min(growth))
    if not ratios:
        return own
    # Both hours of a ratio differ from what is expected.
    usual = _SCALE * _deviation(ratios) / math.sqrt(2)
    return math.sqrt((own**2 + 3 * usual**2) / 4)


def _ratios_of_days(series: Series, index: int, week: int) -> list[float]:
    """
    Return the logarithms of the ratios of the hours of the last week, each without the median of its day.

    Otherwise, a release of firmware or a holiday in one of the two weeks makes all hours look as if they differed more.
    """
    ratios = []
    for days in range(WEEK // DAY):
        of_day = _ratios(series, index - days * DAY, week, DAY)
        if of_day:
            middle = median(of_day)
            ratios += [math.log(ratio / middle) for ratio in of_day]
    return ratios


def _of_weekdays(series: Series, index: int, growth: Mapping[int, float]) -> list[float]:
    """Return the logarithms of what the same hour of each weekday usually has."""
    usual = []
    for days in range(1, 7):
        logs = []
        for week in sorted(growth)[:FEWEST_WEEKS]:
            # The days of a week before the hour: the newest ones have the growth of one week less.
            before = index - (week - 1) * WEEK - days * DAY
            if before in series:
                logs.append(_log(series[before]) + growth[week] * (week - 1) / week)
        if len(logs) >= FEWEST_WEEKS - 1:
            usual.append(median(logs))
    return usual


@dataclass(frozen=True, slots=True)
class Rest:
    """
    What the rest of the fleet does in an hour.

    :param common: how far all other models together are from their expectation, as a logarithm
    :param typical: how far a model is from its expectation, up or down: the median
    """

    common: float
    typical: float

    @property
    def is_odd(self) -> bool:
        """Whether the day isn't like the same day of other weeks: a holiday, or something that many models have."""
        return max(abs(self.common), self.typical) >= _ODD_DAY


def judge(count: int, expected: Expectation | None, rest: Rest | None = None) -> Judgement:
    """
    Judge an hour.

    A holiday is no anomaly: what the rest of the fleet does, or what another day of the week usually has, is explained.

    :param rest: what the rest of the fleet does; None if nobody knows
    """
    if expected is None:
        return Judgement(count, None)
    # A fleet that shrinks can make it a little less than nothing.
    usual = max(0, round(expected.usual))
    is_low, is_high = _is_low(count, expected, rest), _is_high(count, expected, rest)
    direction = Direction.LOW if is_low else Direction.HIGH if is_high else None
    return Judgement(count, usual, direction)


def _is_low(count: int, expected: Expectation, rest: Rest | None) -> bool:
    band = max(_LOW, _DEVIATIONS * expected.spread)
    if expected.usual - count < _DEAD_BAND * expected.hours or _log(count) - _log(expected.usual) >= -band:
        return False
    if 2 * (math.sqrt(expected.usual) - math.sqrt(count)) < _CHANCE:
        return False
    is_below_every_weekday = _log(count) - _log(expected.lowest) < -band
    if rest is None:
        return is_below_every_weekday
    # The more the other models lack, the more each one can lack: on a holiday, they don't all lack the same.
    common = min(rest.common, 0.0)
    is_below_rest = _log(count) - _log(expected.usual) - common < -(band + abs(common) / 2)
    return is_below_rest and (is_below_every_weekday or not rest.is_odd)


def _is_high(count: int, expected: Expectation, rest: Rest | None) -> bool:
    band = max(_HIGH, _DEVIATIONS * expected.spread)
    common = max(rest.common, 0.0) if rest else 0.0
    is_above = _log(count) - _log(expected.highest) - common > band + common / 2
    return count - expected.usual >= _DEAD_BAND * expected.hours and is_above


def rest_of(counts: Mapping[str, int], expected: Mapping[str, Expectation | None], model: str) -> Rest | None:
    """
    Return what all other models do; None if there are too few to know it.

    :param counts: model to its rows in the hour
    """
    others = [
        (counts[name], each.usual)
        for name, each in expected.items()
        if name != model and each is not None and each.usual >= _COMPARABLE and name in counts
    ]
    if len(others) < _FEWEST_OTHERS:
        return None
    common = _log(sum(count for count, _ in others)) - _log(sum(usual for _, usual in others))
    return Rest(common, median(_beyond_chance(count, usual) for count, usual in others))


def _beyond_chance(count: int, usual: float) -> float:
    """Return how far a count is from its expectation, as a logarithm, without what chance alone explains."""
    distance = _log(count) - _log(usual)
    return math.sqrt(max(0.0, distance**2 - 1 / usual))


@dataclass(frozen=True, slots=True)
class Anomaly:
    """
    Unusual hours of an event type, or of a model.

    :param model: empty for all lines of the event type
    :param start: the first unusual hour, aware
    :param last: the last one so far
    :param count: rows of the first one, or lines
    :param expected: what was to be expected of it
    :param hours: how many hours were unusual
    :param normal: how many usual hours came since the last one
    :param over: whether it is over
    """

    model: str
    direction: Direction
    start: datetime
    last: datetime
    count: int
    expected: int
    hours: int = 1
    normal: int = 0
    over: bool = False

    def document(self, event_type: str) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "event_type": event_type,
            "model": self.model or None,
            "direction": self.direction.value,
            "hour": self.start.isoformat(),
            "last_hour": self.last.isoformat(),
            "count": self.count,
            "expected": self.expected,
            "hours": self.hours,
            "over": self.over,
        }

    def describe(self, event_type: str) -> str:
        """Return it for people: ``datapoint, model LC-THERMO-2: 120 rows, about 240 are usual``."""
        what = (
            f"{event_type}, model {self.model}: {self.count:,} rows"
            if self.model
            else f"{event_type}: {self.count:,} lines"
        )
        return f"{what}, about {self.expected:,} are usual at that time"


@dataclass(slots=True)
class Volumes:
    """The numbers of an event type, and what is unusual about them."""

    event_type: str
    lines: dict[int, int] = field(default_factory=dict)
    models: dict[str, dict[int, int]] = field(default_factory=dict)
    anomalies: list[Anomaly] = field(default_factory=list)
    """The oldest first."""

    def note_lines(self, hour: datetime, lines: int) -> None:
        """Note the lines of an hour's files."""
        self.lines[index_of(hour)] = lines

    def note_models(self, hour: datetime, models: Mapping[str, int], *, is_complete: bool = True) -> None:
        """
        Note the rows of an hour's models.

        :param models: each to its rows
        :param is_complete: whether they are all models of the hour, and not the largest ones alone
        """
        index = index_of(hour)
        for model, count in models.items():
            if model in self.models or len(self.models) < MOST_MODELS:
                self.models.setdefault(model, {})[index] = count
        for model, series in self.models.items():
            if model in models:
                continue
            if is_complete:
                series[index] = 0
            else:
                # It can be one of the small ones.
                series.pop(index, None)

    def forget_models(self, hour: datetime) -> None:
        """Forget the rows of all models in an hour."""
        for series in self.models.values():
            series.pop(index_of(hour), None)

    def forget_before(self, hour: datetime) -> None:
        """Forget the numbers before an hour, and models without any."""
        index = index_of(hour)
        self.lines = {at: count for at, count in self.lines.items() if at >= index}
        kept = {
            name: {at: count for at, count in series.items() if at >= index} for name, series in self.models.items()
        }
        self.models = {name: series for name, series in kept.items() if any(series.values())}
        recent = [each for each in self.anomalies if not each.over or index_of(each.last) >= index]
        self.anomalies = recent[-MOST_ANOMALIES:]

    def weeks(self, hour: datetime) -> int:
        """Return of how many weeks before an hour the lines of the same hour are known."""
        return sum(index_of(hour) - week * WEEK in self.lines for week in range(1, MOST_WEEKS + 1))

    def newest_lines(self) -> Judgement | None:
        """Return what is thought of the lines of the newest known hour, by itself; None if no hour is known."""
        if not self.lines:
            return None
        index = max(self.lines)
        return judge(self.lines[index], expect(self.lines, index))

    def judge_lines(self, hour: datetime) -> Anomaly | None:
        """Judge the lines of an hour, and return the anomaly if one begins."""
        judged = _judge_all({"": self.lines}, index_of(hour))
        return self._note("", hour, judged[""])

    def judge_models(self, hour: datetime) -> list[Anomaly]:
        """Judge the rows of each model in an hour, and return the anomalies that begin."""
        judged = _judge_all(self.models, index_of(hour))
        begun = (self._note(name, hour, each) for name, each in judged.items())
        return [each for each in begun if each is not None]

    @property
    def unusual(self) -> list[Anomaly]:
        """The anomalies that aren't over."""
        return [each for each in self.anomalies if not each.over]

    def _note(self, model: str, hour: datetime, judgement: Judgement) -> Anomaly | None:
        open_one = next((each for each in self.unusual if each.model == model), None)
        if open_one is not None:
            changed = _continued(open_one, hour, judgement)
            place = self.anomalies.index(open_one)
            self.anomalies[place : place + 1] = [changed] if changed else []
            return None
        if judgement.direction is None or judgement.expected is None:
            return None
        begun = Anomaly(model, judgement.direction, hour, hour, judgement.count, judgement.expected)
        self.anomalies.append(begun)
        return begun


def _judge_all(series: Mapping[str, Series], index: int) -> dict[str, Judgement]:
    """
    Judge an hour: each count for itself, and then with the hour before.

    A small loss can be chance in one hour, and not in two, one after the other.

    :param series: model to its rows
    """
    now = _hour_of(series, index)
    judged = _judge_hour(now)
    doubtful = [name for name, each in judged.items() if each.direction is None and _is_less(*now[name])]
    if not doubtful:
        return judged
    before = _hour_of(series, index - 1)
    both = {
        name: (count + before[name][0], together(before[name][1], expected))
        for name, (count, expected) in now.items()
        if name in before
    }
    of_both = _judge_hour(both)
    for name in doubtful:
        if name in both and of_both[name].direction is Direction.LOW and _is_less(*before[name]):
            judged[name] = replace(judged[name], direction=Direction.LOW)
    return judged


Counted = tuple[int, Expectation | None]
"""A count, and what was to be expected."""


def _hour_of(series: Mapping[str, Series], index: int) -> dict[str, Counted]:
    """Return what is known of an hour: model to its rows and their expectation."""
    return {name: (counts[index], expect(counts, index)) for name, counts in series.items() if index in counts}


def _judge_hour(counted: Mapping[str, Counted]) -> dict[str, Judgement]:
    counts = {name: count for name, (count, _) in counted.items()}
    expected = {name: each for name, (_, each) in counted.items()}
    return {name: judge(counts[name], expected[name], rest_of(counts, expected, name)) for name in counts}


def _is_less(count: int, expected: Expectation | None) -> bool:
    """Return whether an hour has so little that it can be part of a loss."""
    return expected is not None and _log(count) - _log(expected.usual) < -_LOW


def _continued(anomaly: Anomaly, hour: datetime, judgement: Judgement) -> Anomaly | None:
    """Return an anomaly after one more hour; None if there is none: files that came late have explained it."""
    is_unusual = judgement.direction is not None
    if hour <= anomaly.last:
        is_first_again = hour == anomaly.start and anomaly.hours == 1
        return None if is_first_again and not is_unusual else anomaly
    if is_unusual:
        return replace(anomaly, last=hour, hours=anomaly.hours + 1, normal=0)
    if hour <= anomaly.last + anomaly.normal * _ONE_HOUR:
        # It was judged before, and counts once: files came late.
        return anomaly
    normal = anomaly.normal + 1
    return replace(anomaly, normal=normal, over=normal >= _NORMAL_HOURS)

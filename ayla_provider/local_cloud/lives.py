"""
The lives of the made-up devices: when they are online, what they say about it, and whose they are.

A life is a function of the seed, the device and the time. Each day is made on its own: whether a device is online at
midnight is certain before the changes of the day are made. So any hour can be made without those before it.

Times are in ticks of 100 nanoseconds since 1970, because the id of a datapoint holds such a time.
"""

from __future__ import annotations

import random
import uuid
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECOND = 10_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

NO_USER = "00000000-0000-0000-0000-000000000000"
"""The user of a device that nobody registered."""

ONLINE_AT_MIDNIGHT = 0.75
"""The share of devices that are online at midnight."""

LOST, REPEATED, FLAPS, LOCATED = 0.04, 0.05, 0.06, 0.5
"""
Of the changes between online and offline: how many are never reported, and how many are reported twice.

Of the outages: how many begin and end within a second. Of their ends: with how many the device reports its place.
"""

SAME_USER, SILENT = 0.3, 0.15
"""The share of registrations by the user of before, and of devices that change hands without being given up."""

_BY_HOUR = (6, 5, 5, 5, 6, 8, 12, 15, 12, 10, 9, 9, 11, 10, 9, 9, 12, 15, 18, 19, 17, 14, 11, 9)
"""How much happens in each hour of a day."""

_BY_WEEKDAY = (9, 9, 9, 9, 10, 13, 12)
"""How much happens on each day of a week, from Monday."""

_WEIGHTS = list(accumulate(_BY_HOUR))
_TYPES = ("Same-LAN", "Display", "AP-Mode", "Button-Push", "Dsn")

_SHOW_EVERY = 5
"""One device of this number is on show in a shop. Every few hours, a new one is unpacked in its place."""

_SHOW, _HOME = 8 * HOUR, 20 * DAY
"""How long a device is on show, and how long one stays with a user at home, approximately."""

_MOST_CHANGES = 5000
"""Changes of a device in a day, approximately, at most: they are kept in memory."""


def ticks_of(time: datetime) -> int:
    """Return an aware time in whole seconds in ticks."""
    return int(time.timestamp()) * SECOND


def activity(ticks: int) -> float:
    """Return how much happens in the hour of a time: 1 on average, less at night and more at the weekend."""
    hour, weekday = ticks // HOUR % 24, (ticks // DAY + 3) % 7
    return _BY_HOUR[hour] * 24 / _WEIGHTS[-1] * _BY_WEEKDAY[weekday] * 7 / sum(_BY_WEEKDAY)


def noise(*numbers: int) -> float:
    """Return a random number from 0 to 1, without 1, that depends on these numbers alone."""
    state = 0
    for number in numbers:
        # A step of SplitMix64 for each number.
        state = (state + number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return (state >> 11) / 2**53


class Term(NamedTuple):
    """
    A device from one registration to the next.

    :param start: when the term before it is over; a device on show is activated then
    :param given_up: when the user gives the device up; None if the next user takes it without that
    """

    start: int
    registered: int
    given_up: int | None
    dsn: str
    user: str
    registration_type: str


class Message(NamedTuple):
    """What a device says about its connection."""

    ticks: int
    online: bool


class _Day(NamedTuple):
    online_at_midnight: bool
    changes: list[int]
    """The times at which the device comes online or goes offline, in turn, in their order."""
    messages: list[Message]
    located: list[int]
    """The times at which it reports its place."""


class Life:
    """
    The life of a device. In the place of a device on show, it is that of one new device after the other.

    :param changes: how often it comes online or goes offline on a day, on average
    :param outside_gap: returns a time, or a later one if the export has no registrations at that time
    """

    def __init__(
        self, seed: int, number: int, model: str, changes: float, outside_gap: Callable[[int], int] = int
    ) -> None:
        rng = random.Random(f"{seed}/device/{number}")  # noqa: S311 (made-up data)
        self.seed = seed
        self.number = number
        self.model = model
        self.place = rng.uniform(-60, 60), rng.uniform(-10, 30)
        self.is_on_show = number % _SHOW_EVERY == _SHOW_EVERY - 1
        self._changes = min(max(changes, 6.0), _MOST_CHANGES)
        self._outside_gap = outside_gap
        self._length = _SHOW if self.is_on_show else _HOME
        self._first = rng.randrange(self._length // HOUR) * HOUR + rng.randrange(50 * 60) * SECOND
        # Hours are mostly made one after the other, so few days and terms are needed at a time.
        self._day = lru_cache(maxsize=3)(self._make_day)
        self._term = lru_cache(maxsize=4)(self._make_term)

    def is_online(self, ticks: int) -> bool:
        """Return whether the device is online."""
        day = self._day(ticks // DAY)
        return day.online_at_midnight ^ bool(bisect_right(day.changes, ticks) % 2)

    def next_change(self, ticks: int) -> int | None:
        """Return when the device next comes online or goes offline on the same day."""
        changes = self._day(ticks // DAY).changes
        following = bisect_right(changes, ticks)
        return changes[following] if following < len(changes) else None

    def messages(self, hour: int) -> list[Message]:
        """Return what the device says in an hour about its connection, in its order."""
        messages = self._day(hour // DAY).messages
        return messages[bisect_left(messages, (hour, False)) : bisect_left(messages, (hour + HOUR, False))]

    def located(self, hour: int) -> list[int]:
        """Return when the device reports its place in an hour."""
        located = self._day(hour // DAY).located
        return located[bisect_left(located, hour) : bisect_left(located, hour + HOUR)]

    def term(self, ticks: int) -> Term:
        """Return the term at a time."""
        number = (ticks - self._first) // self._length
        term = self._term(number)
        return term if term.start <= ticks else self._term(number - 1)

    def user(self, ticks: int) -> str:
        """Return whose the device is, or :data:`NO_USER`."""
        term = self.term(ticks)
        if ticks < term.registered:
            before = self.term(term.start - 1)
            return before.user if before.given_up is None and before.dsn == term.dsn else NO_USER
        return NO_USER if term.given_up is not None and ticks >= term.given_up else term.user

    def ip(self, ticks: int) -> str:
        """Return the device's address on a day."""
        return f"203.0.113.{1 + int(254 * noise(self.seed, self.number, ticks // DAY // 5, 2))}"

    def terms(self, hour: int) -> Iterator[Term]:
        """Yield the terms that an hour is part of."""
        first, last = self.term(hour), self.term(hour + HOUR - 1)
        yield first
        if last != first:
            yield last

    def _make_day(self, day: int) -> _Day:
        rng = random.Random(f"{self.seed}/day/{self.number}/{day}")  # noqa: S311 (made-up data)
        online, online_after = self._online_at_midnight(day), self._online_at_midnight(day + 1)
        count = round(self._changes * activity(day * DAY + 12 * HOUR) / activity(12 * HOUR) * rng.uniform(0.6, 1.4))
        if bool(count % 2) != (online != online_after):
            count += 1
        hours = rng.choices(range(24), cum_weights=_WEIGHTS, k=count)
        changes = sorted(day * DAY + hour * HOUR + rng.randrange(HOUR) for hour in hours)
        _shorten_outages(rng, online, changes)
        messages, located = [], []
        for number, ticks in enumerate(changes):
            is_online = online ^ (number % 2 == 0)
            if is_online and rng.random() < LOCATED:
                located.append(ticks)
            if rng.random() < LOST:
                continue
            messages.append(Message(ticks, is_online))
            if rng.random() < REPEATED:
                # It can come after the next change.
                again = ticks + rng.randrange(120 * SECOND)
                messages.append(Message(min(again, (day + 1) * DAY - 1), is_online))
        return _Day(online, changes, sorted(messages), located)

    def _online_at_midnight(self, day: int) -> bool:
        return noise(self.seed, self.number, day, 1) < ONLINE_AT_MIDNIGHT

    def _make_term(self, number: int) -> Term:
        rng = random.Random(f"{self.seed}/term/{self.number}/{number}")  # noqa: S311 (made-up data)
        start, end = self._start(number), self._start(number + 1)
        registered = self._outside_gap(start + rng.randrange(HOUR // 6, HOUR))
        given_up = self._outside_gap(end - rng.randrange(HOUR * 5 // 4, HOUR * 2))
        is_silent = rng.random() < SILENT
        registration_type = rng.choice(_TYPES)
        serial = self.number + 1
        if self.is_on_show:
            # A number that no other device has, and that no earlier device in this place had.
            serial += 1000 * (1 + number % 900_000)
        return Term(
            start,
            registered,
            None if is_silent else given_up,
            f"LC000X{serial:09d}",
            self._owner(number),
            registration_type,
        )

    def _start(self, number: int) -> int:
        jitter = int(self._length * 0.2 * noise(self.seed, self.number, number, 3))
        return self._first + number * self._length + jitter // HOUR * HOUR

    def _owner(self, number: int) -> str:
        """Return the user of a term. Some register a device again."""
        while not self.is_on_show and noise(self.seed, self.number, number, 4) < SAME_USER:
            number -= 1
        rng = random.Random(f"{self.seed}/user/{self.number}/{number}")  # noqa: S311 (made-up data)
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _shorten_outages(rng: random.Random, online: bool, changes: list[int]) -> None:
    """Move most ends of outages closer to their starts, so that devices are online most of the time."""
    first = 0 if online else 1
    for start in range(first, len(changes) - 1, 2):
        began = changes[start]
        ended = began + int((changes[start + 1] - began) * rng.random() ** 3)
        if rng.random() < FLAPS:
            # The same second: a file doesn't say which was first.
            ended = min(ended, began // SECOND * SECOND + SECOND - 1)
        changes[start + 1] = ended


def time_of_ticks(ticks: int) -> datetime:
    """Return the second of a time in ticks."""
    return datetime.fromtimestamp(ticks // SECOND, UTC)

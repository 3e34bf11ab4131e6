"""The datapoints of the made-up fleet: what devices measure, what users set, and how devices answer."""

from __future__ import annotations

import base64
import json
import random
import uuid
from typing import TYPE_CHECKING, NamedTuple

from ayla_provider.local_cloud.lives import HOUR, NO_USER, SECOND, activity, noise
from ayla_provider.local_cloud.properties import SENSORS, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ayla_provider.local_cloud.lives import Life
    from ayla_provider.local_cloud.properties import Property

MEASURED, SET = 0.46, 0.33
"""Of the datapoints of an hour: how many devices measure, and how many users set. The rest are echoes."""

BURSTS, UNANSWERED, REFUSED, ECHOES = 0.07, 0.03, 0.05, 0.6
"""
Of the values that users set: how many are corrected within a second, how many the device never answers although it
is online, how many it refuses, and how many it repeats as an echo.
"""

DISCARDED, LEFT_OPEN, CHANGED, ANNOTATED = 0.03, 0.1, 0.03, 0.2
"""
Of the values that devices measure: how many come too late and are discarded; of messages: how many are never closed; of
the other values: how many are changed later; of all datapoints: how many have metadata.
"""

_EPOCH = 0x01B21DD213814000
"""1970 in ticks since 1582, from which a UUID of version 1 counts."""

_METADATA = tuple(
    base64.b64encode(json.dumps({"source": source}).encode()).decode("ascii") for source in ("app", "schedule")
)


class Point(NamedTuple):
    """
    A datapoint, in its last state. Times are in ticks.

    :param sent: when the device sent it; None if the device didn't
    :param updated: when it was last changed
    :param metadata: in base64; empty without any
    """

    created: int
    identity: str
    life: Life
    prop: Property
    value: str
    sent: int | None
    updated: int
    echo: bool = False
    closed: bool = False
    discarded: bool = False
    metadata: str = ""


class Ack(NamedTuple):
    """The answer of a device to a value that a user set."""

    point: Point
    identity: str
    acked: int
    refused: bool


def time_uuid(rng: random.Random, ticks: int) -> str:
    """Return the id of a datapoint. It holds the time. As in Ayla's ids, there is no variant of RFC 4122."""
    stamp, rest = ticks + _EPOCH, rng.getrandbits(64)
    low, middle, high = stamp & 0xFFFFFFFF, stamp >> 32 & 0xFFFF, stamp >> 48 | 0x1000
    return f"{low:08x}-{middle:04x}-{high:04x}-{rest >> 48:04x}-{rest & 0xFFFFFFFFFFFF:012x}"


def ack_uuid(rng: random.Random, ticks: int) -> str:
    """Return the id of an answer: a UUID of version 1 as RFC 4122 has it."""
    stamp = ticks + _EPOCH
    fields = (stamp & 0xFFFFFFFF, stamp >> 32 & 0xFFFF, stamp >> 48, rng.getrandbits(8), rng.getrandbits(8))
    return str(uuid.UUID(fields=(*fields, rng.getrandbits(48)), version=1))


def measured(rng: random.Random, lives: Sequence[Life], hour: int, rows: int, fewest: int) -> list[Point]:
    """
    Return what devices measure in an hour.

    :param rows: the approximate number of all datapoints in an average hour
    """
    count = max(fewest, round(rows * MEASURED * activity(hour) * rng.uniform(0.8, 1.2)))
    return [measure(rng, lives, hour + int(rng.random() * HOUR)) for _ in range(count)]


def measure(rng: random.Random, lives: Sequence[Life], ticks: int) -> Point:
    """Return what a device measures at a time: mostly one that is online."""
    life = _some(rng, lives, ticks)
    sensors = SENSORS[life.model]
    prop = sensors[int(rng.random() * len(sensors))]
    sent = ticks - int(rng.random() * 5 * SECOND)
    updated, closed, discarded = ticks, False, False
    fate = rng.random()
    last = ticks // HOUR * HOUR + HOUR - 1
    if prop.base_type == "message":
        closed = fate >= LEFT_OPEN
        updated = min(ticks + int(rng.random() * 30 * SECOND), last) if closed else ticks
    elif fate < DISCARDED:
        discarded = True
        sent -= rng.randrange(60, 1800) * SECOND
    elif fate < DISCARDED + CHANGED:
        updated = min(ticks + int(rng.random() * 300 * SECOND), last)
    level = level_of(life, prop, sent)
    return Point(
        ticks,
        time_uuid(rng, ticks),
        life,
        prop,
        prop.value(level),
        sent,
        updated,
        closed=closed,
        discarded=discarded,
        metadata=_metadata(rng),
    )


def level_of(life: Life, prop: Property, ticks: int) -> float:
    """Return the level of what a device measures. It moves from one hour's level to that of the next."""
    hour, rest = divmod(ticks, HOUR)
    number = len(prop.name)
    first, second = (noise(life.seed, life.number, number, each) for each in (hour, hour + 1))
    return first + (second - first) * rest / HOUR


def settings(rng: random.Random, lives: Sequence[Life], hour: int, rows: int) -> tuple[list[Point], list[Ack]]:
    """Return what users set in an hour, with the echoes, and the answers of the devices."""
    points: list[Point] = []
    acks: list[Ack] = []
    for _ in range(round(rows * SET * activity(hour) * rng.uniform(0.8, 1.2))):
        ticks = hour + int(rng.random() * HOUR)
        life = lives[int(rng.random() * len(lives))]
        if life.user(ticks) == NO_USER:
            continue
        choice = SETTINGS[life.model]
        prop = choice[int(rng.random() * len(choice))]
        times = [ticks]
        if rng.random() < BURSTS:
            rest = SECOND - ticks % SECOND
            times += sorted(ticks + int(rng.random() * rest) for _ in range(rng.randint(1, 2)))
        for time in times:
            _set(rng, life, prop, time, points, acks)
    return points, acks


def _set(rng: random.Random, life: Life, prop: Property, ticks: int, points: list[Point], acks: list[Ack]) -> None:
    """Add what a user sets, its echo, and its answer."""
    point = Point(
        ticks, time_uuid(rng, ticks), life, prop, prop.value(rng.random()), None, ticks, metadata=_metadata(rng)
    )
    points.append(point)
    answered = _answered(rng, life, ticks)
    # Another device may have taken the place of this one.
    if answered is None or life.term(answered + SECOND) != life.term(ticks):
        return
    refused = rng.random() < REFUSED
    if prop.has_acks:
        acks.append(Ack(point, ack_uuid(rng, answered), answered, refused))
    repeated = answered + int(rng.random() * SECOND)
    if not refused and rng.random() < ECHOES and repeated // HOUR == ticks // HOUR:
        sent = max(ticks, repeated - int(rng.random() * SECOND))
        points.append(Point(repeated, time_uuid(rng, repeated), life, prop, point.value, sent, repeated, echo=True))


def _answered(rng: random.Random, life: Life, ticks: int) -> int | None:
    """Return when a device answers. One that is offline does so when it is back, if that is within the same hour."""
    if rng.random() < UNANSWERED:
        return None
    wait = int((0.05 + min(rng.expovariate(1.6), 2.9)) * SECOND)
    if life.is_online(ticks):
        return ticks + wait
    back = life.next_change(ticks)
    return back + wait if back is not None and back // HOUR == ticks // HOUR else None


def _some(rng: random.Random, lives: Sequence[Life], ticks: int) -> Life:
    """Return a device that is online; if it is hard to find one, another one, whose Online was lost."""
    for _ in range(6):
        life = lives[int(rng.random() * len(lives))]
        if life.is_online(ticks):
            break
    return life


def _metadata(rng: random.Random) -> str:
    return _METADATA[int(rng.random() * len(_METADATA))] if rng.random() < ANNOTATED else ""


def extra_ack(rng: random.Random, lives: Sequence[Life], ticks: int) -> Ack:
    """Return an answer to a value that nobody knows of."""
    life = lives[int(rng.random() * len(lives))]
    prop = next(one for one in SETTINGS[life.model] if one.has_acks)
    point = Point(ticks, time_uuid(rng, ticks), life, prop, prop.value(rng.random()), None, ticks)
    acked = ticks + int(rng.random() * SECOND)
    return Ack(point, ack_uuid(rng, acked), acked, False)

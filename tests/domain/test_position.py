"""How far a verification reads, and the document that says how far it came."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ayla_provider.domain.events import EventType
from ayla_provider.domain.position import FilePlace, Position, loads
from ayla_provider.errors import AylaDestinationError, AylaNewerFormatError

DATAPOINT = EventType("datapoint")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WHERE = "gs://archive/_verify/event_type=datapoint.json"
POSITION = Position(
    DATAPOINT,
    round_started=NOW - 5 * DAY,
    last=FilePlace(NOW - 90 * DAY, "event_type=datapoint/é.csv"),
    last_run=NOW - DAY,
    again=(FilePlace(NOW - 80 * DAY, "a/b.csv"), FilePlace(NOW - 70 * DAY, "a/c.csv")),
)
DOCUMENT = {
    "format": "ayla-verify-position/1",
    "event_type": "datapoint",
    "round_started": "2026-11-25T12:00:00+00:00",
    "last": {"hour": "2026-09-01T12:00:00+00:00", "path": "event_type=datapoint/é.csv"},
    "last_run": "2026-11-29T12:00:00+00:00",
    "again": [
        {"hour": "2026-09-11T12:00:00+00:00", "path": "a/b.csv"},
        {"hour": "2026-09-21T12:00:00+00:00", "path": "a/c.csv"},
    ],
}


@pytest.mark.parametrize(
    ("round_started", "last_run", "days", "share"),
    [
        # The first run reads the share of a day.
        (None, None, 10, 1 / 10),
        # Each later run reads the share of the time since the last one.
        (None, NOW - 5 * DAY, 10, 1 / 2),
        (NOW - 5 * DAY, NOW - 5 * DAY, 10, 1),
        (NOW - 4 * DAY, NOW - 2 * DAY, 10, 3 / 5),
        # A run that is late, or began some seconds earlier, is one run.
        (NOW - timedelta(days=2.6), NOW - DAY, 10, 4 / 10),
        (None, NOW - DAY - timedelta(seconds=30), 30, 1 / 30),
        # Runs that come more seldom than the period read everything.
        (None, NOW - 20 * DAY, 10, 1),
        (NOW - 20 * DAY, NOW - DAY, 10, 1),
        # A clock that was ahead says nothing.
        (None, NOW, 4, 1 / 4),
        (None, NOW + 3 * DAY, 4, 1 / 4),
        (NOW + 3 * DAY, NOW - DAY, 4, 1 / 4),
    ],
)
def test_a_run_reads_the_share_that_is_due_until_the_next_one(
    round_started: datetime | None, last_run: datetime | None, days: int, share: float
) -> None:
    position = Position(DATAPOINT, round_started=round_started, last_run=last_run)
    assert position.share(NOW, days * DAY) == share


def test_a_position_is_read_as_it_was_written() -> None:
    text = POSITION.dumps()
    assert json.loads(text) == DOCUMENT
    assert text == json.dumps(DOCUMENT, indent=1, ensure_ascii=False) + "\n"
    assert loads(text, WHERE, DATAPOINT) == loads(text.encode(), WHERE, DATAPOINT) == POSITION
    # Between two rounds, and before the first run.
    nothing = json.loads(Position(DATAPOINT).dumps())
    assert nothing == DOCUMENT | {"round_started": None, "last": None, "last_run": None, "again": []}
    assert loads(json.dumps(nothing), WHERE, DATAPOINT) == Position(DATAPOINT)


def test_times_of_another_zone_are_read_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    text = Position(DATAPOINT, last_run=NOW.astimezone(berlin)).dumps()
    read = loads(text, WHERE, DATAPOINT).last_run
    assert read == NOW
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "ayla-oldest/1"}, "ValueError: its format is 'ayla-oldest/1'"),
        ({"event_type": "location"}, "ValueError: it is that of another event type"),
        ({"last_run": "2026-11-29T12:00:00"}, "ValueError: last_run has no time zone"),
        ({"round_started": "2026-11-29T12:00:00"}, "ValueError: round_started has no time zone"),
        ({"last": {"path": "a"}}, "KeyError: 'hour'"),
        (
            {"last": DOCUMENT["last"] | {"path": "../a"}},  # type: ignore[operator]
            "ValueError: a path contains an empty part, '.' or '..', which could lead out of the destination",
        ),
        ({"again": None}, "ValueError: again is NoneType, not list"),
        ({"last": DOCUMENT["last"] | {"path": 5}}, "ValueError: path is int, not str"),  # type: ignore[operator]
    ],
)
def test_another_document_is_refused_with_its_url_and_the_reason(change: dict[str, object], reason: str) -> None:
    with pytest.raises(AylaDestinationError) as refused:
        loads(json.dumps(DOCUMENT | change), WHERE, DATAPOINT)
    assert str(refused.value) == f"{WHERE} isn't a valid position of format ayla-verify-position/1 ({reason})"


def test_a_position_of_a_newer_version_is_called_newer() -> None:
    with pytest.raises(AylaNewerFormatError, match=f"^{WHERE} has the format ayla-verify-position/2, "):
        loads(json.dumps(DOCUMENT | {"format": "ayla-verify-position/2"}), WHERE, DATAPOINT)

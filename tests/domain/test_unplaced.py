from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.unplaced import Unplaced


def test_a_name_that_looks_like_an_hour_casts_doubt_on_it_even_if_the_clock_was_wrong() -> None:
    hour = ExportHour(EventType("connection"), datetime(2026, 8, 20, 19, tzinfo=UTC))
    created = hour.start - timedelta(hours=6)
    unplaced = Unplaced.of("Connection/2026-08-20T19:00:00Z/10.csv", "Connection/", created)
    assert unplaced.doubts_absence(hour)
    assert not unplaced.doubts_absence(ExportHour(hour.event_type, hour.end))

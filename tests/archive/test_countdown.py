"""Hours that expire at Ayla soon, and aren't safe in the archive yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.compare import reconcile
from ayla_provider.archive.countdown import Countdown, count_down, note_oldest
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, format_folder
from ayla_provider.domain.hour_pattern import HourPattern
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.source.export import Export
from tests.support.exporter import MemoryBucket

NOW = datetime(2026, 11, 28, 4, 20, tzinfo=UTC)
DATAPOINT = EventType("datapoint")
YEAR = timedelta(days=365)
TWO_WEEKS = timedelta(days=14)


def name_of(hour: datetime) -> str:
    return f"Datapoint/{format_folder(hour)}/f.csv"


def export_of(
    *hours: datetime, now: datetime = NOW, extra: dict[str, datetime] | None = None, **arguments: object
) -> Export:
    """An export with one file in each of these hours, and one of a moment ago."""
    recent = now.replace(minute=0) - 3 * ONE_HOUR
    objects = {name_of(hour): hour + 2 * ONE_HOUR for hour in (*hours, recent)}
    return Export(MemoryBucket(objects | (extra or {})), "", now=lambda: now, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(FileDestination(tmp_path))


def save(records: Records, *hours: datetime) -> None:
    """Write the manifest of each hour with its file."""
    for hour in hours:
        created = (hour + 2 * ONE_HOUR).isoformat()
        file = ManifestFile(name_of(hour), 1, 3, "AAAAAA==", created, f"x/{hour:%Y%m%d%H}")
        manifest = Manifest(ExportHour(DATAPOINT, hour), HourState.LANDED, 1, (file,), created)
        records.write_manifest(manifest, None)


def hour_before_expiry(days: float) -> datetime:
    """The hour that a retention of a year removes in some days."""
    return (NOW - YEAR + timedelta(days=days)).replace(minute=0)


def starts(countdown: Countdown) -> list[datetime]:
    return [hour.start for hour in countdown.hours]


def test_hours_that_are_not_safe_and_expire_soon_are_counted(records: Records) -> None:
    hours = [hour_before_expiry(days) for days in (1, 2, 13, 15, 100)]
    save(records, hours[1])
    countdown = count_down(export_of(*hours, retention=YEAR), records, [DATAPOINT], TWO_WEEKS)
    assert starts(countdown) == [hours[0], hours[2]]
    assert countdown.first == hours[0] + YEAR
    assert countdown.document() == {
        "within_days": 14,
        "retention_days": {"datapoint": 365},
        "hours": 2,
        "first": (hours[0] + YEAR).isoformat(),
    }
    assert "2 hours expire at Ayla within 14 days and not all files are safe" in countdown.message
    assert str(ExportHour(DATAPOINT, hours[0])) in countdown.message


def test_one_day_is_one_day(records: Records) -> None:
    export = export_of(*[hour_before_expiry(days) for days in (0.5, 2)], retention=YEAR)
    countdown = count_down(export, records, [DATAPOINT], timedelta(days=1))
    assert "1 hour expires at Ayla within 1 day and not all" in countdown.message


def test_what_should_have_expired_and_is_still_there_comes_first(records: Records) -> None:
    hours = [hour_before_expiry(days) for days in (-40, -1, 3)]
    save(records, hours[1])
    export = export_of(*hours, retention=YEAR)
    assert starts(count_down(export, records, [DATAPOINT], TWO_WEEKS)) == [hours[0], hours[2]]
    assert starts(count_down(export, records, [DATAPOINT], TWO_WEEKS, hours[1])) == [hours[2]]


def test_a_changed_or_unproven_hour_is_not_safe(records: Records) -> None:
    changed, odd = hour_before_expiry(3), hour_before_expiry(5)
    save(records, changed)
    extra = {
        f"Datapoint/{format_folder(changed)}/late.csv": NOW,
        f"Datapoint/{odd:%Y-%m-%dT%H:%M:%SZ}/f.csv": odd + 2 * ONE_HOUR,
    }
    countdown = count_down(export_of(changed, retention=YEAR, extra=extra), records, [DATAPOINT], TWO_WEEKS)
    assert changed in starts(countdown)
    assert odd in starts(countdown)


def test_a_lost_hour_whose_other_files_are_safe_is_not_counted(records: Records) -> None:
    hour = hour_before_expiry(3)
    save(records, hour)
    manifest, stored = records.read_manifest(ExportHour(DATAPOINT, hour))
    assert manifest
    lost = replace(manifest.files[0], source="gone.csv", path="x/gone", lost=NOW.isoformat())
    records.write_manifest(replace(manifest, files=(*manifest.files, lost)), stored)
    assert count_down(export_of(hour, retention=YEAR), records, [DATAPOINT], TWO_WEEKS).hours == ()


def test_hours_without_events_are_not_counted(records: Records) -> None:
    export = export_of(hour_before_expiry(60), retention=YEAR)
    countdown = count_down(export, records, [DATAPOINT, EventType("location")], TWO_WEEKS)
    assert (countdown.hours, countdown.first, countdown.message) == ((), None, "")


def test_without_a_known_retention_there_is_no_countdown(records: Records) -> None:
    export = export_of(hour_before_expiry(1))
    countdown = count_down(export, records, [DATAPOINT], TWO_WEEKS)
    assert (countdown.hours, countdown.document()) == ((), None)
    # One old object says nothing about the retention, however often anyone looks at it.
    for _ in range(3):
        note_oldest(export, records, [DATAPOINT])
    assert count_down(export, records, [DATAPOINT], TWO_WEEKS).document() is None


def test_the_weekly_sweep_learns_the_retention_from_an_edge_that_moved(records: Records) -> None:
    left = datetime(2019, 3, 1, tzinfo=UTC)
    edge = hour_before_expiry(0)
    before = [edge - number * ONE_HOUR for number in range(1, 100)]
    kept = [edge + number * ONE_HOUR for number in range(100)]
    save(records, *kept[:-1])
    note_oldest(export_of(left, *before, *kept, now=NOW - timedelta(days=7)), records, [DATAPOINT])
    assert count_down(export_of(left, *before, *kept), records, [DATAPOINT], TWO_WEEKS).document() is None
    export = export_of(left, *kept)
    note_oldest(export, records, [DATAPOINT])
    countdown = count_down(export, records, [DATAPOINT, EventType("connection")], TWO_WEEKS)
    assert countdown.retention == {DATAPOINT: NOW - edge}
    # What is left over expires, too, although nobody knows when.
    assert starts(countdown) == [left, kept[-1]]


def test_nothing_is_learned_where_the_connection_says_it_or_folders_may_not_sort(
    records: Records, tmp_path: Path
) -> None:
    note_oldest(export_of(hour_before_expiry(1), retention=YEAR), records, [DATAPOINT])
    note_oldest(export_of(hour_before_expiry(1), hour_pattern=HourPattern("%d-%m-%Y %H")), records, [DATAPOINT])
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_was_damaged_is_written_anew(records: Records, tmp_path: Path) -> None:
    export = export_of(hour_before_expiry(1))
    note_oldest(export, records, [DATAPOINT])
    (record,) = tmp_path.glob("_oldest/*.json")
    record.write_text("{")
    note_oldest(export, records, [DATAPOINT])
    oldest, _ = records.read_oldest(DATAPOINT)
    assert oldest is not None
    assert oldest.hours[0] == hour_before_expiry(1)


def test_files_that_come_months_later_for_an_empty_hour_are_found_by_the_weekly_lookback_alone(
    records: Records,
) -> None:
    hour = NOW.replace(minute=0) - timedelta(days=100)
    proof = hour + 5 * ONE_HOUR
    empty = Manifest(ExportHour(DATAPOINT, hour), HourState.EMPTY, 1, (), (hour + 3 * ONE_HOUR).isoformat())
    records.write_manifest(empty, None)
    save(records, proof)
    export = export_of(proof, extra={name_of(hour): NOW - timedelta(days=1)})
    end = NOW.replace(minute=0)
    hourly = reconcile(export, records, [DATAPOINT], end - timedelta(hours=48), end)
    assert hour not in [gap.hour.start for gap in hourly.gaps]
    weekly = reconcile(export, records, [DATAPOINT], end - timedelta(days=366), end)
    (gap,) = [gap for gap in weekly.gaps if gap.hour.start == hour]
    assert gap.reason.startswith("1 new file, ")


def test_the_sweep_lists_what_is_older_than_its_lookback_and_still_there(records: Records) -> None:
    end = NOW.replace(minute=0)
    start = end - timedelta(days=366)
    old = [datetime(2019, 3, 1, tzinfo=UTC), start - timedelta(days=2), start - ONE_HOUR]
    save(records, old[1])
    export = export_of(*old)
    without = reconcile(export, records, [DATAPOINT], start, end)
    assert (without.older, set(old) & {gap.hour.start for gap in without.gaps}) == (0, set())
    before = export.source.requests
    reconcile(export, records, [DATAPOINT], start, end)
    of_the_lookback = export.source.requests - before
    findings = reconcile(export, records, [DATAPOINT], start, end, older_from=datetime(2007, 1, 1, tzinfo=UTC))
    assert findings.older == 3
    found = {gap.hour.start: gap.reason for gap in findings.gaps if gap.hour.start < start}
    assert found == {old[0]: "never copied, 1 file", old[2]: "never copied, 1 file"}
    # The years without a file cost nothing.
    assert export.source.requests - before - 2 * of_the_lookback <= 20
    bounded = reconcile(export, records, [DATAPOINT], start, end, older_from=start - timedelta(days=3))
    assert bounded.older == 2


def test_older_files_in_the_style_of_a_pattern_are_listed(records: Records) -> None:
    end = NOW.replace(minute=0)
    start = end - timedelta(days=366)
    old = start - timedelta(days=40)
    extra = {f"Datapoint/{old:%Y/%m/%d/%H}/f.csv": old + 2 * ONE_HOUR}
    export = export_of(extra=extra, hour_pattern=HourPattern("%Y/%m/%d/%H"))
    findings = reconcile(export, records, [DATAPOINT], start, end, older_from=datetime(2007, 1, 1, tzinfo=UTC))
    assert old in [gap.hour.start for gap in findings.gaps]

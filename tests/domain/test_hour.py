from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ayla_provider.domain.hour import (
    ONE_HOUR,
    ExportHour,
    FolderStyle,
    describe_hour,
    describe_hours,
    format_folder,
    hour_of,
    hours_between,
    hours_of,
    is_empty,
    parse_folder,
    parse_time,
    refuse_longer,
)
from ayla_provider.errors import AylaConfigError

TWO = datetime(2024, 5, 9, 2, tzinfo=UTC)
INDIA = timezone(timedelta(hours=5, minutes=30))
BERLIN = ZoneInfo("Europe/Berlin")

# A day off either end, for the offsets.
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
folder_times = times.map(lambda time: time.replace(microsecond=0))
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
styles = st.sampled_from(FolderStyle)
hours = times.map(lambda time: time.replace(minute=0, second=0, microsecond=0))


@given(folder_times, styles)
@example(datetime(1, 1, 1, tzinfo=UTC), FolderStyle.SPACE)
@example(datetime(999, 12, 31, 23, 59, 59, tzinfo=UTC), FolderStyle.HYPHEN)
def test_a_folder_is_read_as_it_was_written(time: datetime, style: FolderStyle) -> None:
    assert parse_folder(format_folder(time, style)) == (time, style)


@given(st.from_regex(r"\d{4}-\d\d-\d\d[ -]\d\d:\d\d:\d\d", fullmatch=True) | st.text(max_size=20))
def test_a_folder_that_is_read_is_written_the_same(name: str) -> None:
    parsed = parse_folder(name)
    assert parsed is None or format_folder(*parsed) == name


@given(times, styles, offsets)
def test_a_folder_states_utc_for_any_zone_of_the_time(time: datetime, style: FolderStyle, zone: timezone) -> None:
    assert format_folder(time.astimezone(zone), style) == format_folder(time, style)


def test_both_styles_of_ayla_are_read() -> None:
    expected = datetime(2020, 2, 5, 12, tzinfo=UTC)
    assert parse_folder("2020-02-05 12:00:00") == (expected, FolderStyle.SPACE)
    assert parse_folder("2020-02-05-12:00:00") == (expected, FolderStyle.HYPHEN)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "2024-05-09",
        "2024-05-09 02",
        "2024-05-09T02:00:00",
        "2024-05-09_02:00:00",
        "2024-05-09  02:00:00",
        "2024-05-09 02:00:00 ",
        " 2024-05-09 02:00:00",
        "2024-05-09 02:00:00\n",
        "2024-05-09 02:00:00Z",
        "2024-05-09 02:00:00+00:00",
        "2024-05-09 02:00:00.5",
        "2024-05-09 24:00:00",
        "2024-05-09 23:59:60",
        "2024-13-09 02:00:00",
        "2023-02-29 02:00:00",
        "0000-01-01 00:00:00",
        "24-05-09 02:00:00",
        "\u0662\u0660\u0662\u0664-05-09 02:00:00",
        "archive",
    ],
)
def test_a_folder_of_another_kind_is_no_time(name: str) -> None:
    assert parse_folder(name) is None


@given(times, offsets)
def test_an_hour_holds_its_time_in_every_zone(time: datetime, zone: timezone) -> None:
    hour = hour_of(time.astimezone(zone))
    assert hour <= time < hour + ONE_HOUR
    assert hour.tzinfo is UTC
    assert (hour.minute, hour.second, hour.microsecond) == (0, 0, 0)


@given(hours, st.integers(1, 60), offsets)
def test_the_hours_of_an_interval_follow_each_other_without_a_gap(start: datetime, count: int, zone: timezone) -> None:
    end = min(start, datetime(9999, 12, 25, tzinfo=UTC)) + count * ONE_HOUR
    start = end - count * ONE_HOUR
    found = hours_between(start.astimezone(zone), end.astimezone(zone))
    assert found == [start + n * ONE_HOUR for n in range(count)]
    assert {hour.tzinfo for hour in found} == {UTC}


@pytest.mark.parametrize(("day", "count"), [((2024, 3, 31), 23), ((2024, 7, 1), 24), ((2024, 10, 27), 25)])
def test_a_day_in_which_clocks_change_has_its_own_number_of_hours(day: tuple[int, int, int], count: int) -> None:
    start = datetime(*day, tzinfo=BERLIN)
    assert len(hours_between(start, start + timedelta(days=1))) == count


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (TWO, TWO, "holds no hour"),
        (TWO + ONE_HOUR, TWO, "holds no hour"),
        (TWO + timedelta(minutes=30), TWO + 2 * ONE_HOUR, "start 2024-05-09T02:30:00+00:00 isn't on the hour"),
        (TWO, TWO + timedelta(seconds=1), "end 2024-05-09T02:00:01+00:00 isn't on the hour"),
        (TWO, TWO + timedelta(hours=1, microseconds=1), "isn't on the hour"),
        # On the hour where the user lives, but not in UTC.
        (datetime(2024, 5, 9, 2, tzinfo=INDIA), datetime(2024, 5, 9, 3, tzinfo=INDIA), "isn't on the hour in UTC"),
        (TWO.replace(tzinfo=None), TWO + ONE_HOUR, "start 2024-05-09T02:00:00 has no time zone"),
        (TWO, (TWO + ONE_HOUR).replace(tzinfo=None), "end 2024-05-09T03:00:00 has no time zone"),
    ],
)
def test_an_interval_that_is_no_whole_hours_is_refused(start: datetime, end: datetime, message: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        hours_between(start, end)
    assert message in str(refused.value)


def test_an_interval_of_no_width_says_what_to_schedule_instead() -> None:
    with pytest.raises(AylaConfigError, match="CronDataIntervalTimetable"):
        hours_between(TWO, TWO)


@given(times, offsets)
def test_a_rendered_time_is_read_in_every_zone(time: datetime, zone: timezone) -> None:
    there = time.astimezone(zone)
    for value in (there, there.isoformat(), f" {there.isoformat(' ')}\n"):
        parsed = parse_time(value, "start")
        assert parsed == time
        assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "start is empty"),
        (" \n", "start is empty"),
        ("yesterday", "start 'yesterday' isn't an ISO 8601 time"),
        ("{{ data_interval_start }}", "isn't an ISO 8601 time"),
        ("None", "start 'None' isn't an ISO 8601 time"),
        ("2024-05-09T02:00:00", "start 2024-05-09T02:00:00 has no time zone"),
        ("2024-05-09", "has no time zone: write it as 2024-05-09T00:00:00+00:00"),
        (datetime(2024, 5, 9, 2), "has no time zone"),  # noqa: DTZ001
    ],
)
def test_a_time_that_says_no_instant_is_refused_and_named(value: str | datetime, message: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        parse_time(value, "start")
    assert message in str(refused.value)


def test_an_hour_is_named_in_utc() -> None:
    assert describe_hour(datetime(2024, 5, 9, 3, 30, tzinfo=INDIA)) == "2024-05-08 22:00 UTC"


def test_the_repeated_hour_of_a_clock_change_is_an_hour() -> None:
    start = datetime(2024, 11, 3, 1, tzinfo=ZoneInfo("America/New_York"))
    assert hours_between(start, start.astimezone(UTC) + ONE_HOUR) == [start.astimezone(UTC)]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:00:00Z", "9999-12-31T23:30:00-01:00"])
def test_a_time_outside_of_the_calendar_is_named(time: str) -> None:
    with pytest.raises(AylaConfigError, match=r"start .* is outside of the calendar"):
        parse_time(time, "start")


def test_a_missing_time_of_pandas_is_named() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(AylaConfigError, match="start is NaT: expected a time"):
        parse_time(pandas.NaT, "start")


def test_an_hour_is_printed_with_its_event_type_and_in_utc() -> None:
    zone = ZoneInfo("America/New_York")
    hour = ExportHour("datapoint", TWO)
    assert str(hour) == "datapoint 2024-05-09 02:00 UTC"
    assert hour.end == TWO + ONE_HOUR
    assert hour.partition == "event_type=datapoint/date=2024-05-09/hour=02"
    abroad = ExportHour("datapoint", TWO.astimezone(zone))
    assert (str(abroad), abroad.partition, abroad) == (str(hour), hour.partition, hour)


def test_hours_are_described_by_their_bounds() -> None:
    assert describe_hours([ExportHour("location", TWO)]) == "location 2024-05-09 02:00 UTC"
    hours = hours_of("location", TWO, TWO + 2 * ONE_HOUR)
    assert describe_hours(hours) == "location 2024-05-09 02:00 UTC to 2024-05-09 04:00 UTC (2 hours)"


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (
            TWO,
            TWO,
            "the interval from 2024-05-09T02:00:00+00:00 to 2024-05-09T02:00:00+00:00 holds no hour. With a schedule "
            "of '@hourly' Airflow 3 makes intervals of no width: use CronDataIntervalTimetable('0 * * * *', "
            "timezone='UTC'), or give start and end.",
        ),
        (
            TWO + timedelta(minutes=1),
            TWO + ONE_HOUR,
            "start 2024-05-09T02:01:00+00:00 isn't on the hour in UTC: the export knows whole hours only. Schedule "
            "the DAG on the hour, or give start and end.",
        ),
        (
            TWO,
            (TWO + ONE_HOUR).replace(tzinfo=None),
            "end 2024-05-09T03:00:00 has no time zone: write it as 2024-05-09T03:00:00+00:00",
        ),
        (
            TWO,
            TWO + timedelta(days=20 * 366, hours=1),
            "the interval from 2024-05-09T02:00:00+00:00 to 2044-05-24T03:00:00+00:00 is longer than 20 years: "
            "correct its bounds",
        ),
    ],
)
def test_an_interval_is_refused_with_what_to_do(start: datetime, end: datetime, message: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        hours_between(start, end)
    assert str(refused.value) == message


def test_an_interval_of_twenty_years_is_not_too_long() -> None:
    refuse_longer(TWO, TWO + timedelta(days=20 * 366))
    with pytest.raises(AylaConfigError):
        refuse_longer(TWO, TWO + timedelta(days=20 * 366, microseconds=1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            None,
            "start is empty: this run has neither a data interval nor a partition. Give start yourself, for example "
            "as a DAG parameter, or trigger the run with a logical date.",
        ),
        ("tomorrow", "start 'tomorrow' isn't an ISO 8601 time: write it as 2024-05-09T02:00:00+00:00"),
        (
            5,
            "start is 5, of the type int: expected a datetime with a time zone, or text such as "
            "2024-05-09T02:00:00+00:00",
        ),
        ("2024-05-09T02:00:00", "start 2024-05-09T02:00:00 has no time zone: write it as 2024-05-09T02:00:00+00:00"),
        ("9999-12-31T23:00:00+00:00", "start 9999-12-31T23:00:00+00:00 is outside of the calendar in UTC"),
    ],
)
def test_a_time_is_refused_with_what_to_do(value: object, message: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        parse_time(value, "start")
    assert str(refused.value) == message


def test_a_time_keeps_its_fields_to_the_microsecond() -> None:
    time = datetime(2024, 5, 9, 2, 3, 4, 5, tzinfo=INDIA)
    assert parse_time(time, "start") == parse_time("2024-05-09T02:03:04.000005+05:30", "start") == time


@pytest.mark.parametrize(("value", "empty"), [(None, True), ("", True), (" \n", True), ("0", False), (0, False)])
def test_nothing_and_spaces_are_empty(value: object, empty: bool) -> None:
    assert is_empty(value) is empty

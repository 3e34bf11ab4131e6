from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.hour_pattern import HourPattern
from ayla_provider.errors import AylaConfigError

PATTERNS = (
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d_%H-%M-%S",
    "%Y/%m/%d/%H",
    "%Y-%m-%d %H:%M:%S.000",
    "%m-%d-%Y %H",
    "year=%Y/month=%m/day=%d/hour=%H",
    "%H/%d.%m.%Y",
    "%Y%m%dT%H%MZ",
    "%d-%b-%Y %H:%M",
    "%Y/%b/%d/%H",
)
times = st.integers(-30_000 * 365, 200_000_000).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + minutes * MINUTE)
MINUTE = timedelta(minutes=1)


@given(times, st.sampled_from(PATTERNS), st.sampled_from(["a.csv", "b/c.csv", "2026/x"]))
def test_a_name_is_read_as_it_was_written(time: datetime, pattern: str, file: str) -> None:
    parsed = HourPattern(pattern).parse(f"{time.strftime(pattern)}/{file}")
    assert parsed
    assert hour_of(parsed) == hour_of(time)
    if "%S" in pattern:
        assert parsed == time.replace(microsecond=0)


@given(times, st.integers(1, 60), st.integers(0, 59), st.sampled_from(PATTERNS))
def test_a_window_holds_every_folder_of_its_hours(time: datetime, count: int, number: int, pattern: str) -> None:
    hours = [hour_of(time) + n * ONE_HOUR for n in range(count)]
    start, end = HourPattern(pattern).window(hours)
    folder = (hours[number % count] + timedelta(minutes=59, seconds=59)).strftime(pattern)
    assert start <= f"{folder}/~.csv" < end


def test_a_window_of_a_pattern_that_sorts_by_time_holds_nothing_else() -> None:
    hour = datetime(2026, 11, 28, 5, tzinfo=UTC)
    assert HourPattern("%Y/%m/%d/%H").window([hour]) == ("2026/11/28/05", "2026/11/28/06")
    assert HourPattern("%Y-%m-%dT%H:%M:%SZ").window([hour, hour + ONE_HOUR]) == ("2026-11-28T05", "2026-11-28T07")


@pytest.mark.parametrize("name", ["2026/13/28/05/a", "2026/11/28/05", "2026/11/28/05/", "2026/11/28/5/a", "x/a"])
def test_other_names_are_not_read(name: str) -> None:
    assert HourPattern("%Y/%m/%d/%H").parse(name) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%Y-%m-%d",
        "%Y-%m-%d %H %H",
        "%Y-%m-%d %I",
        "%Y-%m-%b %H",
        "%Y-%b-%b %H",
        "%M %Y-%m-%d %H",
        "%Y/%m//%d/%H",
        "%Y/../%m%d%H",
        "é%Y%m%d%H",
    ],
)
def test_a_pattern_must_state_an_hour(text: str) -> None:
    with pytest.raises(AylaConfigError, match="expected %Y, %m, %d, and %H, each once"):
        HourPattern(text)


@pytest.mark.parametrize(
    "text",
    [
        "%Y-%m-%d %H:%M:%S-05:00",
        "%Y-%m-%dT%H%M+0800",
        "%Y-%m-%d %H:%M:%S -0330",
        "%Y-%m-%d %H:%M:%S PM",
        "%Y-%m-%d %H am",
        "%Y-%m-%d %H:%M:%S PST",
        "%Y/%m/%d/%H EDT/files",
        *("%Y-%m-%d %H:%M:%S IST", "%Y-%m-%d %H:%M:%S CET", "%Y-%m-%d %H:%M:%S-05", "%Y-%m-%d %H:%M:%S+5:30"),
        *("%Y-%m-%d %H GMT+8", "%Y-%m-%d %HUTC+8", "%Y-%m-%d %H:%M (+08:00)", "%Y-%m-%d %H:%M+00:30"),
        *("%Y-%m-%d %H:%M:%S p.m.", "%Y-%m-%d %H:%M:%SPM", "%Y_%m_%d_%H_PST", "%Y_%m_%d_%H_AM", "%HAM %d-%b-%Y"),
        *("%Y-%m-%d %H:%M:%S CST", "%Y-%m-%d %H:%M:%S MST", "MST %Y-%m-%d %H", "%Y-%m-%dT%H-1200/a"),
        *("%Y-%m-%d %H/-05:00", "+0530/%Y-%m-%d %H"),
    ],
)
def test_a_pattern_of_local_time_is_refused(text: str) -> None:
    with pytest.raises(AylaConfigError, match=r"can't be read\. .*Ask Ayla support to write the folders in UTC"):
        HourPattern(text)


@pytest.mark.parametrize("end", ["+00:00", "-0000", "Z", " UTC", " GMT", ".000", "-00-00", ".000Z", "/part", " (UTC)"])
def test_a_pattern_of_utc_is_accepted(end: str) -> None:
    assert HourPattern(f"%Y-%m-%d %H:%M:%S{end}").parse(f"2026-11-28 05:00:00{end}/a.csv")

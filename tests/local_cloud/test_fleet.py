from __future__ import annotations

import base64
import re
import statistics
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.answers import HourAnswer
from ayla_provider.local_cloud.contents import crc32c_of
from ayla_provider.local_cloud.fleet import Fleet, lag_minutes
from ayla_provider.local_cloud.rows import LAYOUTS
from tests.local_cloud.clients import acs, bearer, list_url, object_url, sign_in

START = datetime(2024, 5, 9, tzinfo=UTC)
hours = st.integers(0, 20_000).map(lambda number: START + number * ONE_HOUR)
event_types = st.sampled_from(EVENT_TYPES)


def test_layouts_have_the_documented_numbers_of_columns() -> None:
    assert {layout.name: len(layout.columns) for layout in COLUMN_LAYOUTS} == {
        "datapoint-22": 22,
        "datapoint-17": 17,
        "datapoint_ack-24": 24,
        "connection-6": 6,
        "location-9": 9,
        "registration-8": 8,
        "registration-8-2020": 8,
        "connection-8-2018": 8,
        "datapoint-17-2018": 17,
        "datapoint_ack-21-2018": 21,
        "location-11-2018": 11,
        "registration-9-2018": 9,
    }
    for layout in COLUMN_LAYOUTS:
        assert len(set(layout.columns)) == len(layout.columns)
        named = {*layout.base64_columns, *layout.base64_strings, *([layout.identity] if layout.identity else [])}
        assert named <= set(layout.columns)


@given(event_types, hours, st.integers(0, 5))
def test_an_hour_depends_on_the_seed_and_itself_alone(event_type: str, hour: datetime, seed: int) -> None:
    one, other = Fleet(seed=seed), Fleet(seed=seed)
    other.files("datapoint", hour + ONE_HOUR)
    assert one.files(event_type, hour) == other.files(event_type, hour)


@given(event_types, hours)
def test_the_answers_are_true(event_type: str, hour: datetime) -> None:
    layout = LAYOUTS[event_type]
    for file in Fleet().files(event_type, hour):
        assert hour_of(file.answer.folder_time) == hour
        for generation, data in zip(file.answer.generations, file.contents, strict=True):
            assert (generation.size, generation.crc32c) == (len(data), crc32c_of(data))
            assert data == b"" or data.endswith(b"\r\n")
            rows = data.split(b"\r\n")[:-1]
            good = []
            for row in rows:
                try:
                    cells = row.decode().split(",")
                except UnicodeDecodeError:
                    continue
                if len(cells) == len(layout.columns):
                    good.append(dict(zip(layout.columns, cells, strict=True)))
            key = layout.identity
            distinct = {row[key] if key else tuple(row.items()) for row in good}
            assert generation.rows == len(rows)
            assert generation.malformed_rows == len(rows) - len(good)
            assert generation.distinct_rows == len(distinct)
            for row in good:
                for column in layout.base64_columns:
                    base64.b64decode(row[column], validate=True).decode()
                assert re.fullmatch(r"LC000X\d{9}", row["dsn"])


@pytest.mark.parametrize("offset", range(6))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_six_hours_in_a_row_hold_every_oddity(offset: int, seed: int) -> None:
    fleet = Fleet(seed=seed)
    answers = {
        event_type: [fleet.answer(event_type, START + (offset + number) * ONE_HOUR) for number in range(7)]
        for event_type in EVENT_TYPES
    }
    datapoints = answers["datapoint"][:6]

    def some(event_type: str, sign: str) -> bool:
        files = [file for hour in answers[event_type][:6] for file in hour.files]
        return any(
            {
                "replaced": len(file.generations) > 1,
                "empty": file.final.size == 0,
                "malformed": file.final.malformed_rows > 0,
                "duplicates": file.final.rows - file.final.malformed_rows > file.final.distinct_rows,
            }[sign]
            for file in files
        )

    assert some("connection", "replaced")
    assert some("datapoint_ack", "empty")
    assert some("datapoint", "malformed")
    assert some("datapoint", "duplicates")
    assert any(len(hour.files) == 2 and hour.files[0].file_name == hour.files[1].file_name for hour in datapoints)
    assert any(not hour.files for hour in answers["location"][:6])
    assert any(
        first_seen(one) > first_seen(two) for one, two in zip(datapoints, answers["datapoint"][1:], strict=False)
    )


def first_seen(hour: HourAnswer) -> datetime:
    return min(file.final.visible_at for file in hour.files)


def test_rows_are_out_of_sequence_somewhere_in_each_hour_of_datapoints() -> None:
    for number in range(6):
        (file, *_) = Fleet().files("datapoint", START + number * ONE_HOUR)
        column = LAYOUTS["datapoint"].columns.index("created_at")
        lines = [line.decode("utf-8", "replace").split(",") for line in file.contents[-1].split(b"\r\n")]
        times = [cells[column] for cells in lines if len(cells) == 22]
        assert times != sorted(times), "within an hour, only minutes and seconds differ"


def test_lags_are_spread_as_published() -> None:
    lags = [lag_minutes(share / 10_000) for share in range(10_001)]
    assert min(lags) == pytest.approx(15)
    assert statistics.median(lags) == pytest.approx(26.3)
    assert sum(lag > 49 for lag in lags) == pytest.approx(500, abs=2)
    assert sum(lag > 60 for lag in lags) == pytest.approx(300, abs=2)
    assert sum(lag > 24 * 60 for lag in lags) == pytest.approx(100, abs=2)


@given(event_types, hours, st.integers(1, 120))
def test_no_file_is_later_than_the_longest_lag(event_type: str, hour: datetime, minutes: int) -> None:
    fleet = Fleet(max_lag=timedelta(minutes=minutes))
    for file in fleet.answer(event_type, hour).files:
        times = [generation.visible_at for generation in file.generations]
        assert hour + ONE_HOUR < times[0]
        assert times[-1] <= hour + ONE_HOUR + timedelta(minutes=minutes)
        assert times == sorted(set(times))


def test_what_is_served_is_what_the_answer_key_says() -> None:
    with LocalCloud(start=START, end=START + 6 * ONE_HOUR, now=START + timedelta(days=3)) as cloud:
        token = acs(cloud, sign_in(cloud).json()["access_token"]).json()["tokenValue"]
        session = bearer(token)
        listing = session.get(list_url(cloud, cloud.vendor.name), params={"prefix": "1a2b3c4d/"}).json()
        served = {item["name"]: (item["size"], item["crc32c"], item["generation"]) for item in listing["items"]}
        key = cloud.answer_key()
        assert len(key) == 6 * 5
        files = [file for hour in key for file in hour.files]
        assert served == {
            file.object_name: (str(file.final.size), file.final.crc32c, str(file.final.generation)) for file in files
        }
        for file in files:
            data = session.get(object_url(cloud, cloud.vendor.name, file.object_name) + "?alt=media").content
            assert (len(data), crc32c_of(data)) == (file.final.size, file.final.crc32c)


def test_hours_are_filled_in_as_time_passes() -> None:
    with LocalCloud(hours=2, now=START) as cloud:
        assert {answer.hour for answer in cloud.answer_key()} == {START - 2 * ONE_HOUR, START - ONE_HOUR}
        cloud.clock.advance(timedelta(hours=3))
        assert max(answer.hour for answer in cloud.answer_key()) == START + 2 * ONE_HOUR
        assert any(cloud.vendor.live(name) for name in cloud.vendor.names if "2024-05-09 00" in name)

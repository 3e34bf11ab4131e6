"""Which hours have unusually few or many rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.volume import (
    KEPT,
    MOST_ANOMALIES,
    MOST_MODELS,
    WEEK,
    Anomaly,
    Direction,
    Expectation,
    Judgement,
    Rest,
    Volumes,
    expect,
    hour_at,
    index_of,
    judge,
    rest_of,
    together,
)

MONDAY = datetime(2026, 9, 7, tzinfo=UTC)
NOW = WEEK * 8 + 24 + 9
"""Tuesday at 09:00, after eight weeks."""


def hour(number: int) -> datetime:
    return MONDAY + number * ONE_HOUR


def of_week(number: int) -> int:
    """A day with a quiet night, and a quiet weekend."""
    of_day = 1000 + round(600 * math.sin((number % 24) / 24 * 2 * math.pi))
    return of_day // 2 if number % WEEK >= 5 * 24 else of_day


def volumes(rows: Callable[[int], int] = of_week, hours: int = NOW) -> Volumes:
    """The volumes of an event type with one model."""
    made = Volumes("datapoint")
    for number in range(hours):
        made.note_lines(hour(number), rows(number))
        made.note_models(hour(number), {"a": rows(number)} if rows(number) else {})
    return made


def fleet(shares: dict[str, float], hours: int = NOW, rows: Callable[[int], int] = of_week) -> Volumes:
    """The volumes of several models with one rhythm."""
    made = Volumes("datapoint")
    for number in range(hours):
        counts = {name: round(share * rows(number)) for name, share in shares.items()}
        made.note_models(hour(number), counts)
    return made


def next_hour(made: Volumes, counts: dict[str, int], number: int = NOW) -> list[Anomaly]:
    made.note_models(hour(number), counts)
    return made.judge_models(hour(number))


MODELS = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 0.7}


def usual(number: int = NOW, factor: float = 1.0) -> dict[str, int]:
    return {name: round(share * of_week(number) * factor) for name, share in MODELS.items()}


def test_an_index_is_that_of_an_hour() -> None:
    assert hour_at(index_of(MONDAY)) == MONDAY
    assert index_of(hour(7)) - index_of(MONDAY) == 7


def test_there_is_no_baseline_before_four_weeks() -> None:
    for weeks in range(4):
        assert expect(volumes(hours=weeks * WEEK).lines, index_of(hour(weeks * WEEK))) is None
    made = volumes(hours=4 * WEEK)
    assert expect(made.lines, index_of(hour(4 * WEEK))) is not None
    made = volumes(hours=3 * WEEK)
    made.note_lines(hour(3 * WEEK), 0)
    assert made.judge_lines(hour(3 * WEEK)) is None


@pytest.mark.parametrize(
    ("factor", "direction"),
    [(0.1, Direction.LOW), (0.9, None), (0.7, None), (1.9, None), (2.4, None), (4, Direction.HIGH)],
)
def test_lines_are_compared_with_the_same_hour_of_the_week(factor: float, direction: Direction | None) -> None:
    made = volumes()
    made.note_lines(hour(NOW), round(of_week(NOW) * factor))
    anomaly = made.judge_lines(hour(NOW))
    assert (anomaly.direction if anomaly else None) is direction
    if anomaly:
        assert abs(anomaly.expected - of_week(NOW)) <= 1


def test_half_of_the_lines_of_a_weekday_look_like_a_sunday() -> None:
    made = volumes()
    made.note_lines(hour(NOW), of_week(NOW) // 2)
    assert made.judge_lines(hour(NOW)) is None


def test_a_model_that_loses_half_of_its_rows_is_found_at_once() -> None:
    for model in MODELS:
        made = fleet(MODELS)
        counts = usual()
        counts[model] //= 2
        (anomaly,) = next_hour(made, counts)
        assert (anomaly.model, anomaly.direction, anomaly.count) == (model, Direction.LOW, counts[model])


def small_losses(*shares: float) -> list[list[str]]:
    """The models that are found in hours, one after the other, in which one of 100 rows an hour has a share of them."""
    shares_of_models = MODELS | {"small": 100 / of_week(NOW)}
    made = fleet(shares_of_models)
    found = []
    for number, share in enumerate(shares, NOW):
        counts = usual(number) | {"small": round(100 * share * of_week(number) / of_week(NOW))}
        found.append([each.model for each in next_hour(made, counts, number)])
    return found


def test_what_can_be_chance_in_one_hour_is_found_in_two() -> None:
    assert small_losses(0.55, 0.55) == [[], ["small"]]
    assert small_losses(0.55, 0.95, 0.55) == [[], [], []]
    # An hour that is far too low says nothing of the next one.
    assert small_losses(0.1, 0.7) == [["small"], []]
    assert small_losses(0.55, 0.7) == [[], []]


def test_of_two_hours_each_must_be_known() -> None:
    made = fleet({"a": 100 / of_week(NOW)})
    for series in made.models.values():
        series.pop(index_of(hour(NOW - 1)))
    assert next_hour(made, {"a": 55}) == []
    assert together(None, EXPECTED) is None
    assert together(EXPECTED, None) is None


@given(st.floats(10, 10**6), st.floats(10, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_two_hours_together_vary_less_than_the_worse_one(first: float, second: float, one: float, other: float) -> None:
    """The variance of a sum of counts, by chance, is their sum. What isn't chance doesn't get less."""
    hours = [
        Expectation(usual, usual / 2, usual * 2, math.sqrt(1 / usual + beyond**2))
        for usual, beyond in ((first, one), (second, other))
    ]
    both = together(hours[0], hours[1])
    assert both is not None
    assert (both.usual, both.hours) == (first + second, 2)
    assert both.spread == pytest.approx(math.sqrt(1 / (first + second) + max(one, other) ** 2), rel=1e-6)


def test_after_a_release_hours_do_not_look_as_if_they_varied_more() -> None:
    def noisy(number: int) -> int:
        return round(of_week(number) * (1 + 0.03 * math.sin(number * number)))

    def released(number: int) -> int:
        # Of the hours of the last week, half have it.
        return 2 * noisy(number) if number >= NOW - WEEK // 2 else noisy(number)

    index = index_of(hour(NOW))
    before, after = expect(volumes(noisy).lines, index), expect(volumes(released).lines, index)
    assert before is not None
    assert after is not None
    assert after.usual == pytest.approx(2 * before.usual, rel=0.02)
    assert after.spread == pytest.approx(before.spread, rel=0.2)


def test_what_small_models_do_by_chance_does_not_make_a_day_odd() -> None:
    """On an odd day, the loss of half isn't found: a Sunday has half of the rows."""
    made = fleet({"a": 1.0, "b": 0.05, "c": 0.05, "d": 0.05})
    counts = {"a": of_week(NOW) // 2, "b": 61, "c": 82, "d": 82}
    assert [each.model for each in next_hour(made, counts)] == ["a"]


def test_a_model_that_is_silent_is_found_at_once() -> None:
    made = fleet(MODELS)
    counts = usual()
    del counts["d"]
    (anomaly,) = next_hour(made, counts)
    assert (anomaly.model, anomaly.count) == ("d", 0)


def test_a_holiday_of_all_models_is_no_anomaly() -> None:
    made = fleet(MODELS)
    assert next_hour(made, usual(factor=0.45)) == []


def test_on_a_holiday_a_model_that_loses_far_more_is_found() -> None:
    made = fleet(MODELS)
    counts = usual(factor=0.5)
    counts["b"] = counts["b"] // 5
    assert [each.model for each in next_hour(made, counts)] == ["b"]


def test_a_holiday_in_the_weeks_before_changes_nothing() -> None:
    def with_holiday(number: int) -> int:
        return of_week(number) // 3 if number // 24 in (5 * 7 + 1, 7 * 7) else of_week(number)

    made = volumes(with_holiday)
    expected = expect(made.lines, index_of(hour(NOW)))
    assert expected is not None
    assert abs(expected.usual - of_week(NOW)) <= 0.02 * of_week(NOW)


def test_growth_is_followed() -> None:
    def growing(number: int) -> int:
        return round(of_week(number) * 1.1 ** (number / WEEK))

    made = volumes(growing)
    expected = expect(made.lines, index_of(hour(NOW)))
    assert expected is not None
    assert expected.usual == pytest.approx(growing(NOW), rel=0.03)
    made.note_lines(hour(NOW), round(growing(NOW) * 0.3))
    assert made.judge_lines(hour(NOW))


def test_a_change_that_stays_is_usual_after_two_days() -> None:
    def released(number: int) -> int:
        return of_week(number) * (2 if number >= NOW - 48 else 1)

    expected = expect(volumes(released).lines, index_of(hour(NOW)))
    assert expected is not None
    assert expected.usual == pytest.approx(2 * of_week(NOW), rel=0.02)


def test_a_small_fleet_is_never_unusual() -> None:
    made = volumes(lambda number: 25)
    made.note_lines(hour(NOW), 0)
    assert made.judge_lines(hour(NOW)) is None


def test_an_anomaly_is_one_until_three_usual_hours() -> None:
    made = volumes(hours=NOW + 30)
    low = {NOW, NOW + 1, NOW + 4}
    begun = []
    for number in range(NOW, NOW + 20):
        made.note_lines(hour(number), 20 if number in low else of_week(number))
        begun.append(made.judge_lines(hour(number)))
    assert [each is not None for each in begun] == [True, *[False] * 19]
    (anomaly,) = made.anomalies
    assert (anomaly.start, anomaly.last, anomaly.hours, anomaly.over) == (hour(NOW), hour(NOW + 4), 3, True)
    made.note_lines(hour(NOW + 20), 20)
    assert made.judge_lines(hour(NOW + 20)) is not None
    assert len(made.anomalies) == 2


def test_a_file_that_comes_late_explains_an_hour() -> None:
    made = volumes()
    made.note_lines(hour(NOW), 20)
    assert made.judge_lines(hour(NOW)) is not None
    made.note_lines(hour(NOW), of_week(NOW))
    assert made.judge_lines(hour(NOW)) is None
    assert made.anomalies == []


def test_an_earlier_hour_that_comes_later_does_not_end_an_anomaly() -> None:
    made = volumes(hours=NOW - 1)
    made.note_lines(hour(NOW), 20)
    made.judge_lines(hour(NOW))
    made.note_lines(hour(NOW - 1), of_week(NOW - 1))
    assert made.judge_lines(hour(NOW - 1)) is None
    (anomaly,) = made.unusual
    assert anomaly.normal == 0


def test_a_model_of_which_the_receipt_says_nothing_is_unknown_and_not_silent() -> None:
    made = fleet(MODELS)
    counts = usual()
    del counts["d"]
    made.note_models(hour(NOW), counts, is_complete=False)
    assert index_of(hour(NOW)) not in made.models["d"]
    assert made.judge_models(hour(NOW)) == []


def test_models_and_hours_are_bounded() -> None:
    made = Volumes("datapoint")
    for number in range(MOST_MODELS * 2):
        made.note_models(hour(number), {f"model {number}": 5, "first": 1})
    assert len(made.models) == MOST_MODELS
    made.forget_before(hour(MOST_MODELS * 2) - timedelta(hours=10))
    # A model that has had no row since then is forgotten.
    assert set(made.models) == {"first"}
    assert len(made.models["first"]) == 10
    assert timedelta(weeks=9) == KEPT


EXPECTED = expect(volumes(hours=5 * WEEK).lines, index_of(hour(5 * WEEK)))


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_rows_are_never_lower(one: int, other: int) -> None:
    fewer, more = sorted((one, other))
    low, high = judge(fewer, EXPECTED).direction, judge(more, EXPECTED).direction
    order = {Direction.LOW: -1, None: 0, Direction.HIGH: 1}
    assert order[low] <= order[high]


def test_nothing_is_expected_of_a_fleet_that_has_gone() -> None:
    expected = Expectation(usual=-0.6, lowest=-0.6, highest=-0.6, spread=1.0)
    assert judge(100, expected).expected == 0


def test_a_usual_hour_that_is_judged_again_counts_once() -> None:
    made = volumes()
    made.note_lines(hour(NOW), 10)
    assert made.judge_lines(hour(NOW)) is not None
    made.note_lines(hour(NOW + 1), of_week(NOW + 1))
    for _ in range(5):
        made.judge_lines(hour(NOW + 1))
    assert len(made.unusual) == 1
    for number in (2, 3):
        made.note_lines(hour(NOW + number), of_week(NOW + number))
        made.judge_lines(hour(NOW + number))
    assert made.unusual == []


def test_an_anomaly_is_told_to_people_and_to_programs() -> None:
    one = Anomaly("", Direction.LOW, hour(7), hour(9), 1200, 2400, hours=3, normal=1)
    shown = {
        "event_type": "datapoint",
        "model": None,
        "direction": "low",
        "hour": "2026-09-07T07:00:00+00:00",
        "last_hour": "2026-09-07T09:00:00+00:00",
        "count": 1200,
        "expected": 2400,
        "hours": 3,
        "over": False,
    }
    assert one.document("datapoint") == shown
    assert one.describe("datapoint") == "datapoint: 1,200 lines, about 2,400 are usual at that time"
    other = replace(one, model="LC", direction=Direction.HIGH, over=True)
    assert other.document("datapoint") == shown | {"model": "LC", "direction": "high", "over": True}
    assert other.describe("datapoint") == "datapoint, model LC: 1,200 rows, about 2,400 are usual at that time"


def test_of_a_steady_fleet_the_expectation_is_what_it_always_had() -> None:
    expected = expect(volumes(lambda number: 399).lines, index_of(hour(NOW)))
    assert expected is not None
    assert (expected.usual, expected.lowest, expected.highest) == pytest.approx((399, 399, 399))
    # Counts differ by chance alone.
    assert (expected.spread, expected.hours) == (pytest.approx(1 / math.sqrt(400)), 1)


def test_the_other_weekdays_say_what_is_least_and_most() -> None:
    by_day = [300, 400, 500, 600, 700, 200, 100]
    series = {number: by_day[number // 24 % 7] - 1 for number in range(NOW)}
    expected = expect(series, NOW)
    assert expected is not None
    # A Tuesday.
    assert (expected.usual, expected.lowest, expected.highest) == pytest.approx((399, 99, 699))


@pytest.mark.parametrize(
    ("usual", "count", "direction"),
    [
        # Two thirds are usual, whatever the spread.
        (10_000, 6_510, None),
        (10_000, 6_490, Direction.LOW),
        (10_000, 24_990, None),
        (10_000, 25_010, Direction.HIGH),
        # Few rows differ by chance.
        (100, 46, None),
        (100, 45, Direction.LOW),
        (50, 11, None),
        (50, 10, Direction.LOW),
        (15, 54, None),
        (15, 56, Direction.HIGH),
    ],
)
def test_a_count_is_unusual_beyond_certain_limits(usual: int, count: int, direction: Direction | None) -> None:
    assert judge(count, Expectation(usual, usual, usual, 0.01)) == Judgement(count, usual, direction)


def test_an_hour_is_compared_with_the_lowest_and_the_highest_weekday() -> None:
    expected = Expectation(10_000, 5_000, 20_000, 0.01)
    assert [judge(count, expected).direction for count in (3_300, 3_200)] == [None, Direction.LOW]
    assert [judge(count, expected).direction for count in (49_900, 50_100)] == [None, Direction.HIGH]
    assert judge(5, None) == Judgement(5, None, None)


def test_a_wide_spread_makes_a_wide_band() -> None:
    expected = Expectation(10_000, 10_000, 10_000, 0.2)
    low, high = round(10_000 * math.exp(-1)), round(10_000 * math.exp(1))
    assert [judge(count, expected).direction for count in (low + 9, low - 9)] == [None, Direction.LOW]
    assert [judge(count, expected).direction for count in (high - 9, high + 9)] == [None, Direction.HIGH]


def test_what_the_rest_of_the_fleet_does_is_explained() -> None:
    alike = Expectation(999, 999, 999, 0.01)
    counts = {"a": 999, "b": 499, "c": 499, "small": 0}
    expected = dict.fromkeys("abc", alike) | {"small": replace(alike, usual=29.9), "new": alike, "unknown": None}
    rest = rest_of(counts, expected, "a")
    assert rest is not None
    assert rest.common == pytest.approx(math.log(999 / 1999))
    assert rest.typical == pytest.approx(math.sqrt(math.log(2) ** 2 - 1 / 999))
    assert rest.is_odd
    # With less than two others, nobody knows it.
    assert rest_of(counts, {"a": alike, "b": alike}, "a") is None
    assert rest_of(counts, {"a": alike, "b": alike, "c": alike}, "a") == rest
    assert [Rest(common, 0.0).is_odd for common in (0.13, 0.14, -0.14)] == [False, True, True]
    assert [Rest(0.0, typical).is_odd for typical in (0.13, 0.14)] == [False, True]


def test_numbers_of_one_hour_are_forgotten_and_others_stay() -> None:
    made = Volumes("datapoint")
    for number in range(3):
        made.note_models(hour(number), {"a": 5, "b": 6})
    made.forget_models(hour(1))
    first, last = index_of(hour(0)), index_of(hour(2))
    assert made.models == {"a": {first: 5, last: 5}, "b": {first: 6, last: 6}}


def test_old_numbers_and_anomalies_that_are_over_are_forgotten() -> None:
    made = Volumes("datapoint")
    for number in range(4):
        made.note_lines(hour(number), number)
        made.note_models(hour(number), {"a": 5, "b": number == 0})
    old, late = (Anomaly("a", Direction.LOW, hour(0), hour(last), 1, 9, over=True) for last in (1, 2))
    going_on = Anomaly("b", Direction.LOW, hour(0), hour(0), 1, 9)
    made.anomalies = [old, late, going_on]
    made.forget_before(hour(2))
    assert made.lines == {index_of(hour(2)): 2, index_of(hour(3)): 3}
    assert made.models == {"a": {index_of(hour(2)): 5, index_of(hour(3)): 5}}
    assert made.anomalies == [late, going_on]
    made.anomalies = [replace(going_on, count=number) for number in range(MOST_ANOMALIES + 2)]
    made.forget_before(hour(2))
    assert [each.count for each in made.anomalies] == list(range(2, MOST_ANOMALIES + 2))


def test_the_newest_lines_are_judged_by_themselves() -> None:
    assert Volumes("datapoint").newest_lines() is None
    made = volumes(lambda number: 999)
    made.note_lines(hour(NOW), 10)
    assert made.newest_lines() == Judgement(10, 999, Direction.LOW)
    assert made.weeks(hour(NOW)) == 8
    assert volumes(hours=3 * WEEK).weeks(hour(3 * WEEK)) == 3
    # Eight weeks before, at most.
    assert [volumes(hours=3 * WEEK).weeks(hour(weeks * WEEK - 1)) for weeks in (11, 12)] == [1, 0]
    assert made.anomalies == []

"""Looks that share their listings, against looks that list for themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_of
from ayla_provider.errors import AylaError, AylaUnavailable
from ayla_provider.source import shared_listings
from ayla_provider.source.bucket import SourceObject
from ayla_provider.source.export import Export
from ayla_provider.source.shared_listings import SharedListings
from ayla_provider.source.wait import look
from tests.support.exporter import DAY, FOLDERS, UNKNOWN_STYLES, Exporter, History, MemoryBucket
from tests.support.proofs import scale

START = datetime(2026, 11, 1, tzinfo=UTC)
RULE = ArrivalRule()
many = settings(max_examples=scale(20, 400), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def result_of(export: Export, hours: Sequence[ExportHour], rule: ArrivalRule) -> Any:
    """Return the look at some hours, or its error."""
    try:
        return look(export, hours, rule)
    except AylaError as error:
        return type(error), str(error)


@st.composite
def histories(draw: st.DrawFn) -> History:
    hours = 24 * 8
    first = draw(st.integers(24, hours))
    return History(
        draw(st.integers(0, 2**32)),
        hours,
        stall=draw(st.sampled_from([(0, 0), (first, first + 30), (first, 10**4)])),
        style=draw(
            st.one_of(
                st.just(("", 0, 0.0)),
                st.tuples(st.sampled_from(UNKNOWN_STYLES), st.integers(0, hours), st.sampled_from([0.1, 1.0])),
            )
        ),
        renamed=draw(st.sampled_from([("", 0), ("Connections", first)])),
        retention=draw(st.sampled_from([{}, {"connection": 3}])),
        reposts=draw(st.integers(0, 3)),
        future=draw(st.booleans()),
    )


@many
@given(history=histories(), seed=st.integers(0, 2**32), by_time=st.booleans())
def test_a_look_gets_what_it_would_get_alone(history: History, seed: int, by_time: bool) -> None:
    random = Random(seed)
    exporter = Exporter(history)
    now = history.time(random.randint(48, history.hours)) + timedelta(minutes=random.randint(0, 59))
    looks = []
    for _ in range(20):
        start = history.time(random.randint(0, history.hours))
        hours = hours_of(EventType(random.choice(list(FOLDERS))), start, start + random.choice([1, 1, 1, 5]) * ONE_HOUR)
        rule = random.choice([RULE, ArrivalRule(timedelta(hours=2), timedelta(hours=3)), ArrivalRule(timedelta(0))])
        looks.append((hours, rule))
    if by_time:
        looks.sort(key=lambda wanted: wanted[0][0])
    shared = exporter.export(now)
    with shared.standing_still(SharedListings(shared.source)):
        together = [result_of(shared, *wanted) for wanted in looks]
    alone = [result_of(exporter.export(now), *wanted) for wanted in looks]
    assert together == alone


@pytest.mark.parametrize("event_types", [["datapoint"], list(FOLDERS)])
def test_the_number_of_listings_doesnt_depend_on_the_number_of_looks(event_types: list[str]) -> None:
    # The exporter is stalled since midnight.
    history = History(1, 24 * 12, stall=(21 + 24 * 8, 10**4))
    exporter = Exporter(history)
    midnight = history.time(21 + 24 * 8)
    assert midnight.hour == 0
    now = midnight + timedelta(hours=26)

    def requests(hours: int, waits: int) -> int:
        export = exporter.export(now)
        bucket = export.source
        with export.standing_still(SharedListings(bucket)):
            for event_type in event_types:
                for hour in hours_of(EventType(event_type), midnight, midnight + hours * ONE_HOUR):
                    for _ in range(waits):
                        assert look(export, [hour], RULE).result["hours"] == {"overdue": 1}
        return bucket.requests

    one = requests(1, 1)
    assert requests(1, 10) == one
    assert requests(23, 1) == requests(23, 5)
    # The last hour of a date, and of the oldest waits, shows more of what is around it.
    assert requests(23, 1) <= one + len(event_types)


class Odd(MemoryBucket):
    """A bucket some of whose listings fail, or that gives objects out of order."""

    def __init__(self, names: Sequence[str], *, failing: str = "~", page: int = 1000, reverse: bool = False) -> None:
        super().__init__(dict.fromkeys(names, START))
        self.failing = failing
        self._page = page
        if reverse:
            self._objects.reverse()

    def objects(self, prefix: str, what: str, **bounds: Any) -> Iterator[SourceObject]:
        for count, item in enumerate(super().objects(prefix, what, **bounds)):
            if count % self._page == 0 and item.name >= self.failing:
                raise AylaUnavailable(f"{what}: no answer")
            yield item


def names_of(source: Any, what: str = "a list", **bounds: Any) -> list[str]:
    return [item.name for item in source.objects("a/", what, **bounds)]


def test_a_failure_reaches_each_look_in_its_own_words_and_is_asked_for_once() -> None:
    bucket = Odd(["a/1", "a/2", "a/3"], failing="a/2", page=1)
    shared = SharedListings(bucket)
    for what in ("the first list", "the second list"):
        with pytest.raises(AylaUnavailable, match=f"^{what}: no answer"):
            names_of(shared, what)
    assert bucket.requests == 1
    bucket.failing = "~"
    assert names_of(SharedListings(bucket)) == ["a/1", "a/2", "a/3"]


class Refused(AylaError):
    """An error that isn't made of its text alone."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(f"{what}: {status}")
        self.status = status


def test_a_failure_of_any_kind_reaches_each_look() -> None:
    class Failing(MemoryBucket):
        def folders(self, prefix: str, what: str) -> list[str]:
            raise Refused(what, 418)

    shared = SharedListings(Failing({}))
    for what in ("the first look", "the second look"):
        with pytest.raises(Refused) as failure:
            shared.folders("a/", what)
        assert (str(failure.value), failure.value.status) == (f"{what}: 418", 418)


def test_a_failure_of_the_list_of_folders_reaches_each_look() -> None:
    class Failing(MemoryBucket):
        def folders(self, prefix: str, what: str) -> list[str]:
            self.requests += 1
            raise AylaUnavailable(f"{what}: no answer")

    bucket = Failing({})
    shared = SharedListings(bucket)
    for what in ("the first list", "the second list"):
        with pytest.raises(AylaUnavailable, match=f"^{what}: no answer"):
            shared.folders("a/", what)
    assert bucket.requests == 1


def test_an_answer_out_of_order_is_passed_on_as_it_is() -> None:
    shared = SharedListings(Odd(["a/1", "a/2", "a/3"], reverse=True))
    assert names_of(shared) == names_of(shared) == ["a/3", "a/2", "a/1"]


def test_more_than_a_limit_isnt_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_listings, "MOST_OBJECTS", 3)
    few, more = ["a/1", "a/2"], ["b/1", "b/2"]
    bucket = Odd([*few, *more])
    shared = SharedListings(bucket)
    for _ in range(3):
        assert names_of(shared) == few
        assert [item.name for item in shared.objects("b/", "")] == more
    assert bucket.requests == 1 + 3


texts = st.text(alphabet="0123:~é", min_size=0, max_size=2).map(lambda text: f"a/{text}")


@given(
    names=st.sets(st.text(alphabet="0123:~é", min_size=1, max_size=2).map(lambda text: f"a/{text}")),
    queries=st.lists(st.tuples(texts, texts | st.just(""), st.none() | st.integers(1, 3)), max_size=8),
)
def test_any_part_is_listed_as_by_the_bucket(names: set[str], queries: list[tuple[str, str, int | None]]) -> None:
    bucket = MemoryBucket(dict.fromkeys([*names, "a", "a0", "b/1"], START))
    shared = SharedListings(bucket)
    for start, end, most in queries:
        bounds = {"start_offset": start, "end_offset": end, "max_results": most}
        assert names_of(shared, **bounds) == names_of(bucket, **bounds)
    before = bucket.requests
    for start, end, most in queries:
        names_of(shared, start_offset=start, end_offset=end, max_results=most)
    assert bucket.requests == before


def test_time_stands_still_for_all_looks() -> None:
    history = History(1, 48)
    times = iter([START, START + DAY])
    export = Export(Exporter(history).bucket(START), "", now=lambda: next(times))
    with export.standing_still(SharedListings(export.source)):
        assert export.now() == export.now() == START
    assert export.now() == START + DAY

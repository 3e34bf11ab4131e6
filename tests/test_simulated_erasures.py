"""What the simulation's answer key knows of erasures, and which weeks are loaded."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.archive.erasures import LineFilter, Matcher
from ayla_provider.local_cloud.fleet import Fleet
from simulation.customer import Customer
from simulation.erasures import planned_requests
from simulation.subjects import Subject, Subjects
from simulation.weeks import overlaps, windows_of
from simulation.worker import Result

HOUR = datetime(2026, 11, 3, 7, tzinfo=UTC)
DSN, USER = "LC000X000000001", "3fa85f64-5717-4562-b3fc-2c963f66afa6"
BOTH = {"dsn": DSN, "user_uuid": USER}


def erased(identifiers: dict[str, str], start: datetime | None = None, until: datetime = HOUR) -> Subjects:
    return Subjects([Subject(identifiers, start, until)])


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        (f"a,{DSN},b", True),
        (f"a,{DSN.lower()},b", True),
        (f"a,{DSN}2,b", False),
        (f"a,X{DSN},b", False),
        (f"a,{USER.upper()},b", True),
        (f"a,{USER.replace('-', '')},b", True),
        (f"a,{base64.b64encode(f'of {DSN} of'.encode()).decode()},b", True),
        (f"a,{base64.b64encode(base64.b64encode(f'of {USER}'.encode())).decode()},b", True),
        ("a,LC000X000000002,b", False),
    ],
)
def test_a_line_names_whom_it_has_in_any_cell(line: str, is_named: bool) -> None:
    other = b"a,another,line\r\n"
    content = other + line.encode() + b"\r\n" + other
    left = erased(BOTH).left(HOUR - timedelta(hours=1), content)
    assert left == (other + other if is_named else content)


@pytest.mark.parametrize(
    ("start", "until", "is_erased"),
    [
        (None, HOUR, False),
        (None, HOUR + timedelta(minutes=1), True),
        (HOUR + timedelta(minutes=59), HOUR + timedelta(hours=2), True),
        (HOUR + timedelta(hours=1), HOUR + timedelta(hours=2), False),
    ],
)
def test_an_hour_that_a_span_touches_counts_as_a_whole(
    start: datetime | None, until: datetime, is_erased: bool
) -> None:
    assert erased(BOTH, start, until).names(HOUR, DSN.encode()) is is_erased


@given(st.integers(0, 5000), st.integers(0, 4))
def test_of_made_up_files_it_leaves_what_the_filter_of_copies_leaves(number: int, kind: int) -> None:
    fleet = Fleet(seed=number % 7, rows=12)
    hour = HOUR + timedelta(hours=number)
    event_type = ("datapoint", "datapoint_ack", "connection", "location", "registration")[kind]
    (request, *_) = planned_requests(number, fleet, [(HOUR, HOUR + timedelta(days=1))])
    subject = Subject(request.subject.identifiers, None, hour + timedelta(hours=1))
    matcher = Matcher.of_known((value, "entry") for value in subject.identifiers.values())
    for file in fleet.files(event_type, hour):
        content = file.contents[-1]
        assert Subjects([subject]).left(hour, content) == b"".join(LineFilter(matcher).blocks([content]))


def test_a_month_is_loaded_as_a_whole_and_of_a_year_one_week_in_each_month() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    month, year = start + timedelta(days=31), start + timedelta(days=365)
    assert windows_of(start, month) == [(start, month)]
    assert windows_of(start, year, everything=True) == [(start, year)]
    weeks = windows_of(start, year)
    assert [(one.day, other.day) for one, other in weeks] == [(8, 15)] * 12
    assert len({(one.year, one.month) for one, _ in weeks}) == 12
    span = datetime(2026, 11, 12, tzinfo=UTC), datetime(2026, 12, 9, tzinfo=UTC)
    assert overlaps(*span, weeks) == [(span[0], weeks[0][1]), (weeks[1][0], span[1])]


def test_the_hours_of_a_week_are_loaded_until_all_of_it_has_come_and_then_no_more() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    week = start + timedelta(days=7), start + timedelta(days=14)
    customer = Customer(start, start + timedelta(days=60), ["location"], [week], lake=True)

    def loads_at(day: float) -> list[tuple[str, datetime, datetime]]:
        tasks = customer.loads_due(start + timedelta(days=day, minutes=45))
        customer.record([(task, Result()) for task in tasks])
        return [(task.dag, task.start, task.end) for task in tasks]

    assert loads_at(7) == []
    assert loads_at(8) == [(dag, week[0], start + timedelta(days=8)) for dag in ("lake", "load")]
    assert loads_at(15) == [(dag, start + timedelta(days=8), week[1]) for dag in ("lake", "load")]
    # After that, once a day.
    assert loads_at(17.25) == []
    assert loads_at(18) == [(dag, start + timedelta(days=11), week[1]) for dag in ("lake", "load")]
    assert loads_at(30) == []
    (failing, _) = customer.loads_due(start + timedelta(days=20, minutes=45))
    customer.record([(failing, Result("AylaDestinationError", "it is unreachable"))])
    assert customer.loads_due(start + timedelta(days=21, minutes=45)) == []
    assert not customer._loads


def test_people_ask_in_the_weeks_that_are_loaded() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    weeks = windows_of(start, start + timedelta(days=365))
    requests = planned_requests(1, Fleet(seed=1, rows=12), weeks)
    assert requests == planned_requests(1, Fleet(seed=1, rows=12), weeks) != planned_requests(2, Fleet(seed=2), weeks)
    assert all(any(one <= request.at < other for one, other in weeks) for request in requests)
    assert len({request.at.month for request in requests}) == 12
    assert {len(request.subject.identifiers) for request in requests} == {1, 2}
    assert {bool(request.held_for) for request in requests} == {True, False}

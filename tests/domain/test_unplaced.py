"""Which hours an object that can't be placed in time leaves in doubt, and what a person can do about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.unplaced import Unplaced, UnplacedObjects, advise, ignoring, likely_hour

HOUR = ExportHour(EventType("connection"), datetime(2026, 8, 20, 19, tzinfo=UTC))
START = HOUR.start
TICK = timedelta(microseconds=1)


def test_a_name_that_looks_like_an_hour_casts_doubt_on_it_even_if_the_clock_was_wrong() -> None:
    unplaced = Unplaced.of("Connection/2026-08-20T19:00:00Z/10.csv", "Connection/", START - timedelta(hours=6))
    assert unplaced == Unplaced("Connection/2026-08-20T19:00:00Z/10.csv", START - timedelta(hours=6), START)
    assert unplaced.doubts_absence(HOUR)
    assert not unplaced.doubts_absence(ExportHour(HOUR.event_type, HOUR.end))


@pytest.mark.parametrize(
    ("unplaced", "absence", "completeness"),
    [
        # An object without any time can be a file of each hour that began before it was created.
        (Unplaced("a", START - TICK), False, False),
        (Unplaced("a", START), True, True),
        (Unplaced("a", START + 3 * ONE_HOUR - TICK), True, True),
        (Unplaced("a", START + 3 * ONE_HOUR), True, False),
        # One whose name looks like an hour is probably of that hour.
        (Unplaced("a", START, START), True, True),
        (Unplaced("a", START, START - ONE_HOUR), True, False),
        (Unplaced("a", START - TICK, START - ONE_HOUR), False, False),
        # Of a known style, it certainly is.
        (Unplaced("a", START - TICK, START, certain=True), True, True),
        (Unplaced("a", START, START - ONE_HOUR, certain=True), False, False),
        # More than a look reads.
        (Unplaced("a", START - TICK, all_hours=True), True, False),
        (Unplaced("a", START, all_hours=True), True, False),
        # A folder that nobody declared holds whole hours.
        (Unplaced("a", START, folder="x"), True, False),
        (Unplaced("a", START, START, folder="x"), True, False),
    ],
)
def test_an_object_leaves_those_hours_in_doubt_that_it_can_belong_to(
    unplaced: Unplaced, absence: bool, completeness: bool
) -> None:
    assert unplaced.doubts_absence(HOUR) is absence
    assert unplaced.doubts_completeness(HOUR) is completeness


def test_an_object_of_a_second_folder_is_read_by_naming_both() -> None:
    unplaced = Unplaced("oem/verbindung*/a.csv", START, folder="verbindung*", beside=("Connection", "Größe"))
    assert advise(unplaced, "connection") == (
        "the object 'oem/verbindung*/a.csv' is in a folder of this event type that the connection doesn't read. Set "
        'event_folders to {"connection": ["Connection", "Größe", "verbindung*"]} to read both. If it isn\'t export '
        'data, add "verbindung[*]/*" to ignored_objects'
    )


@pytest.mark.parametrize(
    "name", ["oem/export/Datapoint Ack/x/a.csv", "oem/export/datapoint_ACK/a.csv", "export/location/a"]
)
def test_an_object_of_an_export_in_another_folder_is_read_by_a_prefix(name: str) -> None:
    assert advise(Unplaced(name, START, folder="export"), "connection") == (
        f"the object '{name}' is in an event folder inside the folder 'export'. If the export is there, set prefix to "
        "the whole path of 'export' in the bucket. If it isn't export data, add \"export/*\" to ignored_objects"
    )


@pytest.mark.parametrize(
    ("event_type", "setting"),
    [
        ("datapoint_ack", '{"datapoint_ack": ["Verb", "Datapoint Ack"]}'),
        # Nobody knows the folder of this one.
        ("device_activation", '{"device_activation": ["Verb"]}'),
    ],
)
@pytest.mark.parametrize("name", ["oem/Verb/a.csv", "oem/Verb/location", "oem/Verb/2026/Location/a.csv"])
def test_an_object_of_an_unknown_folder_can_be_of_a_renamed_event_type(
    name: str, event_type: str, setting: str
) -> None:
    assert advise(Unplaced(name, START, folder="Verb"), event_type) == (
        f"the object '{name}' is in a folder that is not a known event type. If it is this event type under another "
        f"name, set event_folders in the connection to {setting}, the new name first; if it is another event type, "
        'give it a name of its own there. If it isn\'t export data, add "Verb/*" to ignored_objects'
    )


def test_an_object_of_an_unknown_style_needs_a_pattern() -> None:
    assert advise(Unplaced("oem/Connection/[new]/é?.csv", START)) == (
        "the object 'oem/Connection/[new]/é?.csv' can't be placed in time. If it is export data, set hour_pattern in "
        "the connection to how its folder writes the time, such as %Y-%m-%dT%H:%M:%SZ, %Y/%m/%d/%H, or %d-%b-%Y %H. "
        'If it is a stray file, add "oem/Connection/[[]new]/é[?].csv" to ignored_objects'
    )
    # Where no event type is known, the message says what to put there.
    assert '{"<event type>": ["x"]}' in advise(Unplaced("oem/x/a.csv", START, folder="x"))


def test_an_entry_of_ignored_objects_matches_the_name_alone() -> None:
    assert ignoring('a*b?c[d]"') == r'"a[*]b[?]c[[]d]\""'
    assert ignoring("a[b", "/*") == '"a[[]b/*"'


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-08-20T19:00:00Z/a.csv", START),
        ("2026-08-20 19", START),
        ("2026-08-20, 19h", START),
        ("2026/08/20/19/a.csv", START),
        ("2026082019", START),
        ("20260820T19", START),
        ("2026-08-20_7:00", START.replace(hour=7)),
        ("1999-08-20-19", START.replace(year=1999)),
        # Neither a date nor an hour that exists.
        ("2026-02-30T19", None),
        ("2026-08-20T24", None),
        ("2026-13-20T19", None),
        # Neither one style nor a year of our time.
        ("2026-08/20/19", None),
        ("3026-08-20T19", None),
        ("0999-08-20T19", None),
        ("a 2026-08-20T19", None),
        ("2026-08-20", None),
        ("2026-08-20 - 19", None),
        ("latest", None),
        ("", None),
    ],
)
def test_a_name_can_state_an_hour_in_any_style(text: str, hour: datetime | None) -> None:
    assert likely_hour(text) == hour


def test_of_many_objects_the_newest_of_each_hour_is_kept() -> None:
    objects = UnplacedObjects([Unplaced("a", START), Unplaced("b", START + TICK)])
    later, likely = Unplaced("c", START + ONE_HOUR), Unplaced("d", START, START)
    for unplaced in (later, likely, Unplaced("e", START - TICK, START), Unplaced("f", START)):
        objects.add(unplaced)
    assert list(objects) == [Unplaced("b", START + TICK), later, likely]
    # One that is about all hours counts more than a newer one.
    rest = Unplaced("g", START, all_hours=True)
    objects.add(rest)
    objects.add(Unplaced("h", START + 2 * TICK))
    assert list(objects) == [rest, later, likely]
    assert list(UnplacedObjects()) == []

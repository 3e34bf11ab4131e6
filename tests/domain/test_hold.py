"""Legal holds: what they cover, and whom they concern."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hold import HeldSubject, Hold, first_over, hold, hold_path, loads
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.keys import key_id, subject_hash
from ayla_provider.errors import AylaConfigError, AylaDestinationError, AylaNewerFormatError

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = "a key of a hold, 32 characters.."
OTHER_KEY = "another key, and just as long..."
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ({"user_uuid": ["3fa85f64-5717-4562-b3fc"]}, "user_uuid isn't a whole UUID"),
        ({"user_uuid": ["LC000X000000001"]}, "If it is a serial number, name it dsn"),
        ({"dsn": ["3fa85f64-5717-4562-b3fc-2c963f66afa6"]}, "If it is a user's, name it user_uuid"),
        ({"user_uuid": ["0" * 32]}, "user_uuid is all zeros"),
        ({"LC000X000000001": ["x"]}, "other fields than dsn and user_uuid"),
    ],
)
def test_a_subject_that_is_not_valid_is_refused_without_quoting_it(subject: dict[str, list[str]], problem: str) -> None:
    with pytest.raises(AylaConfigError, match=problem) as caught:
        hold("case-1", placed_at=NOW, subject=subject, key=KEY)
    for name, (value,) in subject.items():
        assert value == "x" or value not in str(caught.value)
        assert name.islower() or name not in str(caught.value)


def _hour(start: datetime, event_type: str = "datapoint") -> ExportHour:
    return ExportHour(EventType(event_type), start)


@given(
    offset=st.integers(-50, 50),
    start=st.none() | st.integers(-20, 0),
    end=st.none() | st.integers(1, 20),
)
def test_a_hold_covers_exactly_the_hours_of_its_range(offset: int, start: int | None, end: int | None) -> None:
    def at(hours: int | None) -> datetime | None:
        return None if hours is None else NOW + timedelta(hours=hours)

    placed = Hold("case-1", NOW, at(start), at(end))
    hour = NOW + timedelta(hours=offset)
    expected = (start is None or offset >= start) and (end is None or offset < end)
    assert placed.covers(_hour(hour)) is expected
    assert placed.touches(hour, hour + timedelta(hours=1)) is expected


def test_a_hold_that_ends_within_an_hour_covers_the_whole_hour() -> None:
    placed = hold("case-1", placed_at=NOW, start=NOW + timedelta(minutes=59), end=NOW + timedelta(minutes=61))
    assert [placed.covers(_hour(NOW + timedelta(hours=hours))) for hours in (-1, 0, 1, 2)] == [False, True, True, False]


def test_a_hold_on_one_event_type_leaves_the_others() -> None:
    placed = hold("case-1", placed_at=NOW, start=NOW, event_types=[EventType("location")])
    assert placed.covers(_hour(NOW, "location"))
    assert not placed.covers(_hour(NOW, "datapoint"))


def test_the_first_hold_over_an_hour_is_found_by_its_id() -> None:
    holds = [hold(name, placed_at=NOW, start=NOW) for name in ("case-2", "case-1")]
    found = first_over(holds, _hour(NOW))
    assert found is not None
    assert found.id == "case-1"
    assert first_over(holds, _hour(NOW - DAY)) is None


def test_a_hold_on_a_subject_concerns_that_subject_alone() -> None:
    placed = hold("case-1", placed_at=NOW, subject={"dsn": ["LC000X000000001"]}, key=KEY)
    assert placed.concerns({"dsn": ["LC000X000000002", " lc000x000000001"]}, [OTHER_KEY, KEY])
    assert not placed.concerns({"dsn": ["LC000X000000002"]}, [KEY])
    assert not placed.concerns({"user_uuid": ["LC000X000000001"]}, [KEY])


def test_a_hold_on_everything_concerns_every_subject_without_a_key() -> None:
    assert hold("case-1", placed_at=NOW, start=NOW).concerns({"dsn": ["LC000X000000001"]}, [])


def test_without_the_key_of_a_hold_nobody_can_say_whom_it_concerns() -> None:
    placed = hold("case-1", placed_at=NOW, subject={"dsn": ["LC000X000000001"]}, key=KEY)
    with pytest.raises(AylaConfigError) as refused:
        placed.concerns({"dsn": ["LC000X000000002"]}, [OTHER_KEY])
    assert str(refused.value) == (
        f"the legal hold 'case-1' was made with the key {key_id(KEY)}, which no given connection has. Without it "
        "nobody can say whether the hold is on this subject. Add a connection with that key, or release the hold."
    )


def test_the_text_of_a_hold_gives_the_same_hold_and_names_no_subject() -> None:
    placed = hold(
        "case-1",
        placed_at=NOW,
        start=NOW - DAY,
        end=NOW,
        event_types=[EventType("datapoint")],
        subject={"dsn": ["LC000X000000001"], "user_uuid": ["11111111-2222-3333-4444-555555555555"]},
        key=KEY,
        reason="file 7/26",
        placed_by={"user": "legal"},
    )
    text = placed.dumps()
    assert loads(text, "here") == placed
    assert not any(secret in text for secret in ("LC000X", "11111111", KEY))


def test_a_user_is_the_same_with_and_without_hyphens() -> None:
    one, other = "AAAAAAAA-2222-3333-4444-555555555555", "aaaaaaaa222233334444555555555555"
    assert subject_hash(KEY, "user_uuid", one) == subject_hash(KEY, "user_uuid", other)
    assert subject_hash(KEY, "user_uuid", one) != subject_hash(OTHER_KEY, "user_uuid", one)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"id": "../case"},
            "the hold's id is '../case': use at most 64 letters, digits, _ and -, without a name of a person or a "
            "device",
        ),
        ({"start": NOW, "end": NOW}, "the hold ends before it begins: correct start or end"),
        ({"subject": {}}, "the hold's subject has no value: give a dsn or a user_uuid"),
        ({"subject": {"ip": ["1"]}, "key": KEY}, "the hold's subject has other fields than dsn and user_uuid"),
        (
            {"subject": {"dsn": ["LC000X000000001"]}},
            "the hold is on a subject, so it needs a key for its hash: name the connection",
        ),
        ({}, "the hold is on everything for ever: give a start, an end, or a subject"),
        (
            {"start": NOW, "reason": "x" * 201},
            "the hold's reason has more than 200 characters: refer to a file instead",
        ),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        hold(**{"id": "case-1", "placed_at": NOW, **arguments})  # type: ignore[arg-type]
    assert str(refused.value) == message


def test_a_hold_has_what_was_given_and_nothing_else() -> None:
    assert hold("case-1", placed_at=NOW, end=NOW) == Hold("case-1", NOW, None, NOW, (), (), "", {})
    placed = hold(
        "case-1",
        placed_at=NOW,
        start=NOW,
        event_types=iter([EventType("location")]),
        subject={"dsn": ["LC000X000000001"], "user_uuid": ["11111111-2222-3333-4444-555555555555"]},
        key=KEY,
        reason="x" * 200,
        placed_by={"user": "legal"},
    )
    subjects = (
        HeldSubject("dsn", subject_hash(KEY, "dsn", "LC000X000000001"), key_id(KEY)),
        HeldSubject("user_uuid", subject_hash(KEY, "user_uuid", "11111111222233334444555555555555"), key_id(KEY)),
    )
    location = (EventType("location"),)
    assert placed == Hold("case-1", NOW, NOW, None, location, subjects, "x" * 200, {"user": "legal"})
    document = {
        "format": "ayla-export-hold/1",
        "id": "case-1",
        "start": NOW.isoformat(),
        "end": None,
        "event_types": ["location"],
        "subjects": [{"column": each.column, "hash": each.hash, "key_id": each.key_id} for each in subjects],
        "reason": "x" * 200,
        "placed_at": NOW.isoformat(),
        "placed_by": {"user": "legal"},
    }
    assert placed.dumps() == json.dumps(document, indent=1) + "\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "../a"}, "ValueError: its id isn't valid"),
        ({"id": 5}, "ValueError: id is int, not str"),
        ({"format": "ayla-hold/1"}, "ValueError: its format is 'ayla-hold/1'"),
        ({"start": "2026-11-01"}, "ValueError: start has no time zone"),
        ({"end": "2026-11-01"}, "ValueError: end has no time zone"),
        ({"placed_at": "2026-11-01"}, "ValueError: placed_at has no time zone"),
        ({"event_types": [5]}, "ValueError: an event type isn't text"),
        ({"event_types": {}}, "ValueError: event_types is dict, not list"),
        ({"reason": None}, "ValueError: reason is NoneType, not str"),
        ({"placed_by": []}, "ValueError: placed_by is list, not dict"),
        ({"subjects": {}}, "ValueError: subjects is dict, not list"),
        ({"subjects": [{"column": "ip", "hash": "", "key_id": ""}]}, "ValueError: a subject has another column"),
        ({"subjects": [{"column": "dsn", "hash": "A" * 64, "key_id": ""}]}, "ValueError: a subject's hash isn't valid"),
        (
            {"subjects": [{"column": "dsn", "hash": "a" * 64, "key_id": "a" * 9}]},
            "ValueError: a subject's key_id isn't valid",
        ),
        ({"subjects": [{"column": 5, "hash": "a" * 64, "key_id": ""}]}, "ValueError: column is int, not str"),
        ({"subjects": [{"column": "dsn", "hash": 5, "key_id": ""}]}, "ValueError: hash is int, not str"),
        ({"subjects": [{"column": "dsn", "hash": "a" * 64, "key_id": 5}]}, "ValueError: key_id is int, not str"),
    ],
)
def test_a_refused_hold_comes_with_the_reason_and_what_to_do(change: dict[str, object], reason: str) -> None:
    document = json.loads(hold("a", placed_at=NOW, start=NOW, end=NOW + DAY).dumps()) | change
    with pytest.raises(AylaDestinationError) as refused:
        loads(json.dumps(document), "gs://bucket/_holds/a.json")
    assert str(refused.value) == (
        f"gs://bucket/_holds/a.json isn't a valid legal hold of format ayla-export-hold/1 ({reason}). While it is "
        "there, nothing is removed or erased. Correct it, or release the hold."
    )


def test_a_hold_that_cannot_be_read_is_an_error_that_says_what_stops() -> None:
    for text in ("", "{}", "[]", hold("a", placed_at=NOW, start=NOW).dumps().replace('"placed_at"', '"placed"')):
        with pytest.raises(AylaDestinationError, match="nothing is removed or erased"):
            loads(text, "gs://bucket/_holds/a.json")
    with pytest.raises(AylaNewerFormatError):
        loads(hold("a", placed_at=NOW, start=NOW).dumps().replace("hold/1", "hold/2"), "here")


def test_the_path_of_a_hold_stays_in_its_folder() -> None:
    assert hold_path("case-1") == "_holds/case-1.json"
    with pytest.raises(AylaConfigError):
        hold_path("../case-1")

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.erasure import (
    ErasureKeys,
    Leftover,
    Place,
    State,
    canonical,
    may_touch,
    parse_entry,
    parse_request,
    shape_of,
)
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.keys import key_id
from ayla_provider.errors import AylaConfigError, AylaDestinationError, AylaNewerFormatError

DSN, USER = "LC000X000000007", "3FA85F64-5717-4562-b3fc-2c963f66afa6"
MADE = datetime(2026, 11, 30, 10, 30, 15, 250000, tzinfo=UTC)
KEYS = ErasureKeys.parse("a-new-key-of-sixteen an-old-key-of-sixteen", "the connection")


def request(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def at(hour: int, day: int = 30) -> ExportHour:
    return ExportHour(EventType("datapoint"), datetime(2026, 11, day, hour, tzinfo=UTC))


def test_an_entry_names_nobody_and_is_read_as_it_was_written() -> None:
    made = parse_request(request(dsn=DSN, user_uuid=USER, **{"from": "2026-11-01T00:00:00Z"}), "r", MADE)
    entry = made.entry(KEYS, MADE + timedelta(hours=1), {"run_id": "r"})
    entry = entry.done(MADE + timedelta(hours=2), {"csv_lines": 3}, [Leftover("a bucket", "versions", MADE)], {})
    text = entry.dumps()
    assert parse_entry(text.encode(), "here") == entry
    assert (entry.state, entry.key_id) == (State.DONE, key_id("a-new-key-of-sixteen"))
    for identifier in (DSN, USER):
        for spelling in (identifier, identifier.replace("-", "")):
            assert spelling.lower() not in text.lower()
    assert [subject.shape for subject in entry.subjects] == ["LL000L000000000", "uuid"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "it isn't JSON"),
        (b"[]", "it isn't an object"),
        (b"{}", "it has neither dsn nor user_uuid"),
        (request(dsn="AB1"), "dsn isn't text of 6 to 64"),
        (request(dsn=["LC000X000000007"]), "dsn isn't text of 6 to 64"),
        (request(dsn="LC000X0000,0007"), "dsn isn't text of 6 to 64"),
        (request(dsn=" LC000X000000007"), "dsn isn't text of 6 to 64"),
        (request(dsn=USER), "If it is a user's, name it user_uuid"),
        (request(dsn=USER.replace("-", "")), "If it is a user's, name it user_uuid"),
        (request(dsn=USER, user_uuid=DSN), "If it is a user's, name it user_uuid"),
        (request(user_uuid=DSN), "If it is a serial number, name it dsn"),
        (request(user_uuid=USER[:23]), "user_uuid isn't a whole UUID"),
        (request(user_uuid=f"{USER}0"), "user_uuid isn't a whole UUID"),
        (request(user_uuid=f"{{{USER}}}"), "user_uuid isn't a whole UUID"),
        (request(user_uuid=[USER]), "user_uuid isn't a whole UUID"),
        (request(user_uuid=""), "user_uuid isn't a whole UUID"),
        (request(user_uuid="00000000-0000-0000-0000-000000000000"), "user_uuid is all zeros"),
        (request(dsn=DSN, user_uuid="0" * 32), "user_uuid is all zeros"),
        (request(dsn=DSN, name="x"), "it has other fields"),
        (request(dsn=DSN, **{"from": DSN}), "from isn't a time"),
        (request(dsn=DSN, **{"from": "2026-12-01T00:00:00Z"}), "from isn't before until"),
        (b" " * 70000, "it is too large"),
        (f'{{"dsn": "{DSN}", "dsn": "{DSN}"}}'.encode(), "it has a field twice"),
    ],
)
def test_a_request_that_is_not_valid_is_refused_without_quoting_it(content: bytes, problem: str) -> None:
    with pytest.raises(AylaConfigError) as caught:
        parse_request(content, "gs://bucket/ticket-7.json", MADE)
    assert problem in str(caught.value)
    assert "gs://bucket/ticket-7.json" in str(caught.value)
    for identifier in (DSN, USER, USER[:23]):
        assert identifier not in str(caught.value)


@pytest.mark.parametrize("user", [USER, USER.lower(), USER.replace("-", "")])
def test_a_user_is_named_in_any_spelling_of_a_uuid(user: str) -> None:
    assert parse_request(request(user_uuid=user), "r", MADE).identifiers == {"user_uuid": user}


def test_nothing_after_the_request_is_erased() -> None:
    made = parse_request(request(dsn=DSN, until="2027-05-01T00:00:00Z"), "r", MADE)
    assert made.until == MADE
    entry = made.entry(KEYS, MADE, {})
    assert entry.touches(at(10))
    assert not entry.touches(at(11))


def test_an_hour_counts_as_a_whole() -> None:
    span = {"from": "2026-11-30T04:59:59Z", "until": "2026-11-30T06:00:01Z"}
    entry = parse_request(request(dsn=DSN, **span), "r", MADE).entry(KEYS, MADE, {})
    assert [hour for hour in range(10) if entry.touches(at(hour))] == [4, 5, 6]


@given(after=st.timedeltas(timedelta(0), timedelta(days=3650)), hours=st.integers(-3, 3))
def test_the_path_alone_never_hides_an_hour_that_the_entry_touches(after: timedelta, hours: int) -> None:
    until = datetime(2020, 1, 1, tzinfo=UTC) + after
    entry = parse_request(request(dsn=DSN), "r", until).entry(KEYS, until, {})
    start = until.replace(minute=0, second=0, microsecond=0) + timedelta(hours=hours)
    hour = ExportHour(EventType("datapoint"), start)
    assert may_touch(entry.path, [hour]) or not entry.touches(hour)
    # And it spares the reads: two hours later, nothing is read.
    assert not may_touch(entry.path, [ExportHour(EventType("datapoint"), start + timedelta(hours=5))])
    assert may_touch("_erasures/by-hand.json", [hour])


def test_a_request_has_the_same_entry_with_each_try_and_after_a_new_key() -> None:
    one = parse_request(request(dsn=DSN, user_uuid=USER), "r", MADE)
    other = parse_request(request(user_uuid=USER.lower(), dsn=DSN), "r", MADE)
    newer = ErasureKeys.parse("the-newest-key-of-all a-new-key-of-sixteen an-old-key-of-sixteen", "x")
    assert one.id(KEYS) == other.id(KEYS) == one.id(newer)
    assert one.id(KEYS) != parse_request(request(dsn=DSN), "r", MADE).id(KEYS)


def test_a_key_that_an_entry_needs_is_named_by_its_id() -> None:
    entry = parse_request(request(dsn=DSN), "r", MADE).entry(KEYS, MADE, {})
    assert KEYS.of(entry.key_id, "x") == b"a-new-key-of-sixteen"
    other = ErasureKeys.parse("quite-another-key", "x")
    with pytest.raises(AylaConfigError, match=rf"the erasure X was made with the key {entry.key_id}") as caught:
        other.of(entry.key_id, "the erasure X")
    assert "quite-another-key" not in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "short", "a-new-key-of-sixteen short"])
def test_a_key_that_is_too_short_is_refused(text: str | None) -> None:
    with pytest.raises(AylaConfigError, match="the connection 'x' needs a key of 16 characters"):
        ErasureKeys.parse(text, "the connection 'x'")


@pytest.mark.parametrize(
    ("made", "deadline"),
    [
        (datetime(2026, 11, 30, tzinfo=UTC), date(2026, 12, 30)),
        (datetime(2026, 12, 31, 23, tzinfo=UTC), date(2027, 1, 31)),
        (datetime(2027, 1, 31, tzinfo=UTC), date(2027, 2, 28)),
        (datetime(2028, 1, 30, tzinfo=UTC), date(2028, 2, 29)),
        (datetime(2027, 3, 5, tzinfo=UTC), date(2027, 4, 5)),
    ],
)
def test_the_deadline_is_a_month_later(made: datetime, deadline: date) -> None:
    assert parse_request(request(dsn=DSN), "r", made).deadline == deadline


def test_identifiers_are_the_same_in_each_spelling() -> None:
    assert canonical(USER) == canonical(USER.lower().replace("-", "")) == "3fa85f6457174562b3fc2c963f66afa6"
    assert canonical("lc000x000000007") == canonical(DSN)
    assert shape_of("AB-12_x.9") == "LL-00_L.0"


def test_an_entry_of_an_earlier_version_does_not_say_where_it_looked() -> None:
    document = parse_request(request(dsn=DSN), "r", MADE).entry(KEYS, MADE, {}).document()
    del document["looked_at"]
    entry = parse_entry(json.dumps(document).encode(), "here")
    assert entry.looked_at == ()
    place = Place("archive", "gs://bucket/ayla")
    done = entry.done(MADE, {}, [], {}, [place, place])
    assert parse_entry(done.dumps().encode(), "here").looked_at == (place,)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"looked_at": ["gs://bucket"]}, AylaDestinationError),
        ({"format": "ayla-erasure/2"}, AylaNewerFormatError),
        ({"format": "ayla-manifest/1"}, AylaDestinationError),
        ({"id": "../x"}, AylaDestinationError),
        ({"subjects": [{"hmac_sha256": "00", "shape": "L" * 8}]}, AylaDestinationError),
        ({"state": "half"}, AylaDestinationError),
    ],
)
def test_an_entry_of_another_form_is_refused(change: dict[str, object], error: type[Exception]) -> None:
    document = parse_request(request(dsn=DSN), "r", MADE).entry(KEYS, MADE, {}).document()
    with pytest.raises(error):
        parse_entry(json.dumps(document | change).encode(), "here")


@pytest.mark.parametrize("shape", ["(a+)+$", "L" * 5, "L" * 65, ".*"])
def test_a_shape_is_never_a_pattern_of_somebody_elses(shape: str) -> None:
    document = parse_request(request(dsn=DSN), "r", MADE).entry(KEYS, MADE, {}).document()
    document["subjects"][0]["shape"] = shape
    with pytest.raises(AylaDestinationError, match="a shape isn't one"):
        parse_entry(json.dumps(document).encode(), "here")

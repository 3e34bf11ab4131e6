from __future__ import annotations

import hmac
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.erasure import (
    ErasureKeys,
    ErasureRequest,
    Leftover,
    Place,
    State,
    canonical,
    may_touch,
    merged,
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
    assert KEYS.of(key_id("an-old-key-of-sixteen"), "x") == b"an-old-key-of-sixteen"
    two = ErasureKeys.parse("quite-another-key and-one-key-more", "x")
    for keys, known in ((other, other.keys), (two, two.keys)):
        with pytest.raises(AylaConfigError) as caught:
            keys.of(entry.key_id, "the erasure X")
        assert str(caught.value) == (
            f"the erasure X was made with the key {entry.key_id}, which the connection doesn't have; it has "
            f"{', '.join(key_id(key) for key in known)}. Without it, erased rows would come back. Add the key to the "
            "password of the connection, after the others, with a space between them. Then clear the task."
        )


@pytest.mark.parametrize("text", [None, "", "short", "a-new-key-of-sixteen short"])
def test_a_key_that_is_too_short_is_refused(text: str | None) -> None:
    with pytest.raises(AylaConfigError) as refused:
        ErasureKeys.parse(text, "the connection 'x'")
    assert str(refused.value) == (
        "the connection 'x' needs a key of 16 characters or more for erasures. Put a random one into its password. To "
        "use a new one, put it in front of the others, with a space between them: entries of the ledger need the key "
        "that they were made with."
    )


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


INVALID = "r isn't a valid request: "
NO_UUID = (
    "user_uuid isn't a whole UUID of 32 hexadecimal digits, with or without hyphens. Give all of it. If it is a serial "
    "number, name it dsn"
)
NO_SERIAL = "dsn isn't text of 6 to 64 letters, digits, and _ . : - that begins and ends with a letter or digit"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "it isn't JSON"),
        (b"[]", "it isn't an object"),
        (b"{}", "it has neither dsn nor user_uuid"),
        (request(dsn=None), "it has neither dsn nor user_uuid"),
        (b" " * (64 * 1024 + 1), "it is too large"),
        (request(dsn=DSN, name="x"), "it has other fields than dsn, user_uuid, from, and until"),
        (
            b'{"dsn": "LC000X000000007", "dsn": "LC000X000000007"}',
            "it has a field twice. Write a request of its own for each device and user",
        ),
        (request(user_uuid=DSN), NO_UUID),
        (
            request(user_uuid="0" * 32),
            "user_uuid is all zeros. Rows of many devices have that if no user is known. Give the user's own UUID, or "
            "the dsn",
        ),
        (
            request(dsn=USER),
            "dsn is a UUID, and not the serial number of a device. If it is a user's, name it user_uuid",
        ),
        (request(dsn="AB1CD"), NO_SERIAL),
        (request(dsn="A" * 65), NO_SERIAL),
        (request(dsn="-LC000X"), NO_SERIAL),
        (request(dsn="LC000X:"), NO_SERIAL),
        (request(dsn=DSN, until=5), "until isn't a time such as 2024-05-09T02:00:00+00:00"),
        (request(dsn=DSN, **{"from": "x"}), "from isn't a time such as 2024-05-09T02:00:00+00:00"),
        (
            request(dsn=DSN, **{"from": MADE.isoformat()}),
            "from isn't before until, nor before the request itself",
        ),
    ],
)
def test_a_refused_request_comes_with_the_reason(content: bytes, problem: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        parse_request(content, "r", MADE)
    assert str(refused.value) == INVALID + problem


@pytest.mark.parametrize("dsn", ["AB1CD2", "A" * 64, "a:_.-9"])
def test_a_serial_number_has_six_to_sixty_four_characters(dsn: str) -> None:
    made = parse_request(request(dsn=dsn, **{"from": "2026-11-01T00:00:00Z", "until": None}), "r", MADE)
    assert made == ErasureRequest({"dsn": dsn}, datetime(2026, 11, 1, tzinfo=UTC), MADE, MADE)
    assert dsn not in repr(made)


def test_a_large_request_is_read_up_to_the_limit() -> None:
    assert parse_request(request(dsn=DSN).ljust(64 * 1024), "r", MADE).identifiers == {"dsn": DSN}


def test_an_entry_has_what_other_programs_read() -> None:
    span = {"from": "2026-11-01T00:00:00Z", "until": "2026-11-20T00:00:00Z"}
    made = parse_request(request(dsn=DSN, user_uuid=USER, **span), "r", MADE)
    begun = made.entry(KEYS, MADE + timedelta(hours=1), {"run_id": "1"})
    text = f"2026-11-01T00:00:00+00:00\n2026-11-20T00:00:00+00:00\ndsn {DSN.lower()}\nuser_uuid {PLAIN}"
    identifier = f"20261120T000000Z-{hashed('an-old-key-of-sixteen', text)[:12]}"
    subjects = [
        {
            "column": column,
            "hmac_sha256": hashed("a-new-key-of-sixteen", value),
            "shape": shape,
            "from": "2026-11-01T00:00:00+00:00",
            "until": "2026-11-20T00:00:00+00:00",
        }
        for column, value, shape in (("dsn", DSN.lower(), "LL000L000000000"), ("user_uuid", PLAIN, "uuid"))
    ]
    document = {
        "format": "ayla-erasure/1",
        "id": identifier,
        "state": "begun",
        "key_id": key_id("a-new-key-of-sixteen"),
        "requested_at": "2026-11-30T10:30:15.250000+00:00",
        "begun_at": "2026-11-30T11:30:15.250000+00:00",
        "done_at": None,
        "subjects": subjects,
        "erased": {},
        "erased_is": "exact",
        "left": [],
        "looked_at": [],
        "written_by": {"run_id": "1"},
    }
    assert begun.dumps() == json.dumps(document, indent=1) + "\n"
    assert begun.path == f"_erasures/{identifier}.json"
    left = [Leftover("a bucket", "versions", MADE), Leftover("a table", "history", None)]
    done = replace(begun, is_counted=False).done(
        MADE + timedelta(hours=2), {"rows": 2, "csv_lines": 3}, iter(left), {"run_id": "2"}, [Place("archive", "a")]
    )
    assert done.document() == document | {
        "state": "done",
        "done_at": "2026-11-30T12:30:15.250000+00:00",
        "erased": {"csv_lines": 3, "rows": 2},
        "erased_is": "at_least",
        "left": [
            {"store": "a bucket", "reason": "versions", "gone_by": "2026-11-30T10:30:15.250000+00:00"},
            {"store": "a table", "reason": "history", "gone_by": None},
        ],
        "looked_at": [{"kind": "archive", "name": "a"}],
        "written_by": {"run_id": "2"},
    }
    assert list(done.document()["erased"]) == ["csv_lines", "rows"]
    assert parse_entry(done.dumps().encode(), "here") == done
    again = done.begun_again()
    assert again == replace(done, state=State.BEGUN, done_at=None)
    # Places of earlier runs stay, each once.
    last = again.done(MADE, {}, [], {}, [Place("parquet", "b"), Place("archive", "a")])
    assert last.looked_at == (Place("archive", "a"), Place("parquet", "b"))


PLAIN = "3fa85f6457174562b3fc2c963f66afa6"


def hashed(key: str, text: str) -> str:
    return hmac.digest(key.encode(), f"ayla-erasure {text}".encode(), "sha256").hex()


@pytest.mark.parametrize(
    ("until", "beginning"),
    [
        (datetime(2026, 11, 30, 10, 30, 15, tzinfo=UTC), "20261130T103015Z"),
        (datetime(2026, 11, 30, 10, 30, 15, 1, tzinfo=UTC), "20261130T103016Z"),
    ],
)
def test_the_id_of_an_entry_begins_with_the_end_of_its_span(until: datetime, beginning: str) -> None:
    entry = parse_request(request(dsn=DSN), "r", until).entry(KEYS, until, {})
    text = f"\n{until.isoformat()}\ndsn {DSN.lower()}"
    assert entry.id == f"{beginning}-{hashed('an-old-key-of-sixteen', text)[:12]}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "ayla-x/1"}, "ValueError: its format is 'ayla-x/1'"),
        ({"id": "20261130T103015Z"}, "ValueError: its id isn't one of this package"),
        ({"id": 5}, "ValueError: id is int, not str"),
        ({"key_id": 5}, "ValueError: key_id is int, not str"),
        ({"subjects": {}}, "ValueError: subjects is dict, not list"),
        ({"requested_at": "2026-11-30"}, "ValueError: requested_at has no time zone"),
        ({"begun_at": "2026-11-30"}, "ValueError: begun_at has no time zone"),
        ({"done_at": "2026-11-30"}, "ValueError: done_at has no time zone"),
        ({"state": "half"}, "ValueError: 'half' is not a valid State"),
        ({"erased": {"csv_lines": "5"}}, "ValueError: csv_lines is str, not int"),
        ({"left": {}}, "ValueError: left is dict, not list"),
        ({"left": [{"store": 5, "reason": "", "gone_by": None}]}, "ValueError: store is int, not str"),
        ({"left": [{"store": "", "reason": 5, "gone_by": None}]}, "ValueError: reason is int, not str"),
        ({"left": [{"store": "", "reason": "", "gone_by": "2026-11-30"}]}, "ValueError: gone_by has no time zone"),
        ({"looked_at": {}}, "ValueError: looked_at is dict, not list"),
        ({"looked_at": [{"kind": 5, "name": ""}]}, "ValueError: kind is int, not str"),
        ({"looked_at": [{"kind": "", "name": 5}]}, "ValueError: name is int, not str"),
        ({"written_by": []}, "ValueError: written_by is list, not dict"),
    ],
)
def test_a_refused_entry_comes_with_the_reason_and_what_to_do(change: dict[str, object], reason: str) -> None:
    document = parse_request(request(dsn=DSN), "r", MADE).entry(KEYS, MADE, {}).document()
    with pytest.raises(AylaDestinationError) as refused:
        parse_entry(json.dumps(document | change).encode(), "here")
    assert str(refused.value) == (
        f"here isn't a valid entry of the erasure ledger ({reason}). Restore an earlier version of the object: "
        "without it, erased rows would come back."
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hmac_sha256": "A" * 64}, "ValueError: a hash isn't one"),
        ({"hmac_sha256": "a" * 63}, "ValueError: a hash isn't one"),
        ({"hmac_sha256": 5}, "ValueError: hmac_sha256 is int, not str"),
        ({"shape": 5}, "ValueError: shape is int, not str"),
        ({"shape": "L" * 5}, "ValueError: a shape isn't one"),
        ({"column": 5}, "ValueError: column is int, not str"),
        ({"from": "2026-11-30"}, "ValueError: from has no time zone"),
        ({"until": "2026-11-30"}, "ValueError: until has no time zone"),
    ],
)
def test_a_refused_subject_comes_with_the_reason(change: dict[str, object], reason: str) -> None:
    document = parse_request(request(dsn=DSN), "r", MADE).entry(KEYS, MADE, {}).document()
    document["subjects"][0] |= change
    with pytest.raises(AylaDestinationError) as refused:
        parse_entry(json.dumps(document).encode(), "here")
    assert f"ledger ({reason}). Restore" in str(refused.value)


@pytest.mark.parametrize("shape", ["L" * 6, "0" * 64, "L0_.:-", "uuid"])
def test_a_shape_that_a_request_can_have_is_read(shape: str) -> None:
    document = parse_request(request(dsn=DSN), "r", MADE).entry(KEYS, MADE, {}).document()
    document["subjects"][0]["shape"] = shape
    assert parse_entry(json.dumps(document).encode(), "here").subjects[0].shape == shape


def test_leftovers_of_one_store_are_told_once_with_the_latest_date() -> None:
    later = MADE + timedelta(days=1)
    leftovers = [
        Leftover("a", "versions", MADE),
        Leftover("b", "versions", MADE),
        Leftover("a", "versions", later),
        Leftover("a", "history", later),
        Leftover("b", "versions", None),
        Leftover("a", "versions", MADE),
    ]
    assert merged(leftovers) == [
        Leftover("a", "versions", later),
        Leftover("b", "versions", None),
        Leftover("a", "history", later),
    ]

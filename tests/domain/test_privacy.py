"""What a privacy policy says of each column, and which policies are refused."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

import pytest

from ayla_provider.domain.keys import key_id, subject_hash
from ayla_provider.domain.privacy import PrivacyPolicy, Treatment, drops_from, policy_of
from ayla_provider.domain.tables import TABLES, ColumnType
from ayla_provider.errors import AylaConfigError

KEY = "schlüssel-of-sixteen"
SHORT = "k" * 15
KEY_PROBLEM = (
    "a key of 16 characters or more is needed: put a random one into the password of the Airflow connection that "
    "privacy_conn_id names"
)
CONNECTION = TABLES["connection"]
COLUMNS = {column.name: column for column in CONNECTION.columns}


def sha256(text: str, key: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("treatments", "key", "problem"),
    [
        ({"dsn": "mask"}, "", "privacy: unknown treatment 'mask' for 'dsn'; use keep, hash or drop"),
        ({"dsn": None}, "", "privacy: unknown treatment None for 'dsn'; use keep, hash or drop"),
        ({"value_raw": "drop"}, "", "privacy: 'value_raw' follows 'val_string'; set 'val_string', which covers both"),
        (
            {"folder_hour": "drop"},
            "",
            "privacy: 'folder_hour' identifies hours or rows and contains nothing about a person; it can only be kept",
        ),
        (
            {"time_uuid": "keep"},
            "",
            "privacy: 'time_uuid' identifies hours or rows and contains nothing about a person; it can only be kept",
        ),
        ({"user_uuid": "hash", "dsn": "hash"}, SHORT, f"privacy: to hash dsn, user_uuid {KEY_PROBLEM}"),
        ({"*": "hash"}, "", f"privacy: to hash * {KEY_PROBLEM}"),
        (["dsn"], KEY, "privacy is ['dsn']: expected columns with keep, hash or drop for each"),
    ],
)
def test_a_policy_that_is_not_valid_is_refused_with_what_to_do(
    treatments: Mapping[str, str], key: str, problem: str
) -> None:
    with pytest.raises(AylaConfigError) as refused:
        PrivacyPolicy(treatments, key)
    assert str(refused.value) == problem


def test_a_key_of_sixteen_characters_is_long_enough_and_never_shown() -> None:
    policy = PrivacyPolicy({"dsn": "hash", "user_uuid": "drop", "*": "hash"}, "k" * 16)
    assert policy.hashes == ["dsn", "*"]
    assert policy.key_id == key_id("k" * 16)
    assert "kkkk" not in repr(policy)
    # Without a hash, a policy needs no key, and says nothing of one that it has.
    assert (PrivacyPolicy({"dsn": "drop"}).key, PrivacyPolicy({"dsn": "drop"}, KEY).key_id) == ("", "")


@pytest.mark.parametrize(
    ("treatments", "treated"),
    [
        ({}, {"dsn": "keep", "status": "keep", "folder_hour": "keep"}),
        ({"dsn": "hash"}, {"dsn": "hash", "status": "keep", "folder_hour": "keep"}),
        ({"*": "drop", "dsn": "keep"}, {"dsn": "keep", "status": "drop", "folder_hour": "keep"}),
        ({"*": "hash", "dsn": "drop"}, {"dsn": "drop", "status": "hash", "folder_hour": "keep"}),
    ],
)
def test_a_column_has_its_own_treatment_or_that_of_all_others(
    treatments: dict[str, str], treated: dict[str, str]
) -> None:
    policy = PrivacyPolicy(treatments, KEY)
    assert {name: policy.of(COLUMNS[name]) for name in treated} == {
        name: Treatment(word) for name, word in treated.items()
    }


def test_a_column_that_is_part_of_another_follows_it() -> None:
    columns = {column.name: column for column in TABLES["datapoint"].columns}
    policy = PrivacyPolicy({"val_string": "drop"})
    assert policy.of(columns["value_raw"]) is Treatment.DROP
    assert policy.of(columns["display_name_raw"]) is Treatment.KEEP


def test_a_hash_is_made_with_the_key_and_begins_with_its_id() -> None:
    assert key_id(KEY) == sha256("ayla-export-key-id", KEY)[:8]
    assert PrivacyPolicy({"dsn": "hash"}, KEY).hashed("Größe") == f"{key_id(KEY)}:{sha256('Größe', KEY)}"


def test_a_subject_has_the_same_hash_in_each_spelling_and_another_in_each_column() -> None:
    assert (
        subject_hash(KEY, "dsn", " LC-1 ")
        == subject_hash(KEY, "dsn", "lc-1")
        == sha256("ayla-export-subject dsn lc-1", KEY)
    )
    uuid = "3FA85F64-5717-4562-b3fc-2c963f66afa6"
    assert subject_hash(KEY, "user_uuid", uuid) == sha256(
        "ayla-export-subject user_uuid 3fa85f6457174562b3fc2c963f66afa6", KEY
    )


def test_a_column_that_no_table_has_is_refused_and_one_named_by_its_place_is_not() -> None:
    PrivacyPolicy({"*": "drop", "dsn": "keep", "column_23": "drop"}).refuse_unknown({"dsn"})
    for name in ("dns", "column_", "column_2b"):
        with pytest.raises(AylaConfigError) as refused:
            PrivacyPolicy({"dsn": "keep", name: "drop"}).refuse_unknown({"dsn"})
        assert str(refused.value) == (
            f"privacy: no table has a column '{name}'. Correct its name; a column that a header names belongs into a "
            "layout of your own, see the argument layouts"
        )


def test_a_table_after_the_treatment_says_what_became_of_its_columns() -> None:
    table = PrivacyPolicy({"dsn": "hash", "oem_model": "drop", "user_uuid": "keep", "event_time": "hash"}, KEY).table(
        CONNECTION
    )
    treated = {column.name: column for column in table.columns}
    assert list(treated) == [name for name in COLUMNS if name != "oem_model"]
    assert treated["dsn"].type is treated["event_time"].type is ColumnType.TEXT
    assert treated["dsn"].description == f"{COLUMNS['dsn'].description} Hashed."
    assert treated["user_uuid"].description == (f"{COLUMNS['user_uuid'].description} It can identify a person.")
    assert treated["user_uuid"].type is COLUMNS["user_uuid"].type
    assert treated["status"] == COLUMNS["status"]
    assert not table.complete
    assert PrivacyPolicy({"dsn": "hash"}, KEY).table(CONNECTION).complete


def test_more_columns_can_be_left_out() -> None:
    policy = PrivacyPolicy({"dsn": "hash", "status": "keep"}, KEY)
    assert policy.leaving_out([]) is policy
    assert policy.leaving_out(["status", "ip"]) == PrivacyPolicy({"dsn": "hash", "status": "drop", "ip": "drop"}, KEY)


def fingerprint(*ruled: str, key: str = "") -> str:
    text = " ".join(["ayla-export-policy 2", key, *ruled])
    return f"p{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@pytest.mark.parametrize(
    ("treatments", "expected"),
    [
        ({}, ""),
        ({"dsn": "keep", "*": "keep"}, ""),
        ({"user_uuid": "drop", "dsn": "drop", "status": "keep"}, fingerprint("dsn=drop", "user_uuid=drop")),
        ({"*": "drop", "dsn": "keep"}, fingerprint("*=drop", "dsn=keep")),
        ({"dsn": "hash"}, fingerprint("dsn=hash", key=key_id(KEY))),
    ],
)
def test_a_fingerprint_stays_the_same_for_the_same_policy(treatments: dict[str, str], expected: str) -> None:
    # Rows that were made under it are known by it: it mustn't change.
    policy = PrivacyPolicy(treatments, KEY)
    assert policy.fingerprint == expected
    assert policy.id == (expected or "none")


@pytest.mark.parametrize(
    ("version", "policy"),
    [
        ("0123456789abcdef.1", "none"),
        ("0123456789abcdef.1-p01234567", "p01234567"),
        ("0123456789abcdef.1-89abcdef-p01234567", "p01234567"),
        ("0123456789abcdef.1-x01234567-89abcdef", "none"),
        ("p01234567", "none"),
        ("", "none"),
    ],
)
def test_a_version_names_the_policy_that_made_it(version: str, policy: str) -> None:
    assert policy_of(version) == policy


@pytest.mark.parametrize(
    ("event_type", "treatments", "drops"),
    [
        ("connection", {}, False),
        ("connection", {"dsn": "hash"}, False),
        ("connection", {"dsn": "drop"}, True),
        # A column of another table isn't in these files. One of no table can be.
        ("connection", {"ip": "drop"}, False),
        ("connection", {"column_9": "drop"}, True),
        ("connection", {"*": "drop"}, True),
        ("connection", {"*": "drop"} | dict.fromkeys(CONNECTION.names, "keep"), False),
        ("connection", {"*": "drop"} | dict.fromkeys(CONNECTION.names, "keep") | {"dsn": "drop"}, True),
        # Nobody knows the columns of this event type.
        ("device_activation", {"ip": "drop"}, True),
        ("device_activation", {"*": "drop"}, True),
        ("device_activation", {"ip": "hash"}, False),
    ],
)
def test_rows_lack_something_if_a_column_of_theirs_is_dropped(
    event_type: str, treatments: dict[str, str], drops: bool
) -> None:
    assert drops_from(event_type, treatments) is drops

"""What a privacy policy leaves of the rows: kept, hashed, dropped."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy, policy_of
from ayla_provider.domain.tables import TABLES, ColumnType
from ayla_provider.errors import AylaConfigError
from ayla_provider.rows.typed_archive import TypedArchive
from harness import reference
from tests.rows.test_expressions import CONNECTION
from tests.rows.test_typed_archive import comparable, files_of, rows_of
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.odd_files import OddFiles

KEY = "schlüssel of more than sixteen"


def hashed(value: Any, key: str) -> str | None:
    if value is None:
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    short_id = hmac.new(key.encode(), b"ayla-export-key-id", hashlib.sha256).hexdigest()[:8]
    return f"{short_id}:{hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()}"


@pytest.mark.parametrize("key", [KEY, "k" * 64, "long " * 20], ids=["short", "a block", "longer than a block"])
def test_every_column_is_kept_hashed_or_dropped_as_the_policy_says(tmp_path: Path, key: str) -> None:
    layout = reference.LAYOUTS["datapoint-22"]
    manifest = archive_hour(tmp_path / "archive", "datapoint", [OddFiles(layout, 7).file(60)])
    treatments = {"dsn": "hash", "user_uuid": "hash", "val_string": "hash", "val_int": "hash", "echo": "hash"}
    treatments |= {"metadata": "drop", "oem_model": "drop", "direction": "keep"}
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    policy = PrivacyPolicy(treatments, key)
    made = (
        TypedArchive(archive, rows, policy=policy, max_malformed=1).ensure(ExportHour("datapoint", HOUR), {}).manifest
    )
    names = [column.name for column in made.columns]
    assert {"metadata", "metadata_raw", "oem_model"}.isdisjoint(names)
    types = {column.name: column.type for column in made.columns}
    hashes = ("dsn", "user_uuid", "val_string", "value_raw", "val_int", "echo")
    assert {types[name] for name in hashes} == {ColumnType.TEXT}
    expected = [row | {"folder_hour": HOUR} for row in reference.read("datapoint", files_of(tmp_path, manifest)).rows]
    for row in expected:
        row |= {name: hashed(row.get(name), key) for name in hashes}
    assert comparable(rows_of(tmp_path / "rows" / made.path), names) == comparable(expected, names)
    assert made.privacy == treatments


@pytest.mark.parametrize("treatments", [[], ["dsn"], "dsn", None, 5], ids=repr)
def test_treatments_that_are_no_mapping_are_named(treatments: Any) -> None:
    with pytest.raises(AylaConfigError, match=r"privacy is .*: expected columns"):
        PrivacyPolicy(treatments)


def test_rows_are_distinguished_by_their_original_values(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION + b"\n" + CONNECTION.replace(b"001,", b"002,")])
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    made = (
        TypedArchive(archive, rows, policy=PrivacyPolicy({"dsn": "drop"}))
        .ensure(ExportHour("connection", HOUR), {})
        .manifest
    )
    assert (made.rows, made.duplicates) == (2, 0)


@pytest.mark.parametrize("header", [False, True])
def test_default_deny_leaves_out_a_column_that_the_vendor_adds(tmp_path: Path, header: bool) -> None:
    names = b"oem_id,oem_model,dsn,event_time,user_uuid,status,phone_number\n" if header else b""
    archive_hour(tmp_path / "archive", "connection", [names + CONNECTION + b",0049301234\n"])
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    policy = PrivacyPolicy({"*": "drop", "oem_model": "keep", "status": "keep"})
    made = TypedArchive(archive, rows, policy=policy).ensure(ExportHour("connection", HOUR), {}).manifest
    expected = ["oem_model", "status", "folder_hour", "source_object", "source_generation"]
    assert [column.name for column in made.columns] == expected
    assert (tmp_path / "rows" / made.path).read_bytes().find(b"0049301234") < 0
    assert not made.table.complete


def test_everything_that_is_not_named_is_hashed_and_the_keys_of_rows_stay(tmp_path: Path) -> None:
    layout = reference.LAYOUTS["datapoint-22"]
    manifest = archive_hour(tmp_path / "archive", "datapoint", [OddFiles(layout, 7).file(60)])
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    policy = PrivacyPolicy({"*": "hash", "property_name": "keep", "metadata": "drop"}, KEY)
    typed = TypedArchive(archive, rows, policy=policy, max_malformed=1)
    made = typed.ensure(ExportHour("datapoint", HOUR), {}).manifest
    kept = {"property_name", "time_uuid", "updated_at", "folder_hour", "source_object", "source_generation"}
    others = {column.name for column in made.columns if column.type is not ColumnType.TEXT}
    assert others == {"time_uuid", "updated_at", "folder_hour", "source_generation"}
    read = reference.read("datapoint", files_of(tmp_path, manifest)).rows
    compared = ["oem_model", "dsn", "property_name", "base_type", "val_string", "time_uuid"]
    expected = [
        {name: row.get(name) if name in kept else hashed(row.get(name), KEY) for name in compared} for row in read
    ]
    assert comparable(rows_of(tmp_path / "rows" / made.path), compared) == comparable(expected, compared)


@pytest.mark.parametrize(
    ("treatments", "complete"),
    [
        ({"*": "drop"}, False),
        ({"*": "drop", "oem_id": "keep", "oem_model": "keep", "dsn": "hash", "event_time": "keep"}, False),
        ({"*": "hash"}, True),
        ({"*": "hash", "dsn": "drop"}, False),
        (
            {"*": "drop"} | dict.fromkeys(["oem_id", "oem_model", "dsn", "event_time", "user_uuid", "status"], "keep"),
            True,
        ),
    ],
)
def test_rows_are_complete_if_no_column_that_tells_events_apart_is_dropped(
    treatments: dict[str, str], complete: bool
) -> None:
    policy = PrivacyPolicy(treatments, KEY)
    assert policy.table(TABLES["connection"]).complete is complete


def test_a_policy_knows_which_versions_it_made() -> None:
    keep, drop = PrivacyPolicy(), PrivacyPolicy({"dsn": "drop"})
    hashing, rotated = PrivacyPolicy({"dsn": "hash"}, KEY), PrivacyPolicy({"dsn": "hash"}, KEY.upper())
    deny = PrivacyPolicy({"*": "drop"})
    wider = PrivacyPolicy({"*": "drop", "dsn": "keep"})
    policies = [keep, drop, hashing, rotated, deny, wider]
    assert len({policy.id for policy in policies}) == len(policies)
    for policy in policies:
        version = "-".join(filter(None, ("0123456789abcdef.1", policy.fingerprint, "89abcdef")))
        assert policy_of(version) == policy.id
        assert [each for each in policies if each.made(version)] == [policy]


def test_what_version_0_1_made_is_the_same_if_nothing_is_hashed() -> None:
    def of_0_1(key: bytes, *ruled: str) -> str:
        text = "ayla-export-policy " + " ".join(ruled)
        return f"0123456789abcdef.1-{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:8]}"

    dropped = of_0_1(b"ayla", "dsn=drop", "ip=drop")
    assert PrivacyPolicy({"ip": "drop", "dsn": "drop"}).made(dropped)
    assert not PrivacyPolicy({"ip": "drop"}).made(dropped)
    assert not PrivacyPolicy({"dsn": "hash"}, KEY).made(of_0_1(KEY.encode(), "dsn=hash"))


def test_every_hash_begins_with_the_id_of_its_key() -> None:
    policy = PrivacyPolicy({"dsn": "hash"}, KEY)
    assert (hashed("LC000X000000001", KEY) or "").startswith(f"{policy.key_id}:")
    assert PrivacyPolicy({"dsn": "drop"}, KEY).key_id == ""


def test_another_policy_or_key_makes_the_rows_again_and_the_same_one_does_not(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION])
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    versions = set()
    for policy in (
        PrivacyPolicy(),
        PrivacyPolicy({"dsn": "drop"}),
        PrivacyPolicy({"dsn": "hash"}, KEY),
        PrivacyPolicy({"dsn": "hash"}, KEY.upper()),
        PrivacyPolicy({"dsn": "keep"}),
    ):
        first = TypedArchive(archive, rows, policy=policy).ensure(ExportHour("connection", HOUR), {})
        again = TypedArchive(archive, rows, policy=policy).ensure(ExportHour("connection", HOUR), {})
        assert (first.made, again.made) == (True, False)
        assert again.manifest.version == first.manifest.version
        versions.add(first.manifest.version)
    assert len(versions) == 4, "keeping everything isn't a policy"


@pytest.mark.parametrize(
    ("treatments", "key", "message"),
    [
        ({"dsn": "hide"}, "", "unknown treatment 'hide' for 'dsn'"),
        ({"value_raw": "drop"}, "", "set 'val_string', which covers both"),
        ({"time_uuid": "hash"}, KEY, "can only be kept"),
        ({"folder_hour": "drop"}, "", "can only be kept"),
        ({"updated_at": "drop"}, "", "can only be kept"),
        ({"dsn": "hash"}, "too short", "a key of 16 characters"),
        ({"*": "hash"}, "", r"to hash \* a key of 16 characters"),
        ({"*": "nothing"}, "", r"unknown treatment 'nothing' for '\*'"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_without_its_key(treatments: dict[str, str], key: str, message: str) -> None:
    with pytest.raises(AylaConfigError, match=message) as error:
        PrivacyPolicy(treatments, key)
    assert not key or key not in str(error.value)
    assert KEY not in repr(PrivacyPolicy({"dsn": "hash"}, KEY))

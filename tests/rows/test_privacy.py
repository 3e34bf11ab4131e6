"""What a privacy policy leaves of the rows: kept, hashed, dropped."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import ColumnType
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
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


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
    ],
)
def test_a_policy_that_cannot_be_is_refused_without_its_key(treatments: dict[str, str], key: str, message: str) -> None:
    with pytest.raises(AylaConfigError, match=message) as error:
        PrivacyPolicy(treatments, key)
    assert not key or key not in str(error.value)
    assert KEY not in repr(PrivacyPolicy({"dsn": "hash"}, KEY))

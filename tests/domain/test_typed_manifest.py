"""The text of a receipt, what is refused in one, and what identifies an hour's content."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Erased, Manifest, ManifestFile
from ayla_provider.domain.new_columns import OnNewColumn
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import Column, ColumnType
from ayla_provider.domain.typed_manifest import (
    RowsFile,
    TypedFile,
    TypedManifest,
    further_parquet,
    largest_models,
    layouts_path,
    leaves_columns_out,
    new_columns_in,
    parquet_path,
    parse_typed_manifest,
    quarantine_path,
    recipe_of,
    refuse_removed,
    same_files,
    typed_manifest_path,
    version_of,
)
from ayla_provider.errors import AylaDestinationError, AylaRemovedError

HOUR = ExportHour(EventType("datapoint"), datetime(2026, 11, 28, 14, tzinfo=UTC))
FOLDER = HOUR.partition
ONE = TypedManifest(
    hour=HOUR,
    version="v.1",
    path=f"{FOLDER}/rows.parquet",
    size=1234,
    crc32c="AAAAAA==",
    columns=(Column("dsn", ColumnType.TEXT, "The device."), Column("value_raw", ColumnType.TEXT, "As it came.")),
    identity="id",
    files=(
        TypedFile("a.csv", 1, "layout", ("dsn", "value"), True, lines=10, loaded=6, duplicates=3, quarantined=1),
        TypedFile("é.csv", 2, "", (), False, lines=5, loaded=5, duplicates=0, quarantined=0),
    ),
    quarantine=f"_quarantine/{FOLDER}.parquet",
    privacy={"dsn": "hash"},
    written_at="2026-11-28T16:00:00+00:00",
    written_by={"dag_id": "d"},
)
PARTS = (
    RowsFile(f"{FOLDER}/rows.parquet", 1234, "AAAAAA==", 4),
    RowsFile(f"{FOLDER}/rows-0002.parquet", 99, "BBBBBB==", 7),
)
SET = replace(ONE, parts=PARTS)
REMOVED = "2027-01-01T00:00:00+00:00"

DOCUMENT: dict[str, Any] = {
    "format": "ayla-export-typed/1",
    "event_type": "datapoint",
    "hour": "2026-11-28T14:00:00+00:00",
    "version": "v.1",
    "path": f"{FOLDER}/rows.parquet",
    "size": 1234,
    "crc32c": "AAAAAA==",
    "columns": [
        {"name": "dsn", "type": "text", "description": "The device."},
        {"name": "value_raw", "type": "text", "description": "As it came."},
    ],
    "identity": "id",
    "quarantine": f"_quarantine/{FOLDER}.parquet",
    "privacy": {"dsn": "hash"},
    "written_at": "2026-11-28T16:00:00+00:00",
    "written_by": {"dag_id": "d"},
    "lines": 15,
    "rows": 11,
    "duplicates": 3,
    "quarantined": 1,
    "files": [
        {
            "source": "a.csv",
            "generation": 1,
            "layout": "layout",
            "columns": ["dsn", "value"],
            "header": True,
            "lines": 10,
            "loaded": 6,
            "duplicates": 3,
            "quarantined": 1,
        },
        {
            "source": "é.csv",
            "generation": 2,
            "layout": "",
            "columns": [],
            "header": False,
            "lines": 5,
            "loaded": 5,
            "duplicates": 0,
            "quarantined": 0,
        },
    ],
}


def document(receipt: TypedManifest) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(receipt.dumps())
    return read


def test_a_receipt_has_each_count_and_its_files_last() -> None:
    text = ONE.dumps()
    assert json.loads(text) == DOCUMENT
    assert list(json.loads(text))[-1] == "files"
    assert text.startswith('{\n "format"')
    assert text.endswith("}\n")
    assert "é.csv" in text
    assert parse_typed_manifest(text, "it", HOUR) == ONE


def test_only_receipts_that_need_it_have_a_newer_format_and_further_fields() -> None:
    parts = [
        {"path": f"{FOLDER}/rows.parquet", "size": 1234, "crc32c": "AAAAAA==", "rows": 4},
        {"path": f"{FOLDER}/rows-0002.parquet", "size": 99, "crc32c": "BBBBBB==", "rows": 7},
    ]
    without = {name: value for name, value in DOCUMENT.items() if name not in ("path", "size", "crc32c")}
    assert document(SET) == without | {"format": "ayla-export-typed/2", "parts": parts}
    removed = {"format": "ayla-export-typed/3", "removed": REMOVED}
    assert document(replace(ONE, removed=REMOVED)) == DOCUMENT | removed
    assert document(replace(SET, removed=REMOVED)) == without | removed | {"parts": parts}
    assert document(replace(ONE, lost=("b.csv",))) == DOCUMENT | {"lost": ["b.csv"]}
    assert document(replace(ONE, models={"m": 3})) == DOCUMENT | {"models": {"m": 3}}
    assert document(replace(ONE, models={})) == DOCUMENT | {"models": {}}


@pytest.mark.parametrize(
    "receipt",
    [
        SET,
        replace(ONE, removed=REMOVED),
        replace(SET, removed=REMOVED),
        replace(ONE, lost=("b.csv",)),
        replace(ONE, models={"m": 3, "x" * 100: 1}),
        replace(ONE, identity=None, quarantine="", path="", size=0, crc32c="", columns=()),
    ],
)
def test_each_kind_of_receipt_is_read_as_it_was_written(receipt: TypedManifest) -> None:
    assert parse_typed_manifest(receipt.dumps().encode(), "it", HOUR) == receipt


def test_the_files_of_a_receipt_are_those_that_are_left() -> None:
    assert ONE.rows_files == ONE.made_files == (RowsFile(ONE.path, 1234, "AAAAAA==", 11),)
    assert (SET.rows_files, SET.bytes, ONE.bytes) == (PARTS, 1333, 1234)
    gone = replace(SET, removed=REMOVED)
    assert (gone.rows_files, gone.made_files, gone.bytes) == ((), PARTS, 0)
    assert replace(ONE, path="").made_files == ()


Changing = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("receipt", "changing", "said"),
    [
        (ONE, lambda one: one.update(format="other/1"), "ValueError: its format is 'other/1'"),
        (ONE, lambda one: one.update(event_type="connection"), "not datapoint"),
        (ONE, lambda one: one.update(hour="2026-11-28T15:00:00+00:00"), "ValueError: it is that of 'datapoint"),
        (ONE, lambda one: one.update(hour="2026-11-28T14:00:00"), "ValueError: hour has no time zone"),
        (ONE, lambda one: one.update(path="other.parquet"), "ValueError: path isn't that of the hour"),
        (ONE, lambda one: one.update(quarantine="other"), "ValueError: quarantine isn't that of the hour"),
        (ONE, lambda one: one["columns"][0].update(name="a b"), "ValueError: a column has a name that isn't valid"),
        (ONE, lambda one: one["columns"][0].update(type="blob"), "ValueError: 'blob' is not a valid ColumnType"),
        (ONE, lambda one: one.update(models={"m": 0}), "ValueError: a model has no rows"),
        (ONE, lambda one: one.update(models={"": 1}), "ValueError: the name of a model isn't one"),
        (ONE, lambda one: one.update(models={"x" * 101: 1}), "ValueError: the name of a model isn't one"),
        (ONE, lambda one: one.update(models={"a\n": 1}), "ValueError: the name of a model isn't one"),
        (
            ONE,
            lambda one: one.update(models={str(number): 1 for number in range(51)}),
            "ValueError: it has too many models",
        ),
        (SET, lambda one: one["parts"].pop(), "ValueError: it has no set of Parquet files"),
        (SET, lambda one: one["parts"].reverse(), "ValueError: a path isn't that of the hour"),
        (
            SET,
            lambda one: one["parts"][0].update(rows=5),
            "ValueError: its Parquet files have another number of rows than was loaded",
        ),
        (replace(ONE, removed=REMOVED), lambda one: one.update(removed=""), "Invalid isoformat string"),
        *[
            (ONE, lambda one, name=name: one.pop(name), f"KeyError: '{name}'")
            for name in DOCUMENT
            if name not in ("lines", "rows", "duplicates", "quarantined")
        ],
        *[
            (ONE, lambda one, name=name: one.update({name: 1.5}), f"ValueError: {name} is float")
            for name in DOCUMENT
            if name not in ("format", "lines", "rows", "duplicates", "quarantined")
        ],
        *[
            (ONE, lambda one, name=name: one["files"][0].update({name: 1.5}), f"ValueError: {name} is float")
            for name in DOCUMENT["files"][0]
        ],
        *[
            (SET, lambda one, name=name: one["parts"][1].update({name: None}), f"ValueError: {name} is NoneType")
            for name in ("path", "size", "crc32c", "rows")
        ],
    ],
)
def test_what_a_receipt_cannot_say_is_refused_with_the_reason(
    receipt: TypedManifest, changing: Changing, said: str
) -> None:
    changed = document(copy.deepcopy(receipt))
    changing(changed)
    with pytest.raises(AylaDestinationError) as caught:
        parse_typed_manifest(json.dumps(changed), "gs://rows/it.json", HOUR)
    begin = "gs://rows/it.json isn't a valid receipt of format ayla-export-typed/3 or older ("
    assert str(caught.value).startswith(begin)
    assert str(caught.value).endswith("). Move it away and clear the task: the hour is then typed again.")
    assert said in str(caught.value)


FILE = ManifestFile("s1", 1, 5, "AAAAAA==", "2026-11-28T15:00:00+00:00", "p1")
OTHER = replace(FILE, source="s0", generation=2)
MANIFEST = Manifest(HOUR, HourState.LANDED, 1, (FILE, OTHER), "2026-11-28T16:00:00+00:00")


def test_a_version_is_that_of_the_files_in_any_order() -> None:
    text = b"s0\t2\tAAAAAA==\ns1\t1\tAAAAAA=="
    digest = hashlib.sha256(text).hexdigest()[:16]
    assert version_of(MANIFEST) == version_of(replace(MANIFEST, files=(OTHER, FILE))) == f"{digest}.1"
    assert version_of(MANIFEST, "recipe") == f"{digest}.1-recipe"
    assert version_of(replace(MANIFEST, is_stream=True)) == f"{digest}.s1"
    registration = replace(MANIFEST, hour=ExportHour(EventType("registration"), HOUR.start))
    assert version_of(registration) == f"{digest}.2"
    lost = replace(MANIFEST, files=(FILE, OTHER, replace(FILE, source="s9", lost="2026")))
    assert version_of(lost) == f"{digest}.1.lost"
    assert version_of(replace(lost, files=lost.files[2:])) == "empty.lost"
    assert version_of(replace(MANIFEST, files=(replace(FILE, removed="2027"), OTHER))) == f"{digest}.1"
    erased = replace(FILE, erased=Erased(1, 2, "BBBBBB==", ("e",)))
    assert version_of(replace(MANIFEST, files=(erased, OTHER))) not in (f"{digest}.1", "empty")
    assert version_of(replace(MANIFEST, files=())) == "empty"
    assert same_files(f"{digest}.1-recipe", MANIFEST)
    assert not same_files(f"{digest}.2-recipe", MANIFEST)


def test_a_recipe_names_only_what_users_wish() -> None:
    none = PrivacyPolicy()
    layout = next(one for one in COLUMN_LAYOUTS if one.event_type == "datapoint")
    own = replace(layout, name="own")
    assert recipe_of(HOUR.event_type, none, COLUMN_LAYOUTS) == ""
    declared = recipe_of(HOUR.event_type, none, (*COLUMN_LAYOUTS, own))
    assert declared == hashlib.sha256(repr([own]).encode()).hexdigest()[:8]
    assert recipe_of(EventType("connection"), none, (own,)) == ""
    ignored = hashlib.sha256(b"a\nb").hexdigest()[:8]
    policy = PrivacyPolicy({"dsn": "drop"})
    recipe = recipe_of(HOUR.event_type, policy, (own,), ("a", "b"), OnNewColumn.DROP)
    assert recipe == f"{policy.fingerprint}-{declared}-{ignored}-new_drop"
    for choice in OnNewColumn:
        recipe = recipe_of(HOUR.event_type, none, (), (), choice)
        named = choice in (OnNewColumn.DROP, OnNewColumn.QUARANTINE)
        assert recipe == (f"new_{choice.value}" if named else "")
        assert new_columns_in(f"v.1-p1-{recipe}") == (choice if named else OnNewColumn.EVOLVE)
        assert leaves_columns_out(f"v.1-{recipe}") is named
    assert new_columns_in("v.1-new_other") is OnNewColumn.EVOLVE
    assert new_columns_in("new_drop") is OnNewColumn.EVOLVE


def test_the_largest_models_are_named_by_their_names_order() -> None:
    counts = {f"m{number:03}": number for number in range(1, 61)} | {
        "": 999,
        "x" * 101: 999,
        "a\n": 999,
        "x" * 100: 500,
    }
    assert largest_models(counts) == dict(sorted({f"m{n:03}": n for n in range(12, 61)}.items())) | {"x" * 100: 500}
    assert list(largest_models({"b": 1, "a": 1})) == ["a", "b"]
    equal = {f"m{number:03}": 1 for number in range(60, 0, -1)}
    assert list(largest_models(equal)) == [f"m{number:03}" for number in range(1, 51)]


def test_paths_are_those_of_the_hour() -> None:
    assert typed_manifest_path(HOUR) == f"_typed/{FOLDER}.json"
    assert [parquet_path(HOUR), parquet_path(HOUR, 0)] == [f"{FOLDER}/rows.parquet"] * 2
    assert parquet_path(HOUR, 1) == f"{FOLDER}/rows-0002.parquet"
    assert quarantine_path(HOUR) == f"_quarantine/{FOLDER}.parquet"
    assert layouts_path(HOUR.event_type) == "_layouts/event_type=datapoint.json"
    names = ["rows.parquet", "rows-0010.parquet", "rows-0002.parquet", "rows-12345.parquet", "rows-02.parquet", "x"]
    further = ["rows-0002.parquet", "rows-0010.parquet", "rows-12345.parquet"]
    assert further_parquet(HOUR, [f"{FOLDER}/{name}" for name in names]) == [f"{FOLDER}/{name}" for name in further]


def test_an_hour_whose_rows_were_removed_is_not_loaded() -> None:
    refuse_removed(ONE)
    with pytest.raises(AylaRemovedError) as caught:
        refuse_removed(replace(ONE, removed=REMOVED))
    assert str(caught.value) == (
        f"{HOUR}: a rule removed its Parquet files on 2027-01-01, and the target doesn't have its rows. To make them "
        f"again from the archive, if it still has the hour, remove the receipt _typed/{FOLDER}.json, and clear the "
        "task."
    )

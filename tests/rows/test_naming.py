"""The rows that name a subject are those that a search in each cell finds, however many subjects there are."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayla_provider.archive.erasures import Matcher
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.rows.duck import connect
from ayla_provider.rows.naming import NamingRows
from tests.archive.test_line_filter import DSN, OTHERS, SPELLINGS, USER

POLICY = PrivacyPolicy({"dsn": "hash", "user_uuid": "hash"}, "the-key-of-the-policy")
TEXTS = ("dsn", "user_uuid", "val_string", "metadata")


def write(path: Path, rows: Sequence[Sequence[str | None]], names: Sequence[str] = TEXTS) -> Path:
    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(names)}
    pq.write_table(pa.table(columns | {"number": list(range(len(rows)))}), path, row_group_size=7)
    return path


def numbers(
    path: Path,
    identifiers: Sequence[str] = (DSN, USER),
    hashes: dict[str, list[str]] | None = None,
    hashed: Sequence[str] = (),
) -> list[int]:
    matcher = Matcher.of_known((identifier, "an-id") for identifier in identifiers)
    with connect() as duck:
        return NamingRows(matcher, identifiers, hashes or {}).numbers(duck, path, hashed.__contains__)


cells = st.one_of(
    st.none(),
    st.sampled_from([*SPELLINGS, *OTHERS, *OTHERS, *OTHERS]),
    st.text("abc019 -_.:+/=\r\nü", max_size=40),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.tuples(cells, cells, cells, cells), max_size=40))
def test_a_row_is_found_wherever_it_names_a_subject_and_no_other(
    rows: list[tuple[str | None, ...]], tmp_path: Path
) -> None:
    path = write(tmp_path / "rows.parquet", rows)
    known = set(SPELLINGS)
    assert numbers(path) == [number for number, row in enumerate(rows) if known.intersection(row)]


def test_a_hundred_subjects_are_found_as_one_is(tmp_path: Path) -> None:
    serials = [f"LC000X{number:09}" for number in range(300)]
    rows = [(serial, None, f"beside {serials[number - 1]}", "{}") for number, serial in enumerate(serials)]
    path = write(tmp_path / "rows.parquet", rows)
    wanted = serials[::3]
    pattern = re.compile("|".join(wanted))
    expected = [number for number, row in enumerate(rows) if pattern.search(" ".join(filter(None, row)))]
    assert numbers(path, wanted) == expected == sorted({*range(0, 300, 3), *range(1, 300, 3)})


def test_hashes_of_a_policy_are_identifiers_and_other_hashes_name_nobody(tmp_path: Path) -> None:
    hashes = {"dsn": [POLICY.hashed(DSN)], "user_uuid": [POLICY.hashed(USER).partition(":")[2]]}
    rows = [
        (POLICY.hashed(DSN), None, None, None),
        (POLICY.hashed("another"), POLICY.hashed(USER).partition(":")[2], None, None),
        (POLICY.hashed("another"), POLICY.hashed("another"), None, "{}"),
        # A hash that has the digits of the user by chance.
        (None, f"{USER.replace('-', '')}{'0' * 32}", None, None),
    ]
    path = write(tmp_path / "rows.parquet", rows)
    assert numbers(path, hashes=hashes, hashed=["dsn", "user_uuid"]) == [0, 1]
    # Where nothing is hashed, it is a text that has the user's digits.
    assert numbers(path, hashes=hashes) == [0, 1, 3]


@pytest.mark.parametrize("column", ["source_object", "time_uuid"])
def test_what_identifies_files_and_events_is_not_looked_at(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "rows.parquet", [(USER,), (DSN,)], [column])
    assert numbers(path) == []


@pytest.mark.parametrize(
    "text", [USER, USER.replace("-", ""), USER.upper(), DSN, DSN.lower(), f" {DSN}", b64encode(DSN.encode()).decode()]
)
@pytest.mark.parametrize("column", ["dsn", "user_uuid"])
def test_any_identifier_counts_in_any_column(tmp_path: Path, column: str, text: str) -> None:
    path = write(tmp_path / "rows.parquet", [("x",), (text,), (None,)], [column])
    assert numbers(path) == [1]


def test_a_file_without_texts_or_rows_names_nobody(tmp_path: Path) -> None:
    assert numbers(write(tmp_path / "rows.parquet", [(), ()], [])) == []
    assert numbers(write(tmp_path / "empty.parquet", [])) == []

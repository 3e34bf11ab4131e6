"""What becomes of a column that nobody knows: loaded, left out, kept in the quarantine, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.new_columns import OnNewColumn, on_new_column
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.typed_manifest import TypedManifest
from ayla_provider.errors import AylaConfigError, AylaLayoutError
from ayla_provider.rows.typed_archive import TypedArchive
from tests.rows.test_expressions import CONNECTION
from tests.rows.test_typed_archive import rows_of
from tests.support.proofs import scale
from tests.warehouse.archive import HOUR, archive_hour

OF_HOUR = ExportHour("connection", HOUR)


def row(minute: int, *cells: str) -> bytes:
    return b",".join([CONNECTION.replace(b":45", b":%02d" % minute), *(cell.encode() for cell in cells)]) + b"\n"


def typed(folder: Path, word: str | dict[str, str], **more: Any) -> TypedManifest:
    archive, rows = FileDestination(folder / "archive"), FileDestination(folder / "rows")
    more = {"max_malformed": 0} | more
    return TypedArchive(archive, rows, on_new_column=word, **more).ensure(OF_HOUR, {}).manifest


def quarantined(folder: Path, made: TypedManifest) -> list[tuple[Any, ...]]:
    """Return line, offset, reason and bytes of each row of the quarantine."""
    if not made.quarantine:
        return []
    query = "select line, byte_offset, reason, row_bytes from read_parquet(?, hive_partitioning = false)"
    return duckdb.execute(query, [str(folder / "archive" / made.quarantine)]).fetchall()


def test_a_new_column_is_loaded_by_default(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [row(1, "wifi") + row(2, "")])
    made = typed(tmp_path, "evolve")
    assert sorted(str(each["column_7"]) for each in rows_of(tmp_path / "rows" / made.path)) == ["None", "wifi"]
    assert quarantined(tmp_path, made) == []


@pytest.mark.parametrize("word", ["drop", "quarantine"])
def test_rows_are_loaded_without_a_new_column(tmp_path: Path, word: str) -> None:
    archive_hour(tmp_path / "archive", "connection", [row(1, "secret-1"), row(2) + row(3)])
    made = typed(tmp_path, word)
    assert (made.rows, made.quarantined) == (3, 0)
    assert "column_7" not in [column.name for column in made.columns]
    assert b"secret-1" not in (tmp_path / "rows" / made.path).read_bytes()
    # The rows of a table are still told apart by all that it has.
    assert made.table.complete


def test_rows_with_a_value_in_a_new_column_are_in_the_quarantine_too(tmp_path: Path) -> None:
    lines = [row(1, "a", "b"), row(2, "", ""), row(3, "null", "d"), row(4, "e", "")]
    archive_hour(tmp_path / "archive", "connection", [b"".join(lines)])
    made = typed(tmp_path, "quarantine")
    assert (made.lines, made.rows, made.quarantined) == (4, 4, 0)
    size = len(lines[0])
    offsets = [0, size, size + len(lines[1]), size + len(lines[1]) + len(lines[2])]
    assert quarantined(tmp_path, made) == [
        (1, offsets[0], "a new column: column_7, column_8", lines[0][:-1]),
        (3, offsets[2], "a new column: column_8", lines[2][:-1]),
        (4, offsets[3], "a new column: column_7", lines[3][:-1]),
    ]


def test_such_rows_do_not_count_as_malformed_and_malformed_ones_beside_them_do(tmp_path: Path) -> None:
    good = b"".join(row(minute, "wifi") for minute in range(20))
    archive_hour(tmp_path / "archive", "connection", [good + b"one,two\n"])
    made = typed(tmp_path, "quarantine", max_malformed=0.05)
    assert (made.rows, made.quarantined) == (20, 1)
    reasons = [reason for _, _, reason, _ in quarantined(tmp_path, made)]
    assert sorted(set(reasons)) == ["2 columns instead of 7", "a new column: column_7"]
    assert len(reasons) == 21


def test_an_hour_fails_if_no_new_column_is_wanted(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [row(1), row(2, "wifi")])
    with pytest.raises(AylaLayoutError, match=r"07:00 UTC, .*f1\.csv: new columns column_7, and on_new_column is fail"):
        typed(tmp_path, "fail")
    assert not list((tmp_path / "rows").rglob("*.parquet"))
    archive_hour(tmp_path / "archive", "connection", [row(1)], generation=2, revision=2)
    assert typed(tmp_path, "fail").rows == 1


def test_another_choice_makes_the_rows_again(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [row(1, "wifi")])
    versions = {word: typed(tmp_path, word).version for word in ("evolve", "drop", "quarantine")}
    assert len(set(versions.values())) == 3
    assert typed(tmp_path, {"connection": "evolve", "*": "drop"}).version == versions["evolve"]


def test_what_the_quarantine_had_goes_when_the_column_is_loaded_after_all(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [row(1, "wifi")])
    before = typed(tmp_path, "quarantine")
    after = typed(tmp_path, "evolve")
    assert (bool(before.quarantine), after.quarantine) == (True, "")
    assert b"wifi" not in (tmp_path / "archive" / before.quarantine).read_bytes()


def test_a_policy_treats_the_columns_that_stay(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [row(1, "wifi")])
    policy = PrivacyPolicy({"dsn": "hash"}, "a key of sixteen characters")
    (only,) = rows_of(tmp_path / "rows" / typed(tmp_path, "drop", policy=policy).path)
    assert str(only["dsn"]).startswith(f"{policy.key_id}:")
    assert "column_7" not in only


@settings(max_examples=scale(6, 200), deadline=None)
@given(
    files=st.lists(st.lists(st.sampled_from(["", "wifi", "null"]), max_size=4), min_size=2, max_size=4),
    with_column=st.sets(st.integers(0, 3), min_size=1),
    word=st.sampled_from(["drop", "quarantine", "evolve"]),
)
def test_an_hour_in_parts_is_the_same_as_in_one_task(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], with_column: set[int], word: str
) -> None:
    contents = []
    for number, cells in enumerate(files):
        usual = range(number * 10, number * 10 + 6)
        more = [(50 + place, cell) for place, cell in enumerate(cells)]
        rows = [(minute, "x") for minute in usual] + more
        contents.append(b"".join(row(minute, *([cell] if number in with_column else [])) for minute, cell in rows))
    found = []
    for most in (10**9, 1):
        folder = tmp_path_factory.mktemp("hour")
        archive_hour(folder / "archive", "connection", contents)
        made = typed(folder, word, max_bytes_per_task=most)
        rows = [each for file in made.rows_files for each in rows_of(folder / "rows" / file.path)]
        balance = (made.lines, made.rows, made.duplicates, made.quarantined, [column.name for column in made.columns])
        found.append((balance, sorted(map(repr, rows)), quarantined(folder, made)))
    assert found[0] == found[1]


def test_words_that_nobody_knows_are_refused() -> None:
    assert on_new_column({"connection": "fail"}, "datapoint") is OnNewColumn.EVOLVE
    for wrong in ("keep", {"connection": "keep"}, ["drop"], None):
        with pytest.raises(AylaConfigError, match="expected evolve, drop, quarantine, fail, or event types"):
            on_new_column(wrong, "connection")  # type: ignore[arg-type]

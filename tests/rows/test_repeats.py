"""Of rows with one identity, one stays: which one, and whatever their hashes are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.rows import duck, typed_archive
from ayla_provider.rows.typed_archive import TypedArchive
from tests.warehouse.archive import HOUR, archive_hour

ID = "0123abcd-4697-11ea-8080-808080808080"
OTHER = "0123abcd-4697-11ea-8080-808080808081"


def line(identity: str, value: int, second: int = 0, metadata: str = "e30=") -> str:
    """Return a row that is updated at a second of its minute."""
    time = f"Wed Feb 05 12:08:{second:02} UTC 2020"
    return (
        f"1a2b3c4d,LC-THERMO-2,LC000X000000001,temperature,VGVtcA==,integer,{identity},,{time},{time},"
        f"a0b1c2d3-1111-2222-3333-abcdef000001,false,,false,user,{value},,,,,{metadata},output\n"
    )


def typed(folder: Path, *files: str, policy: PrivacyPolicy | None = None) -> list[tuple[str | None, int]]:
    """Return the id and the value of each row that stays, and check the receipt's balance."""
    archive_hour(folder / "archive", "datapoint", [text.encode() for text in files])
    rows = FileDestination(folder / "rows")
    made = TypedArchive(FileDestination(folder / "archive"), rows, policy=policy).ensure(
        ExportHour("datapoint", HOUR), {}
    )
    with duckdb.connect() as connection:
        path = folder / "rows" / made.manifest.path
        found = connection.execute(f"select time_uuid, val_int from '{path}' order by all").fetchall()
    lines = sum(text.count("\n") for text in files)
    assert (made.manifest.rows, made.manifest.duplicates) == (len(found), lines - len(found))
    return found


def test_equal_rows_stay_once(tmp_path: Path) -> None:
    assert typed(tmp_path, line(ID, 1) * 3 + line(OTHER, 2)) == [(ID, 1), (OTHER, 2)]


def test_the_latest_row_stays(tmp_path: Path) -> None:
    assert typed(tmp_path, line(ID, 1, 1) + line(ID, 2, 3) + line(ID, 3, 2)) == [(ID, 2)]


def test_of_rows_of_the_same_time_the_one_of_the_last_file_stays(tmp_path: Path) -> None:
    assert typed(tmp_path, line(ID, 2), line(ID, 1)) == [(ID, 1)]


@pytest.mark.parametrize("values", [(9, 10), (10, 9)])
def test_of_different_rows_of_the_same_time_and_file_the_last_text_stays(
    tmp_path: Path, values: tuple[int, int]
) -> None:
    assert typed(tmp_path, "".join(line(ID, value) for value in values) + line(OTHER, 3)) == [(ID, 9), (OTHER, 3)]


def test_upper_and_lower_case_are_the_same_id(tmp_path: Path) -> None:
    assert typed(tmp_path, line(ID.upper(), 1, 1) + line(ID, 2, 2)) == [(ID, 2)]


def test_of_rows_without_an_id_each_text_stays(tmp_path: Path) -> None:
    ids = [f"0123abcd-4697-11ea-8080-{number:012x}" for number in range(50)]
    known = "".join(line(identity, 5) for identity in ids)
    none = line("", 1, 1) + line("", 2, 2) + line("", 1, 1)
    expected = [*((identity, 5) for identity in ids), (None, 1), (None, 2)]
    assert typed(tmp_path, known + line(ids[0], 5) + none) == expected


def test_a_row_that_only_writes_an_empty_cell_otherwise_is_a_repeat(tmp_path: Path) -> None:
    assert typed(tmp_path, line(ID, 1) + line(ID, 1).replace(",false,,", ",false,null,")) == [(ID, 1)]


@pytest.mark.parametrize("treatments", [{"user_uuid": "hash"}, {"metadata": "drop"}])
def test_a_privacy_policy_changes_no_choice(tmp_path: Path, treatments: dict[str, str]) -> None:
    policy = PrivacyPolicy(treatments, key="k" * 32)
    files = [line(ID, 1, 2) + line(ID, 2, 1) + line(OTHER, 3) * 2]
    assert typed(tmp_path, *files, policy=policy) == [(ID, 1), (OTHER, 3)]


class _Colliding:
    """A connection in which each id has the same hash."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.seen = 0

    def execute(self, statement: str, *more: Any) -> duckdb.DuckDBPyConnection:
        self.seen += 'hash("time_uuid")' in statement
        return self._connection.execute(statement.replace('hash("time_uuid")', "1::ubigint"), *more)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def colliding(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_Colliding]]:
    made: list[_Colliding] = []

    def connect(**options: Any) -> _Colliding:
        made.append(_Colliding(duck.connect(**options)))
        return made[-1]

    monkeypatch.setattr(typed_archive, "connect", connect)
    yield made
    assert made[0].seen


def test_different_ids_with_the_same_hash_all_stay(tmp_path: Path, colliding: list[_Colliding]) -> None:
    ids = [f"0123abcd-4697-11ea-8080-{number:012x}" for number in range(1000)]
    lines = "".join(line(identity, number) for number, identity in enumerate(ids))
    repeats = "".join(line(identity, number) for number, identity in enumerate(ids[:10]))
    assert typed(tmp_path, lines + repeats) == [(identity, number) for number, identity in enumerate(ids)]

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.cloud.destination import FileDestination
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.typed import quarantine_path
from ayla_provider.local_cloud.fleet import CYCLE, Fleet
from ayla_provider.warehouse.typed_archive import TypedArchive
from tests.warehouse import reference
from tests.warehouse.archive import HOUR, archive_fleet

HOURS = [HOUR + timedelta(hours=number) for number in range(CYCLE)]


def rows_of(path: Path) -> list[dict[str, Any]]:
    duck = duckdb.connect()
    duck.execute("set TimeZone = 'UTC'")
    found = duck.execute(f"select * from read_parquet('{path}')")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def comparable(rows: list[dict[str, Any]], names: list[str]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.get(name) for name in names) for row in rows), key=repr)


@pytest.fixture
def typed(tmp_path: Path) -> TypedArchive:
    return TypedArchive(FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows"))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_hour_is_what_the_answer_key_and_the_reference_say(
    tmp_path: Path, typed: TypedArchive, event_type: str, seed: int
) -> None:
    fleet = Fleet(seed=seed)
    for hour in HOURS:
        manifest = archive_fleet(tmp_path / "archive", fleet, event_type, hour)
        made = typed.ensure(event_type, hour, {}).manifest
        answer = fleet.answer(event_type, hour)
        assert made.lines == sum(file.final.rows for file in answer.files)
        assert made.quarantined == sum(file.final.malformed_rows for file in answer.files)
        assert made.rows == answer.distinct_rows
        for file in made.files:
            assert file.lines == file.loaded + file.duplicates + file.quarantined
        if not manifest.files:
            assert made.path == ""
            continue
        files = [(one.source, one.generation, (tmp_path / "archive" / one.path).read_bytes()) for one in manifest.files]
        expected = reference.read(event_type, files)
        rows = rows_of(tmp_path / "rows" / made.path)
        names = [column.name for column in made.columns]
        assert comparable(rows, names) == comparable([row | {"folder_hour": hour} for row in expected.rows], names)
        kept = tmp_path / "archive" / quarantine_path(event_type, hour)
        assert kept.exists() == bool(expected.malformed)
        if expected.malformed:
            found = [(row["source_object"], row["line"], row["row_bytes"]) for row in rows_of(kept)]
            assert found == sorted(expected.malformed)

"""pyiceberg reads and writes through this package's destinations, wherever a table is."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from ayla_provider.archive.destination import Stored
from ayla_provider.destinations import open_destination
from ayla_provider.domain.tables import TABLES
from ayla_provider.errors import AylaConfigError, AylaConflictError
from ayla_provider.warehouse.base import HeldHour
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from ayla_provider.warehouse.iceberg_io import STORAGE, DestinationFileIO, Storage, known, split
from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from tests.support.object_stores import memory_place, quiet
from tests.warehouse.iceberg_place import existing, reached, the_disk
from tests.warehouse.made_loads import HOUR, NOON, made_load

pytestmark = quiet


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket/a/b.parquet", ("s3://bucket", "a/b.parquet")),
        ("gs://bucket/a b?c#d%20.avro", ("gs://bucket", "a b?c#d%20.avro")),
        ("abfss://container@account.dfs.core.windows.net/a/b", ("abfss://container", "a/b")),
        ("abfs://container/a/b", ("abfs://container", "a/b")),
        ("file:///a/b", ("file:///", "a/b")),
        ("file:/a/b", ("file:///", "a/b")),
        ("/a/b", ("file:///", "a/b")),
    ],
)
def test_a_url_leads_to_a_bucket_and_a_path(url: str, expected: tuple[str, str]) -> None:
    assert split(url) == expected


def test_tables_in_an_object_store_are_loaded_compacted_counted_and_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsspec's store in memory has no files on this disk, as S3, Cloud Storage, and Azure."""
    store = memory_place(monkeypatch)

    def put(warehouse: IcebergWarehouse, number: int, *devices: str, version: str = "v1") -> None:
        rows = [{"dsn": dsn} for dsn in devices]
        warehouse.replace(made_load(tmp_path, "datapoint", NOON + number * HOUR, rows, version=version))

    def connected() -> IcebergWarehouse:
        return IcebergWarehouse(
            lambda: SqlCatalog("test", uri=f"sqlite:///{tmp_path / 'catalog.db'}", warehouse="memory://unused"),
            open_destination,
            namespace="ayla.iot",
            location="memory://bucket/ayla/archive/tables/",
        )

    with connected() as warehouse:
        warehouse.prepare(TABLES["datapoint"])
        assert existing(warehouse).location() == "memory://bucket/ayla/archive/tables/ayla/iot/ayla_datapoint"
        for number in range(3):
            put(warehouse, number, "A", "B")
        later = datetime.now(UTC) + timedelta(days=400)
        assert Upkeep(warehouse, keep_snapshots=1, now=later).run("datapoint").files_compacted == 3
        put(warehouse, 1, "C", version="v2")
    with connected() as warehouse:
        assert warehouse.held("datapoint", NOON, NOON + 3 * HOUR) == {
            NOON: HeldHour("v1", 2, 2, 2),
            NOON + HOUR: HeldHour("v2", 1, 1, 1),
            NOON + 2 * HOUR: HeldHour("v1", 2, 2, 2),
        }
        Upkeep(warehouse, keep_snapshots=1, now=later).run("datapoint")
        needed = {url.removeprefix("memory://bucket/ayla/archive/") for url in reached(existing(warehouse))}
        assert set(store.everything()) == needed


def test_of_a_compacted_file_in_a_store_one_column_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = memory_place(monkeypatch)
    read: list[int] = []
    read_range = type(store.destination).read_range

    def counted(self: Any, stored: Stored, start: int, end: int) -> bytes:
        content = read_range(self, stored, start, end)
        read.append(len(content))
        return content

    monkeypatch.setattr(type(store.destination), "read_range", counted)
    warehouse = IcebergWarehouse(
        lambda: SqlCatalog("test", uri=f"sqlite:///{tmp_path / 'catalog.db'}", warehouse="memory://unused"),
        open_destination,
        namespace="ayla",
        location="memory://bucket/ayla/archive/tables",
    )
    with warehouse:
        warehouse.prepare(TABLES["datapoint"])
        for number in range(2):
            rows = [{"dsn": f"{row}", "val_string": os.urandom(50_000).hex()} for row in range(20)]
            warehouse.replace(made_load(tmp_path, "datapoint", NOON + number * HOUR, rows))
        Upkeep(warehouse, now=datetime.now(UTC) + timedelta(days=400)).run("datapoint")
        (task,) = existing(warehouse).scan().plan_files()
        read.clear()
        held = warehouse.held("datapoint", NOON, NOON + 2 * HOUR)
    assert held == {NOON + number * HOUR: HeldHour("v1", 20, 20, 20) for number in range(2)}
    assert task.file.file_size_in_bytes > 1_000_000
    assert 0 < sum(read) < task.file.file_size_in_bytes / 5


def test_a_file_is_written_as_a_whole_once_or_not_at_all(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a.avro"
    with known(Storage(the_disk)) as properties:
        files = DestinationFileIO(properties)
        with pytest.raises(OSError, match="broken"), files.new_output(url).create() as stream:  # noqa: PT012
            stream.write(b"ab")
            raise OSError("broken")
        assert not files.new_output(url).exists()
        with files.new_output(url).create() as stream:
            stream.write(b"ab")
            stream.write(b"cd")
        with files.new_input(url).open() as stream:
            assert stream.read() == b"abcd"
        assert len(files.new_input(url)) == 4
        stream = files.new_output(url).create(overwrite=True)
        stream.write(b"other")
        with pytest.raises(AylaConflictError):
            stream.close()
        files.delete(url)
        for missing in (lambda: files.delete(url), lambda: len(files.new_input(url)), files.new_input(url).open):
            with pytest.raises(FileNotFoundError):
                missing()


def test_a_program_that_is_no_task_of_this_provider_gets_no_files() -> None:
    with pytest.raises(AylaConfigError, match="Remove it from py-io-impl"):
        DestinationFileIO({STORAGE: "gone"})

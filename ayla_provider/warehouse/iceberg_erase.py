"""Erases rows of Iceberg tables: data files are rewritten without them, and nothing keeps the old ones."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pyiceberg.exceptions import ValidationException
from pyiceberg.expressions import AlwaysTrue

from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.rows.duck import connect
from ayla_provider.warehouse.base import HourLeft, RowErasure
from ayla_provider.warehouse.iceberg import (
    IcebergWarehouse,
    Written,
    file_day,
    hours_in,
    refuse_row_deletes,
    rows_between,
    rows_of,
)
from ayla_provider.warehouse.iceberg_ledger import key_of
from ayla_provider.warehouse.iceberg_rows import copy_files
from ayla_provider.warehouse.lake import (
    condition_of_erasure,
    condition_of_hours,
    conflict,
    day_file_name,
    entry_after,
    erased_columns,
    file_name,
    is_day_file,
)

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

_TRIES = 5
"""How often a commit is made that met another one."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def erasable(warehouse: IcebergWarehouse, erasure: RowErasure) -> Mapping[datetime, int]:
    """Return how many rows of each hour are to be erased. Only the columns that say so are read."""
    from pyiceberg.io.pyarrow import ArrowScan

    table = warehouse.table(erasure.event_type)
    if table is None:
        return {}
    columns = erased_columns(erasure, table.schema().column_names)
    condition = condition_of_erasure(erasure, columns)
    if not condition:
        return {}
    start = min(subject.start or _FIRST for subject in erasure.subjects)
    end = max(subject.end for subject in erasure.subjects)
    found: Counter[datetime] = Counter()
    scan = ArrowScan(table.metadata, table.io, table.schema().select("folder_hour", *columns), AlwaysTrue())
    with scratch_folder() as folder, closing(connect(memory=warehouse.memory, folder=folder)) as connection:
        for task in table.scan(row_filter=rows_between(start, end)).plan_files():
            for batch in scan.to_record_batches([task]):
                connection.register("batch", batch)
                counted = connection.execute(f"select folder_hour, count(*) from batch where {condition} group by all")
                for hour, rows in counted.fetchall():
                    found[hour.astimezone(UTC)] += rows
                connection.unregister("batch")
    return found


def erase(warehouse: IcebergWarehouse, erasure: RowErasure, left: Sequence[HourLeft]) -> None:
    """Erase rows of some hours, and change these hours in the ledger, in one commit."""
    doing = f"erase rows of {erasure.event_type}"
    hours = {each.hour.astimezone(UTC): each for each in left}
    if not hours:
        return
    with scratch_folder() as folder, closing(connect(memory=warehouse.memory, folder=folder)) as connection:
        for _ in range(_TRIES):
            table = warehouse.table(erasure.event_type)
            if table is None:
                return
            written = Written()
            try:
                old = _without(warehouse, table, erasure, hours, connection, folder, written)
                entries = _entries(warehouse, table, hours)
                if old or entries:
                    warehouse.commit(
                        doing,
                        table,
                        rows_of(hours),
                        properties=entries,
                        summary={"ayla.erased": f"{len(hours)} hours"},
                        old=old,
                        new=[written],
                    )
            except ValidationException:
                # A load or compaction was faster.
                warehouse.discard(written)
            except BaseException:
                warehouse.discard(written)
                raise
            else:
                warehouse.look_again(erasure.event_type)
                return
    raise conflict(warehouse.name, doing)


def _without(
    warehouse: IcebergWarehouse,
    table: Table,
    erasure: RowErasure,
    hours: Mapping[datetime, HourLeft],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    written: Written,
) -> list[DataFile]:
    """
    Rewrite the data files of hours, without the rows that are to be erased.

    :param written: gets the new files
    :returns: the old files, without those that have no such row
    """
    condition = condition_of_erasure(erasure, table.schema().column_names)
    if not condition:
        return []
    stays = f"{condition_of_hours(hours)} or not coalesce({condition}, false)"
    replaced: list[DataFile] = []
    for task in table.scan(row_filter=rows_of(hours)).plan_files():
        first, last = hours_in(table, task.file)
        if first is not None and last is not None and not any(first <= hour <= last for hour in hours):
            continue
        refuse_row_deletes(warehouse.name, f"erase rows of {erasure.event_type}", task)
        local = folder / f"left-{secrets.token_hex(4)}.parquet"
        rows = copy_files(warehouse.storage, table, [task.file], connection, folder, local, where=stays)
        if rows < task.file.record_count:
            replaced.append(task.file)
            if rows:
                day = file_day(table, task.file) or min(hours)
                of_day = first is None or first != last or is_day_file(task.file.file_path)
                name = day_file_name(day) if of_day else file_name(first or day, hours[first or day].version)
                url = warehouse.data_url(table, day, name)
                written.urls.append(url)
                written.files.append(warehouse.data_file(table, local, url))
        local.unlink()
    return replaced


def _entries(warehouse: IcebergWarehouse, table: Table, hours: Mapping[datetime, HourLeft]) -> dict[str, str]:
    """Return the properties of the ledger that change. An hour that somebody loaded in the meantime isn't in it."""
    known = warehouse.ledger(table).entries(min(hours), max(hours) + ONE_HOUR)
    changed: dict[str, str] = {}
    for hour, each in hours.items():
        entry = known.get(hour)
        if entry is None:
            continue
        now = entry_after(entry, each)
        if now != entry:
            changed[key_of(hour)] = now.text()
    return changed

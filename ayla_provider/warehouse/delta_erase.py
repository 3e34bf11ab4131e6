"""Erases rows of Delta tables: data files are rewritten without them, and nothing keeps the old ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ayla_provider.archive.destination import Listed, Stored
from ayla_provider.domain.erasure import Leftover
from ayla_provider.rows.duck import quoted
from ayla_provider.warehouse.base import HourLeft, RowErasure
from ayla_provider.warehouse.delta import DeltaWarehouse, Tries, again
from ayla_provider.warehouse.delta_ledger import FOLDER, WeekLedger, weeks_of
from ayla_provider.warehouse.delta_tables import PARTITION, WHOLE, commit, files_of, types_of
from ayla_provider.warehouse.delta_upkeep import OWN_NAME
from ayla_provider.warehouse.lake import (
    UNREFERENCED_FOR,
    condition_of_erasure,
    condition_of_hours,
    entry_after,
    erased_columns,
)

if TYPE_CHECKING:
    from deltalake import DeltaTable

_LOG = "_delta_log"

_CHANGES = "_change_data"
"""Where other tools keep changed rows, if the table's property ``delta.enableChangeDataFeed`` says so."""

_CURRENT = "_last_checkpoint"
"""Names the newest checkpoint. It has no statistics."""

_VERSION = re.compile(r"\d{20}(?=\.)")

_REMOVERS = 8
"""How many files are removed at once."""


def erasable(warehouse: DeltaWarehouse, erasure: RowErasure) -> Mapping[datetime, int]:
    """Return how many rows of each hour are to be erased. Only the columns that say so are read."""
    from deltalake import QueryBuilder

    table = warehouse.tables.open(erasure.event_type)
    if table is None or not files_of(table):
        return {}
    columns = erased_columns(erasure, types_of(table))
    condition = condition_of_erasure(erasure, columns)
    if not condition:
        return {}
    selected = ", ".join(quoted(name) for name in ("folder_hour", *columns))
    days = [f"\"{PARTITION}\" <= date '{max(subject.end for subject in erasure.subjects).astimezone(UTC):%Y-%m-%d}'"]
    starts = [subject.start for subject in erasure.subjects if subject.start is not None]
    if len(starts) == len(erasure.subjects):
        days.append(f"\"{PARTITION}\" >= date '{min(starts).astimezone(UTC):%Y-%m-%d}'")
    query = f"select {selected} from searched where {' and '.join(days)}"
    found = QueryBuilder().register("searched", table).execute(query)
    with warehouse.scratch() as (connection, _):
        # DuckDB computes the hashes, while the batches arrive.
        connection.register("searched", found)
        counted = connection.execute(f"select folder_hour, count(*) from searched where {condition} group by all")
        return {hour.astimezone(UTC): int(rows) for hour, rows in counted.fetchall()}


def erase(warehouse: DeltaWarehouse, erasure: RowErasure, left: Sequence[HourLeft]) -> None:
    """Erase rows of some hours, and change these hours in the ledger, in one commit."""
    hours = {each.hour.astimezone(UTC): each for each in left}
    if not hours or warehouse.tables.open(erasure.event_type) is None:
        return
    doing = f"erase rows of {erasure.event_type}"
    tries = Tries(warehouse, erasure.event_type)
    again(lambda last: _erase_once(warehouse, erasure, hours, tries, last), warehouse.name, doing)
    # Every try was refused, or is there. So none can arrive any more.
    tries.remove_rest()


def _erase_once(
    warehouse: DeltaWarehouse, erasure: RowErasure, hours: Mapping[datetime, HourLeft], tries: Tries, last: bool
) -> bool:
    """Try to commit. Return whether the rows are gone, and the commit wasn't refused."""
    from deltalake.exceptions import CommitFailedError

    event_type = erasure.event_type
    table = warehouse.existing(event_type)
    # The first thing is to leave what an earlier try committed whose answer got lost.
    tries.keep_named(table)
    index = warehouse.tables.index(table, event_type)
    weeks = warehouse.tables.weeks(index, event_type, weeks_of(hours))
    changed = [now for week in weeks.values() if (now := _changed(week, hours)) != week]
    condition = condition_of_erasure(erasure, types_of(table))
    files = [file for file in files_of(table) if any(file.can_hold(hour) for hour in hours)]
    goes = f"not ({condition_of_hours(hours)}) and ({condition})" if condition else "false"
    removed, added = tries.without_rows(table, files if condition else [], goes)
    if not removed and not changed:
        return True
    # Without a change, the new file would be the one that the table names.
    number = tries.write_ledger(index, changed) if changed else None
    try:
        commit(table, added, removed, ledger=number, says={"ayla.erased": f"{len(hours)} hours"})
    except CommitFailedError:
        # If it is there all the same, the next try finds out.
        if last:
            raise
        return False
    tries.keep(added, number)
    return True


def _changed(week: WeekLedger, hours: Mapping[datetime, HourLeft]) -> WeekLedger:
    """Return a week's ledger after the erasure."""
    entries = {hour: entry_after(entry, hours[hour]) for hour, entry in week.hours.items() if hour in hours}
    return week.with_entries(entries)


def forget(warehouse: DeltaWarehouse, event_type: str, now: datetime) -> list[Leftover]:
    """
    Remove what a table keeps of its earlier versions, and return what keeps some.

    Entries of the log and checkpoints go, too: they state the smallest and the largest device of files.
    """
    tables, folder = warehouse.tables, warehouse.tables.folder(event_type)
    if tables.open(event_type) is None:
        return []
    # An entry without files, so that the newest entry has no statistics.
    again(lambda last: _mark(warehouse, event_type, last), warehouse.name, f"shorten the log of {event_type}")
    # Before the table is read: a file that is committed in the meantime isn't in the list, or is named.
    listed = list(tables.destination.tree(f"{folder}/"))
    table = warehouse.existing(event_type)
    table.create_checkpoint()
    unneeded: list[Stored] = []
    waits: list[Listed] = []
    for each, is_unneeded in _unreachable(table, folder, listed, now):
        if is_unneeded:
            unneeded.append(each.stored)
        else:
            waits.append(each)
    # Files before the log's entries, and the oldest entry first, so that what is left can be read whenever this ends.
    logs = [one for one in unneeded if f"/{_LOG}/" in one.path]
    files = [one for one in unneeded if f"/{_LOG}/" not in one.path]
    with ThreadPoolExecutor(_REMOVERS, thread_name_prefix="ayla-forget") as pool:
        list(pool.map(tables.destination.remove_for_good, files))
    for one in sorted(logs, key=lambda one: (not one.path.endswith(".json"), one.path)):
        tables.destination.remove_for_good(one)
    kept = tables.destination.remove_earlier_versions(f"{folder}/")
    return [*_leftovers(warehouse, event_type, waits), *kept]


def _mark(warehouse: DeltaWarehouse, event_type: str, last: bool) -> bool:
    from deltalake.exceptions import CommitFailedError

    try:
        commit(warehouse.existing(event_type), [], [], says={"ayla.erased": "earlier versions"}, data_change=False)
    except CommitFailedError:
        if last:
            raise
        return False
    return True


def _unreachable(
    table: DeltaTable, folder: str, listed: Sequence[Listed], now: datetime
) -> Iterator[tuple[Listed, bool]]:
    """Yield the files that the table doesn't need, and whether each can go now: no unfinished commit can need it."""
    named = {file.path for file in files_of(table)}
    replaced = set(table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True))
    for each in listed:
        path = each.stored.path.removeprefix(f"{folder}/")
        top, _, name = path.partition("/")
        is_old = now - each.modified > UNREFERENCED_FOR
        if top == FOLDER or path in named:
            continue
        if top == _LOG:
            version = _VERSION.match(name)
            if version:
                if int(version[0]) < table.version():
                    yield each, True
            elif name != _CURRENT:
                # The rest of a commit has its statistics. Parts of checkpoints may be needed.
                yield each, is_old and name.endswith(".tmp")
        elif top == WHOLE or top.startswith(f"{PARTITION}="):
            yield each, path in replaced or (is_old and OWN_NAME.fullmatch(name) is not None)
        else:
            yield each, is_old and top == _CHANGES


def _leftovers(warehouse: DeltaWarehouse, event_type: str, waits: Sequence[Listed]) -> Iterator[Leftover]:
    where = warehouse.tables.url(event_type)
    now_young = [each for each in waits if OWN_NAME.fullmatch(each.stored.path.rpartition("/")[2])]
    if now_young:
        reason = (
            "files that no commit names can belong to a task that isn't finished, and can have erased rows. Upkeep "
            "removes them when they are a day old"
        )
        yield Leftover(where, reason, max(each.modified for each in now_young) + UNREFERENCED_FOR)
    if len(now_young) < len(waits):
        reason = (
            "files of other tools, or of commits that aren't finished, can have erased rows. Erase again when they are "
            "a day old, or remove them by hand"
        )
        yield Leftover(where, reason, None)

"""Removes the rows of old hours from a warehouse, by a rule of the customer's. The ledger says so."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour, describe_hour
from ayla_provider.domain.removal import Removed, Rule, in_words
from ayla_provider.domain.tables import STREAM_TABLES, table_like
from ayla_provider.warehouse.base import REMOVED, Load, Warehouse
from ayla_provider.warehouse.policy import EVER

log = logging.getLogger(__name__)

_AT_ONCE = 200
"""Of how many hours a table format removes the rows in one commit."""


def remove_hours(
    warehouse: Warehouse, event_types: Sequence[EventType], rule: Rule, *, loaded_by: str = "", dry_run: bool = False
) -> Removed:
    """
    Remove the rows of old hours, and the earlier versions that still have them, as far as the warehouse can.

    A warehouse that speaks SQL removes each hour in one transaction, a table format up to 200 hours in one commit. What
    was removed is done, whenever the task is killed.

    Plans and loads leave such an hour alone, because the ledger has it in the version
    :data:`~ayla_provider.warehouse.base.REMOVED`.

    :param warehouse: entered
    :param loaded_by: for the ledger
    :param dry_run: whether to count alone
    :raises AylaWarehouseError: if the warehouse refuses it
    """
    removed = Removed.of(rule)
    # Those of which earlier versions can have removed hours: also of a task that was killed before it expired them.
    touched = []
    for event_type in event_types:
        if rule.before <= EVER[0]:
            continue
        # Without its table, an event type has no hours here.
        versions = warehouse.loaded(event_type, EVER[0], rule.before)
        held = warehouse.held(event_type, EVER[0], rule.before)
        rows: dict[datetime, int] = {}
        for start in sorted(held):
            if not held[start].counted and versions.get(start) in (None, REMOVED):
                continue
            hold = rule.hold_on(ExportHour(event_type, start))
            if hold:
                removed.held[hold.id] += 1
                continue
            rows[start] = held[start].counted
        if rows or REMOVED in versions.values():
            touched.append(event_type)
        for start in rows if dry_run else _removed(warehouse, event_type, rows, rule, loaded_by):
            removed.add(ExportHour(event_type, start), rows=rows[start])
    if touched and not dry_run:
        leftovers = warehouse.expire(touched, rule.now)
        removed.remains = in_words(leftovers) if removed.hours else ""
    return removed


def _removed(
    warehouse: Warehouse, event_type: EventType, hours: Iterable[datetime], rule: Rule, loaded_by: str
) -> Iterator[datetime]:
    """Remove the rows of hours, and yield each hour once that is done."""
    table = STREAM_TABLES.get(event_type) or table_like(event_type, (), None)
    ordered = list(hours)
    for at in range(0, len(ordered), _AT_ONCE):
        several = ordered[at : at + _AT_ONCE]
        loads = [Load(table, start, REMOVED, 0, 0, 0, 0, None, rule.now, loaded_by) for start in several]
        for load in warehouse.replace_several(loads):
            log.info("Removed %s %s from %s", event_type, describe_hour(load.hour), warehouse.name)
            yield load.hour

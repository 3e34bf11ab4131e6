"""Removes the rows of old hours from a warehouse, by a rule of the customer's. The ledger says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.removal import Removed, Rule
from ayla_provider.domain.tables import STREAM_TABLES, table_like
from ayla_provider.warehouse.base import REMOVED, Load, Warehouse
from ayla_provider.warehouse.policy import EVER

log = logging.getLogger(__name__)


def remove_hours(
    warehouse: Warehouse, event_types: Sequence[EventType], rule: Rule, *, loaded_by: str = "", dry_run: bool = False
) -> Removed:
    """
    Remove the rows of old hours, each hour in one transaction. What was removed is done, whenever the task is killed.

    Plans and loads leave such an hour alone, because the ledger has it in the version
    :data:`~ayla_provider.warehouse.base.REMOVED`.

    :param warehouse: entered
    :param loaded_by: for the ledger
    :param dry_run: whether to count alone
    :raises AylaWarehouseError: if the warehouse refuses it
    """
    removed = Removed.of(rule)
    for event_type in event_types:
        held = warehouse.held(event_type, EVER[0], rule.before) if rule.before > EVER[0] else {}
        table = STREAM_TABLES.get(event_type) or table_like(event_type, (), None)
        for start in sorted(held):
            hour, content = ExportHour(event_type, start), held[start]
            if content.version == REMOVED and not content.counted:
                continue
            hold = rule.hold_on(hour)
            if hold:
                removed.held[hold.id] += 1
                continue
            if not dry_run:
                warehouse.replace(Load(table, start, REMOVED, 0, 0, 0, 0, None, rule.now, loaded_by))
                log.info("Removed %s from %s", hour, warehouse.name)
            removed.add(hour, rows=content.counted)
    return removed

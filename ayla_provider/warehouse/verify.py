"""Checks that a warehouse holds what the receipts of the typed rows say. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.findings import Damage, Finding
from ayla_provider.archive.verify import YOUNG, Scope
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.typed_manifest import TypedManifest, typed_manifest_path
from ayla_provider.domain.units import counted
from ayla_provider.errors import AylaDestinationError
from ayla_provider.rows.verify import read_receipt, receipts
from ayla_provider.warehouse.base import REMOVED, HeldHour, Warehouse

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)

_NOTHING = HeldHour()

Receipt = TypedManifest | AylaDestinationError | None
"""A receipt, why it can't be read, or None if there is none."""


def verify_ledger(
    warehouse: Warehouse, rows: Destination, event_type: EventType, scope: Scope, *, now: datetime
) -> Iterator[Finding]:
    """
    Compare the ledger with the receipts, and the number of rows of each hour with the ledger.

    It takes one query of the warehouse, and one read per receipt. Loads may run at the same time: what differs is
    looked at again, with one more query, before it is reported. A receipt that is younger than a day needs no load yet.

    :param rows: where the typed rows are
    :param scope: its hours are verified; what is older than its expected retention isn't
    :param now: aware
    :raises AylaError: if the warehouse or the receipts can't be read
    """
    start = scope.start or _FIRST
    if scope.expected_retention:
        start = max(start, now - scope.expected_retention)
    of_type = Scope([event_type], start if start > _FIRST else None, scope.end)
    held = dict(warehouse.held(event_type, start, scope.end))
    different: list[ExportHour] = []
    for hour, receipt in receipts(rows, of_type):
        if _difference(held.pop(hour.start, _NOTHING), receipt, now):
            different.append(hour)
    # What has no receipt.
    different += [ExportHour(event_type, at) for at, entry in held.items() if _difference(entry, None, now)]
    if different:
        yield from _confirmed(warehouse, rows, sorted(different, key=lambda hour: hour.start), now)


def _confirmed(warehouse: Warehouse, rows: Destination, hours: list[ExportHour], now: datetime) -> Iterator[Finding]:
    """Look at hours again, and yield what differs now."""
    held: Mapping[datetime, HeldHour] = warehouse.held(hours[0].event_type, hours[0].start, hours[-1].end)
    for hour in hours:
        receipt: Receipt
        try:
            receipt = read_receipt(rows, hour)
        except AylaDestinationError as error:
            receipt = error
        difference = _difference(held.get(hour.start, _NOTHING), receipt, now)
        if difference:
            damage, detail = difference
            yield Finding(damage, hour, typed_manifest_path(hour), f"{warehouse.name}: {detail}")


def _difference(held: HeldHour, receipt: Receipt, now: datetime) -> tuple[Damage, str] | None:
    """Return how what a warehouse holds of an hour differs from the ledger, or the ledger from the receipt."""
    if held.version is None and held.counted:
        return Damage.MORE_ROWS, f"the table has {_rows(held.counted)} of an hour that isn't in the ledger"
    if held.counted != held.rows:
        damage = Damage.FEWER_ROWS if held.counted < held.rows else Damage.MORE_ROWS
        return damage, f"the table has {_rows(held.counted)}, the ledger says {held.rows:,}"
    if held.version == REMOVED:
        return None
    if isinstance(receipt, AylaDestinationError):
        # The verification of the typed rows reports it.
        return None
    if held.version is None:
        return _not_loaded(receipt, now)
    if receipt is None:
        # To erase rows removes the receipt, too.
        return (Damage.LEDGER, "the ledger has the hour, and there is no receipt") if held.rows == held.loaded else None
    if held.version == receipt.version:
        if held.loaded == receipt.rows:
            return None
        return Damage.LEDGER, f"the ledger says {_rows(held.loaded)}, the receipt says {receipt.rows:,}"
    # Rows without a lost file don't replace what was loaded before.
    if receipt.lost or _is_young(receipt, now):
        return None
    return Damage.LEDGER, f"the ledger has the version {held.version}, the receipt says {receipt.version}"


def _not_loaded(receipt: TypedManifest | None, now: datetime) -> tuple[Damage, str] | None:
    # An hour without files needs no load.
    if receipt is None or not receipt.rows_files or _is_young(receipt, now):
        return None
    return Damage.LEDGER, "the ledger doesn't have the hour"


def _is_young(receipt: TypedManifest, now: datetime) -> bool:
    """Return whether the load of an hour may still run, or run again."""
    return now - datetime.fromisoformat(receipt.written_at) < YOUNG


def _rows(count: int) -> str:
    return counted(count, "row", "rows")

"""Checks that the typed rows are those that their receipts describe: by listing, and by reading a share of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime, timedelta

from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.archive.findings import Damage, Finding
from ayla_provider.archive.inventory import Inventory
from ayla_provider.archive.reading import Reading, in_progress
from ayla_provider.archive.temporary import chunks
from ayla_provider.archive.verify import YOUNG, Scope
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import TYPED_RECEIPTS, parse_manifest_path
from ayla_provider.domain.typed_manifest import TypedManifest, parse_typed_manifest, typed_manifest_path
from ayla_provider.errors import AylaDestinationError, AylaNewerFormatError

_READERS = 16
"""How many receipts are read at once."""

_CHUNK = 512
"""How many receipts are held in memory at once."""


def verify_rows(
    rows: Destination,
    scope: Scope,
    *,
    now: datetime,
    read_every: timedelta | None = None,
    on_read: Callable[[int], None] = lambda size: None,
) -> Iterator[Finding]:
    """
    Compare each Parquet file with its receipt.

    A load may run at the same time: a file that was written within the last hour isn't compared.

    :param rows: where the typed rows are
    :param now: aware
    :param read_every: how often each Parquet file is read; None to read nothing. Each run reads a share
    :param on_read: called with the size of each file that was read
    :raises AylaDestinationError: if it can't be listed or read
    """

    def expected(hour: ExportHour, path: str) -> str | None:
        receipt = read_receipt(rows, hour)
        return receipt.crc32c if receipt and receipt.path == path else None

    reading = Reading(
        rows, read_every, now=now, expected=expected, damage=Damage.ROWS_DAMAGED, record="receipt", on_read=on_read
    )
    pool = ThreadPoolExecutor(_READERS, "ayla-verify")
    with Inventory(rows) as inventory, pool, reading:
        # The receipts first: rows are written before them.
        for root in (f"{TYPED_RECEIPTS}/", ""):
            for prefix in scope.prefixes(root):
                inventory.list(prefix)
        for hour, receipt in _read_all(rows, scope, inventory, pool):
            finding = _compared(rows, hour, receipt, inventory, now)
            if finding:
                yield finding
            elif isinstance(receipt, TypedManifest) and receipt.path:
                listed = inventory.find(receipt.path)
                if not _problem(receipt, listed.stored if listed else None):
                    reading.add(hour, receipt.path, listed, receipt.crc32c)
        for listed in inventory.unnamed(now - YOUNG):
            path = listed.stored.path
            # The path of rows has the folders of the hour's receipt.
            hour_of_rows = parse_manifest_path(f"{TYPED_RECEIPTS}/{path.rpartition('/')[0]}.json", TYPED_RECEIPTS)
            if hour_of_rows and hour_of_rows in scope:
                yield Finding(Damage.ORPHAN, hour_of_rows, path, "no receipt names these rows")
        yield from reading.findings()


def receipts(rows: Destination, scope: Scope) -> Iterator[tuple[ExportHour, TypedManifest | AylaDestinationError]]:
    """
    Yield the receipt of each hour that has one, or why it can't be read.

    :raises AylaDestinationError: if the typed rows can't be listed
    """
    pool = ThreadPoolExecutor(_READERS, "ayla-verify")
    with Inventory(rows) as inventory, pool:
        for prefix in scope.prefixes(f"{TYPED_RECEIPTS}/"):
            inventory.list(prefix)
        yield from _read_all(rows, scope, inventory, pool)


def _read_all(
    rows: Destination, scope: Scope, inventory: Inventory, pool: Executor
) -> Iterator[tuple[ExportHour, TypedManifest | AylaDestinationError]]:
    def read(hour: ExportHour) -> TypedManifest | AylaDestinationError | None:
        try:
            return read_receipt(rows, hour)
        except AylaDestinationError as error:
            return error

    listed = (parse_manifest_path(found.stored.path, TYPED_RECEIPTS) for found in inventory.below(f"{TYPED_RECEIPTS}/"))
    hours = (hour for hour in listed if hour and hour in scope)
    for chunk in chunks(hours, _CHUNK):
        for hour, receipt in zip(chunk, pool.map(read, chunk), strict=True):
            inventory.find(typed_manifest_path(hour))
            if receipt:
                yield hour, receipt


def read_receipt(rows: Destination, hour: ExportHour) -> TypedManifest | None:
    """
    Return the receipt of an hour's typed rows; None if there is none.

    :raises AylaDestinationError: if it can't be read
    """
    path = typed_manifest_path(hour)
    record = rows.read(path)
    return parse_typed_manifest(record[0], url_of(rows, path), hour) if record else None


def _compared(
    rows: Destination,
    hour: ExportHour,
    receipt: TypedManifest | AylaDestinationError,
    inventory: Inventory,
    now: datetime,
) -> Finding | None:
    if isinstance(receipt, AylaDestinationError):
        damage = Damage.NEWER if isinstance(receipt, AylaNewerFormatError) else Damage.RECEIPT
        # Its rows aren't orphans.
        inventory.find(f"{hour.partition}/rows.parquet")
        return Finding(damage, hour, typed_manifest_path(hour), str(receipt))
    if not receipt.path:
        return None
    listed = inventory.find(receipt.path)
    if not _problem(receipt, listed.stored if listed else None) or in_progress(listed, now):
        return None
    # Another look: a load may have replaced both since the listing.
    current = read_receipt(rows, hour)
    if current is None or not current.path:
        return None
    stored = rows.folder(current.path.rpartition("/")[0]).get(current.path)
    problem = _problem(current, stored)
    if not problem:
        return None
    return Finding(Damage.ROWS_DAMAGED if stored else Damage.ROWS_MISSING, hour, current.path, problem)


def _problem(receipt: TypedManifest, stored: Stored | None) -> str:
    """Return how rows differ from their receipt; empty if they don't."""
    if stored is None:
        return "the rows aren't there"
    if stored.size != receipt.size:
        return f"the rows have {stored.size} bytes, their receipt says {receipt.size}"
    if stored.crc32c not in (None, receipt.crc32c):
        return f"the rows have crc32c {stored.crc32c}, their receipt says {receipt.crc32c}"
    return ""

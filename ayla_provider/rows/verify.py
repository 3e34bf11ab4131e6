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
from ayla_provider.domain.typed_manifest import RowsFile, TypedManifest, parse_typed_manifest, typed_manifest_path
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
    on_receipt: Callable[[TypedManifest], None] = lambda receipt: None,
) -> Iterator[Finding]:
    """
    Compare each Parquet file with its hour's receipt.

    A load may run at the same time: a file that was written within the last hour isn't compared.

    :param rows: where the typed rows are
    :param now: aware
    :param read_every: how often each Parquet file is read; None to read nothing. Each run reads a share
    :param on_read: called with the size of each file that was read
    :param on_receipt: called with each receipt, before the findings about its hour
    :raises AylaDestinationError: if it can't be listed or read
    """

    def expected(hour: ExportHour, path: str) -> str | None:
        receipt = read_receipt(rows, hour)
        named = {file.path: file.crc32c for file in receipt.rows_files} if receipt else {}
        return named.get(path)

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
            if isinstance(receipt, AylaDestinationError):
                yield _unreadable(hour, receipt, inventory)
                continue
            on_receipt(receipt)
            if receipt.removed:
                # The removal goes on if files are still there.
                for file in receipt.made_files:
                    inventory.find(file.path)
            for number, file in enumerate(receipt.rows_files):
                listed = inventory.find(file.path)
                if not _problem(file, listed.stored if listed else None):
                    reading.add(hour, file.path, listed, file.crc32c)
                elif not in_progress(listed, now) and (finding := _compared(rows, hour, number)):
                    yield finding
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


def _unreadable(hour: ExportHour, error: AylaDestinationError, inventory: Inventory) -> Finding:
    """Return the finding of a receipt that can't be read. Its rows aren't orphans."""
    for path in [listed.stored.path for listed in inventory.below(f"{hour.partition}/rows")]:
        inventory.find(path)
    damage = Damage.NEWER if isinstance(error, AylaNewerFormatError) else Damage.RECEIPT
    return Finding(damage, hour, typed_manifest_path(hour), str(error))


def _compared(rows: Destination, hour: ExportHour, number: int) -> Finding | None:
    """
    Take another look at a Parquet file: a load may have replaced it and the receipt since the listing.

    :param number: the file's place in the receipt
    """
    current = read_receipt(rows, hour)
    files = current.rows_files if current else ()
    if number >= len(files):
        return None
    file = files[number]
    stored = rows.folder(file.path.rpartition("/")[0]).get(file.path)
    problem = _problem(file, stored)
    if not problem:
        return None
    return Finding(Damage.ROWS_DAMAGED if stored else Damage.ROWS_MISSING, hour, file.path, problem)


def _problem(file: RowsFile, stored: Stored | None) -> str:
    """Return how rows differ from their receipt; empty if they don't."""
    if stored is None:
        return "the rows aren't there"
    if stored.size != file.size:
        return f"the rows have {stored.size} bytes, their receipt says {file.size}"
    if stored.crc32c not in (None, file.crc32c):
        return f"the rows have crc32c {stored.crc32c}, their receipt says {file.crc32c}"
    return ""

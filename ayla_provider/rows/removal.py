"""Removes the typed rows of old hours, by a rule of the customer's. Their receipts stay, and say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.archive.records import write_json
from ayla_provider.archive.removal import OldObjects, hour_of_part, remove_objects, say_remains
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import PARTS, TYPED_RECEIPTS, parse_manifest_path
from ayla_provider.domain.removal import Removed, Rule
from ayla_provider.domain.typed_manifest import parse_typed_manifest, typed_manifest_path


def remove_rows(rows: Destination, rule: Rule, written_by: Mapping[str, str], *, dry_run: bool = False) -> Removed:
    """
    Remove the Parquet files of old hours.

    A receipt says that the files are removed before the first one is, as in
    :func:`~ayla_provider.archive.removal.remove_copies`.

    :param rows: where the typed rows are
    :param written_by: for the receipts
    :param dry_run: whether to count alone
    :raises AylaConflictError: if a load wrote a receipt at the same time
    :raises AylaError: if the rows can't be read or written
    """
    removed, last = Removed.of(rule), ""
    with OldObjects(rule) as found:
        found.look(rows, "event_type=", _hour_of_rows)
        found.look(rows, f"{PARTS}/", hour_of_part)
        for hour, objects in found.hours(removed):
            if not dry_run:
                _mark(rows, hour, rule, written_by)
            remove_objects(rows, hour, objects, removed, dry_run=dry_run)
            last = objects[-1].path
    say_remains(rows, removed, "" if dry_run else last)
    return removed


def _hour_of_rows(path: str) -> ExportHour | None:
    folder, _, name = path.rpartition("/")
    # The path of rows has the folders of the hour's receipt.
    return parse_manifest_path(f"{TYPED_RECEIPTS}/{folder}.json", TYPED_RECEIPTS) if name.endswith(".parquet") else None


def _mark(rows: Destination, hour: ExportHour, rule: Rule, written_by: Mapping[str, str]) -> None:
    path = typed_manifest_path(hour)
    record = rows.read(path)
    if record is None:
        return
    content, stored = record
    receipt = parse_typed_manifest(content, url_of(rows, path), hour)
    if receipt.removed or not receipt.path:
        return
    at = rule.now.isoformat()
    marked = replace(receipt, removed=at, written_at=at, written_by=written_by)
    write_json(rows, path, marked.dumps(), stored)

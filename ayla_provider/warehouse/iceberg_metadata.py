"""
How the metadata of an Iceberg table stays small.

Each commit reads and writes all of it: the snapshots, the hours of the ledger, and the list of manifests. Upkeep makes
it small once a day. A load does it if upkeep doesn't, so that a commit never takes much longer than the one before.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    AssertTableUUID,
    RemovePropertiesUpdate,
    RemoveSnapshotsUpdate,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)

from ayla_provider.transport.checksum import Crc32c
from ayla_provider.warehouse.iceberg_ledger import HOUR, folded_file
from ayla_provider.warehouse.lake import remove_file

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata

    from ayla_provider.warehouse.iceberg import IcebergWarehouse

log = logging.getLogger(__name__)

KEPT = "history.expire.min-snapshots-to-keep"
"""The property with which upkeep tells loads, and other programs, how many snapshots are to stay."""

KEEP_SNAPSHOTS = 100
"""How many snapshots a load leaves at least. Upkeep leaves fewer."""

SPARE_SNAPSHOTS = 50
"""So many more of them may come together before a load removes the oldest."""

KEEP_HOURS = 100
"""How many hours of the ledger a load leaves in properties."""

SPARE_HOURS = 100
"""So many more of them may come together before a load folds the oldest."""

MERGE_AT_LEAST = 100
"""Fewer manifests aren't merged. It is also where pyiceberg's own limit is, ``commit.manifest.min-count-to-merge``."""

_LOOK_EVERY = 10
"""After so many commits, a load counts the manifests, because that takes a read."""

_STAGED_FOR = timedelta(days=5)
"""A younger snapshot that is in no branch can be one that another writer is about to publish."""


def slim(table: Table) -> Table:
    """
    Return a table without the metadata that a commit doesn't need.

    pyiceberg copies the metadata of a transaction some 30 times, with all snapshots. The commit needs the current one.
    The catalog makes the change in the whole metadata, which it reads itself.
    """
    current = table.metadata.current_snapshot()
    properties = {name: value for name, value in table.properties.items() if not name.startswith(HOUR)}
    needed = table.metadata.model_copy(
        update={"snapshots": [current] if current else [], "snapshot_log": [], "properties": properties}
    )
    return Table(table.name(), needed, table.metadata_location, table.io, table.catalog, table.config)


def lighten(warehouse: IcebergWarehouse, event_type: str, before: Table) -> None:
    """
    Remove the oldest snapshots, fold the oldest hours of the ledger, and merge manifests, if there are too many.

    The files of removed snapshots stay until upkeep sweeps them. Nothing is done if other commits are in the way: the
    next load does it.

    :param before: the table before the last commit
    """
    keep = max(KEEP_SNAPSHOTS, _kept(before.properties))
    if len(before.metadata.snapshots) >= keep + SPARE_SNAPSHOTS:
        table = warehouse.existing_table(event_type)
        expired = to_expire(table.metadata, keep, datetime.now(UTC))
        if expired:
            change(table, (removal_of(expired),), refs_of(table.metadata))
    if len(warehouse.ledger(before).own) >= KEEP_HOURS + SPARE_HOURS:
        table = warehouse.existing_table(event_type)
        fold(warehouse, table, sorted(warehouse.ledger(table).own)[:-KEEP_HOURS])
    if before.metadata.next_sequence_number() % _LOOK_EVERY == 0 and _has_many_manifests(before):
        rewrite_manifests(warehouse, warehouse.existing_table(event_type))


def _kept(properties: Mapping[str, str]) -> int:
    """Return how many snapshots are to stay, as a table says."""
    text = properties.get(KEPT, "")
    return int(text) if text.isdecimal() else 0


def change(table: Table, updates: tuple[TableUpdate, ...], requirements: Iterable[TableRequirement]) -> bool:
    """Change the metadata alone. Return False if another commit was faster."""
    try:
        table._do_commit(updates, (AssertTableUUID(uuid=table.metadata.table_uuid), *requirements))
    except CommitFailedException as error:
        log.info("%s changed in the meantime (%s).", table.name(), error)
        return False
    return True


def refs_of(metadata: TableMetadata) -> list[TableRequirement]:
    """Return the requirement that all branches and tags are as they were."""
    refs = {MAIN_BRANCH: None} | {name: ref.snapshot_id for name, ref in metadata.refs.items()}
    return [AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": number}) for name, number in refs.items()]


def removal_of(snapshots: Iterable[int]) -> RemoveSnapshotsUpdate:
    """Return the change that removes snapshots."""
    return RemoveSnapshotsUpdate.model_validate({"snapshot-ids": sorted(snapshots)})


def to_expire(metadata: TableMetadata, keep: int, now: datetime) -> set[int]:
    """
    Return the snapshots that nobody needs any more.

    These stay: the newest of the main branch; those that a tag or another branch names, and what a branch has beside
    the main one; and those of no branch that are younger than five days, because a writer may publish them.

    :param keep: how many of the main branch stay, at least 1
    :param now: aware
    """
    known = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    main = [snapshot.snapshot_id for snapshot in ancestors_of(metadata.current_snapshot(), metadata)]
    needed = set(main[: max(keep, 1)])
    on_main = set(main)
    for name, ref in metadata.refs.items():
        needed.add(ref.snapshot_id)
        if name == MAIN_BRANCH:
            continue
        for snapshot in ancestors_of(known.get(ref.snapshot_id), metadata):
            if snapshot.snapshot_id in on_main:
                break
            needed.add(snapshot.snapshot_id)
    for snapshot in metadata.snapshots:
        age = now - datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
        if snapshot.snapshot_id not in on_main and age < _STAGED_FOR:
            needed.add(snapshot.snapshot_id)
    return set(known) - needed


def fold(warehouse: IcebergWarehouse, table: Table, keys: Iterable[str]) -> bool:
    """
    Move hours from the properties into the ledger's file.

    :param keys: of the hours, as in the ledger's ``own``
    :returns: False if another commit was faster
    """
    ledger = warehouse.ledger(table)
    moved = {key: ledger.own[key] for key in keys}
    # Beside the table's folder: programs that clean a table up remove what only this property names.
    url = f"{table.location()}-ledger/{secrets.token_hex(16)}.json"
    content, properties = folded_file(ledger.old(), moved, url)
    destination, path = warehouse.storage.place(url)
    destination.write(
        path,
        BytesIO(content),
        size=len(content),
        crc32c=Crc32c(content).base64,
        replaces=None,
        content_type="application/json",
    )
    updates: tuple[TableUpdate, ...] = (
        SetPropertiesUpdate(updates=properties),
        RemovePropertiesUpdate(removals=[HOUR + key for key in moved]),
    )
    # Each load makes a snapshot, and so the entries are still those that were read.
    if change(table, updates, refs_of(table.metadata)):
        return True
    remove_file(destination, path)
    return False


def merge_manifests(warehouse: IcebergWarehouse, table: Table) -> None:
    """Write the manifests of many commits as few, if a table has too many."""
    if _has_many_manifests(table):
        rewrite_manifests(warehouse, table)


def _has_many_manifests(table: Table) -> bool:
    snapshot = table.current_snapshot()
    return snapshot is not None and len(snapshot.manifests(table.io)) >= MERGE_AT_LEAST


def rewrite_manifests(warehouse: IcebergWarehouse, table: Table) -> None:
    """Make a snapshot without the manifests that only say which files were removed, and with few if there are many."""
    try:
        # An append of nothing. It can't conflict with anything, and is made again from what others committed.
        with warehouse.storage.postponed() as postponed, slim(table).transaction() as transaction:
            transaction.update_snapshot(snapshot_properties={"ayla.merged": "manifests"}).merge_append().commit()
    except CommitFailedException:
        log.info("The manifests of %s aren't merged, because of other commits.", table.name())
        return
    warehouse.remove_quietly(postponed)

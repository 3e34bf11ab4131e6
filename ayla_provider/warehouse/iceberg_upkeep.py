"""
The upkeep of an Iceberg table: compaction, the ledger's old hours, old snapshots, and files that nothing names.

Loads may run at the same time, and so may another upkeep. Each step is one commit, or removes files that no commit
names any more: a process that ends anywhere leaves a table that can be read, and the next run does the rest.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.serializers import FromInputFile
from pyiceberg.table.update import SetPropertiesUpdate

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.erasure import Leftover, merged
from ayla_provider.domain.hour import hour_of
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.rows.duck import connect
from ayla_provider.warehouse.base import is_own_name
from ayla_provider.warehouse.iceberg import IcebergWarehouse, Written, file_day, rows_between
from ayla_provider.warehouse.iceberg_io import split
from ayla_provider.warehouse.iceberg_metadata import (
    KEPT,
    change,
    fold,
    merge_manifests,
    refs_of,
    removal_of,
    rewrite_manifests,
    to_expire,
)
from ayla_provider.warehouse.iceberg_rows import copy_files
from ayla_provider.warehouse.lake import (
    FILE_SIZE,
    UNREFERENCED_FOR,
    Swept,
    TableUpkeep,
    day_file_name,
    is_day_file,
    remove_file,
    sweep,
    unreferenced,
)

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.table.snapshots import Snapshot

log = logging.getLogger(__name__)

KEEP_SNAPSHOTS = 50
"""Two days of hourly loads. More of them make each commit slower."""

KEEP_METADATA = 10
"""Metadata files of former commits."""

LOOKBACK = timedelta(days=7)

_FOLD_AT_LEAST = 72
"""
Fewer hours aren't worth a new file of the ledger.

Three days of hourly loads. The file before the new one goes when the new one is a day old, and so they don't pile up.
"""

_READERS = 16
"""How many manifests are read at once."""

_TRIES = 3
"""How often a change of the metadata is made that met another commit."""

_DAY = timedelta(days=1)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Done(TableUpkeep):
    """
    What upkeep did to a table, or would do.

    Its removed files are those that expired snapshots alone had, and those that no commit names. Its removed bytes are
    of the latter.
    """

    hours_folded: int = 0
    snapshots_expired: int = 0


@dataclass(frozen=True, slots=True)
class Reached:
    """The URLs of all files that some snapshots need."""

    lists: frozenset[str]
    manifests: frozenset[str]
    data: frozenset[str]

    def __contains__(self, url: object) -> bool:
        return url in self.lists or url in self.manifests or url in self.data


class Upkeep:
    """
    The upkeep of the tables of a warehouse.

    :param warehouse: connected
    :param keep_snapshots: how many snapshots of the table's main branch stay
    :param lookback: days that are younger aren't compacted, because late files may change them
    :param now: aware
    :param dry_run: whether to say what there is to do, and to change nothing
    """

    def __init__(
        self,
        warehouse: IcebergWarehouse,
        *,
        keep_snapshots: int = KEEP_SNAPSHOTS,
        lookback: timedelta = LOOKBACK,
        now: datetime,
        dry_run: bool = False,
    ) -> None:
        self._warehouse = warehouse
        self._keep = keep_snapshots
        self._now = now
        # Days that end here or before are compacted.
        self._settled = hour_of(now - lookback).astimezone(UTC).replace(hour=0)
        self._dry_run = dry_run

    def run(self, event_type: str) -> Done:
        """
        Do all of it for one table.

        :raises AylaError: if the table doesn't exist, or the catalog or the storage fail
        """
        relation = self._warehouse.relation(event_type)
        with self._warehouse.errors(f"look after {relation}"):
            # Nobody else may commit to a model while it is made. Each of its days is a file.
            is_model = is_own_name(event_type)
            days, files = (0, 0) if is_model else self._compact(event_type)
            if not self._dry_run:
                self._set_properties(event_type)
                if not is_model:
                    merge_manifests(self._warehouse, self._table(event_type))
            folded = _first_that_fits(lambda: self._fold(event_type), 0)
            expired, removed = _first_that_fits(lambda: self._expire(event_type), (0, 0))
            swept = self._sweep(event_type)
        return Done(
            days_compacted=days,
            files_compacted=files,
            files_removed=removed + swept.files,
            bytes_removed=swept.size,
            hours_folded=folded,
            snapshots_expired=expired,
        )

    def forget(self, event_type: str) -> list[Leftover]:
        """
        Remove every earlier version of a table, and return what still keeps some.

        :raises AylaError: if the table doesn't exist, or the catalog or the storage fail
        """
        # The current manifests also say which files a commit removed, and the smallest and largest values in them.
        rewrite_manifests(self._warehouse, self._table(event_type))
        _first_that_fits(lambda: self._expire(event_type), (0, 0))
        self._finish_expiry(event_type)
        self._sweep(event_type)
        table = self._table(event_type)
        where = self._warehouse.relation(event_type)
        leftovers: list[Leftover] = []
        if len(table.metadata.snapshots) > 1:
            reason = (
                "another branch, a tag, or a snapshot in no branch keeps earlier rows, or tasks committed at the same "
                "time. Remove the branch or the tag. The next upkeep expires the rest"
            )
            leftovers.append(Leftover(where, reason, None))
        destination, folders, referenced = self._named(table)
        if any(True for _ in unreferenced(destination, folders, _is_own, referenced)):
            reason = (
                "files of tasks that were killed within the last day can have erased rows. Upkeep removes them when "
                "they are a day old"
            )
            leftovers.append(Leftover(where, reason, self._now + UNREFERENCED_FOR))
        for folder in folders:
            leftovers += destination.remove_earlier_versions(f"{folder}/")
        return merged(leftovers)

    def _table(self, event_type: str) -> Table:
        table = self._warehouse.table(event_type)
        if table is None:
            raise AylaWarehouseError(f"the table {self._warehouse.relation(event_type)} doesn't exist")
        return table

    # Compaction.

    def _compact(self, event_type: str) -> tuple[int, int]:
        """Write the files of each settled day as one, or as few. Return how many days and files that were."""
        days = self._days_to_compact(self._table(event_type))
        compacted = files = 0
        for day, old in sorted(days.items()):
            if self._dry_run or self._compact_day(event_type, day, old):
                compacted += 1
                files += len(old)
        return compacted, files

    def _days_to_compact(self, table: Table) -> dict[datetime, list[DataFile]]:
        days: dict[datetime, list[FileScanTask]] = defaultdict(list)
        settled = rows_between(datetime(1970, 1, 1, tzinfo=UTC), self._settled)
        for task in table.scan(row_filter=settled).plan_files():
            day = file_day(table, task.file)
            if day is None:
                continue
            days[day].append(task)
        found: dict[datetime, list[DataFile]] = {}
        for day, tasks in days.items():
            files = [task.file for task in tasks]
            if any(task.delete_files for task in tasks):
                log.info("%s of %s isn't compacted: another program deleted single rows.", day.date(), table.name())
            elif len(files) > 1 and not all(is_day_file(file.file_path) for file in files):
                found[day] = files
        return found

    def _compact_day(self, event_type: str, day: datetime, old: list[DataFile]) -> bool:
        """Rewrite a day's files. Return False if another commit changed them in the meantime."""
        warehouse = self._warehouse
        table = self._table(event_type)
        doing = f"compact {day:%Y-%m-%d} of {warehouse.relation(event_type)}"
        written = Written()
        try:
            with scratch_folder() as folder, closing(connect(memory=warehouse.memory, folder=folder)) as connection:
                target = folder / "day"
                # DuckDB makes a folder of several files.
                size = FILE_SIZE if sum(file.file_size_in_bytes for file in old) > FILE_SIZE else 0
                rows = copy_files(
                    warehouse.storage,
                    table,
                    old,
                    connection,
                    folder,
                    target,
                    sorted_by_device=True,
                    file_size=size,
                )
                stated = sum(file.record_count for file in old)
                if rows != stated:
                    raise AylaWarehouseError(
                        f"{warehouse.name}: can't {doing}: its files have {rows:,} rows, but the table says {stated:,}"
                    )
                for local in sorted(target.iterdir()) if size else [target]:
                    url = warehouse.data_url(table, day, day_file_name(day))
                    written.urls.append(url)
                    written.files.append(warehouse.data_file(table, local, url))
            warehouse.commit(
                doing,
                table,
                rows_between(day, day + _DAY),
                properties={},
                summary={"ayla.compacted": f"{day:%Y-%m-%d}"},
                old=old,
                new=[written],
            )
        except (ValidationException, CommitFailedException):
            warehouse.discard(written)
            log.info("%s changed in the meantime. The next upkeep compacts it.", doing)
            return False
        except BaseException:
            warehouse.discard(written)
            raise
        return True

    # Metadata.

    def _set_properties(self, event_type: str) -> None:
        """Say how many snapshots are to stay, that commits remove old metadata files, and that manifests are merged."""
        wanted = {
            KEPT: str(self._keep),
            "commit.manifest-merge.enabled": "true",
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": str(KEEP_METADATA),
        }
        table = self._table(event_type)
        if any(table.properties.get(name) != value for name, value in wanted.items()):
            change(table, (SetPropertiesUpdate(updates=wanted),), ())

    def _fold(self, event_type: str) -> int | None:
        """
        Move the entries of settled hours into the ledger's file.

        :returns: how many; None if another commit was faster
        """
        table = self._table(event_type)
        ledger = self._warehouse.ledger(table)
        settled = ledger.own_before(self._settled)
        if len(settled) < _FOLD_AT_LEAST:
            return 0
        if self._dry_run:
            return len(settled)
        if not fold(self._warehouse, table, settled):
            return None
        return len(settled)

    # Snapshots and files.

    def _expire(self, event_type: str) -> tuple[int, int] | None:
        """
        Remove old snapshots, and the files that they alone have.

        :returns: how many of both; None if another commit was faster
        """
        table = self._table(event_type)
        expired = to_expire(table.metadata, self._keep, self._now)
        if not expired:
            return 0, 0
        gone = [snapshot for snapshot in table.metadata.snapshots if snapshot.snapshot_id in expired]
        if self._dry_run:
            left = [snapshot for snapshot in table.metadata.snapshots if snapshot.snapshot_id not in expired]
            return len(expired), len(self._only_in(table, gone, left))
        before = self._read(table, gone)
        if not change(table, (removal_of(expired),), refs_of(table.metadata)):
            return None
        now = self._table(event_type)
        files = self._only_in(now, gone, now.metadata.snapshots, before)
        removed = 0
        for url in files:
            removed += remove_file(*self._warehouse.storage.place(url))
        return len(expired), removed

    def _finish_expiry(self, event_type: str) -> None:
        """
        Remove the files of snapshots that were expired before, as far as a task that was killed left them.

        They were committed once, and so they don't belong to a commit that isn't finished. The metadata files of former
        commits name them.
        """
        table = self._table(event_type)
        present = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
        gone: dict[int, Snapshot] = {}
        for entry in table.metadata.metadata_log:
            try:
                earlier = FromInputFile.table_metadata(table.io.new_input(entry.metadata_file))
            except FileNotFoundError:
                # A commit removed it in the meantime, because it is an old one.
                continue
            for snapshot in earlier.snapshots:
                if snapshot.snapshot_id not in present:
                    gone[snapshot.snapshot_id] = snapshot
        for url in self._only_in(table, gone.values(), table.metadata.snapshots):
            remove_file(*self._warehouse.storage.place(url))

    def _only_in(
        self,
        table: Table,
        gone: Iterable[Snapshot],
        left: Iterable[Snapshot],
        before: Mapping[str, list[ManifestFile]] | None = None,
    ) -> list[str]:
        """
        Return the files that expired snapshots have, and no other.

        :param before: the manifests of each expired snapshot, by the URL of its list
        """
        lists = before if before is not None else self._read(table, gone)
        reached = self._reached(table, left)
        manifests = {manifest.manifest_path: manifest for found in lists.values() for manifest in found}
        unreached = [manifest for path, manifest in manifests.items() if path not in reached.manifests]
        data = self._data_of(table, unreached, live_only=False)
        files = {*lists, *(manifest.manifest_path for manifest in unreached), *data}
        # Data files first. If the run ends in between, the next one finds the rest as files that nothing names.
        return [url for url in (*sorted(data), *sorted(files - data)) if url not in reached]

    def _read(self, table: Table, snapshots: Iterable[Snapshot]) -> dict[str, list[ManifestFile]]:
        """Return the manifests of snapshots, by the URL of the snapshot's list. Lists that are gone are left out."""

        def manifests_of(snapshot: Snapshot) -> list[ManifestFile] | None:
            try:
                return snapshot.manifests(table.io)
            except FileNotFoundError:
                # It was expired before, or another program expires snapshots at the same time.
                return None

        wanted = [snapshot for snapshot in snapshots if snapshot.manifest_list]
        with ThreadPoolExecutor(_READERS, "ayla-upkeep") as pool:
            found = pool.map(manifests_of, wanted)
            pairs = zip(wanted, found, strict=True)
            return {snapshot.manifest_list: manifests for snapshot, manifests in pairs if manifests is not None}

    def _reached(self, table: Table, snapshots: Iterable[Snapshot]) -> Reached:
        """
        Return all files that snapshots need.

        :raises FileNotFoundError: if a list or a manifest is missing
        """
        wanted = [snapshot for snapshot in snapshots if snapshot.manifest_list]
        with ThreadPoolExecutor(_READERS, "ayla-upkeep") as pool:
            lists = pool.map(lambda snapshot: snapshot.manifests(table.io), wanted)
            manifests = {manifest.manifest_path: manifest for found in lists for manifest in found}
        data = self._data_of(table, manifests.values(), live_only=True)
        return Reached(frozenset(snapshot.manifest_list for snapshot in wanted), frozenset(manifests), frozenset(data))

    def _data_of(self, table: Table, manifests: Iterable[ManifestFile], *, live_only: bool) -> set[str]:
        """Return the data files and delete files that manifests name."""

        def files_of(manifest: ManifestFile) -> list[str]:
            try:
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=live_only)
            except FileNotFoundError:
                if live_only:
                    raise
                return []
            return [entry.data_file.file_path for entry in entries]

        with ThreadPoolExecutor(_READERS, "ayla-upkeep") as pool:
            return {url for found in pool.map(files_of, manifests) for url in found}

    def _sweep(self, event_type: str) -> Swept:
        """Remove the files in the table's folders that nothing names, and that are older than a day."""
        destination, folders, referenced = self._named(self._table(event_type))
        return sweep(destination, folders, _is_own, referenced, self._now, dry_run=self._dry_run)

    def _named(self, table: Table) -> tuple[Destination, list[str], set[str]]:
        """Return where a table's files are, its folders there, and the paths that it names."""
        metadata = table.metadata
        reached = self._reached(table, metadata.snapshots)
        others = {
            table.metadata_location,
            *(entry.metadata_file for entry in metadata.metadata_log),
            *(statistics.statistics_path for statistics in metadata.statistics),
            *(statistics.statistics_path for statistics in metadata.partition_statistics),
        }
        destination, root = self._warehouse.storage.place(table.location())
        folders = [f"{root}/data", f"{root}/metadata"]
        folded = self._warehouse.ledger(table).folded
        if folded:
            others.add(folded.url)
        if not folded or self._is_old(folded.url):
            # A task may still read the file before it.
            folders.append(f"{root}-ledger")
        referenced = {split(url)[1] for url in (*reached.lists, *reached.manifests, *reached.data, *others)}
        return destination, folders, referenced

    def _is_old(self, url: str) -> bool:
        """Return whether a file has existed for a day."""
        destination, path = self._warehouse.storage.place(url)
        listed = [each for each in destination.tree(path) if each.stored.path == path]
        return all(self._now - each.modified > UNREFERENCED_FOR for each in listed)


def _first_that_fits(step: Callable[[], Result | None], nothing: Result) -> Result:
    """
    Return what a step did. If other commits were faster again and again, the next upkeep does it.

    :param step: returns None if another commit was faster
    :param nothing: what it returns if it does nothing
    """
    for _ in range(_TRIES):
        done = step()
        if done is not None:
            return done
    return nothing


def _is_own(path: str) -> bool:
    """Return whether a file is one that Iceberg's writers, or this package, leave in a table's folders."""
    name = path.rpartition("/")[2]
    if path.rpartition("/")[0].endswith("-ledger"):
        return name.endswith(".json")
    return name.endswith((".parquet", ".avro", ".metadata.json", ".metadata.json.gz", ".gz.metadata.json"))

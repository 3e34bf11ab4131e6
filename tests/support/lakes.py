"""
Hours of a made-up export on their way into lake tables, and what the tables must then hold, row by row.

The rows that must be there are those of the reference, which shares no code with the package. Two judges read the
tables, each in its own process.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hold import Hold
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.removal import Removed, Rule
from ayla_provider.domain.tables import TABLES
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.warehouse.base import Warehouse
from ayla_provider.warehouse.removal import remove_hours
from harness import reference
from harness.judges import Judge, comparable
from harness.seaweedfs import KEY_ID, REGION, SECRET
from tests.rows.test_typed_archive import files_of
from tests.warehouse.archive import archive_hour
from tests.warehouse.loading import archive_of, load

ROOT = Path(__file__).parents[2]
MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMESPACE = "ayla"

NEW_COLUMN = reference.Layout("connection", [*reference.CONNECTION, "column_7"])
"""The layout of connections with a column that Ayla has added."""


@dataclass(frozen=True)
class Lake:
    """
    Where tables are. Another process can open it from its JSON.

    :param format: iceberg or delta
    :param root: a URL below which the tables are
    :param catalog: the properties of an Iceberg catalog, as in a connection's extra
    :param s3: endpoint, key, secret and region, if the tables are in S3
    """

    format: Literal["iceberg", "delta"]
    root: str
    catalog: dict[str, str] = field(default_factory=dict)
    s3: dict[str, str] | None = None

    def destination(self, url: str) -> Destination:
        """Open a place in the storage."""
        if self.s3 is None:
            return FileDestination(Path(url.removeprefix("file://")))
        from s3fs import S3FileSystem

        from ayla_provider.archive.object_store import ObjectStorageDestination
        from ayla_provider.archive.s3 import S3Store
        from ayla_provider.archive.url import DestinationUrl

        parsed = DestinationUrl.parse(url)
        fs = S3FileSystem(
            key=self.s3["key"],
            secret=self.s3["secret"],
            endpoint_url=self.s3["endpoint"],
            client_kwargs={"region_name": self.s3["region"]},
        )
        return ObjectStorageDestination(S3Store(fs, parsed.bucket, {}), parsed)

    def warehouse(self) -> AbstractContextManager[Warehouse]:
        """Return the warehouse, which connects when it is entered."""
        if self.format == "delta":
            from ayla_provider.warehouse.delta import DeltaWarehouse

            return DeltaWarehouse(self.destination(self.root), self.delta_options)
        from pyiceberg.catalog import load_catalog

        from ayla_provider.warehouse.iceberg import IcebergWarehouse

        return IcebergWarehouse(lambda: load_catalog("lake", **self.catalog), self.destination, namespace=NAMESPACE)

    def delta_options(self) -> dict[str, str]:
        """Return what deltalake must know of the storage."""
        if self.s3 is None:
            return {}
        return {
            "AWS_ENDPOINT_URL": self.s3["endpoint"],
            "AWS_ACCESS_KEY_ID": self.s3["key"],
            "AWS_SECRET_ACCESS_KEY": self.s3["secret"],
            "AWS_REGION": self.s3["region"],
            "AWS_ALLOW_HTTP": "true",
        }

    def location(self, event_type: str) -> str:
        """Return what a judge reads: Delta's folder, or Iceberg's current metadata, as the catalog says."""
        if self.format == "delta":
            return f"{self.root}/ayla_{event_type}"
        uri = self.catalog.get("uri", "")
        query = "select metadata_location from iceberg_tables where table_namespace = 'ayla' and table_name = 'ayla_{}'"
        if uri.startswith("sqlite"):
            with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
                ((location,),) = connection.execute(query.format(event_type)).fetchall()
                return str(location)
        table = self.pyiceberg().load_table((NAMESPACE, f"ayla_{event_type}"))
        return str(table.metadata_location)

    def pyiceberg(self) -> Any:
        """Return the catalog for a program that knows nothing of this package, with a client of its own for S3."""
        from pyiceberg.catalog import load_catalog

        names = {"endpoint": "endpoint", "key": "access-key-id", "secret": "secret-access-key", "region": "region"}
        storage = {f"s3.{names[name]}": value for name, value in (self.s3 or {}).items()}
        return load_catalog("lake", **(storage | self.catalog))

    def dumps(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


def s3_facts(endpoint: str) -> dict[str, str]:
    """Return what a reader must know of SeaweedFS."""
    return {"endpoint": endpoint, "key": KEY_ID, "secret": SECRET, "region": REGION}


class Scene:
    """
    Hours of an export in an archive on disk, whose rows are loaded into a lake.

    :param folder: of the archive
    """

    def __init__(self, folder: Path, lake: Lake, judges: Sequence[Judge]) -> None:
        self.folder = folder
        self.lake = lake
        self.judges = judges
        self.fleet = Fleet(seed=4)
        self.expected: dict[str, dict[datetime, list[dict[str, Any]]]] = defaultdict(dict)
        """The rows that a load would bring, by event type and hour."""
        self._revisions: dict[tuple[str, datetime], int] = defaultdict(int)

    def put(
        self, event_type: str, hour: datetime, *, share: float = 1, more: bytes = b"", files: bool = True
    ) -> list[dict[str, Any]]:
        """
        Put an hour into the archive, in a new revision if it is there already.

        :param share: of the lines of each file
        :param more: what each line gets at its end, as a further column
        :param files: False for an hour without files
        :returns: the rows that it has
        """
        self._revisions[event_type, hour] += 1
        revision = self._revisions[event_type, hour]
        contents = []
        for file in self.fleet.files(event_type, hour) if files else []:
            lines = file.contents[-1].splitlines()
            kept = lines[: max(1, round(share * len(lines)))]
            contents.append((file.answer.folder_time, b"".join(line + more + b"\r\n" for line in kept)))
        manifest = archive_hour(
            self.folder / "archive", event_type, contents, hour, generation=revision, revision=revision
        )
        layouts = [NEW_COLUMN] * len(contents) if more else ()
        read = reference.read(event_type, files_of(self.folder, manifest), layouts)
        if share == 1 and files and not more:
            # The local cloud counted its rows when it made them.
            assert len(read.rows) == self.fleet.answer(event_type, hour).distinct_rows
        self.expected[event_type][hour] = [row | {"folder_hour": hour} for row in read.rows]
        return self.expected[event_type][hour]

    def load(self, event_type: str, hours: Iterable[datetime]) -> None:
        """Load hours of the archive, each by a load of its own, as tasks do."""
        for hour in hours:
            with self.lake.warehouse() as warehouse:
                warehouse.loaded(event_type, hour, hour + HOUR)
                load(warehouse, archive_of(self.folder), event_type, [hour])

    def retry(self, event_type: str, hour: datetime) -> bool:
        """Do what a task's next try does, and return whether it had to load."""
        with self.lake.warehouse() as warehouse:
            version = archive_of(self.folder).ensure(ExportHour(event_type, hour), {}).manifest.version
            if warehouse.loaded(event_type, hour, hour + HOUR).get(hour) == version:
                return False
            load(warehouse, archive_of(self.folder), event_type, [hour])
            return True

    def upkeep(self, event_type: str, now: datetime, *, keep_snapshots: int = 50, dry_run: bool = False) -> Any:
        """Do what upkeep does at some time, and return its report."""
        lookback = timedelta(days=7)
        with self.lake.warehouse() as warehouse:
            if self.lake.format == "iceberg":
                from ayla_provider.warehouse.iceberg_upkeep import Upkeep

                run = Upkeep(warehouse, keep_snapshots=keep_snapshots, lookback=lookback, now=now, dry_run=dry_run)
                return run.run(event_type)
            from ayla_provider.warehouse.delta_upkeep import upkeep

            return upkeep(warehouse, event_type, now, lookback=lookback, log_entries=1000, dry_run=dry_run)

    def remove(self, event_type: str, before: datetime, holds: Sequence[Hold] = ()) -> Removed:
        """Remove the hours before a time by a rule, and return the counts."""
        rule = Rule("tables", timedelta(days=90), before + timedelta(days=90), tuple(holds))
        with self.lake.warehouse() as warehouse:
            removed = remove_hours(warehouse, [EventType(event_type)], rule)
        for hour in [*self.expected[event_type]]:
            if hour < before and rule.hold_on(ExportHour(EventType(event_type), hour)) is None:
                self.expected[event_type][hour] = []
        return removed

    def keep_nothing_for_readers(self, event_type: str) -> None:
        """Let a Delta table keep files for no time after their removal, as its property says."""
        if self.lake.format == "delta":
            import deltalake

            table = deltalake.DeltaTable(self.lake.location(event_type), storage_options=self.lake.delta_options())
            table.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 seconds"})

    def expire_by_another_program(self, event_type: str) -> None:
        """Expire all of the past as a tool does that knows nothing of this package."""
        location = self.lake.location(event_type)
        if self.lake.format == "delta":
            import deltalake

            table = deltalake.DeltaTable(location, storage_options=self.lake.delta_options())
            table.vacuum(0, dry_run=False, enforce_retention_duration=False)
            table.create_checkpoint()
            table.cleanup_metadata()
            return
        table = self.lake.pyiceberg().load_table((NAMESPACE, f"ayla_{event_type}"))
        table.maintenance.expire_snapshots().older_than(datetime.now()).commit()  # noqa: DTZ005 - as it wants it

    def data_files(self, event_type: str) -> list[str]:
        """Return the paths of all Parquet files of a table, whether a commit names them or not."""
        folder = f"ayla_{event_type}" if self.lake.format == "delta" else ""
        listed = self.lake.destination(self.lake.root).tree(f"{folder}/" if folder else "")
        paths = [one.stored.path for one in listed]
        return sorted(path for path in paths if path.endswith(".parquet") and "/_" not in path)

    @contextmanager
    def process(self, event_type: str, hour: datetime) -> Iterator[Loader]:
        """Load an hour in a process of its own, which waits for a word before it writes."""
        # The typed rows have a lock of their own, which isn't what is tried here.
        archive_of(self.folder).ensure(ExportHour(event_type, hour), {})
        command = [sys.executable, "-m", "tests.support.lake_process", self.lake.dumps()]
        command += [str(self.folder), event_type, hour.isoformat()]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            try:
                yield Loader(process)
            finally:
                process.kill()

    def assert_agreed(self, event_type: str, without: Iterable[datetime] = ()) -> None:
        """
        Let both judges read a table, and compare each row with those that must be there.

        :param without: hours of the archive that aren't loaded
        """
        hours = self.expected[event_type]
        left_out = set(without)
        expected = [row for hour, rows in hours.items() if hour not in left_out for row in rows]
        names = [*TABLES[event_type].names]
        names += sorted({name for row in expected for name in row if name.startswith("column_")})
        for judge in self.judges:
            rows = judge.read(self.lake.format, self.lake.location(event_type))
            found, wanted = comparable(rows, names), comparable(expected, names)
            different = difference(found, wanted)
            assert not different, f"{judge.name} reads {len(found)} rows instead of {len(wanted)}: {different[:3]}"
            for row in rows[:1]:
                # Delta has the column that the table is partitioned by.
                assert {*row} - {"date"} == {*names}

    def assert_ledger(self, event_type: str) -> None:
        """Compare the ledger with what the table holds, and with the archive's hours."""
        hours = self.expected[event_type]
        with self.lake.warehouse() as warehouse:
            held = warehouse.held(event_type, min(hours), max(hours) + HOUR)
        counted = {hour: (one.rows, one.counted) for hour, one in held.items()}
        assert counted == {hour: (len(rows), len(rows)) for hour, rows in hours.items()}


def difference(found: Sequence[tuple[Any, ...]], wanted: Sequence[tuple[Any, ...]]) -> list[tuple[str, Any]]:
    """Return the rows that only one side has, or more often."""
    extra, missing = Counter(found), Counter(wanted)
    return [("not expected", row) for row in (extra - missing)] + [("missing", row) for row in (missing - extra)]


class Loader:
    """A process that loads an hour."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def until_ready(self) -> None:
        """Wait until it has read what is loaded, and has the rows on its disk."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        assert line == "ready\n", line + (self._process.stderr.read() if self._process.stderr else "")

    def go(self) -> None:
        """Let it write."""
        print("go", file=self._process.stdin, flush=True)

    def result(self) -> str:
        """Return ``ok``, or the name of its error."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        return line.strip() or (self._process.stderr.read() if self._process.stderr else "")

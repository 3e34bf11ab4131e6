"""An archive with typed rows and a DuckDB file, of which a device and its user are erased, perhaps by killed tasks."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.erasure_requests import WaitingRequest, waiting_requests
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.lives import ticks_of
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.base import Load, Warehouse
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.erase import ErasureReport, ErasureRun
from tests.support.mortal import MortalDestination
from tests.warehouse.archive import HOUR, archive_hour

KEYS = ErasureKeys.parse("a-key-of-sixteen-characters", "x")
EVENT_TYPES = ("datapoint", "connection", "registration")
HOURS = 2
FLEET = Fleet(seed=645, devices=8, rows=40)
TERM = FLEET.events.lives[2].term(ticks_of(HOUR))
"""Its user gives the device up in the second hour, so that each event type has rows of both."""
SUBJECT = {"dsn": TERM.dsn, "user_uuid": TERM.user}
OTHER = FLEET.events.lives[0]
OTHER_TERM = OTHER.term(ticks_of(HOUR))


def hours(event_types: Iterable[str] = EVENT_TYPES, count: int = HOURS) -> list[ExportHour]:
    return [
        ExportHour(EventType(name), HOUR + timedelta(hours=number)) for name in event_types for number in range(count)
    ]


def extra_lines(event_type: str) -> bytes:
    """Lines in which the subject is where no column of it is: malformed ones, and texts of other devices."""
    text = b64encode(f"a note about {SUBJECT['dsn']} of {SUBJECT['user_uuid']}".encode()).decode()
    lines = [f"a malformed line of {SUBJECT['dsn']}", f"{SUBJECT['user_uuid'].upper()},of,a,user", "of,nobody"]
    if event_type == "datapoint":
        lines.append(
            f"1a2b3c4d,{OTHER.model},{OTHER_TERM.dsn},note,{b64encode(b'Note').decode()},string,"
            f"11111111-2222-11ee-8de9-0242ac120002,,2026-11-01T07:59:00Z,2026-11-01T07:59:00Z,{OTHER_TERM.user},"
            f"false,false,false,,,,,,{text},,output"
        )
    return "".join(f"{line}\n" for line in lines).encode()


def content_of(hour: ExportHour) -> list[tuple[datetime, bytes]]:
    """What the vendor's files of an hour are."""
    files = [(file.answer.folder_time, file.contents[-1]) for file in FLEET.files(hour.event_type, hour.start)]
    if not files:
        return []
    time, content = files[0]
    return [(time, content + extra_lines(hour.event_type)), *files[1:]]


def make_archive(root: Path, of: Sequence[ExportHour] | None = None) -> None:
    for hour in hours() if of is None else of:
        archive_hour(root / "archive", hour.event_type, content_of(hour), hour.start)


def typed_of(root: Path) -> TypedArchive:
    archive = FileDestination(root / "archive")
    rows = FileDestination(root / "archive" / "parquet")
    return TypedArchive(archive, rows, erasure_keys=lambda: KEYS, max_malformed=1)


def load(root: Path, warehouse: Warehouse, of: Iterable[ExportHour] | None = None, *, again: bool = False) -> int:
    """Load hours as the operators do, and return how many changed."""
    typed, loaded = typed_of(root), 0
    with warehouse:
        for hour in hours() if of is None else of:
            made = typed.ensure(hour, {"run_id": "load"}).manifest
            known = warehouse.loaded(hour.event_type, hour.start, hour.end).get(hour.start)
            if known == made.version and not again:
                continue
            files = typed.files(made)
            warehouse.prepare(made.table)
            warehouse.replace(
                Load(
                    table=made.table,
                    hour=hour.start,
                    version=made.version,
                    rows=made.rows,
                    lines=made.lines,
                    duplicates=made.duplicates,
                    quarantined=made.quarantined,
                    parquet=next(files, None),
                    loaded_at=datetime.now(UTC),
                    further=files,
                )
            )
            files.close()
            loaded += 1
    return loaded


def request(root: Path, name: str = "ticket-1.json", **fields: Any) -> list[WaitingRequest]:
    """Put a request, and return those that wait."""
    (root / "requests").mkdir(exist_ok=True)
    (root / "requests" / name).write_text(json.dumps(fields or SUBJECT))
    return waiting_requests(FileDestination(root / "requests"), KEYS)


def duckdb_of(root: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(root / "a.duckdb")


def erasure_run(
    root: Path, warehouses: Sequence[Warehouse], archive: Destination | None = None, rows: Destination | None = None
) -> ErasureRun:
    return ErasureRun(
        archive or FileDestination(root / "archive"),
        rows or FileDestination(root / "archive" / "parquet"),
        waiting_requests(FileDestination(root / "requests"), KEYS),
        KEYS,
        warehouses=warehouses,
        now=datetime.now(UTC),
        written_by={"run_id": "erase"},
    )


def erase(root: Path, warehouses: Sequence[Warehouse] = ()) -> ErasureReport:
    return erasure_run(root, warehouses).erase()


class _Steps(MortalDestination):
    """Like it, and a removal is a step as well."""

    def remove(self, stored: Any) -> None:
        self.step()
        super().remove(stored)


def erase_and_die(root: Path, lives: int) -> None:
    """Erase, as the main function of a process that ends with SIGKILL after some steps of the archive."""
    archive = _Steps(root / "archive", lives)
    rows = _Steps(root / "archive" / "parquet", 0)
    # Both take their steps from one number.
    rows.step = archive.step  # type: ignore[method-assign]
    fsync = os.fsync

    def written(handle: int) -> None:
        fsync(handle)
        archive.step()

    os.fsync = written
    run = erasure_run(root, [duckdb_of(root)], archive, rows)
    run.erase()
    os._exit(0)

"""
The history of one device: its events of all types, in their order, from the typed rows alone.

The events are kept in a file on this machine's disk until they are in order, so that any number fits into the memory.
What the erasure ledger names is left out, also if the typed rows still have it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.erasures import Erasures, Matcher
from ayla_provider.archive.records import Records
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.event_time import event_time
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour, hours_between
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import MANIFESTS, parse_manifest_path
from ayla_provider.domain.privacy import PrivacyPolicy, Treatment
from ayla_provider.domain.tables import PROVENANCE
from ayla_provider.domain.typed_manifest import TypedManifest, same_files
from ayla_provider.errors import AylaDestinationError, AylaError
from ayla_provider.rows.duck import MEMORY, connect, literal, quoted
from ayla_provider.rows.parquet import duckdb_errors
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.rows.verify import read_receipt

_READERS = 8
_AT_ONCE = 1000
"""Rows of an hour that are in the memory at a time."""

_PROVENANCE = {column.name for column in PROVENANCE}


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """
    An event of a device.

    :param time: None if the row doesn't say
    :param hour: of the export's folder that brought it
    :param row: column to value, decoded, without empty ones
    """

    event_type: str
    time: datetime | None
    hour: datetime
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unknown:
    """An hour whose events can't be shown, or not all of them, and why."""

    hour: ExportHour
    reason: str


class DeviceHistory:
    """
    Looks for the events of a device. Use it in a ``with`` statement: its file goes at the end.

    :param archive: the vendor's bytes, with their manifests
    :param rows: where the typed rows are
    :param policy_key: the key of the privacy policy's hashes; empty if none is known
    :param erasure_keys: returns the keys of the erasure ledger; called only if an erasure touches a wanted hour
    """

    def __init__(
        self,
        archive: Destination,
        rows: Destination,
        dsn: str,
        *,
        policy_key: str = "",
        erasure_keys: Callable[[], ErasureKeys] | None = None,
        memory: str = MEMORY,
    ) -> None:
        self._archive = archive
        self._rows = rows
        self._dsn = dsn
        self._policy_key = policy_key
        self._erasures = Erasures(archive, erasure_keys)
        self._records = Records(archive)
        self._typed = TypedArchive(archive, rows)
        self._memory = memory
        self._lock = threading.Lock()
        self._closing = contextlib.ExitStack()
        self.unknown: list[Unknown] = []
        self.unreadable_lines = 0
        """Lines of the hours that couldn't be read; some may be the device's."""

    def __enter__(self) -> DeviceHistory:
        """Make the file."""
        folder = self._closing.enter_context(scratch_folder())
        self._duck = connect(memory=self._memory, folder=folder)
        self._closing.callback(self._duck.close)
        self._events = _Events(folder / "events.sqlite")
        self._closing.callback(self._events.close)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the file."""
        self._closing.close()

    def read(self, event_types: Sequence[EventType] | None, start: datetime, until: datetime) -> None:
        """
        Read the events of some hours.

        It takes one listing of all manifests, and for each hour with files two reads and its Parquet files.

        :param event_types: those of the archive if None
        :raises AylaError: if the archive, the typed rows or the ledger can't be read
        """
        manifests = (parse_manifest_path(listed.stored.path) for listed in self._archive.tree(f"{MANIFESTS}/"))
        archived = {hour for hour in manifests if hour is not None}
        names = event_types or sorted({hour.event_type for hour in archived})
        wanted = [ExportHour(name, start) for start in hours_between(start, until) for name in names]
        self.unknown = [Unknown(hour, "it isn't copied") for hour in wanted if hour not in archived]
        with ThreadPoolExecutor(_READERS, "ayla-history") as pool:
            for unknown in pool.map(self._read_hour, [hour for hour in wanted if hour in archived]):
                self.unknown += unknown
        self.unknown.sort(key=lambda one: (str(one.hour.event_type), one.hour.start))

    def events(self) -> Iterator[DeviceEvent]:
        """Yield the events, by their times; those without a time come at the end."""
        yield from self._events.in_order()

    @property
    def count(self) -> int:
        """How many events there are."""
        return self._events.count()

    def _read_hour(self, hour: ExportHour) -> list[Unknown]:
        """Keep the device's events of an hour, and return what is unknown about the hour."""
        manifest, _ = self._records.read_manifest(hour)
        if manifest is None:
            return [Unknown(hour, "it isn't copied")]
        if not manifest.copied:
            return []
        receipt = read_receipt(self._rows, hour)
        reason = _reason(receipt, manifest)
        if receipt is None or receipt.removed:
            return [Unknown(hour, reason)]
        condition = self._condition(receipt)
        if not condition:
            return [Unknown(hour, "a privacy policy drops or hashes the serial numbers of its rows")]
        matcher = self._erasures.matcher(hour)
        try:
            with self._typed.fetched(receipt) as parquet:
                for found in self._found(hour, parquet, condition):
                    kept = [event for event in found if matcher is None or not _is_erased(event, matcher)]
                    with self._lock:
                        self._events.add(kept, receipt.identity)
        except AylaDestinationError as error:
            return [Unknown(hour, f"its typed rows can't be read: {error}")]
        with self._lock:
            self.unreadable_lines += sum(file.quarantined for file in receipt.files)
        return [Unknown(hour, reason)] if reason else []

    def _condition(self, receipt: TypedManifest) -> str:
        """Return the condition of the device's rows; empty if the rows can't tell."""
        if not any(column.name == "dsn" for column in receipt.columns):
            return ""
        treatment = receipt.privacy.get("dsn") or receipt.privacy.get("*", Treatment.KEEP)
        if treatment == Treatment.KEEP:
            return f"lower({quoted('dsn')}) = {literal(self._dsn.lower())}"
        try:
            policy = PrivacyPolicy(receipt.privacy, self._policy_key)
        except AylaError:
            # Something is hashed, and the key isn't known.
            return ""
        if not policy.made(receipt.version):
            return ""
        # A serial number is hashed as it is written.
        hashes = {policy.hashed(spelling) for spelling in (self._dsn, self._dsn.lower(), self._dsn.upper())}
        return f"{quoted('dsn')} in ({', '.join(map(literal, sorted(hashes)))})"

    def _found(self, hour: ExportHour, parquet: Path | None, condition: str) -> Iterator[list[DeviceEvent]]:
        """Yield the device's events of an hour, some at a time."""
        if parquet is None:
            return
        relation = f"read_parquet({literal(str(parquet))}, union_by_name = true, hive_partitioning = false)"
        with duckdb_errors(str(hour)), self._duck.cursor() as duck:
            result = duck.execute(f"select * from {relation} where {condition}")
            names = [column[0] for column in result.description or ()]
            while fetched := result.fetchmany(_AT_ONCE):
                yield [_event(hour, dict(zip(names, values, strict=True))) for values in fetched]


def _reason(receipt: TypedManifest | None, manifest: Manifest) -> str:
    """Return why an hour's rows may not be all of its events; empty if they are."""
    if receipt is None:
        return "its rows aren't typed; a load types them"
    if receipt.removed:
        return "its typed rows were removed because of their age"
    if manifest.present and not same_files(receipt.version, manifest):
        return "its files changed since its rows were typed; a load types them again"
    if receipt.lost:
        return "a file of it was lost before it was typed"
    return ""


def _event(hour: ExportHour, row: Mapping[str, Any]) -> DeviceEvent:
    time = event_time(str(hour.event_type), row)
    filled = {name: value for name, value in row.items() if value is not None and name not in _PROVENANCE}
    decoded = {name: value for name, value in filled.items() if not name.endswith("_raw")}
    return DeviceEvent(str(hour.event_type), time, hour.start, decoded)


def _is_erased(event: DeviceEvent, matcher: Matcher) -> bool:
    return bool(matcher.found(json.dumps(event.row, default=str, ensure_ascii=False).encode()))


class _Events:
    """Events in a file, each once: of several states of a datapoint, the newest one."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.executescript(
            "pragma journal_mode = off; pragma synchronous = off; pragma temp_store = file;"
            "create table events (identity text primary key, updated text, time text, event_type text, hour text, "
            "row text) without rowid;"
        )

    def close(self) -> None:
        self._connection.close()

    def add(self, events: Iterable[DeviceEvent], identity: str | None) -> None:
        """
        Add events.

        :param identity: the column that identifies them; None if the whole row does
        """
        rows = (
            (
                json.dumps([event.event_type, event.row.get(identity or "") or event.row], default=str),
                _text(event.row.get("updated_at")),
                _text(event.time),
                event.event_type,
                event.hour.isoformat(),
                json.dumps(event.row, default=_json_value),
            )
            for event in events
        )
        self._connection.execute("begin")
        self._connection.executemany(
            "insert into events values (?, ?, ?, ?, ?, ?) on conflict (identity) do update set updated = "
            "excluded.updated, time = excluded.time, hour = excluded.hour, row = excluded.row "
            "where (excluded.updated, excluded.hour) > (events.updated, events.hour)",
            rows,
        )
        self._connection.execute("commit")

    def count(self) -> int:
        ((count,),) = self._connection.execute("select count(*) from events")
        return int(count)

    def in_order(self) -> Iterator[DeviceEvent]:
        """Yield the events by their times. Of the same time, the one comes first that is the cause of the other."""
        found = self._connection.execute(
            "select event_type, time, hour, row from events order by time = '', time, "
            "case event_type when 'activation' then 0 when 'registration' then 1 when 'connection' then 2 "
            "when 'datapoint' then 3 when 'datapoint_ack' then 4 else 5 end, identity"
        )
        for event_type, time, hour, row in found:
            yield DeviceEvent(
                event_type,
                datetime.fromisoformat(time) if time else None,
                datetime.fromisoformat(hour),
                json.loads(row),
            )


def _text(time: datetime | None) -> str:
    """Return a time as a text that is ordered as times are; an empty one comes first."""
    return time.astimezone(UTC).isoformat(timespec="microseconds") if time is not None else ""


def _json_value(value: Any) -> str:
    return _text(value) if isinstance(value, datetime) else str(value)

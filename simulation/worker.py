"""A process that runs the customer's tasks with the provider's own code, like Airflow's workers."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import logging
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from google.auth.crypt import RSASigner
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.compare import Gap, reconcile
from ayla_provider.archive.destination import Destination
from ayla_provider.archive.findings import Finding, Repair, repair_of
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.holds import place_hold, release_hold
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.archive.url import DestinationUrl
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hold import hold
from ayla_provider.domain.hour import ExportHour, hours_of
from ayla_provider.errors import AylaError
from ayla_provider.source import auth, guard, reader
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from ayla_provider.source.gcs import GcsSource
from ayla_provider.source.guard import SignInGuard
from ayla_provider.source.settings import AylaSettings
from ayla_provider.source.wait import look
from simulation.stream import TABLE_PREFIX, SimulatedStream, StreamParameters

EXPORT, STREAM = "export", "stream"
"""The two archives."""

LOAD, LAKE = "load", "lake"
"""The DAGs that load into the DuckDB file, and into the lake tables."""

ERASURE_KEY = "the-key-of-the-simulated-erasures"


@dataclass(frozen=True)
class Place:
    """The locations of everything that a worker needs."""

    home: Path
    """The folder for lock files and logs."""
    ayla: dict[str, Any]
    """The fields of the Airflow connection to the vendor."""
    url: str
    """The URL of the archive."""
    key: dict[str, str]
    """The key of the service account that can write to the customer's bucket."""
    stream: StreamParameters | None = None
    """The stream beside the export; None if there is none."""
    stream_url: str = ""
    """The URL of the stream's archive."""

    lake: str = ""
    """The format of the lake tables: ``iceberg`` or ``delta``. Empty if there are none."""

    @property
    def database(self) -> Path:
        """The DuckDB file with the tables."""
        return self.home / "tables.duckdb"

    @property
    def lake_folder(self) -> Path:
        """The folder with the lake tables, and with Iceberg's catalog."""
        return self.home / "lake"

    @property
    def iceberg_catalog(self) -> dict[str, str]:
        """The properties of Iceberg's catalog, which is a SQLite file."""
        return {
            "type": "sql",
            "uri": f"sqlite:///{self.lake_folder / 'catalog.db'}?timeout=60",
            "warehouse": f"file://{self.lake_folder}",
        }

    @property
    def requests(self) -> dict[str, Path]:
        """The folders of the requests for erasure: for the archive of the export, and for that of the stream."""
        return {name: self.home / "requests" / name for name in (EXPORT, STREAM)}


class Kind(Enum):
    """What a task does."""

    LOOK = "look"
    """One check of the sensor."""
    COPY = "copy"
    """A run of the copy operator."""
    RECONCILE = "reconcile"
    """A run of the reconcile operator."""
    VERIFY = "verify"
    """A run of the verify operator, by listing."""
    LOAD = "load"
    """A run of the DAG that loads: a plan, and all loads that it asks for."""
    DRAIN = "drain"
    """A run of the operator that drains the stream."""
    LOAD_STREAM = "load stream"
    """A run of the DAG that loads the stream's archive."""
    ERASE = "erase"
    """A run of the operator that erases what the waiting requests name from an archive, and from what is loaded."""
    PLACE_HOLD = "place hold"
    """A person places a legal hold on a subject, in both archives."""
    RELEASE_HOLD = "release hold"
    """A person releases a legal hold."""


@dataclass(frozen=True)
class Task:
    """One try of a task of the customer's DAGs."""

    kind: Kind
    dag: str
    event_type: str
    """Empty for a reconcile and a verification, which cover all event types."""
    start: datetime
    end: datetime
    """Exclusive."""
    now: datetime
    """The simulated time."""
    try_number: int = 1
    last_try: bool = False
    files: int = 0
    """The number of files of the hour, as far as it is known before the task."""
    untrusted: tuple[str, ...] = ()
    """The copies and manifests that a verification found missing or damaged."""
    disk: int | None = None
    """The number of bytes of a file after which the disk is full; None means never."""
    last_write: int | None = None
    """Of a drain or an erasure: the write, counted from 1, at which SIGKILL ends its process; None means never."""
    failing_page: int | None = None
    """Of a drain: the page, counted from 1, from which on the stream doesn't answer; None means never."""
    upkeep: bool = False
    """Of a load into lake tables: whether their daily upkeep follows."""
    hold: str = ""
    """The id of a legal hold."""
    subject: tuple[tuple[str, str], ...] = ()
    """Of a legal hold: ``dsn`` or ``user_uuid``, and its value."""


@dataclass(frozen=True)
class Result:
    """The result of a try."""

    error: str = ""
    """The class of the error, or ``killed``; empty on success."""
    message: str = ""
    retryable: bool = True
    bug: bool = False
    """Whether the error isn't an error that the provider raises on purpose."""
    settled: bool = False
    files: int = 0
    copied_files: int = 0
    manifests_written: int = 0
    gaps: tuple[Gap, ...] = ()
    repairs: tuple[Repair, ...] = ()
    left_alone: int = 0
    loaded: int = 0
    """The number of hours that were loaded."""
    records: int = 0
    """The number of records of the stream that were committed."""
    erased: int = 0
    """The number of lines and rows that were erased, in all layers."""
    seconds: float = field(default=0.0, compare=False)
    """CPU seconds of the worker."""


_MOST_RECORDS = 60
"""How many records a batch of the stream has at most: so that a drain has several batches."""

KILLED = Result("killed", "its process ended")


class Doer(Protocol):
    """Runs tasks at one place."""

    def do(self, task: Task) -> Result:
        """Run a task, and return its result."""

    def close(self) -> None:
        """Release everything."""


def work(pipe: Connection, place: Place) -> None:
    """Run a worker: see :func:`serve`."""
    serve(pipe, place, _Worker)


def serve(pipe: Connection, place: Place, make: Callable[[Place], Doer]) -> None:
    """
    Run the tasks from a pipe, one after another, until the other end closes.

    None instead of a task asks the process to release everything, and gets an answer. The next item is the new place.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Airflow logs each step to the standard output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    logging.basicConfig(
        filename=place.home / "workers.log",
        format="%(process)d %(name)s %(message)s",
        level=logging.WARNING,
        force=True,
    )
    logging.raiseExceptions = False  # the disk may be full
    _make_waits_short(place.home / "locks")
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            with contextlib.closing(make(place)) as doer:
                while task := pipe.recv():
                    before = time.process_time()
                    result = doer.do(task)
                    pipe.send(replace(result, seconds=time.process_time() - before))
            del doer
            gc.collect()
            _trim_memory()
            pipe.send(None)
            place = pipe.recv()


def _trim_memory() -> None:
    """Make the C library return free memory. Otherwise, what it keeps depends on which threads were busy."""
    with contextlib.suppress(AttributeError):  # not with glibc
        ctypes.CDLL(None).malloc_trim(0)


class _Worker:
    def __init__(self, place: Place) -> None:
        settings = AylaSettings.from_fields(conn_id="simulation", port=None, **_without_type(place.ayla))
        provider = TokenProvider(settings, SignInGuard("simulation", settings.fingerprint))
        self._now = datetime.now(UTC)
        source = GcsSource(provider.credentials(), settings.bucket, endpoint=settings.storage_endpoint)
        self._export = Export(source, f"{settings.oem_id}/", now=lambda: self._now)
        self._archive = Archive(destination_of(place), erasure_keys=_erasure_keys)
        self._place = place

    def do(self, task: Task) -> Result:
        self._now = task.now
        act = {Kind.LOOK: self._look, Kind.COPY: self._copy, Kind.RECONCILE: self._reconcile}
        act |= {Kind.VERIFY: self._verify, Kind.LOAD: self._load}
        act |= {Kind.DRAIN: self._drain, Kind.LOAD_STREAM: self._load_stream, Kind.ERASE: self._erase}
        act |= {Kind.PLACE_HOLD: self._place_hold, Kind.RELEASE_HOLD: self._release_hold}
        try:
            with _full_after(task.disk):
                return act[task.kind](task)
        except AylaError as error:
            return Result(type(error).__name__, str(error), retryable=error.retryable)
        except Exception as error:
            logging.exception("a bug")
            return Result(type(error).__name__, str(error), bug=True)

    def close(self) -> None:
        """Do nothing: everything is freed with the object."""

    def _look(self, task: Task) -> Result:
        seen = look(self._export, _hours_of(task), self._export.rule)
        return Result(settled=seen.settled, files=seen.result["files"])

    def _copy(self, task: Task) -> Result:
        run = {"dag_id": task.dag, "run_id": f"{task.now:%Y-%m-%dT%H:%M}", "try_number": str(task.try_number)}
        report = self._archive.take_in(
            self._export,
            _hours_of(task),
            self._export.rule,
            written_by=run,
            last_try=task.last_try,
            untrusted=task.untrusted,
        )
        return Result(copied_files=report.copied_files, manifests_written=report.manifests_written)

    def _reconcile(self, task: Task) -> Result:
        found = reconcile(self._export, self._archive.records, EVENT_TYPES, task.start, task.end)
        return Result(gaps=tuple(found.gaps), left_alone=found.left_alone)

    def _verify(self, task: Task) -> Result:
        event_types = [parse_event_type(name) for name in EVENT_TYPES]
        # Objects have the real time. Two days later, none of them is young.
        now = datetime.now(UTC) + timedelta(days=2)
        scope = Scope(event_types, task.start, task.end)
        verification = Verification(self._archive.destination, scope, now=now, wait=lambda seconds: None)
        by_hour: dict[ExportHour, list[Finding]] = {}
        for finding in verification.findings():
            if finding.hour and finding.damage.can_be_repaired:
                by_hour.setdefault(finding.hour, []).append(finding)
        return Result(repairs=tuple(repair_of(hour, findings) for hour, findings in by_hour.items()))

    def _load(self, task: Task) -> Result:
        # The simulation's own process needs no Airflow.
        from simulation.loads import load

        lake = self._place.lake if task.dag == LAKE else ""
        return load(task, self._place, self._archive.destination, lake=lake)

    def _drain(self, task: Task) -> Result:
        assert self._place.stream  # noqa: S101 - for mypy
        stream = SimulatedStream(self._place.stream, task.now, task.failing_page)
        destination: Destination = destination_of(replace(self._place, url=self._place.stream_url))
        if task.last_write is not None:
            end_at_write(task.last_write, destination)
        run = {"dag_id": task.dag, "run_id": f"{task.now:%Y-%m-%dT%H:%M}", "try_number": str(task.try_number)}
        report = StreamArchive(destination, erasure_keys=_erasure_keys).drain(
            stream, task.now, written_by=run, oem_id=self._place.stream.oem_id, max_records=_MOST_RECORDS
        )
        return Result(records=report.records)

    def _load_stream(self, task: Task) -> Result:
        from simulation.loads import load

        place = replace(self._place, url=self._place.stream_url)
        return load(task, place, destination_of(place), TABLE_PREFIX)

    def _erase(self, task: Task) -> Result:
        from simulation.loads import erase

        return erase(task, self._place)

    def _place_hold(self, task: Task) -> Result:
        column, value = task.subject[0]
        placed = hold(task.hold, placed_at=task.now, end=task.end, subject={column: [value]}, key=ERASURE_KEY)
        for destination in self._archives():
            place_hold(destination, placed)
        return Result()

    def _release_hold(self, task: Task) -> Result:
        for destination in self._archives():
            release_hold(destination, task.hold)
        return Result()

    def _archives(self) -> list[Destination]:
        """Return both archives."""
        return [self._archive.destination, destination_of(replace(self._place, url=self._place.stream_url))]


def _erasure_keys() -> ErasureKeys:
    return ErasureKeys.parse(ERASURE_KEY, "the simulation")


def _hours_of(task: Task) -> list[ExportHour]:
    return hours_of(parse_event_type(task.event_type), task.start, task.end)


def _without_type(connection: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in connection.items() if name != "conn_type"}


def destination_of(place: Place) -> Destination:
    """Return the destination at the URL of a place."""
    url = DestinationUrl.parse(place.url)
    if url.scheme == "file":
        return FileDestination(url.path)
    account = service_account.Credentials(  # type: ignore[no-untyped-call]
        _signer_of(place.key["private_key"], place.key["private_key_id"]),
        place.key["client_email"],
        place.key["token_uri"],
        scopes=["https://www.googleapis.com/auth/devstorage.read_write"],
    )
    # Otherwise google-auth asks Google in the background for the regions that this account is allowed in.
    vars(account)["_is_regional_access_boundary_lookup_required"] = lambda: False
    return GcsDestination(place.ayla["host"], url.bucket, url.path, credentials=account)


@lru_cache(maxsize=1)
def _signer_of(key: str, key_id: str) -> RSASigner:
    """Return what signs with a private key. To read and check the key takes 40 ms."""
    signer: RSASigner = RSASigner.from_string(key, key_id)  # type: ignore[no-untyped-call]
    return signer


def end_at_write(number: int, *destinations: Destination) -> None:
    """End this process with SIGKILL at a write or removal: before it, or after it if the number is odd."""
    numbers = itertools.count(1)

    def ending(act: Callable[..., Any]) -> Callable[..., Any]:
        def act_and_end(*arguments: Any, **more: Any) -> Any:
            is_last = next(numbers) == number
            if is_last and number % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = act(*arguments, **more)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return act_and_end

    for destination in destinations:
        vars(destination).update(write=ending(destination.write), remove=ending(destination.remove))


@contextlib.contextmanager
def _full_after(size: int | None) -> Iterator[None]:
    """Make writes to a file fail after some bytes, like a full disk."""
    if size is None:
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _make_waits_short(locks: Path) -> None:
    """Make retries immediate, with the same number of tries, and use a separate folder for lock files."""
    locks.mkdir(exist_ok=True)
    tempfile.tempdir = str(locks)
    os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"
    at_once = SimpleNamespace(uniform=lambda low, high: 0.0)
    short: list[tuple[object, str, object]] = [
        # Processes are killed, but never the machine.
        (os, "fsync", lambda handle: None),
        (auth, "random", at_once),
        (reader, "random", at_once),
        (auth, "_JUST_FETCHED", 0.05),
        (guard, "_SETTLE", 0.01),
        (guard, "_TRIAL", guard._TRIAL / 90),
        (auth._PatientRetry, "get_backoff_time", lambda self: 0.0),
        *((DEFAULT_RETRY, name, value) for name, value in _SHORT_RETRY.items()),
    ]
    for owner, name, value in short:
        setattr(owner, name, value)


_SHORT_RETRY = {"_initial": 0.01, "_maximum": 0.04, "_timeout": 0.2, "_deadline": 0.2}
"""The waits of google-cloud-storage's own retries, in seconds."""

"""Each fault at each step of a drain, from the description of the stream to the last write of the position."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # noqa: F401 - so that a process that is forked has it
import pytest
from google.cloud import storage
from google.oauth2 import service_account

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from harness.kinesis_double import KINESALITE, KinesisDouble
from tests.faults import stream_table, table
from tests.faults.run_cell import KINDS
from tests.faults.scene import GENEROUS, PATIENCE, shorten
from tests.faults.stream_scene import Split, WireFault, check_complete, check_nothing_half, contents_of, drain
from tests.faults.stream_table import READS, WRITES
from tests.faults.table import Cell
from tests.support.tools import KINESIS


@pytest.fixture(scope="module")
def split() -> Iterator[Split]:
    KINESIS.require()
    double = KinesisDouble(KINESALITE)
    yield Split(double)
    double.close()


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    module = "ayla_provider.stream.kinesis"
    for name, seconds in {"PAUSE": 0.0, "FIRST_WAIT": 0.001, "LONGEST_WAIT": 0.002, "PATIENCE": 0.02}.items():
        monkeypatch.setattr(f"{module}.{name}", seconds)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.0)


def outcome_of(archive: StreamArchive, stream: Any) -> tuple[str, str]:
    """Drain; return a letter of the table, and what an error says."""
    try:
        drain(archive, stream)
    except AylaError as error:
        return ("t" if error.retryable else "x"), str(error)
    return "r", ""


def check_retry(destination: Destination, split: Split) -> None:
    """Check that nothing is half-written, and that the next try brings each record once."""
    check_nothing_half(contents_of(destination), split)
    assert outcome_of(StreamArchive(destination), split.open()) == ("r", "")
    check_complete(contents_of(destination), split)


@pytest.mark.parametrize("cell", table.parameters(stream_table.AT_READS))
def test_a_fault_of_the_stream(cell: Cell, split: Split, tmp_path: Path) -> None:
    destination, stream = FileDestination(tmp_path), split.open()
    fault = WireFault(cell, split, stream)
    outcome, message = outcome_of(StreamArchive(destination), stream)
    assert fault.fired
    assert outcome == cell.expected, message
    if outcome == "r":
        check_complete(contents_of(destination), split)
    else:
        assert split.name in message
        assert "AKIAEXAMPLE" not in message
    check_retry(destination, split)


@pytest.mark.parametrize("cell", table.parameters(stream_table.AT_WRITES))
def test_a_fault_of_the_archive(cell: Cell, split: Split, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = bucket_of(cloud, str(cell))
    kind: int | str = int(cell.fault) if cell.fault.isdigit() else KINDS.get(cell.fault, cell.fault)
    cloud.faults.clear()
    if cell.fault == "slow":
        shorten(monkeypatch.setattr, PATIENCE)
    fault = cloud.faults.add(
        kind,
        step="upload",
        nth=WRITES.index(cell.step) + 1,
        times=1 if cell.times == "once" else None,
        delay=2 * PATIENCE,
    )
    outcome, message = outcome_of(StreamArchive(destination), split.open())
    cloud.faults.clear()
    shorten(monkeypatch.setattr, GENEROUS)
    assert fault.fired
    assert outcome == cell.expected, message
    if outcome == "r":
        check_complete(contents_of(destination), split)
    else:
        assert str(cell) in message
    check_retry(destination, split)


def bucket_of(cloud: LocalCloud, prefix: str) -> GcsDestination:
    scope = "https://www.googleapis.com/auth/devstorage.read_write"
    key = cloud.service_account_key()
    account = service_account.Credentials.from_service_account_info(key, scopes=[scope])  # type: ignore[no-untyped-call]
    # Otherwise google-auth asks Google for the regions that this account is allowed in.
    account._is_regional_access_boundary_lookup_required = lambda: False
    client = storage.Client("-", credentials=account, client_options={"api_endpoint": cloud.url})
    return GcsDestination(client, cloud.customer.name, prefix, credentials=account)


class EndingDestination(FileDestination):
    """A folder whose process is killed in one of its writes, or whose disk is full from there on."""

    def __init__(self, root: Path, cell: Cell) -> None:
        super().__init__(root)
        self._cell = cell
        self._left = WRITES.index(cell.step) if cell.step in WRITES else None

    def write(self, *arguments: Any, **more: Any) -> Stored:
        if self._left == 0 and self._cell.fault == "disk-full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        if self._left == 0 and self._cell.fault == "SIGKILL":
            # The content is on the disk, and hasn't its name yet.
            os.fsync = lambda handle: kill()
        if self._left is not None:
            self._left -= 1
        return super().write(*arguments, **more)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("cell", table.parameters(stream_table.ENDINGS))
def test_a_drain_that_is_ended(cell: Cell, split: Split, tmp_path: Path) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        archive, stream = StreamArchive(EndingDestination(tmp_path, cell)), split.open()
        # Airflow's task runner calls on_kill, which stops the run.
        signal.signal(signal.SIGTERM, lambda number, frame: archive.stop())
        if cell.step in READS:
            WireFault(cell, split, stream, lambda: os.kill(os.getpid(), signal.Signals[cell.fault]))
        os.write(write, "|".join(outcome_of(archive, stream)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        outcome, _, message = said.read().decode().partition("|")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if cell.fault == "SIGKILL":
        assert (status, outcome) == (-signal.SIGKILL, "")
    else:
        assert (status, outcome) == (0, cell.expected), message
    check_retry(FileDestination(tmp_path), split)


def test_each_cell_that_cant_be_has_a_reason() -> None:
    for cell in stream_table.ALL:
        assert cell.expected in "rtx."
        if cell.expected == ".":
            assert stream_table.NONE[cell.fault]

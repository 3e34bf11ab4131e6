"""Each fault at each step of a drain, from the description of the stream to the last write of the position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.oauth2 import service_account

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.local_cloud import LocalCloud
from harness.kinesis_double import KINESALITE, KinesisDouble
from tests.faults import stream_table, table
from tests.faults.run_cell import KINDS
from tests.faults.scene import GENEROUS, PATIENCE, shorten
from tests.faults.stream_process import drain_and_end
from tests.faults.stream_scene import Split, WireFault, check_complete, check_nothing_half, contents_of, outcome_of
from tests.faults.stream_table import WRITES
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
    return GcsDestination(cloud.url, cloud.customer.name, prefix, credentials=account)


@pytest.mark.parametrize("cell", table.parameters(stream_table.ENDINGS))
def test_a_drain_that_is_ended(cell: Cell, split: Split, tmp_path: Path) -> None:
    outcome, message = drain_and_end(tmp_path, split, cell)
    assert outcome == ("killed" if cell.fault == "SIGKILL" else cell.expected), message
    check_retry(FileDestination(tmp_path), split)


def test_each_cell_that_cant_be_has_a_reason() -> None:
    for cell in stream_table.ALL:
        assert cell.expected in "rtx."
        if cell.expected == ".":
            assert stream_table.NONE[cell.fault]

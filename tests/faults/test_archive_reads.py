"""Each fault where the archive is read: by a comparison of its manifests with the source, and by a load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive import destination
from ayla_provider.archive import gcs as gcs_destination
from ayla_provider.archive.archive import Archive
from ayla_provider.archive.compare import reconcile
from ayla_provider.archive.destination import Destination
from ayla_provider.archive.records import Records
from ayla_provider.destinations import open_destination
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.rows.intake import fetch_good_lines
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.source.export import Export
from ayla_provider.transport import cloud_storage
from tests.faults import table
from tests.faults.run_cell import KINDS
from tests.faults.scene import GENEROUS, PATIENCE, Scene, shorten
from tests.faults.table import Cell
from tests.support.client import export_of, provider_of, settings_of
from tests.support.fleet import HOUR

THE_HOUR = ExportHour(EventType("connection"), HOUR)
RULE = ArrivalRule()
WHERE: dict[str, dict[str, Any]] = {
    "records": {"step": "list", "match": "customer-archive.*_manifests"},
    "record": {"step": "download", "match": "customer-archive.*_manifests"},
    "file": {"step": "download", "match": r"customer-archive.*\.csv"},
}

pytestmark = pytest.mark.usefixtures("scene")


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, Any]]:
    """What the first cell makes for all."""
    made: dict[str, Any] = {}
    yield made
    for close in made["close"]:
        close()


@pytest.fixture
def export(cloud: LocalCloud, scene: Scene, made: dict[str, Any]) -> Export:
    """The source, and an archive of its hour, which are the same for all cells."""
    if not made:
        (file,) = cloud.fleet.files("connection", HOUR)[:1]
        cloud.put_object("Connection", f"{HOUR:%Y-%m-%d %H:%M:%S}", "f.csv", file.contents[0], HOUR + 2 * ONE_HOUR)
        made["export"] = export_of(cloud, provider_of(settings_of(cloud)))
        made["archive"] = open_destination(scene.url)
        made["close"] = [made["export"].source.close, made["archive"].close]
        Archive(made["archive"]).take_in(made["export"], [THE_HOUR], RULE, written_by={})
    export: Export = made["export"]
    return export


def compare(export: Export, archive: Destination, folder: Path) -> str:
    """Compare the hour with the archive, as reconcile, report and plan do."""
    findings = reconcile(export, Records(archive), [EventType("connection")], HOUR, HOUR + ONE_HOUR, RULE)
    assert sum(findings.hours.values()) == 1
    return "h" if findings.gaps else "r"


def load(export: Export, archive: Destination, folder: Path) -> str:
    """Bring the hour's file to this disk, as each load does."""
    manifest, _ = Records(archive).read_manifest(THE_HOUR)
    assert manifest
    (file,) = manifest.files
    (folder / "good.csv").unlink(missing_ok=True)
    with Quarantine(folder / "quarantine") as quarantine:
        good = fetch_good_lines(
            archive,
            file,
            folder / "good.csv",
            event_type="connection",
            layouts=COLUMN_LAYOUTS,
            quarantine=quarantine,
        )
    assert good.count == file.lines
    return "r"


def outcome_of(act: Callable[[Export, Destination, Path], str], *arguments: Any) -> tuple[str, str]:
    """Return a letter of the table, and the message of an error."""
    try:
        return act(*arguments), ""
    except AylaError as error:
        return "t" if error.retryable else "x", str(error)


@pytest.mark.parametrize("cell", table.parameters(table.ARCHIVE))
def test_a_fault_where_the_archive_is_read(
    cell: Cell,
    cloud: LocalCloud,
    export: Export,
    made: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(destination, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(gcs_destination, "_PIECE", 1_000_000)
    monkeypatch.setattr(cloud_storage, "MOST_PAGES", 20)
    if cell.fault == "drip":
        shorten(monkeypatch.setattr, GENEROUS, PATIENCE, PATIENCE)
    details = {"drip": {"delay": PATIENCE / 8}, "429": {"retry_after": 0}, "bomb": {"size": 1_000_001}}.get(
        cell.fault, {}
    )
    if cell.fault == "expired":
        cloud.revoke("customer")
    else:
        kind = int(cell.fault) if cell.fault.isdigit() else KINDS.get(cell.fault, cell.fault)
        times = 1 if cell.times == "once" else None
        cloud.faults.add(Fault(kind, **WHERE[cell.step], times=times, **details))
    act = load if cell.step == "file" else compare
    outcome, message = outcome_of(act, export, made["archive"], tmp_path)
    assert outcome == cell.expected, message
    if message:
        assert "event_type=connection" in message
        if cell.step != "records":
            assert f"{HOUR:%Y-%m-%d}" in message
    assert [secret for secret in cloud.secrets if secret in message + caplog.text] == []
    cloud.faults.clear()
    shorten(monkeypatch.setattr, GENEROUS)
    assert outcome_of(act, export, made["archive"], tmp_path) == ("r", "")

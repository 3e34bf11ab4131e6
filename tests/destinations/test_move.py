"""An archive that any tool has copied to another place is the same archive: docs/move.md."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.destination import Destination
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.plan import compare
from tests.rows.test_expressions import CONNECTION
from tests.support.client import at, export_of, hours_at, provider_of, put, requests_of, settings_of, take_in
from tests.support.object_stores import quiet
from tests.support.places import Place, file_place, gcs_destination, gcs_place
from tests.warehouse.loading import everything, load

pytestmark = quiet

HOURS = (1, 2, 3)
CONNECTIONS = EventType("connection")


def fill(cloud: LocalCloud) -> None:
    for hour in HOURS:
        put(cloud, hour, f"{hour}.csv", CONNECTION, folder="Connection")


def downloads(cloud: LocalCloud) -> int:
    """Return how many files were read from Ayla."""
    return sum(cloud.vendor.name in request.path for request in requests_of(cloud, "download"))


def copied(cloud: LocalCloud, destination: Destination) -> Any:
    export = export_of(cloud, provider_of(settings_of(cloud)))
    return take_in(Archive(destination), export, *HOURS, event_type="connection")


def move(source: dict[str, bytes], place: Place) -> None:
    """Copy all objects, as a tool does that knows nothing of archives."""
    for path, data in source.items():
        place.spoil(path, data)


def test_a_moved_archive_is_whole_and_nothing_is_copied_from_ayla_again(
    cloud: LocalCloud,
    place: Place,
    tmp_path: Path,
) -> None:
    fill(cloud)
    old = file_place(tmp_path / "old")
    assert copied(cloud, old.destination).copied_files == len(HOURS)
    move(old.everything(), place)
    later = datetime.now(UTC) + timedelta(days=2)
    scope = Scope(None, None, at(4))
    reading = Verification(place.destination, scope, now=later, read_every=timedelta(hours=1))
    assert list(reading.findings()) == []
    assert (reading.counts.manifests, reading.counts.read_files) == (len(HOURS), len(HOURS))
    # The position of the reading is all that was written.
    assert {
        path: data for path, data in place.everything().items() if not path.startswith("_verify/")
    } == old.everything()
    before = downloads(cloud)
    report = copied(cloud, place.destination)
    assert report.copied_files == 0
    assert downloads(cloud) == before
    records = Records(place.destination)
    for hour in hours_at(*HOURS, event_type="connection"):
        manifest, _ = records.read_manifest(hour)
        known, _ = Records(old.destination).read_manifest(hour)
        assert manifest is not None
        assert manifest == known


@pytest.mark.parametrize("kind", ["file", "gs"])
def test_a_warehouse_loads_nothing_again_after_a_move(
    cloud: LocalCloud,
    customer: Any,
    tmp_path: Path,
    kind: str,
) -> None:
    fill(cloud)
    old = file_place(tmp_path / "old")
    copied(cloud, old.destination)
    typed = TypedArchive(old.destination, FileDestination(tmp_path / "old" / "parquet"), max_malformed=1)
    path = tmp_path / "warehouse.duckdb"
    starts = [hour.start for hour in hours_at(*HOURS, event_type="connection")]
    with DuckDBWarehouse(path) as warehouse:
        load(warehouse, typed, CONNECTIONS, starts)
    before = everything(path)

    new = file_place(tmp_path / "new") if kind == "file" else gcs_place(cloud, customer, "moved")
    rows: Destination = FileDestination(tmp_path / "new" / "parquet")
    if kind == "gs":
        rows = gcs_destination(cloud, cloud.customer.name, "moved/parquet")
    move(old.everything(), new)
    moved = new.everything()
    with DuckDBWarehouse(path) as warehouse:
        found = compare(
            Records(new.destination), warehouse.loaded, [CONNECTIONS], starts[0], starts[-1] + ONE_HOUR, now=at(12)
        )
        assert found.to_load == []
        # Also the typed rows are taken as they are, should anybody want them again.
        load(warehouse, TypedArchive(new.destination, rows, max_malformed=1), CONNECTIONS, starts)
    assert new.everything() == moved
    assert everything(path) == before

"""Verify an archive of a million objects: what is listed takes no memory."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.destination import Destination, Listed, Stored
from ayla_provider.archive.inventory import Inventory
from ayla_provider.archive.local import FileDestination
from tests.support.proofs import scale

NOW = datetime.now(UTC)


@pytest.mark.ci
@pytest.mark.proof("1,000,000 objects")
def test_an_inventory_takes_no_memory(tmp_path: Path) -> None:
    class Many(FileDestination):
        def tree(self, prefix: str):  # type: ignore[no-untyped-def]
            for number in range(scale(50_000, 1_000_000)):
                path = f"event_type=datapoint/date=2026-11-01/hour=07/20261101T070000Z-{number:09}.csv"
                yield Listed(Stored(path, number, str(number), "AAAAAA=="), NOW)

    destination: Destination = Many(tmp_path)
    with Inventory(destination) as inventory:
        tracemalloc.start()
        inventory.list("event_type=")
        found = sum(1 for _ in inventory.unnamed(NOW + timedelta(days=1)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found == scale(50_000, 1_000_000)
    assert peak < 5 * 1024 * 1024

"""An erasure in a copy that isn't what its manifest says: the subject goes, and the damage is found afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.findings import Finding
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.manifest import Manifest, loads
from ayla_provider.domain.paths import manifest_path
from tests.support.erasing import erase, erasure_run, request
from tests.warehouse.archive import HOUR, archive_hour

OF_HOUR = ExportHour(EventType("connection"), HOUR)
DEVICES = [f"LC000X00000000{number}" for number in range(5)]
LINES = [f"1a2b3c4d,LC-THERMO-2,{dsn},Sun Nov 01 12:30:45 UTC 2026,,Online\n".encode() for dsn in DEVICES]


class DiesBeforeFiles(FileDestination):
    """A folder on disk, to which no copy can be written."""

    def write(self, path: str, *arguments: Any, **more: Any) -> Stored:
        if path.endswith(".csv"):
            raise KeyboardInterrupt
        return super().write(path, *arguments, **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    archive_hour(tmp_path / "archive", "connection", [b"".join(LINES), b"".join(LINES)])
    return tmp_path


def manifest(root: Path) -> Manifest:
    return loads((root / "archive" / manifest_path(OF_HOUR)).read_bytes(), "here")


def files(root: Path) -> list[Path]:
    return [root / "archive" / entry.path for entry in manifest(root).files]


def findings(root: Path) -> list[Finding]:
    archive = FileDestination(root / "archive")
    # Later, as what was written within the last hour is looked at twice.
    now = datetime.now(UTC) + timedelta(days=1)
    scope = Scope([OF_HOUR.event_type], HOUR, HOUR + ONE_HOUR)
    return list(Verification(archive, scope, now=now, read_every=timedelta(0), wait=lambda seconds: None).findings())


def test_the_damage_of_a_copy_is_found_after_an_erasure(root: Path) -> None:
    damaged, whole = files(root)
    damaged.write_bytes(b"".join(LINES)[:-1])
    request(root, dsn=DEVICES[1])
    erase(root)
    before, erased = manifest(root).files
    assert before.erased is None
    assert erased.erased is not None
    assert DEVICES[1].encode() not in damaged.read_bytes() + whole.read_bytes()
    (found,) = findings(root)
    assert found.path == before.path


def test_a_copy_that_is_damaged_after_an_erasure_loses_the_next_person_too(root: Path) -> None:
    request(root, "ticket-1.json", dsn=DEVICES[0])
    erase(root)
    (root / "requests" / "ticket-1.json").unlink()
    damaged, whole = files(root)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    request(root, "ticket-2.json", dsn=DEVICES[1])
    erase(root)
    assert damaged.read_bytes() == b"".join(LINES[2:])[:-1]
    assert whole.read_bytes() == b"".join(LINES[2:])
    (found,) = findings(root)
    assert found.path == manifest(root).files[0].path


def test_a_killed_erasure_that_goes_on_with_another_subject_damages_nothing(root: Path) -> None:
    request(root, "ticket-1.json", dsn=DEVICES[0])
    erase(root)
    request(root, "ticket-2.json", dsn=DEVICES[1])
    with pytest.raises(KeyboardInterrupt):
        erasure_run(root, [], DiesBeforeFiles(root / "archive")).erase()
    assert all(DEVICES[1].encode() in path.read_bytes() for path in files(root))
    request(root, "ticket-3.json", dsn=DEVICES[2])
    erase(root)
    assert [path.read_bytes() for path in files(root)] == [b"".join(LINES[3:])] * 2
    assert findings(root) == []

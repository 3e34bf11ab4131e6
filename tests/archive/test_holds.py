"""The legal holds of an archive."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ayla_provider.archive.holds import place_hold, read_holds, release_hold
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hold import hold
from ayla_provider.errors import AylaConfigError, AylaDestinationError

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_a_hold_is_found_until_it_is_released(tmp_path: Path) -> None:
    archive = FileDestination(tmp_path)
    assert read_holds(archive) == []
    placed = [hold(name, placed_at=NOW, start=NOW) for name in ("case-1", "case-2")]
    for each in reversed(placed):
        place_hold(archive, each)
    assert read_holds(archive) == placed
    assert release_hold(archive, "case-1")
    assert not release_hold(archive, "case-1")
    assert read_holds(archive) == placed[1:]


def test_placing_a_hold_again_keeps_it_and_another_one_of_its_id_is_refused(tmp_path: Path) -> None:
    archive = FileDestination(tmp_path)
    place_hold(archive, hold("case-1", placed_at=NOW, start=NOW))
    place_hold(archive, hold("case-1", placed_at=NOW.replace(hour=13), start=NOW))
    with pytest.raises(AylaConfigError, match="another hold"):
        place_hold(archive, hold("case-1", placed_at=NOW, end=NOW))
    (found,) = read_holds(archive)
    assert found.placed_at == NOW


def test_an_object_that_is_no_hold_stops_whoever_reads_the_holds(tmp_path: Path) -> None:
    (tmp_path / "_holds").mkdir()
    (tmp_path / "_holds" / "notes.txt").write_text("ask legal")
    with pytest.raises(AylaDestinationError, match="nothing is removed or erased"):
        read_holds(FileDestination(tmp_path))

"""The legal holds of an archive."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.holds import place_hold, read_holds, refuse_held, release_hold
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hold import hold
from ayla_provider.errors import AylaConfigError, AylaDestinationError, AylaHeldError

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DSN, USER = "LC000X000000001", "11111111-2222-3333-4444-555555555555"
KEY = "a key of a hold, 32 characters.."


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


@pytest.mark.parametrize(
    ("held", "identifiers", "start", "is_refused"),
    [
        ({"start": NOW, "end": NOW + DAY}, {"dsn": DSN}, None, True),
        ({"start": NOW + DAY}, {"dsn": DSN}, None, False),
        ({"end": NOW}, {"dsn": DSN}, NOW, False),
        ({"subject": {"dsn": [DSN]}, "key": KEY}, {"dsn": DSN.lower()}, None, True),
        ({"subject": {"dsn": [DSN]}, "key": KEY}, {"dsn": "LC000X000000002"}, None, False),
        ({"subject": {"dsn": [DSN]}, "key": KEY, "end": NOW}, {"dsn": DSN}, NOW, False),
        ({"subject": {"user_uuid": [USER]}, "key": KEY}, {"dsn": DSN, "user_uuid": USER}, None, True),
    ],
)
def test_an_erasure_is_refused_if_a_hold_is_on_it(
    tmp_path: Path, held: dict[str, Any], identifiers: dict[str, str], start: datetime | None, is_refused: bool
) -> None:
    archive = FileDestination(tmp_path)
    place_hold(archive, hold("case-1", placed_at=NOW, **held))
    expected = pytest.raises(AylaHeldError, match="'case-1'") if is_refused else nullcontext()
    with expected as error:
        refuse_held(archive, read_holds(archive), "an-id", identifiers, start, NOW + DAY, ["another key", KEY])
    assert DSN not in str(error)


def test_an_erasure_is_refused_if_nobody_knows_the_key_of_a_hold(tmp_path: Path) -> None:
    archive = FileDestination(tmp_path)
    place_hold(archive, hold("case-1", placed_at=NOW, subject={"dsn": [DSN]}, key=KEY))
    with pytest.raises(AylaConfigError, match="which no given connection has"):
        refuse_held(archive, read_holds(archive), "an-id", {"dsn": "LC000X000000002"}, None, NOW, ["another key"])


def test_an_object_that_is_not_a_hold_stops_removal_and_erasure(tmp_path: Path) -> None:
    (tmp_path / "_holds").mkdir()
    (tmp_path / "_holds" / "notes.txt").write_text("ask legal")
    with pytest.raises(AylaDestinationError, match="nothing is removed or erased"):
        read_holds(FileDestination(tmp_path))

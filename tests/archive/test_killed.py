"""A verification or a repair that is killed between any two of its steps loses nothing but time."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.findings import Damage, repair_of
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.manifest import loads
from ayla_provider.domain.paths import manifest_path
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import connection_of, hours_at, put, take_in
from tests.support.damages import flipped
from tests.support.mortal import repair, run_process, verify
from tests.support.places import Place, file_place

(HOUR,) = hours_at(2)
MANIFEST = manifest_path(HOUR)
FOLDER = "event_type=datapoint/date=2024-05-09/hour=02"
A, B, C = (f"{FOLDER}/20240509T020000Z-{name}.csv" for name in "abc")

SCOPE = Scope([HOUR.event_type], HOUR.start, HOUR.end)
LATER = datetime.now(UTC) + timedelta(days=2)
"""A time at which what the tests write isn't young."""

FOREVER = 1000
"""More steps than any run takes."""

MakePlace = Callable[[dict[str, bytes]], Place]


@pytest.fixture
def whole(cloud: LocalCloud, export: Export, tmp_path: Path) -> dict[str, bytes]:
    """An archive with three files of an hour."""
    for name in "abc":
        put(cloud, 2, f"{name}.csv", f"of {name}\r\n".encode())
    put(cloud, 5, "later.csv")
    place = file_place(tmp_path / "whole")
    take_in(Archive(place.destination), export, 2)
    return place.everything()


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> MakePlace:
    """Make places on disk."""

    def make(contents: dict[str, bytes]) -> Place:
        place = file_place(tmp_path_factory.mktemp("archive"))
        for path, data in contents.items():
            place.spoil(path, data)
        return place

    return make


def root_of(place: Place) -> Path:
    root: Path = place.destination.root  # type: ignore[attr-defined]
    return root


def state(contents: dict[str, bytes]) -> dict[str, Any]:
    """Return what an archive has, without what differs by its nature: partial files and versions."""
    kept = {path: data for path, data in contents.items() if not path.endswith(".partial")}
    return kept | {MANIFEST: loads(kept[MANIFEST], MANIFEST).files}


@pytest.mark.parametrize(
    "damages",
    [
        {A: None, B: flipped(b"of b\r\n"), C: b"of"},
        {MANIFEST: None, A: None, B: flipped(b"of b\r\n")},
        {MANIFEST: b"{", C: b"of"},
    ],
    ids=["copies", "no manifest", "unreadable manifest"],
)
def test_a_killed_repair_is_repeated_to_the_same_end(
    cloud: LocalCloud, whole: dict[str, bytes], make: MakePlace, tmp_path: Path, damages: dict[str, bytes | None]
) -> None:
    damaged = {path: data for path, data in (whole | damages).items() if data is not None}
    first = make(damaged)
    untrusted = repair_of(HOUR, list(Verification(first.destination, SCOPE, now=LATER).findings())).untrusted
    lives = 0
    while True:
        place = make(damaged)
        arguments = (root_of(place), tmp_path, connection_of(cloud), HOUR, untrusted)
        ended = run_process(repair, *arguments, lives)
        for path, data in place.everything().items():
            # Nothing is there by half.
            assert path == MANIFEST or path.endswith(".partial") or data in (whole[path], damages.get(path)), lives
        if ended == -signal.SIGKILL:
            assert run_process(repair, *arguments, FOREVER) == 0
        assert state(place.everything()) == state(whole), lives
        # The killed run can leave an unfinished file, which is reported, and isn't a loss.
        findings = Verification(place.destination, SCOPE, now=LATER).findings()
        assert {finding.damage for finding in findings} <= {Damage.UNFINISHED}
        if ended == 0:
            break
        lives += 1
    assert lives > 5


def test_a_killed_verification_changes_nothing_and_the_next_one_finds_everything(
    whole: dict[str, bytes], make: MakePlace
) -> None:
    damaged = {path: data for path, data in whole.items() if path != A} | {B: flipped(whole[B])}
    lives = 0
    while True:
        place = make(damaged)
        ended = run_process(verify, root_of(place), SCOPE, LATER, lives)
        after = place.everything()
        left = {path: data for path, data in after.items() if not path.startswith("_verify/")}
        assert {path: data for path, data in left.items() if not path.endswith(".partial")} == damaged, lives
        findings = Verification(place.destination, SCOPE, now=LATER, read_every=timedelta(days=1)).findings()
        assert [(finding.damage, finding.path) for finding in findings] == [(Damage.MISSING, A), (Damage.DAMAGED, B)]
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        lives += 1
    assert lives > 5

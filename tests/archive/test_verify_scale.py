"""Verify over many hours with every kind of damage: all of it is found, and nothing else."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.findings import Damage
from ayla_provider.archive.inventory import Inventory
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import hour_of
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import manifest_path
from tests.support.archives import archive_hour, hours_back
from tests.support.proofs import scale

NOW = datetime.now(UTC)
DATA = b"1,2,3\r\n"

Injected = tuple[Damage, str]


def _remove(root: Path, manifest: Manifest) -> list[Injected]:
    (root / manifest.files[0].path).unlink()
    return [(Damage.MISSING, manifest.files[0].path)]


def _cut(root: Path, manifest: Manifest) -> list[Injected]:
    (root / manifest.files[0].path).write_bytes(DATA[:-1])
    return [(Damage.DAMAGED, manifest.files[0].path)]


def _flip(root: Path, manifest: Manifest) -> list[Injected]:
    (root / manifest.files[0].path).write_bytes(bytes([DATA[0] ^ 1]) + DATA[1:])
    return [(Damage.DAMAGED, manifest.files[0].path)]


def _rot(root: Path, manifest: Manifest) -> list[Injected]:
    """Change a bit without a trace in the file's facts, so that only reading finds it."""
    path = root / manifest.files[0].path
    facts = path.stat()
    path.write_bytes(bytes([DATA[0] ^ 1]) + DATA[1:])
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return [(Damage.DAMAGED, manifest.files[0].path)]


def _swap(root: Path, manifest: Manifest) -> list[Injected]:
    one, other = (root / entry.path for entry in manifest.files)
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return [(Damage.DAMAGED, entry.path) for entry in manifest.files]


def _remove_manifest(root: Path, manifest: Manifest) -> list[Injected]:
    (root / manifest_path(manifest.hour)).unlink()
    return [(Damage.NO_MANIFEST, manifest_path(manifest.hour))]


def _break_manifest(root: Path, manifest: Manifest) -> list[Injected]:
    (root / manifest_path(manifest.hour)).write_bytes(manifest.dumps().encode()[:-9])
    return [(Damage.UNREADABLE, manifest_path(manifest.hour))]


def _newer_manifest(root: Path, manifest: Manifest) -> list[Injected]:
    newer = manifest.dumps().replace("ayla-export-manifest/1", "ayla-export-manifest/99")
    (root / manifest_path(manifest.hour)).write_text(newer)
    return [(Damage.NEWER, manifest_path(manifest.hour))]


def _add_orphan(root: Path, manifest: Manifest) -> list[Injected]:
    path = manifest.files[0].path.replace("-0.csv", "-9.csv")
    (root / path).write_bytes(DATA)
    return [(Damage.ORPHAN, path)]


INJECTIONS: list[Callable[[Path, Manifest], list[Injected]]] = [
    _remove,
    _cut,
    _flip,
    _rot,
    _swap,
    _remove_manifest,
    _break_manifest,
    _newer_manifest,
    _add_orphan,
]


@pytest.mark.proof("12 months of hours with every kind of damage")
def test_every_damage_of_an_archive_is_found_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is on the disk doesn't have to survive the machine.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    destination = FileDestination(tmp_path)
    hours = [hour for name in EVENT_TYPES for hour in hours_back(NOW, scale(48, 8760), name)]
    manifests = [archive_hour(destination, hour, [DATA, DATA[::-1]][: number % 3]) for number, hour in enumerate(hours)]
    rng = random.Random(7)
    with_two = [manifest for manifest in manifests if len(manifest.files) == 2]
    chosen = rng.sample(with_two, len(INJECTIONS) * scale(3, 100))
    expected: list[Injected] = []
    for number, manifest in enumerate(chosen):
        expected += INJECTIONS[number % len(INJECTIONS)](tmp_path, manifest)
    end = hour_of(NOW) - timedelta(days=1)
    now, read_every = NOW + timedelta(days=2), timedelta(days=1)
    verification = Verification(destination, Scope(None, None, end), now=now, read_every=read_every)
    assert sorted((finding.damage, finding.path) for finding in verification.findings()) == sorted(expected)
    gone = sum(damage is Damage.NO_MANIFEST for damage, _ in expected)
    assert verification.counts.manifests == len(hours) - gone


@pytest.mark.proof("1,000,000 objects")
def test_an_inventory_takes_no_memory(tmp_path: Path) -> None:
    from ayla_provider.archive.destination import Destination, Listed, Stored

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

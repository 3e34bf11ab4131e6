"""What can happen to an archive: each damage is done by hand, and returns what a verification must find."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ayla_provider.archive.findings import Damage
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import manifest_path
from tests.support.places import Place

Injected = tuple[Damage, str]
"""A damage, and the path of what is damaged."""

ORPHAN = b"1,2,3\r\n"
"""The content of an object that no manifest names."""


@dataclass(frozen=True)
class Copy:
    """A copy of an archive, with its bytes."""

    manifest: Manifest
    entry: ManifestFile
    data: bytes


class Injector:
    """
    Damages an archive. Each damage is of an hour of its own.

    :param content: returns the bytes of a copy
    """

    def __init__(self, place: Place, manifests: Sequence[Manifest], content: Callable[[ManifestFile], bytes]) -> None:
        self.manifests: dict[str, bytes] = {}
        """The manifests that were changed, as they were before."""
        self._place = place
        rng = random.Random(7)
        with_files = [manifest for manifest in manifests if any(entry.size > 1 for entry in manifest.files)]
        self._with_files = iter(rng.sample(with_files, len(with_files)))
        empty = [manifest for manifest in manifests if not manifest.files]
        self._empty = iter(rng.sample(empty, len(empty)))
        self._content = content

    def copies(self, count: int) -> Iterator[Copy]:
        """Yield copies of as many hours, which nothing has damaged yet."""
        for _ in range(count):
            manifest = next(self._with_files)
            entry = next(entry for entry in manifest.files if entry.size > 1)
            yield Copy(manifest, entry, self._content(entry))

    def remove(self, copy: Copy) -> list[Injected]:
        """Remove a copy."""
        self._place.remove(copy.entry.path)
        return [(Damage.MISSING, copy.entry.path)]

    def cut(self, copy: Copy) -> list[Injected]:
        """Remove the end of a copy."""
        self._place.spoil(copy.entry.path, copy.data[: copy.entry.size // 2])
        return [(Damage.DAMAGED, copy.entry.path)]

    def flip(self, copy: Copy) -> list[Injected]:
        """Change a bit of a copy."""
        self._place.spoil(copy.entry.path, flipped(copy.data))
        return [(Damage.DAMAGED, copy.entry.path)]

    def rot(self, copy: Copy, root: Path) -> list[Injected]:
        """Change a bit of a copy as a disk does: without a trace in the file's facts, so that only reading finds it."""
        path = root / copy.entry.path
        facts = path.stat()
        path.write_bytes(flipped(copy.data))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        return [(Damage.DAMAGED, copy.entry.path)]

    def swap(self, one: Copy, other: Copy) -> list[Injected]:
        """Give two copies each other's bytes."""
        assert one.data != other.data
        self._place.spoil(one.entry.path, other.data)
        self._place.spoil(other.entry.path, one.data)
        return [(Damage.DAMAGED, copy.entry.path) for copy in (one, other)]

    def remove_manifests(self, count: int) -> list[Injected]:
        """Remove manifests, of as many hours with files and without."""
        paths = [manifest_path(next(hours).hour) for hours in (self._with_files, self._empty) for _ in range(count)]
        for path in paths:
            self._place.remove(path)
        return [(Damage.NO_MANIFEST, path) for path in paths]

    def break_manifest(self, manifest: Manifest) -> list[Injected]:
        """Remove the end of a manifest."""
        path = manifest_path(manifest.hour)
        self._place.spoil(path, self._manifest(path)[:-9])
        return [(Damage.UNREADABLE, path)]

    def age_package(self, manifest: Manifest) -> list[Injected]:
        """Make a manifest one of a newer format."""
        path = manifest_path(manifest.hour)
        self._place.spoil(path, newer(self._manifest(path)))
        return [(Damage.NEWER, path)]

    def _manifest(self, path: str) -> bytes:
        record = self._place.destination.read(path)
        assert record
        return self.manifests.setdefault(path, record[0])

    def add_orphan(self, manifest: Manifest) -> list[Injected]:
        """Add an object that no manifest names."""
        path = manifest.files[0].path.replace(".csv", "-2.csv")
        self._place.spoil(path, ORPHAN)
        return [(Damage.ORPHAN, path)]


def flipped(data: bytes) -> bytes:
    """Return the bytes with another bit."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def newer(manifest: bytes) -> bytes:
    """Return a manifest of a newer format."""
    return manifest.replace(b"ayla-export-manifest/1", b"ayla-export-manifest/99")

"""Which columns the files of an archive have, from the begin of one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ayla_provider.archive.destination import Destination
from ayla_provider.domain.csv.foreign import is_beside
from ayla_provider.domain.csv.recognition import recognise
from ayla_provider.domain.csv.sample import head_of, shape_of
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.errors import AylaError

_HEAD = 64 * 1024
"""Bytes of a file that are read."""


def columns_of(destination: Destination, manifests: Sequence[Manifest]) -> tuple[str, ...]:
    """
    Return the columns of the newest file of some hours; empty if its layout isn't a known one, or it can't be read.

    It takes a listing and a small read.

    :param manifests: of consecutive hours of one event type
    """
    for manifest in sorted(manifests, key=lambda each: each.hour.start, reverse=True):
        files = [file for file in manifest.present if file.held_size and not is_beside(file.source)]
        if files and not manifest.is_stream:
            newest = max(files, key=lambda file: file.created)
            with contextlib.suppress(AylaError):
                return _columns_of_file(destination, manifest, newest)
            return ()
    return ()


def _columns_of_file(destination: Destination, manifest: Manifest, file: ManifestFile) -> tuple[str, ...]:
    stored = destination.folder(file.path.rpartition("/")[0]).get(file.path)
    if stored is None:
        return ()
    data = destination.read_range(stored, 0, min(_HEAD, stored.size))
    head = head_of(data)
    shape = shape_of(head, whole=len(head) == stored.size)
    return recognise(manifest.hour.event_type, shape, file=file.source).columns if shape.rows else ()

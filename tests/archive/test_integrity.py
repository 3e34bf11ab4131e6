"""Corruption that google-cloud-storage's own check lets pass: why a copy has a running checksum of its own."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from google.cloud import storage

from ayla_provider.domain.hour import hours_of
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.source.export import Export
from ayla_provider.source.reader import CorruptedError, ExportReader
from tests.support.client import at, client_of

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * (4 * MIB // 256)


def resumed(blob: storage.Blob) -> bytes:
    into = io.BytesIO()
    blob.download_to_file(into)
    return into.getvalue()


def opened(blob: storage.Blob) -> bytes:
    with blob.open("rb") as stream:
        return bytes(stream.read())


def in_chunks(blob: storage.Blob) -> bytes:
    blob.chunk_size = MIB
    return bytes(blob.download_as_bytes())


def corrupt(cloud: LocalCloud, how: Callable[[storage.Blob], bytes]) -> None:
    """Corrupt a byte of the download; of what follows a break, where that is the way."""
    cloud.faults.clear()
    if how is resumed:
        cloud.faults.add(Fault(step="download", kind="cut", after_bytes=2 * MIB))
        cloud.faults.add(Fault(step="download", kind="corrupt", after_bytes=100, nth=2))
    else:
        cloud.faults.add(Fault(step="download", kind="corrupt", after_bytes=100))


@pytest.mark.parametrize("how", [resumed, opened, in_chunks])
def test_a_copy_notices_corruption_that_the_library_misses(
    cloud: LocalCloud, export: Export, how: Callable[[storage.Blob], bytes]
) -> None:
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", CONTENT, at(3, 30))
    (file,) = export.list_files(hours_of("datapoint", at(2), at(2) + timedelta(hours=1)))
    blob = client_of(export).bucket(cloud.vendor.name).blob(file.name)

    # If this fails one day, the library has learnt it, and the reader's own checksum has one reason less.
    corrupt(cloud, how)
    taken_as_good = how(blob)
    assert len(taken_as_good) == len(CONTENT)
    assert taken_as_good != CONTENT

    corrupt(cloud, how)
    reader = ExportReader(export.source, file, threading.Event())
    with pytest.raises(CorruptedError, match=r"a\.csv"):  # noqa: PT012 - whichever piece it is
        while reader.read(MIB):
            pass

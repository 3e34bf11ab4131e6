"""Runs a cell of the matrix: its fault at its step, the checks afterwards, and a clean run that repairs the hour."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Timer
from typing import Any

from ayla_provider.local_cloud import Fault
from ayla_provider.local_cloud.contents import BytesContent
from ayla_provider.local_cloud.objects import StoredObject
from tests.faults.hour import (
    FILES,
    MANIFEST,
    QUARTER,
    SIZE,
    SOURCE,
    check_complete,
    check_nothing_half,
    check_secret,
    check_told,
)
from tests.faults.scene import GENEROUS, PATIENCE, Scene, shorten
from tests.faults.table import Cell

KINDS: dict[str, Any] = {"reset": "refused", "truncated": "cut", "shortened": "truncate", "corrupted": "corrupt"}
"""The local cloud's names of the faults."""

BOMB = 2 * 1024 * 1024
"""Bytes of a bomb: more than any answer but a page of a listing may have, and more levels than any JSON."""

_OFFSETS = {"download-start": 0, "download-middle": SIZE // 2, "download-end": SIZE - 1}


def at_step(cell: Cell, cloud_bucket: str) -> dict[str, Any]:
    """Return which request the fault of a cell applies to."""
    if cell.step.startswith("download"):
        return {"step": "download", "match": "b-large.csv"}
    return {
        "sign-in": {"step": "sign_in"},
        "acs": {"step": "acs"},
        "list": {"step": "list", "match": rf"{cloud_bucket}/o\?.*startOffset"},
        "page": {"step": "list", "match": rf"{cloud_bucket}/o\?(?=.*startOffset).*pageToken"},
        "upload-start": {"step": "upload", "match": "uploadType=resumable", "method": "POST"},
        "upload-middle": {"step": "upload", "match": "upload_id", "method": "PUT"},
        "upload-end": {"step": "upload", "match": "upload_id", "method": "PUT"},
        # The first multipart upload is the small file.
        "manifest": {"step": "upload", "match": "uploadType=multipart", "nth": 2},
    }[cell.step]


def fault_of(cell: Cell, scene: Scene, kind: int | str, **details: Any) -> Fault:
    """Add the fault of a cell, after the faults that lead to it."""
    where = at_step(cell, scene.cloud.vendor.name)
    offset = _OFFSETS.get(cell.step, 0)
    if kind in ("cut", "truncate", "corrupt"):
        ends = {"upload-middle": 1000, "upload-end": SIZE - 1, "manifest": 800}
        details["after_bytes"] = offset if cell.step.startswith("download") else 0
        if kind == "corrupt":
            details["after_bytes"] = ends.get(cell.step, offset)
    elif offset:  # the first answer ends there, and the fault applies to the second one
        scene.cloud.faults.add("truncate", **where, after_bytes=offset)
        where["nth"] = 2
    if cell.step == "upload-middle":
        # The first request breaks, the second one asks what was kept, and the fault applies to the one that goes on.
        scene.cloud.faults.add("cut_request", **where, after_bytes=QUARTER)
        where["nth"] = 3
    return scene.cloud.faults.add(kind, **where, times=1 if cell.times == "once" else None, **details)


@contextlib.contextmanager
def active_fault(cell: Cell, scene: Scene) -> Iterator[None]:
    """Apply the fault of a cell as long as the context lasts."""
    if cell.fault == "refused":
        with _refused(cell, scene):
            yield
    elif cell.fault == "expired":
        kind = {"acs": "session", "upload": "customer", "manifest": "customer"}.get(cell.step.split("-")[0], "storage")
        marker = fault_of(cell._replace(times="once"), scene, "slow", delay=PATIENCE / 2)
        with scene.when(lambda: marker.fired > 0, lambda: scene.cloud.revoke(kind)):
            yield
    elif cell.fault == "checksum" and cell.step in ("list", "page"):
        with _wrong_checksum(scene, "a-small.csv" if cell.step == "list" else "b-large.csv"):
            yield
    else:
        details: dict[str, Any] = {}
        kind = int(cell.fault) if cell.fault.isdigit() else KINDS.get(cell.fault, cell.fault)
        if cell.fault == "429":
            details["retry_after"] = 1 if cell.times == "once" else 0
        if cell.fault == "slow":
            details["delay"] = 2 * PATIENCE
        if cell.fault == "drip":
            details["delay"] = PATIENCE / 8
        if cell.fault == "bomb":
            details["size"] = BOMB
        if cell.fault == "checksum":
            size = SIZE if cell.step == "upload-end" else 1000
            body = f'{{"name": "any", "size": "{size}", "crc32c": "AAAAAA==", "generation": "1"}}'
            kind, details = 200, {"body": body, "content_type": "application/json"}
        fault_of(cell, scene, kind, **details)
        yield
    scene.settle()
    scene.cloud.faults.clear()
    scene.gate.open()


@contextlib.contextmanager
def _refused(cell: Cell, scene: Scene) -> Iterator[None]:
    """Refuse all connections, from the request of a cell on or from the beginning."""
    again = Timer(0.1, scene.gate.open)

    def close() -> None:
        scene.gate.close()
        if cell.times == "once":
            again.start()

    if cell.step == "sign-in":
        close()
        yield
    else:
        marker = fault_of(cell._replace(times="once"), scene, "slow", delay=PATIENCE / 2)
        with scene.when(lambda: marker.fired > 0, close):
            yield
    if again.is_alive():
        again.join()


@contextlib.contextmanager
def _wrong_checksum(scene: Scene, file: str) -> Iterator[None]:
    """Make the listing state a wrong checksum for a file."""
    vendor = scene.cloud.vendor
    (name,) = [known for known in vendor.names if known.endswith(file)]
    original = vendor.live(name)
    assert original

    class WrongChecksum(BytesContent):
        crc32c = "AAAAAA=="  # type: ignore[assignment]

    def put(content: Any) -> StoredObject:
        return vendor.put(name, content, original.created)

    put(WrongChecksum(b"".join(original.content.chunks(0, original.content.size))))
    try:
        yield
    finally:
        put(FILES[file])


def expected_sign_ins(cell: Cell) -> int:
    """Return the number of sign-ins that succeed while the fault is active."""
    if cell.step == "sign-in":
        return 1 if cell.expected == "r" else 0
    if cell.step == "acs" and cell.fault == "401":
        return 2 if cell.times == "once" else 6
    return 2 if (cell.step, cell.fault) == ("acs", "expired") else 1


def run_cell(cell: Cell, scene: Scene) -> None:
    """Run the task with the fault, check the archive, and run the task again without the fault."""
    with active_fault(cell, scene):
        if cell.fault == "slow":
            shorten(scene.put, PATIENCE)
        elif cell.fault == "drip" and cell.step == "manifest":
            shorten(scene.put, GENEROUS, PATIENCE, PATIENCE)
        elif cell.fault == "drip":
            shorten(scene.put, GENEROUS, PATIENCE)
        else:
            shorten(scene.put, GENEROUS)
        tried = scene.run()
    shorten(scene.put, GENEROUS)
    assert tried.outcome == cell.expected, repr(tried.error)
    check_secret(tried.output, scene.cloud)
    left = scene.archive()
    check_nothing_half(left)
    if cell.expected == "r":
        assert MANIFEST in left
    elif cell.step != "manifest":  # whose manifest may be stored, although no answer says so
        assert MANIFEST not in left
    if tried.error:
        check_told(tried.error, cell.step)
    lost = cell.step == "sign-in" and cell.fault in ("reset", "slow", "truncated", "shortened", "drip", "endless")
    if not lost:  # a sign-in whose answer is lost may have succeeded
        assert scene.sign_ins == expected_sign_ins(cell)
    if cell.step == "sign-in" and (cell.expected == "x" or lost):
        assert len(scene.asked("sign_in")) == 1, "a sign-in that was or may have been refused isn't repeated"

    if cell.step == "sign-in" and cell.expected == "x":
        again = scene.run()
        assert again.outcome == "x"
        assert len(scene.asked("sign_in")) == 1, "the task's next try doesn't repeat it either"
        scene.change_password()

    if cell.expected == "r":
        check_complete(left)
        return
    before = len(scene.cloud.requests)
    assert scene.run().outcome == "r"
    check_complete(scene.archive())
    downloads = [request for request in scene.cloud.requests[before:] if request.step == "download"]
    for path in left.keys() & SOURCE.keys():
        file = path.partition("Z-")[2]
        assert not [request for request in downloads if request.path.endswith(file)], "a proven file isn't copied again"

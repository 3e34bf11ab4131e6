"""Lives through a cell: its fault at its step, what is left, and a clean run that repairs it."""

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
"""What the local cloud calls a fault."""

_OFFSETS = {"download-start": 0, "download-middle": SIZE // 2, "download-end": SIZE - 1}


def at_step(cell: Cell, cloud_bucket: str) -> dict[str, Any]:
    """Which request a cell is about."""
    if cell.step.startswith("download"):
        return {"step": "download", "match": "b-large.csv"}
    return {
        "sign-in": {"step": "sign_in"},
        "acs": {"step": "acs"},
        "list": {"step": "list", "match": rf"{cloud_bucket}/o\?.*startOffset"},
        "page": {"step": "list", "match": rf"{cloud_bucket}/o\?(?=.*startOffset).*pageToken"},
        "upload-start": {"step": "upload", "match": "uploadType=resumable", "method": "POST"},
        "upload-middle": {"step": "upload", "match": "upload_id", "nth": 2, "method": "PUT"},
        "upload-end": {"step": "upload", "match": "upload_id", "nth": 3, "method": "PUT"},
        # The first is the small file.
        "manifest": {"step": "upload", "match": "uploadType=multipart", "nth": 2},
    }[cell.step]


def fault_of(cell: Cell, scene: Scene, kind: int | str, **details: Any) -> Fault:
    """Ask for the fault of a cell, after what leads to it."""
    where = at_step(cell, scene.cloud.vendor.name)
    offset = _OFFSETS.get(cell.step, 0)
    if kind in ("cut", "truncate", "corrupt"):
        ends = {"upload-middle": 1000, "upload-end": SIZE - 2 * QUARTER - 1, "manifest": 800}
        details["after_bytes"] = offset if cell.step.startswith("download") else 0
        if kind == "corrupt":
            details["after_bytes"] = ends.get(cell.step, offset)
    elif offset:  # the first answer ends there, and the second is the one
        scene.cloud.faults.add("truncate", **where, after_bytes=offset)
        where["nth"] = 2
    return scene.cloud.faults.add(kind, **where, times=1 if cell.times == "once" else None, **details)


@contextlib.contextmanager
def going_on(cell: Cell, scene: Scene) -> Iterator[None]:
    """Have the fault of a cell."""
    if cell.fault == "refused":
        with _refused(cell, scene):
            yield
    elif cell.fault == "expired":
        kind = {"acs": "session", "upload": "customer", "manifest": "customer"}.get(cell.step.split("-")[0], "storage")
        marker = fault_of(cell._replace(times="once"), scene, "slow", delay=PATIENCE / 2)
        with scene.when(lambda: marker.fired > 0, lambda: scene.cloud.revoke(kind)):
            yield
    elif cell.fault == "checksum" and cell.step in ("list", "page"):
        with _lying(scene, "a-small.csv" if cell.step == "list" else "b-large.csv"):
            yield
    else:
        details: dict[str, Any] = {}
        kind = int(cell.fault) if cell.fault.isdigit() else KINDS.get(cell.fault, cell.fault)
        if cell.fault == "429":
            details["retry_after"] = 1 if cell.times == "once" else 0
        if cell.fault == "slow":
            details["delay"] = 2 * PATIENCE
        if cell.fault == "checksum":
            size = SIZE if cell.step == "upload-end" else 1000
            body = f'{{"size": "{size}", "crc32c": "AAAAAA==", "generation": "1"}}'
            kind, details = 200, {"body": body, "content_type": "application/json"}
        fault_of(cell, scene, kind, **details)
        yield
    scene.settle()
    scene.cloud.faults.clear()
    scene.gate.open()


@contextlib.contextmanager
def _refused(cell: Cell, scene: Scene) -> Iterator[None]:
    """Have nobody listen any more, from the request of a cell on, or from the beginning."""
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
def _lying(scene: Scene, file: str) -> Iterator[None]:
    """Have the listing state a checksum that a file doesn't have."""
    vendor = scene.cloud.vendor
    (name,) = [one for one in vendor.names if one.endswith(file)]
    true = vendor.live(name)
    assert true

    class Lying(BytesContent):
        crc32c = "AAAAAA=="  # type: ignore[assignment]

    def put(content: Any) -> StoredObject:
        return vendor.put(name, content, true.created)

    put(Lying(b"".join(true.content.chunks(0, true.content.size))))
    try:
        yield
    finally:
        put(FILES[file])


def expected_sign_ins(cell: Cell) -> int:
    """How many sign-ins are good while the fault is there."""
    if cell.step == "sign-in":
        return 1 if cell.expected == "r" else 0
    if cell.step == "acs" and cell.fault == "401":
        return 2 if cell.times == "once" else 6
    return 2 if (cell.step, cell.fault) == ("acs", "expired") else 1


def run_cell(cell: Cell, scene: Scene) -> None:
    """Have the fault, look at what is left, and do it again without."""
    with going_on(cell, scene):
        shorten(scene.put, PATIENCE if cell.fault == "slow" else GENEROUS)
        tried = scene.run()
    shorten(scene.put, GENEROUS)
    assert tried.outcome == cell.expected, repr(tried.error)
    check_secret(tried.told, scene.cloud)
    left = scene.archive()
    check_nothing_half(left)
    if cell.expected == "r":
        assert MANIFEST in left
    elif cell.step != "manifest":  # which may have been stored, though no answer says so
        assert MANIFEST not in left
    if tried.error:
        check_told(tried.error, cell.step)
    lost = cell.step == "sign-in" and cell.fault in ("reset", "slow", "truncated", "shortened")
    if not lost:  # a sign-in whose answer is lost may have been a good one
        assert scene.sign_ins == expected_sign_ins(cell)
    if cell.step == "sign-in" and (cell.expected == "x" or lost):
        assert len(scene.asked("sign_in")) == 1, "neither a refusal nor what may be one is repeated"

    if cell.step == "sign-in" and cell.expected == "x":
        again = scene.run()
        assert again.outcome == "x"
        assert len(scene.asked("sign_in")) == 1, "also not by the task's next try"
        scene.change_password()

    if cell.expected == "r":
        check_complete(left)
        return
    before = len(scene.cloud.requests)
    assert scene.run().outcome == "r"
    check_complete(scene.archive())
    moved = [one for one in scene.cloud.requests[before:] if one.step == "download"]
    for path in left.keys() & SOURCE.keys():
        assert not [one for one in moved if one.path.endswith(path.partition("Z-")[2])], "what is proven isn't moved"

"""
The matrix: what is expected where a fault meets a step.

Two letters a cell, for a fault that comes once and for one that stays:

``r``  recovers: the same try succeeds
``t``  is tried again: fails clearly with an AylaError that Airflow's retries fix
``x``  fails for good, until somebody changes something
``h``  succeeds, and names this hour alone as one to repair (where all hours are compared)
``.``  no such cell; :data:`NONE` says why
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

import pytest

from tests.support.proofs import scale

STEPS = (
    "sign-in",
    "acs",
    "list",
    "page",
    "download-start",
    "download-middle",
    "download-end",
    "upload-start",
    "upload-middle",
    "upload-end",
    "manifest",
)
"""``page`` is a later page of the listing; ``upload-start`` opens the upload, ``upload-end`` sends the last byte."""

_WIRE = """
#           sign-in acs  list page   download     upload    manifest
401            xx   rx   rt   rt    rt rt rt     rt rt rt     rt
403            xx   xx   xx   xx    xx xx xx     tt tt tt     tt
404            xx   tt   xx   xx    tt tt tt     tt tt tt     tt
408            rt   rt   rt   rt    rt rt rt     rt rt rt     rt
429            rt   rt   rt   rt    rt rt rt     rt rt rt     rt
500            rt   rt   rt   rt    rt rt rt     rt rt rt     rt
503            rt   rt   rt   rt    rt rt rt     rt rt rt     rt
refused        rt   rt   rt   rt    rt rt rt     rt rt rt     rt
reset          tt   rt   rt   rt    rt rt rt     rt rt rt     rt
slow           tt   rt   rt   rt    rt rt rt     rt rt rt     rt
truncated      tt   tt   rt   rt    rt rr rr     rr rt rt     rt
shortened      tt   tt   tt   tt    rt rr rr     rr rt rt     rr
corrupted      ..   ..   ..   ..    rt rt rt     .. tt tt     tt
checksum       ..   ..   tt   tt    .. .. ..     .. .. tt     tt
expired        ..   r.   r.   r.    r. r. r.     r. r. r.     r.
drip           tt   tt   tt   tt    rt rt rr     rr rt rt     rt
bomb           tt   tt   tt   tt    rt rt rt     rt rt rt     rt
endless        tt   tt   rt   rt    rr rr rr     rt rt rt     rt
"""

_ENDINGS = """
#           sign-in acs  list page   download     upload    manifest
SIGTERM        t.   t.   t.   t.    t. t. r.     t. t. r.     r.
SIGKILL        t.   t.   t.   t.    t. t. t.     t. t. t.     t.
disk-full      ..   ..   ..   ..    .. .. ..     t. t. t.     t.
"""

ARCHIVE_STEPS = ("records", "record", "file")
"""``records`` is the listing of an archive's records, ``record`` a manifest, ``file`` a copy that is loaded."""

_ARCHIVE = """
#           records record file
401            rt     rh    rt
403            tt     hh    tt
404            tt     hh    tt
408            rt     rh    rt
429            rt     rh    rt
500            rt     rh    rt
503            rt     rh    rt
reset          rt     rh    rt
truncated      rt     rh    rt
shortened      tt     rh    tt
corrupted      ..     rh    tt
expired        r.     r.    r.
drip           tt     rh    rt
bomb           tt     hh    tt
endless        rt     hh    tt
"""

NONE = {
    "corrupted": "TLS breaks the connection, which is 'reset'; answers that are wrong from the start are in "
    "test_credentials.py. A request that opens an upload has no content yet",
    "checksum": "checksums are stated by the listing, and by the bucket's last answer to an upload",
    "expired": "before the sign-in there is no token; and one that stays expired is 401",
    "SIGTERM": "a process ends once",
    "SIGKILL": "a process ends once",
    "disk-full": "the destination is written by uploads and manifests alone; a disk is full until somebody makes room",
}
"""Fault to the reason why its cells marked ``.`` can't be."""


class Cell(NamedTuple):
    step: str
    fault: str
    times: str
    """``once`` or ``stays``."""
    expected: str
    """A letter, see above."""

    def __str__(self) -> str:
        return f"{self.step}-{self.fault}-{self.times}"


def cells(table: str, steps: tuple[str, ...] = STEPS) -> list[Cell]:
    """Return the cells of a table, those that can't be included."""
    rows = [line.split() for line in table.splitlines() if line and not line.startswith("#")]
    return [
        Cell(step, fault, times, letter)
        for fault, *row in rows
        for step, letters in zip(steps, row, strict=True)
        for times, letter in zip(("once", "stays"), letters, strict=True)
    ]


ALL = cells(_WIRE) + cells(_ENDINGS)
ARCHIVE = [cell for cell in cells(_ARCHIVE, ARCHIVE_STEPS) if cell.expected != "."]
WIRE = [cell for cell in cells(_WIRE) if cell.expected != "."]
ENDINGS = [cell for cell in cells(_ENDINGS) if cell.expected != "."]


def parameters(cells: Iterable[Cell]) -> list[Any]:
    """Return cells for a parametrized test: all of them for ``make prove``, else every fourth."""
    mark = pytest.mark.proof("each fault at each step")
    chosen = islice(cells, None, None, scale(4, 1))
    return [pytest.param(cell, id=str(cell), marks=[mark]) for cell in chosen]

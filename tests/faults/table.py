"""
The matrix: what is expected where a fault meets a step.

Two letters a cell, for a fault that comes once and for one that stays:

``r``  recovers: the same try succeeds
``t``  is tried again: fails clearly with an AylaError that Airflow's retries fix
``x``  fails for good, until somebody changes something
``.``  no such cell; :data:`NONE` says why
"""

from __future__ import annotations

from typing import NamedTuple

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
shortened      tt   tt   tt   tt    rt rr rr     rr rt tt     tt
corrupted      ..   ..   ..   ..    rt rt rt     .. tt tt     tt
checksum       ..   ..   tt   tt    .. .. ..     .. .. tt     tt
expired        ..   r.   r.   r.    r. r. r.     r. r. r.     r.
"""

_ENDINGS = """
#           sign-in acs  list page   download     upload    manifest
SIGTERM        t.   t.   t.   t.    t. t. r.     t. t. r.     r.
SIGKILL        t.   t.   t.   t.    t. t. t.     t. t. t.     t.
disk-full      ..   ..   ..   ..    .. .. ..     t. t. t.     t.
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


def cells(table: str) -> list[Cell]:
    """Return the cells of a table, those that can't be included."""
    rows = [line.split() for line in table.splitlines() if line and not line.startswith("#")]
    return [
        Cell(step, fault, times, letter)
        for fault, *row in rows
        for step, letters in zip(STEPS, row, strict=True)
        for times, letter in zip(("once", "stays"), letters, strict=True)
    ]


ALL = cells(_WIRE) + cells(_ENDINGS)
WIRE = [cell for cell in cells(_WIRE) if cell.expected != "."]
ENDINGS = [cell for cell in cells(_ENDINGS) if cell.expected != "."]

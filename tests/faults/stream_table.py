"""
The matrix of a drain: what is expected where a fault meets a step.

The letters are those of :mod:`tests.faults.table`.
"""

from __future__ import annotations

from tests.faults.table import cells

READS = ("describe", "shards", "iterator", "reshard", "records", "more")
"""``reshard`` is the iterator of a shard that a split has made, ``records`` the first page, ``more`` a later one.
An answer that is cut off is a ``reset`` for boto3; one that is ``shortened`` states the length that it has."""

WRITES = ("pending", "upload", "manifest", "position", "end")
"""``pending`` announces a batch, ``position`` commits it, and ``end`` notes that the run came to its end."""

STEPS = READS + WRITES

_READS = """
#           describe shards iterator reshard records more
400            tt     tt      tt       tt      tt     tt
403            xx     xx      xx       xx      xx     xx
429            rt     rt      rt       rt      rt     rt
500            rt     rt      rt       rt      rt     rt
throttled      rt     rt      rt       rt      rt     rt
expired        ..     ..      ..       ..      rt     rt
reset          rt     rt      rt       rt      rt     rt
slow           rt     rt      rt       rt      rt     rt
shortened      tt     tt      tt       tt      tt     tt
"""

_WRITES = """
#           pending upload manifest position end
403            tt     tt      tt       tt     tt
412            tt     tt      rt       tt     tt
429            rt     rt      rt       rt     rt
500            rt     rt      rt       rt     rt
503            rt     rt      rt       rt     rt
reset          rt     rt      rt       rt     rt
slow           rt     rt      rt       rt     rt
truncated      rt     rt      rt       rt     rt
"""

_ENDINGS = """
#           describe shards iterator reshard records more  pending upload manifest position end
SIGTERM        ..     ..      ..       ..      t.     t.      ..     ..      ..       ..    ..
SIGKILL        t.     t.      t.       t.      t.     t.      t.     t.      t.       t.    t.
disk-full      ..     ..      ..       ..      ..     ..      t.     t.      t.       t.    t.
"""

NONE = {
    "expired": "only a read of records has an iterator",
    "SIGTERM": "a run that is stopped ends between two pages; what is written after them is committed; and a process "
    "ends once",
    "SIGKILL": "a process ends once",
    "disk-full": "a disk is full until somebody makes room, and reading writes nothing to it",
}
"""Fault to the reason why its cells marked ``.`` can't be."""

ALL = cells(_READS, READS) + cells(_WRITES, WRITES) + cells(_ENDINGS, STEPS)
AT_READS = [cell for cell in cells(_READS, READS) if cell.expected != "."]
AT_WRITES = [cell for cell in cells(_WRITES, WRITES) if cell.expected != "."]
ENDINGS = [cell for cell in cells(_ENDINGS, STEPS) if cell.expected != "."]

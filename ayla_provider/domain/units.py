"""Numbers and lists for people."""

from __future__ import annotations

import math
from collections.abc import Sequence


def counted(count: int, singular: str, plural: str) -> str:
    """Return a number with the words that go with it: ``1 hour is missing``, ``2,000 hours are missing``."""
    return f"{count:,} {singular if count == 1 else plural}"


def first_few(items: Sequence[str], shown: int) -> str:
    """Return the first items of a list, and the number of the others: ``a, b, c, and 4 more``."""
    parts = list(items[:shown])
    if len(items) > shown:
        parts.append(f"and {len(items) - shown:,} more")
    return ", ".join(parts)


def files_text(count: int, kind: str = "") -> str:
    """Return a number of files: ``1 file``, ``2 files``, ``3 new files``."""
    what = f"{kind} file" if kind else "file"
    return counted(count, what, f"{what}s")


def size_text(size: float) -> str:
    """Return a number of bytes, in decimal units: ``723 B``, ``24.7 kB``, ``1.2 GB``."""
    if size < 999.5:
        return f"{size:.0f} B"
    # The page rounds in the same way, halves up: plugin/static/format.js.
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{_tenths(size):.1f} {unit}"
    return f"{_tenths(size / 1000):,.1f} TB"


def _tenths(value: float) -> float:
    return math.floor(value * 10 + 0.5) / 10

"""Numbers as people read them."""

from __future__ import annotations


def files_text(count: int, kind: str = "") -> str:
    """Return a number of files: ``1 file``, ``2 files``, ``3 new files``."""
    return f"{count:,} {kind}{' ' if kind else ''}{'file' if count == 1 else 'files'}"


def size_text(size: float) -> str:
    """Return a number of bytes, in decimal units: ``723 B``, ``24.7 kB``, ``1.2 GB``."""
    if size < 999.5:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} TB"

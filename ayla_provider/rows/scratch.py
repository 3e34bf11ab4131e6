"""
Folders for a load's files, in the temporary folder.

A killed process can't remove its folders. So a process locks each folder that it uses, and the next load removes those
that nobody locks any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NEW = "ayla-new-"
_PREFIX = "ayla-scratch-"
_LOCK = ".lock"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """
    Make a folder, and remove it after a ``with`` statement. Remove those that killed processes have left.

    :raises OSError: if the temporary folder can't be used
    """
    _sweep()
    made = Path(tempfile.mkdtemp(prefix=_NEW))
    folder = made.with_name(_PREFIX + made.name.removeprefix(_NEW))
    with (made / _LOCK).open("wb") as lock:
        # Some network file systems have no locks. There, nothing is swept.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        # It gets the name of a folder to sweep only when it is locked.
        made.rename(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    """
    Remove a folder that nobody locks.

    :raises OSError: if someone does, or it isn't a folder of this user
    """
    if folder.lstat().st_uid != os.getuid():
        return
    # The folder itself, not what a link of this name leads to.
    descriptor = os.open(folder / _LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)

"""
Folders for the files of a run, in the temporary folder.

A killed process can't remove its folders. So a process locks each folder that it uses, and the next run removes those
that nobody locks any more. A process that is killed while it makes or removes a folder leaves one without a lock. Such
a folder is removed when it is a day old.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_NEW = "ayla-new-"
_PREFIX = "ayla-scratch-"
_LOCK = ".lock"
_OLD = 86400.0
"""Seconds. A folder without a lock is in use for a moment only."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """
    Make a folder, and remove it after a ``with`` statement. Remove those that killed processes have left.

    :raises OSError: if the temporary folder can't be used
    """
    _sweep()
    made = Path(tempfile.mkdtemp(prefix=_NEW))
    # The umask can have taken rights from the owner. Nobody else has any.
    made.chmod(0o700)
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
    temporary = Path(tempfile.gettempdir())
    for folder in [*temporary.glob(f"{_PREFIX}*"), *temporary.glob(f"{_NEW}*")]:
        with contextlib.suppress(OSError):
            _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    """
    Remove a folder that nobody locks, or that is old and has no lock.

    :raises OSError: if someone locks it, or it can't be read
    """
    about = folder.lstat()
    if about.st_uid != os.getuid():
        return
    is_old = time.time() - about.st_mtime > _OLD
    # A new folder isn't locked yet.
    if folder.name.startswith(_NEW) and not is_old:
        return
    if is_old and not (folder / _LOCK).exists():
        # This doesn't follow a link.
        shutil.rmtree(folder, ignore_errors=True)
        return
    # The folder itself, not what a link of this name leads to.
    descriptor = os.open(folder / _LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)

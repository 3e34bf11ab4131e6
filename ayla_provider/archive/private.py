"""Files and folders with personal data: only the user who runs the task can read them, whatever the umask is."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

_FILE = 0o600
_FOLDER = 0o700
_UMASK = 0o077
"""Takes every right from the group and from others."""

_umask_lock = threading.RLock()


def make_private_folder(folder: Path) -> None:
    """
    Make a folder that nobody else can enter. One that exists already stays as it is.

    :raises OSError: if it can't be made
    """
    try:
        folder.mkdir(_FOLDER)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        # The umask can have taken rights from the owner, too.
        folder.chmod(_FOLDER)


def open_private(path: Path, mode: Literal["ab", "wb", "xb"], buffering: int = -1) -> BinaryIO:
    """
    Open a file to write it, and make it unreadable for anyone else if it is new.

    :param mode: as in ``open``
    :raises OSError: if it can't be opened
    """
    return open(path, mode, buffering, opener=_opener)


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """
    Make new files unreadable for anyone else, for the time of a ``with`` statement.

    It is for libraries that create files themselves. The umask is that of the whole process. So other threads that use
    this wait, and files that other threads create in the meantime are private, too.
    """
    with _umask_lock:
        before = os.umask(_UMASK)
        try:
            yield
        finally:
            os.umask(before)


def _opener(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC, _FILE)
    is_empty = os.fstat(descriptor).st_size == 0
    if is_empty:
        os.fchmod(descriptor, _FILE)
    return descriptor

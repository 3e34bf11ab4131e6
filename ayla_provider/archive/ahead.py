"""Reads several files at once, and hands out their blocks in the files' order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

_FILES = 8
"""How many files are read at once. Of each, memory holds what the destination reads with one request."""

Blocks = Iterator[bytes]
_Begun = Future[tuple[bytes, Blocks]]


@contextlib.contextmanager
def read_ahead(readers: Iterable[Callable[[], Blocks]]) -> Iterator[Iterator[Blocks]]:
    """
    Yield the blocks of each file, in the files' order, while threads read the first block of the next files.

    So a file's request doesn't wait for the answer to the one before. An error comes with the blocks of the file that
    it is about. After the ``with`` statement no further file is read.

    :param readers: each returns the blocks of a file
    """
    pool = ThreadPoolExecutor(_FILES, "ayla-ahead")
    try:
        yield _in_order(pool, iter(readers))
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ThreadPoolExecutor, readers: Iterator[Callable[[], Blocks]]) -> Iterator[Blocks]:
    begun: deque[_Begun] = deque()
    while True:
        for read in islice(readers, _FILES - len(begun)):
            begun.append(pool.submit(_begin, read))
        if not begun:
            return
        yield _blocks(begun.popleft())


def _begin(read: Callable[[], Blocks]) -> tuple[bytes, Blocks]:
    blocks = read()
    return next(blocks, b""), blocks


def _blocks(begun: _Begun) -> Blocks:
    first, rest = begun.result()
    yield first
    yield from rest

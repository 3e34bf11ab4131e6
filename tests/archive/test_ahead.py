"""Files are read at once, and their blocks come in the files' order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from ayla_provider.archive.ahead import read_ahead
from ayla_provider.errors import AylaDestinationError

AT_ONCE = 8


def content(number: int) -> list[bytes]:
    """Return the blocks of a file: of the first one none."""
    return [b"%d-%d" % (number, block) for block in range(number % 4)]


def test_the_blocks_of_each_file_come_in_the_files_order() -> None:
    with read_ahead([partial(iter, content(number)) for number in range(50)]) as files:
        read = [b" ".join(blocks) for blocks in files]
    assert read == [b" ".join(content(number)) for number in range(50)]


def test_some_files_are_read_at_once_and_no_more() -> None:
    waiting = threading.Barrier(AT_ONCE)
    begun: list[int] = []

    def blocks(number: int) -> Iterator[bytes]:
        begun.append(number)
        # Goes on when so many files wait here, and never if they are read one after the other.
        waiting.wait(30)
        yield b"%d" % number

    most = []
    with read_ahead([partial(blocks, number) for number in range(4 * AT_ONCE)]) as files:
        read = []
        for number, file in enumerate(files):
            read.append(b"".join(file))
            most.append(len(begun) - number)
    assert read == [b"%d" % number for number in range(4 * AT_ONCE)]
    assert max(most) <= AT_ONCE


def test_an_error_comes_with_the_file_that_it_is_about() -> None:
    def failing() -> Iterator[bytes]:
        yield b"begin"
        raise AylaDestinationError("of the file in the middle")

    def missing() -> Iterator[bytes]:
        raise AylaDestinationError("of the last file")
        yield b""

    with read_ahead([partial(iter, [b"a"]), failing, missing]) as files:
        assert list(next(files)) == [b"a"]
        with pytest.raises(AylaDestinationError, match="in the middle"):
            list(next(files))
        with pytest.raises(AylaDestinationError, match="last"):
            list(next(files))


def test_after_an_error_no_further_file_is_read() -> None:
    begun: list[int] = []

    def blocks(number: int) -> Iterator[bytes]:
        begun.append(number)
        yield b"."

    def read_one() -> None:
        with read_ahead([partial(blocks, number) for number in range(100)]) as files:
            next(files)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_one()
    assert len(begun) <= AT_ONCE

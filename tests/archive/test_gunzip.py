"""Which files of a stream count as gzipped."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.archive.gunzip import NotGzipError, unpacked
from ayla_provider.archive.stream_spool import content_crc32c
from ayla_provider.transport.checksum import CHUNK, Crc32c

CONTENT = random.Random(1).randbytes(300_000) + bytes(3 * CHUNK)
GZIPPED = gzip.compress(CONTENT)


@given(
    parts=st.lists(st.binary(max_size=50), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 200), max_size=5).map(sorted),
)
def test_files_in_a_row_are_one_file(parts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(map(gzip.compress, parts))
    blocks = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert b"".join(unpacked(blocks)) == b"".join(parts)
    assert content_crc32c(blocks) == Crc32c(b"".join(parts)).base64


def test_no_block_is_larger_than_a_mebibyte() -> None:
    blocks = list(unpacked([GZIPPED]))
    assert b"".join(blocks) == CONTENT
    assert max(map(len, blocks)) <= CHUNK


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"x",
        lambda data: data + bytes(8),
        lambda data: data[:-1],
        lambda data: data + data[:20],
        lambda data: b"x" + data,
        lambda data: b"",
        lambda data: data[:1000] + b"damage" + data[1006:],
    ],
)
def test_what_is_not_whole_is_refused(damage: Callable[[bytes], bytes]) -> None:
    data = damage(GZIPPED)
    with pytest.raises(NotGzipError):
        list(unpacked([data]))
    assert content_crc32c([data]) is None

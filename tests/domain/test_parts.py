"""How the files of a large hour are divided."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.parts import divide


@dataclass(frozen=True)
class Sized:
    size: int


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], []),
        ([0], [[0]]),
        ([4, 6], [[4, 6]]),
        ([4, 7], [[4], [7]]),
        # A file that is too large is a part of its own.
        ([11], [[11]]),
        ([1, 11, 1], [[1], [11], [1]]),
        ([5, 5, 5, 5, 5], [[5, 5], [5, 5], [5]]),
        # What is smaller later doesn't go into an earlier part.
        ([9, 9, 1], [[9], [9, 1]]),
    ],
)
def test_a_part_is_as_large_as_it_may_be(sizes: list[int], parts: list[list[int]]) -> None:
    divided = divide(map(Sized, sizes), 10)
    assert [[file.size for file in part] for part in divided] == parts


@given(st.lists(st.integers(0, 20).map(Sized)), st.lists(st.integers(0, 20).map(Sized)), st.integers(1, 30))
def test_files_that_come_last_change_only_the_last_part(first: list[Sized], more: list[Sized], most: int) -> None:
    finished, after = divide(first, most)[:-1], divide([*first, *more], most)
    assert after[: len(finished)] == finished
    assert [file for part in after for file in part] == [*first, *more]

from __future__ import annotations

import pytest

from ayla_provider.domain.units import counted, files_text, first_few, size_text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 hours are"), (1, "1 hour is"), (2, "2 hours are"), (1234, "1,234 hours are")]
)
def test_a_count_has_the_words_that_go_with_it(count: int, text: str) -> None:
    assert counted(count, "hour is", "hours are") == text


def test_files_are_counted_with_their_kind() -> None:
    assert [files_text(1), files_text(2), files_text(1, "new"), files_text(0, "new")] == [
        "1 file",
        "2 files",
        "1 new file",
        "0 new files",
    ]


@pytest.mark.parametrize(
    ("items", "text"),
    [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b, c"), (["a", "b", "c", "d", "e"], "a, b, c, and 2 more")],
)
def test_of_a_long_list_the_rest_is_a_number(items: list[str], text: str) -> None:
    assert first_few(items, 3) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (24_700, "24.7 kB"), (1.2e9, "1.2 GB")]
)
def test_sizes_have_decimal_units(size: float, text: str) -> None:
    assert size_text(size) == text

"""Inputs for hypothesis: any bytes, and damaged examples."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st


@st.composite
def damaged(draw: st.DrawFn, examples: Sequence[bytes]) -> bytes:
    """Return an example of which some spans are replaced by other bytes, or by spans of itself."""
    data = draw(st.sampled_from(examples))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        again = draw(st.integers(0, len(data)))
        piece = draw(st.one_of(st.binary(max_size=8), st.text(max_size=4).map(lambda text: text.encode()),
                               st.just(data[again : again + 20]), st.sampled_from(WORDS)))  # fmt: skip
        data = data[:start] + piece + data[end:]
    return data


WORDS = [b"null", b"-1", b"1e999", b"true", b"{}", b"[]", b'""', b"\x00", b"\xff", b"9" * 400, b"[" * 2000, b"\\ud800"]
"""What parsers of JSON and of numbers often stumble over."""


def inputs(examples: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy for the inputs of a target."""
    return st.one_of(st.binary(max_size=200), damaged(examples))

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.transport.checksum import Lines

pieces = st.lists(st.sampled_from([b"", b"a,b", b"\n", b"\r\n", b"\r", b"\n\n"]) | st.binary(max_size=20), max_size=8)


@given(pieces)
def test_lines_are_counted_as_they_are_read_however_the_bytes_arrive(pieces: list[bytes]) -> None:
    lines = Lines()
    for piece in pieces:
        lines.update(piece)
    assert lines.count == len(list(io.BytesIO(b"".join(pieces))))

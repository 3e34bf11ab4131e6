"""The first rows of a file decide on its layout together: no single row decides against the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.cli.inspect import _shape_in
from ayla_provider.domain.hour import ExportHour
from ayla_provider.rows.typed_archive import TypedArchive
from tests.rows.test_expressions import CONNECTION
from tests.rows.test_intake import quarantined
from tests.warehouse.archive import HOUR, archive_hour

HEADER = b"oem_id,oem_model,dsn,event_time,user_uuid,status\n"
ROWS = b"".join(CONNECTION.replace(b"LC-", b"%d-" % number) + b"\n" for number in range(40))
LONG = CONNECTION.replace(b"LC-", b"x" * 300_000) + b"\n"
WIDE = LONG[:-1] + b",x\n"
WORDS = b"some,words,that,nobody,had,expected\n"
MARK = b"\xef\xbb\xbf"


def text(size: int) -> bytes:
    return b"x" * size + b"\n"


@pytest.mark.parametrize(
    ("before", "header", "loaded"),
    [
        pytest.param(HEADER + LONG, True, 1, id="a header, and a long row"),
        pytest.param(MARK + HEADER + LONG * 3, True, 1, id="a mark, a header, and long rows"),
        pytest.param(b"\n" + LONG, False, 1, id="an empty line, and a long row"),
        pytest.param(LONG, False, 1, id="a long row"),
        pytest.param(WIDE, False, 0, id="a long row with a comma too many"),
        pytest.param(WIDE * 4, False, 0, id="four of them"),
        pytest.param(HEADER + WIDE * 3, True, 0, id="a header, and three of them"),
        pytest.param(b"x\n" + LONG, False, 1, id="a word, and a long row"),
        pytest.param(WORDS, False, 0, id="words instead of a header"),
        pytest.param(text(300_000), False, 0, id="long text"),
        pytest.param(text(4_300_000), False, 0, id="text that is longer than any row"),
        pytest.param(text(4_300_000) * 3, False, 0, id="three of them"),
        pytest.param(text(5_500_000), False, 0, id="text of several blocks"),
        pytest.param(text(20_000_000), False, 0, id="text of many blocks", marks=pytest.mark.ci),
        pytest.param(HEADER + text(5_500_000), True, 0, id="a header, and text of several blocks"),
        pytest.param(text(5_500_000) + HEADER, False, 0, id="a header that isn't the first line"),
        pytest.param(b"\n" * 270_000, False, 0, id="empty lines"),
        pytest.param(b"\n" * 270_000 + HEADER, False, 0, id="empty lines, and a header"),
        pytest.param(HEADER + b"\r\n" * 270_000, True, 0, id="a header, and empty lines"),
    ],
)
def test_rows_load_whatever_is_before_them(tmp_path: Path, before: bytes, header: bool, loaded: int) -> None:
    data = before + ROWS
    archive_hour(tmp_path / "archive", "connection", [data])
    archive = TypedArchive(FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows"), max_malformed=1)
    made = archive.ensure(ExportHour("connection", HOUR), {}).manifest
    (file,) = made.files
    assert (file.layout, len(file.columns), file.header) == ("connection-6", 6, header)
    assert made.rows == 40 + loaded
    assert made.lines == data.count(b"\n") - header
    lines = data.removeprefix(MARK).split(b"\n")
    for line, offset, row in quarantined(tmp_path) if made.quarantine else []:
        assert lines[line - 1].removesuffix(b"\r").startswith(row)
        assert data[offset:].startswith(row)


@pytest.mark.parametrize(
    "before", [HEADER + LONG, b"\n" + LONG, WIDE, text(300_000), text(4_300_000), text(5_500_000), b"\n" * 270_000]
)
def test_inspect_sees_rows_too(tmp_path: Path, before: bytes) -> None:
    (tmp_path / "f.csv").write_bytes(before + ROWS)
    _, shape = _shape_in(str(tmp_path / "f.csv"))
    assert (shape.columns, shape.header) == (6, before.startswith(HEADER))
    assert len(shape.rows) >= 9

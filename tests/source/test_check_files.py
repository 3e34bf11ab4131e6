"""The check of a file says what a load does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.events import EVENT_FOLDERS, EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.errors import AylaLayoutError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.rows.intake import fetch_good_lines
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.source.check_export import read_file
from ayla_provider.source.export import Export
from ayla_provider.transport.checksum import Crc32c
from harness import reference
from tests.support.client import at
from tests.warehouse.odd_files import OddFiles

HOUR = at(7)
CONNECTION_ROW = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Wed Feb 05 12:08:26 UTC 2020,,Online"


def checked(cloud: LocalCloud, export: Export, event_type: str, data: bytes) -> tuple[bool | None, str]:
    """Return the check's verdict on a file in the vendor's bucket, and its words."""
    folder = EVENT_FOLDERS[EventType(event_type)]
    cloud.put_object(folder, f"{HOUR:%Y-%m-%d %H:%M:%S}", "f.csv", data, HOUR + ONE_HOUR)
    (file,) = export.list_files([ExportHour(EventType(event_type), HOUR)])
    finding = read_file(export, EventType(event_type), file)
    return finding.ok, finding.detail


def loaded(folder: Path, event_type: str, data: bytes) -> tuple[bool | None, str]:
    """Return whether a load takes a file, None if it has no rows; and the name of its layout, or the error."""
    folder.mkdir()
    (folder / "f.csv").write_bytes(data)
    file = ManifestFile("f.csv", 0, len(data), Crc32c(data).base64, "", "f.csv")
    with Quarantine(folder / "quarantine") as quarantine:
        try:
            taken = fetch_good_lines(
                FileDestination(folder),
                file,
                folder / "good.csv",
                event_type=EventType(event_type),
                layouts=COLUMN_LAYOUTS,
                quarantine=quarantine,
            )
        except AylaLayoutError as error:
            return False, error.finding
    if taken.recognised is None:
        return None, ""
    return True, taken.recognised.layout.name


def assert_same_answer(cloud: LocalCloud, export: Export, folder: Path, event_type: str, data: bytes) -> bool | None:
    check_ok, detail = checked(cloud, export, event_type, data)
    load_ok, words = loaded(folder, event_type, data)
    assert check_ok is load_ok, (detail, words)
    if load_ok:
        assert detail.startswith(f"fits {words}: ")
    elif load_ok is False:
        # But for the name of the file.
        assert detail.partition(".csv: ")[2] == words.partition(".csv: ")[2]
    return check_ok


def with_column(at_place: int, cell: bytes) -> Callable[[bytes], bytes]:
    def change(line: bytes) -> bytes:
        cells = line.split(b",")
        return b",".join([*cells[:at_place], cell, *cells[at_place:]])

    return change


def without_dsn(line: bytes) -> bytes:
    cells = line.split(b",")
    return b",".join([*cells[:2], b"", *cells[3:]])


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda line: line,
    "a new column at the end": lambda line: line + b",-67",
    "a new column at the start": with_column(0, b"7.5"),
    "a new column in the middle": with_column(3, b"{}"),
    "the third column is empty": without_dsn,
    "columns reversed": lambda line: b",".join(reversed(line.split(b","))),
    "the last column is missing": lambda line: line.rpartition(b",")[0],
    "all in quotes": lambda line: b",".join(b'"%s"' % cell for cell in line.split(b",")),
}


def test_a_first_line_of_plain_words_is_no_header(cloud: LocalCloud, export: Export) -> None:
    ok, words = checked(cloud, export, "connection", b"bcd,fgh,jkl,mnp,qrs,twx\n" + (CONNECTION_ROW + b"\n") * 4)
    assert (ok, "no header row" in words) == (True, True)


@pytest.mark.parametrize("name", reference.LAYOUTS)
def test_odd_files_get_one_answer_however_their_columns_are_changed(
    cloud: LocalCloud, export: Export, tmp_path: Path, name: str
) -> None:
    layout = reference.LAYOUTS[name]
    answers = {}
    for number, (change_name, change) in enumerate(CHANGES.items()):
        random = Random(f"{name} {number}")
        files = OddFiles(replace(layout, header=random.random() < 0.3), number)
        lines = [change(line) for line in files.file(20).splitlines()]
        data = random.choice([b"\n", b"\r\n"]).join(lines)
        answers[change_name] = assert_same_answer(cloud, export, tmp_path / str(number), layout.event_type, data)
    assert answers["as it is"] is True
    assert False in answers.values()


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        pytest.param(
            b"oem_id,oem_model,dsn,event_time,user_uuid,status\n" + (CONNECTION_ROW + b"\n") * 5, True, id="header, LF"
        ),
        pytest.param((without_dsn(CONNECTION_ROW) + b"\r\n") * 5, False, id="empty dsn"),
        pytest.param((CONNECTION_ROW + b",-67\r\n") * 5, True, id="new column"),
        pytest.param(b"\xef\xbb\xbf" + (CONNECTION_ROW + b"\r\n") * 5, True, id="byte order mark"),
        pytest.param(CONNECTION_ROW, True, id="no line end"),
        pytest.param(b"\r\n\n", None, id="empty lines"),
        pytest.param(b"oem_id,oem_model,dsn,event_time,user_uuid,status\r\n", None, id="header alone"),
        pytest.param(b"a,b,c\r\n" * 5, False, id="three columns"),
        # What comes after the first 256 KiB counts for neither.
        pytest.param((CONNECTION_ROW + b"\n") * 4000 + b"a,b\n" * 9000, True, id="another end"),
        pytest.param(b"a,b\n" * 400 + (CONNECTION_ROW + b"\n") * 4000, False, id="another beginning"),
        pytest.param(
            CONNECTION_ROW.replace(b"LC-", b"x" * 300_000) + b"\n" + (CONNECTION_ROW + b"\n") * 5,
            True,
            id="a first row longer than the head",
        ),
        pytest.param(
            b"oem_id,oem_model,dsn,event_time,user_uuid,status\n"
            + CONNECTION_ROW.replace(b"LC-", b"x" * 300_000)
            + b"\n"
            + (CONNECTION_ROW + b"\n") * 5,
            True,
            id="a header, and a row longer than the head",
        ),
        pytest.param(b"x" * 300_000 + b"\n" + (CONNECTION_ROW + b"\n") * 5, True, id="a first line that isn't a row"),
    ],
)
def test_a_file_of_connections_gets_the_answer_of_a_load(
    cloud: LocalCloud, export: Export, tmp_path: Path, data: bytes, answer: bool | None
) -> None:
    assert assert_same_answer(cloud, export, tmp_path / "load", "connection", data) is answer

"""Files on a disk that somebody else has put there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ayla_provider.__main__ import main
from ayla_provider.archive.local import FileDestination
from tests.warehouse.archive import archive_hour


def test_a_file_whose_name_is_not_utf_8_is_passed_over(
    tmp_path: Path, airflow_db: None, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = archive_hour(tmp_path, "connection", [b"a line\n"])
    folder = tmp_path / manifest.hour.partition
    with open(os.fsencode(folder) + b"/20261101T070000Z-a.cs\xb1v", "wb") as file:  # noqa: PTH123 - a name in bytes
        file.write(b"x")
    destination = FileDestination(tmp_path)
    (copy,) = manifest.files
    assert list(destination.folder(manifest.hour.partition)) == [copy.path]
    assert [listed.stored.path for listed in destination.tree("event_type=")] == [copy.path]
    assert "isn't UTF-8" in caplog.text
    hour = ["--since", "2026-11-01T07:00", "--until", "2026-11-01T08:00", "--event-type", "connection"]
    assert main(["verify", "--destination", f"file://{tmp_path}", *hour]) == 0, capsys.readouterr()

"""Killed loads leave files in the temporary folder; the next load removes those, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ayla_provider.archive.scratch import scratch_folder
from tests.rows.test_expressions import CONNECTION, typed

KILLED = """
import os, signal, tempfile
from ayla_provider.archive.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "rows.csv").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def kill_in(temporary: Path) -> Path:
    """Kill a process that uses a folder, and return the folder."""
    ended = subprocess.run([sys.executable, "-c", KILLED], env=os.environ | {"TMPDIR": str(temporary)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = temporary.iterdir()
    assert (left / "rows.csv").is_file()
    return left


def test_a_load_removes_what_a_killed_one_has_left(tmp_path: Path, temporary: Path) -> None:
    kill_in(temporary)
    typed(tmp_path, "connection", CONNECTION + b"\n")
    assert list(temporary.iterdir()) == []


def test_a_folder_in_use_is_kept(temporary: Path) -> None:
    with scratch_folder() as used:
        (used / "rows.csv").write_text("x")
        with scratch_folder() as other:
            assert (used / "rows.csv").is_file()
            assert other != used
    assert list(temporary.iterdir()) == []


def test_what_is_not_ours_is_kept(tmp_path: Path, temporary: Path) -> None:
    elsewhere = kill_in(temporary).rename(tmp_path / "elsewhere")
    (temporary / "ayla-scratch-link").symlink_to(elsewhere)
    (temporary / "ayla-scratch-without-a-lock").mkdir()
    (temporary / "another").mkdir()
    with scratch_folder():
        pass
    assert (elsewhere / "rows.csv").is_file()
    assert sorted(path.name for path in temporary.iterdir()) == [
        "another",
        "ayla-scratch-link",
        "ayla-scratch-without-a-lock",
    ]


@pytest.mark.parametrize("name", ["ayla-scratch-without-a-lock", "ayla-new-never-renamed"])
def test_what_a_process_left_without_a_lock_is_removed_after_a_day(temporary: Path, name: str) -> None:
    left = temporary / name
    left.mkdir()
    (left / "rows.csv").write_text("x")
    hours = 3600
    os.utime(left, times=(time.time() - 23 * hours,) * 2)
    with scratch_folder():
        assert left.is_dir()
    os.utime(left, times=(time.time() - 25 * hours,) * 2)
    with scratch_folder():
        assert not left.exists()


def test_an_old_folder_in_use_is_kept(temporary: Path) -> None:
    with scratch_folder() as used:
        os.utime(used, times=(0, 0))
        with scratch_folder():
            assert used.is_dir()


def test_an_old_link_leads_nowhere(tmp_path: Path, temporary: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = temporary / "ayla-new-link"
    link.symlink_to(elsewhere)
    os.utime(link, times=(0, 0), follow_symlinks=False)
    with scratch_folder():
        pass
    assert elsewhere.is_dir()

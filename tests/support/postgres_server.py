"""A real PostgreSQL server, for the time of the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USER = "ayla"
# The server refuses to run as root.
_INSTEAD_OF_ROOT: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if not os.getuid() else {}


def binaries() -> Path | None:
    """The folder of the server's programs; Debian keeps them out of the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if initdb := shutil.which("initdb"):
        folders.append(Path(initdb).resolve().parent)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextmanager
def running() -> Iterator[str]:
    """Start a server of its own, which is reached through a socket; yield its folder."""
    programs = binaries()
    assert programs is not None, "PostgreSQL's server isn't installed"
    # Short, since a socket's path has at most 107 characters, and open to the other user.
    home = Path(tempfile.mkdtemp(prefix="ayla-pg-", dir="/tmp"))
    try:
        if _INSTEAD_OF_ROOT:
            shutil.chown(home, _INSTEAD_OF_ROOT["user"], _INSTEAD_OF_ROOT["group"])
        initdb = [programs / "initdb", "-D", home / "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*initdb, "--no-sync"], check=True, capture_output=True, cwd="/", **_INSTEAD_OF_ROOT)
        settings = {"listen_addresses": "", "unix_socket_directories": home, "fsync": "off", "timezone": "Asia/Tokyo"}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (
            (home / "log").open("wb") as log,
            subprocess.Popen(
                [programs / "postgres", "-D", home / "data", *options], stderr=log, cwd="/", **_INSTEAD_OF_ROOT
            ) as server,
        ):
            try:
                _wait_for(programs, home)
                yield str(home)
            finally:
                server.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(home)


def _wait_for(programs: Path, home: Path) -> None:
    deadline = time.monotonic() + 300
    while subprocess.run([programs / "pg_isready", "-q", "-h", home, "-d", "postgres"], check=False).returncode:
        assert time.monotonic() < deadline, (home / "log").read_text()
        time.sleep(0.1)

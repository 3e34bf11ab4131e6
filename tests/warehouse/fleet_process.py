"""
A worker that makes the fleet models of a lake, for a test that kills it.

Each line of its input is a JSON list: the kind of the lake, its folder, and at which moment to die (0: never). It forks
for each line, and answers with the exit code and how many moments there were.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet  # noqa: F401 - once, before the forks
import pyiceberg.io.pyarrow  # noqa: F401

from ayla_provider.warehouse import lake_models
from tests.warehouse.fleet_lakes import lake
from tests.warehouse.test_fleet_models import NOW

_moments = _dies_at = 0
_folder = ""

_WATCHED = {"os.rename", "os.remove", "os.mkdir", "shutil.rmtree"}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Count what this process writes. The commits of deltalake and of DuckDB are between two such moments."""
    global _moments
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa")
    if (writes or event in _WATCHED) and str(arguments[0]).startswith(_folder):
        _moments += 1
        if _moments == _dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Answer lines until there are no more."""
    global _moments, _dies_at, _folder
    # Threads of the parent don't survive a fork.
    duckdb.connect(":memory:").close()
    sys.addaudithook(_watch)
    lake_models.WRITE_AFTER = 0.0
    for line in sys.stdin:
        kind, folder, dies = json.loads(line)
        said, says = os.pipe()
        pid = os.fork()
        if not pid:
            tempfile.tempdir = str(Path(folder) / "tmp")
            _moments, _dies_at, _folder = 0, dies, folder
            try:
                with lake(kind, Path(folder)) as warehouse:
                    warehouse.update_models("UTC", "run", NOW)
                os.write(says, str(_moments).encode())
            except BaseException as error:  # noqa: BLE001 - the parent is told
                _dies_at = 0
                os.write(says, f"{type(error).__name__}: {error}"[:4000].encode())
                os._exit(1)
            os._exit(0)
        os.close(says)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps([status, os.read(said, 5000).decode()]), flush=True)
        os.close(said)


if __name__ == "__main__":
    main()

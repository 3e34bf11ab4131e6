"""
Processes that die at a moment that a test chooses: forks of a worker, which has imported all that is slow.

Each line of a worker's input is a JSON list: a folder, at which moment to die (0: never), and a list of steps. It forks
for each line, and answers with the exit code and what the fork said: how many moments it had, or its error.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

Answer = tuple[int, str]

_WATCHED = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "tempfile.mkdtemp"}

_moments = _dies_at = 0
_folder = ""


def moment() -> None:
    """Count a moment, and die if it is the one."""
    global _moments
    _moments += 1
    if _moments == _dies_at:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Count what this process writes in the folder."""
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa")
    if (writes or event in _WATCHED) and str(arguments[0]).startswith(_folder):
        moment()


def serve(work: Callable[[Path, list[Any]], None]) -> None:
    """
    Answer lines until there are no more.

    :param work: does the steps in a folder
    """
    global _moments, _dies_at, _folder
    # Threads of the parent don't survive a fork.
    duckdb.connect(":memory:").close()
    sys.addaudithook(_watch)
    for line in sys.stdin:
        folder, dies_at, steps = json.loads(line)
        said, says = os.pipe()
        pid = os.fork()
        if not pid:
            tempfile.tempdir = str(Path(folder) / "tmp")
            _moments, _dies_at, _folder = 0, dies_at, folder
            try:
                work(Path(folder), steps)
                os.write(says, str(_moments).encode())
            except BaseException as error:  # noqa: BLE001 - the parent is told
                _dies_at = 0
                os.write(says, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"[:4000].encode())
                os._exit(1)
            os._exit(0)
        os.close(says)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps([status, os.read(said, 5000).decode()]), flush=True)
        os.close(said)


class Worker:
    """A worker that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begin(self, folder: Path, *steps: Any, dies_at: int = 0) -> None:
        """Let a fork do some steps."""
        assert self._process.stdin
        (folder / "tmp").mkdir(exist_ok=True)
        print(json.dumps([str(folder), dies_at, steps]), file=self._process.stdin, flush=True)

    def end(self) -> Answer:
        """Wait for the fork. Return its exit code, and what it said."""
        assert self._process.stdout
        code, said = json.loads(self._process.stdout.readline())
        return code, said

    def run(self, folder: Path, *steps: Any, dies_at: int = 0) -> Answer:
        """Let a fork do some steps, and wait for it."""
        self.begin(folder, *steps, dies_at=dies_at)
        return self.end()


@contextmanager
def worker(module: str) -> Iterator[Worker]:
    """Run a module that serves, until the end of a ``with`` statement."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", module], text=True, cwd=Path(__file__).parents[2], **pipes) as process:
        yield Worker(process)
        assert process.stdin
        process.stdin.close()

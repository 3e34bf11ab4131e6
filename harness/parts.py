"""
The parts of ``airflow standalone``, started from one process that has imported Airflow once.

Each part is the process of its own command, as in ``airflow standalone``. That command starts four new interpreters,
each of which takes seconds of a core to import the same modules. Here they are forks. Run this file as a program, in
the environment of the parts.

Each line of its standard input is a further command, as JSON: ``arguments`` for ``airflow``, and ``folder``, which gets
the files ``stdout.log``, ``stderr.log`` and, when the command has ended, ``status``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

PARTS = ("scheduler", "dag-processor", "api-server", "triggerer")


# What several parts, each task, and each reading of a DAG file import.
MODULES = (
    *(f"airflow.cli.commands.{part}_command" for part in ("api_server", "dag_processor", "scheduler", "triggerer")),
    "airflow.api_fastapi.execution_api.app",
    "airflow.dag_processing.processor",
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "ayla_provider.hooks",
    "ayla_provider.operators",
    "ayla_provider.sensors",
    "ayla_provider.triggers",
    "google.cloud.storage",
)


def prepare() -> None:
    """Import what the forks need."""
    from airflow.configuration import conf

    for module in MODULES:
        importlib.import_module(module)
    conf.load_providers_configuration()


def create_database() -> None:
    """Create Airflow's database, or migrate it."""
    from airflow.utils.db import initdb

    initdb()


def run_airflow(*arguments: str) -> None:
    """Do what ``airflow ARGUMENTS`` does."""
    from airflow.__main__ import main
    from setproctitle import setproctitle

    setproctitle(f"airflow {arguments[0]}")
    sys.argv = ["airflow", *arguments]
    main()  # type: ignore[no-untyped-call]


def run_command(folder: str, *arguments: str) -> None:
    """Do what ``airflow ARGUMENTS`` does, with its output in files."""
    os.setsid()
    for number, name in ((1, "stdout.log"), (2, "stderr.log")):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    run_airflow(*arguments)


def fork(function: Callable[..., None], *arguments: str) -> int:
    """Call a function in a new process, which then ends, and return the id of the process."""
    if pid := os.fork():
        return pid
    status = 1
    # Standard input has the commands for the parent.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        function(*arguments)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - a fork must not return to the code that has forked
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Start all parts, then run commands. A part that ends isn't started again; this program ends with the last one."""
    prepare()
    if threading.active_count() > 1:
        raise SystemExit("An import has started a thread, which a fork wouldn't have.")
    # In a process of its own, so that the parts inherit no connection to the database.
    _, status = os.waitpid(fork(create_database), 0)
    if status:
        raise SystemExit("The database can't be created.")
    for name in PARTS:
        fork(run_airflow, name)
    run_commands()


def run_commands() -> None:
    """Run the commands of standard input, until no process that was started here is left."""
    commands: dict[int, str] = {}
    unread = b""
    inputs = [0]
    while True:
        readable, _, _ = select.select(inputs, [], [], 0.2)
        if readable:
            read = os.read(0, 65536)
            if not read:
                inputs = []
            *lines, unread = (unread + read).split(b"\n")
            for line in map(json.loads, lines):
                commands[fork(run_command, line["folder"], *line["arguments"])] = line["folder"]
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid in commands:
            finish(commands.pop(pid), os.waitstatus_to_exitcode(status))


def finish(folder: str, status: int) -> None:
    """Write the exit status of a command. The file appears with its content."""
    new = Path(folder, "status.new")
    new.write_text(str(status))
    new.rename(Path(folder, "status"))


if __name__ == "__main__":
    main()

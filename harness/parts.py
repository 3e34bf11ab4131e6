"""
The parts of ``airflow standalone``, started from one process that has imported Airflow once.

Each part is the process of its own command, as in ``airflow standalone``. That command starts four new interpreters,
each of which takes seconds of a core to import the same modules. Here they are forks. Run this file as a program, in
the environment of the parts.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable

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


def run_part(name: str) -> None:
    """Do what ``airflow NAME`` does."""
    from airflow.__main__ import main
    from setproctitle import setproctitle

    setproctitle(f"airflow {name}")
    sys.argv = ["airflow", name]
    main()  # type: ignore[no-untyped-call]


def fork(function: Callable[..., None], *arguments: str) -> int:
    """Call a function in a new process, which then ends, and return the id of the process."""
    if pid := os.fork():
        return pid
    status = 1
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
    """Start all parts. A part that ends isn't started again; this program ends after the last one."""
    prepare()
    if threading.active_count() > 1:
        raise SystemExit("An import has started a thread, which a fork wouldn't have.")
    # In a process of its own, so that the parts inherit no connection to the database.
    _, status = os.waitpid(fork(create_database), 0)
    if status:
        raise SystemExit("The database can't be created.")
    for name in PARTS:
        fork(run_part, name)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    main()

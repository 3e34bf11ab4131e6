"""
Runs commands of the documents with Airflow, each block with a database of its own: a program.

Airflow is imported once. A fork runs each block.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any


def run(command: list[str]) -> tuple[int, str]:
    """Run a command, and return its exit status and what it printed."""
    printed = io.StringIO()
    status: Any = 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            if command[0] == "airflow":
                from airflow.cli import cli_parser

                arguments = cli_parser.get_parser().parse_args(command[1:])
                arguments.func(arguments)
            else:
                from ayla_provider.__main__ import main

                status = main(command[3:])
        except SystemExit as end:
            status = end.code or 0
        except Exception:  # noqa: BLE001 - as Python itself, which then prints it
            traceback.print_exc()
            status = 70
    if not isinstance(status, int):
        # What Python itself does with such a status.
        printed.write(f"{status}\n")
        status = 1
    return status, printed.getvalue()


def run_block(commands: list[list[str]], environment: dict[str, str], folder: str, answer: int) -> None:
    """Run the commands of a block, and write their results as JSON."""
    os.environ.update(environment)
    os.chdir(folder)
    results = [run(command) for command in commands]
    with os.fdopen(answer, "w") as file:
        json.dump(results, file)


def main(given: Path, taken: Path, database: Path, empty: Path) -> None:
    """
    Run blocks.

    :param given: JSON: id of a block to commands, environment, and folder
    :param taken: where the results go
    :param database: Airflow's
    :param empty: what is its content for each block
    """
    from airflow.cli import cli_parser

    cli_parser.get_parser()
    results: dict[str, Any] = {}
    for name, block in json.loads(given.read_text()).items():
        shutil.copy(empty, database)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            run_block(block["commands"], block["environment"], block["folder"], writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as file:
            text = file.read()
        os.waitpid(child, 0)
        results[name] = json.loads(text or "null")
    taken.write_text(json.dumps(results))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

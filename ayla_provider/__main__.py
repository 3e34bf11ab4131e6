"""``python -m ayla_provider``: what an Airflow machine's shell can ask of a connection to Ayla."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ayla_provider.check import Step

_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"
"""How Airflow's own commands say that they may look connections up in the metadata database."""

_MARKS = {True: "ok", False: "FAILED", None: "-"}
_INDENT = " " * 10


def main(arguments: list[str] | None = None) -> int:
    """
    Run a command.

    :param arguments: of the command line; default those of this process
    :return: the exit status: 0 if all is well, 1 if not; wrong usage exits with 2
    """
    parsed = _parser().parse_args(arguments)
    status: int = parsed.run(parsed)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ayla_provider",
        description="The Ayla data export, from a shell on an Airflow machine.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    check = commands.add_parser(
        "check",
        help="try a connection step by step, and say what to change",
        description="Tries each step from an Airflow connection to a file of the export, and each assumption about "
        "the export, in turn: ok, FAILED with what to do, or - where it wasn't reached or there is nothing to look at. "
        "It signs in once and changes nothing, prints no secret and no content of a file, and doesn't repeat a sign-in "
        "that was refused in the last half hour. Exit status: 0 all ok, 1 a step failed, 2 wrong usage.",
    )
    check.add_argument(
        "--conn", default="ayla_default", metavar="ID", help="the Airflow connection (default: %(default)s)"
    )
    check.add_argument(
        "--json", action="store_true", help="print a list of steps with name, ok, detail, advice and seconds"
    )
    check.set_defaults(run=_check)
    return parser


def _check(arguments: argparse.Namespace) -> int:
    from ayla_provider.check import check

    done = []
    stdout = sys.stdout
    with _inside_airflow():
        for step in check(arguments.conn):
            done.append(step)
            if not arguments.json:
                print(_text(step), file=stdout, flush=True)
    if arguments.json:
        print(json.dumps([asdict(step) for step in done], indent=1))
    return int(any(step.ok is False for step in done))


def _text(step: Step) -> str:
    lines = [f"{_MARKS[step.ok]:8}{step.name:24}{step.detail}".rstrip()]
    if step.advice:
        lines.append(f"{_INDENT}{'what to do' if step.ok is False else 'note'}: {step.advice}")
    return "\n".join(lines)


@contextlib.contextmanager
def _inside_airflow() -> Iterator[None]:
    """Look connections up as Airflow's own commands do, and keep its log out of stdout."""
    before = os.environ.get(_CONTEXT)
    disabled = logging.root.manager.disable
    os.environ[_CONTEXT] = "server"
    logging.disable(max(disabled, logging.INFO))
    try:
        # Airflow, imported within, takes this for the stdout that it logs to.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(disabled)
        if before is None:
            del os.environ[_CONTEXT]
        else:
            os.environ[_CONTEXT] = before


if __name__ == "__main__":
    sys.exit(main())

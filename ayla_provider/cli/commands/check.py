"""``check`` and ``check-stream``: a connection or a stream, step by step."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.transport.steps import Step

_MARKS = {True: "ok", False: "FAILED", None: "-"}

_INDENT = " " * 10


def add(commands: Commands) -> None:
    """Add the commands and their arguments."""
    check = commands.add_parser(
        "check",
        help="try a connection step by step, and say what to change",
        description="Tries each step from an Airflow connection to a file of the export, and each assumption about "
        "the export. A step is ok, FAILED with what to do, or - if it wasn't reached or there is nothing to look at. "
        "The command signs in once and changes nothing. It prints no secret and no content of a file. It doesn't "
        "repeat a sign-in that was refused in the last half hour. Exit status: 0 all ok, 1 a step failed, 2 wrong "
        "usage.",
    )
    check.add_argument(
        "--conn", default="ayla_default", metavar="ID", help="the Airflow connection (default: %(default)s)"
    )
    check.add_argument(
        "--json", action="store_true", help="print a list of steps with name, ok, detail, advice and seconds"
    )
    check.set_defaults(run=_check)
    stream = commands.add_parser(
        "check-stream",
        help="try a stream step by step, and say what to change",
        description="Tries each step from an Airflow connection to the newest records of a stream that Ayla delivers "
        "to: rights, retention, shards, the age of the newest record, and a record of each event type. A step is ok, "
        "FAILED with what to do, or - if it wasn't reached or there is nothing to look at. It changes nothing, and "
        "prints the keys of records without their values. Exit status: 0 all ok, 1 a step failed, 2 wrong usage.",
    )
    stream.add_argument("url", metavar="URL", help="kinesis://NAME or eventhubs://HUB, as in the task")
    stream.add_argument(
        "--conn",
        metavar="ID",
        help="the Airflow connection to AWS or Azure (default for Kinesis: the credentials of this machine)",
    )
    stream.add_argument(
        "--json", action="store_true", help="print a list of steps with name, ok, detail, advice and seconds"
    )
    stream.set_defaults(run=_check_stream)


def _check(arguments: argparse.Namespace) -> int:
    from ayla_provider.source.check import check

    stdout = sys.stdout
    with arguments.open_connections() as connections:
        steps = check(connections.check(arguments.conn), _shown_step(arguments, stdout))
    return _steps_status(steps, arguments)


def _check_stream(arguments: argparse.Namespace) -> int:
    from ayla_provider.stream.check import check_stream

    stdout = sys.stdout
    name = f"the connection {arguments.conn}" if arguments.conn else "the credentials of this machine"
    with arguments.open_connections() as connections:
        open_stream = partial(connections.stream, arguments.url, arguments.conn)
        steps = check_stream(open_stream, name, _shown_step(arguments, stdout))
    return _steps_status(steps, arguments)


def _shown_step(arguments: argparse.Namespace, stdout: TextIO) -> Callable[[Step], None]:
    """Return what shows a step as soon as it ends. With --json, all are shown at the end."""
    if arguments.json:
        return lambda step: None
    width = shutil.get_terminal_size().columns if stdout.isatty() else None
    return lambda step: print(_step_text(step, width), file=stdout, flush=True)


def _steps_status(steps: list[Step], arguments: argparse.Namespace) -> int:
    """Print the steps if that wasn't done yet, and return the exit status."""
    if arguments.json:
        print(json.dumps([asdict(step) for step in steps], indent=1))
    return int(any(step.ok is False for step in steps))


def _step_text(step: Step, width: int | None) -> str:
    """
    Return a step for a person.

    :param width: of the terminal, at which lines wrap; None for a file or a pipe, where each line stays whole
    """
    lines = [f"{_MARKS[step.ok]:8}{step.name:24}{step.detail}".rstrip()]
    if step.advice:
        label = "what to do" if step.ok is False else "note"
        lines.append(f"{_INDENT}{label}: {step.advice}")
    if width:
        # A long address or path stays whole, so that it can be copied.
        wrap = partial(
            textwrap.wrap, width=width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
        )
        lines = [part for line in lines for part in wrap(line)]
    return "\n".join(lines)

"""The command line: what an Airflow machine's shell can ask of Ayla, and of the archive."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import TYPE_CHECKING

from ayla_provider import __version__
from ayla_provider.cli.commands import (
    check,
    completeness,
    contract,
    device,
    erase,
    estimate,
    evidence,
    extract,
    files,
    freshness,
    hold,
    init,
    inspect,
    quarantine,
    report,
    retention,
    verify,
)

if TYPE_CHECKING:
    from ayla_provider.cli.connections import OpenConnections

_COMMANDS = (
    check,
    init,
    report,
    verify,
    freshness,
    completeness,
    erase,
    inspect,
    contract,
    estimate,
    retention,
    hold,
    extract,
    quarantine,
    device,
    evidence,
    files,
)
"""In the order of ``--help``."""


def main(arguments: list[str] | None, *, open_connections: OpenConnections) -> int:
    """
    Run a command.

    :param arguments: of the command line; None for those of this process
    :param open_connections: gives the commands that need them the connections
    :return: the exit status: 0 if all is well, 1 if not, 2 if the command can't find out; wrong usage exits with 2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Escape what the terminal can't show. Otherwise the command ends there, with a status that means another.
            stream.reconfigure(errors="backslashreplace")
    parsed = command_parser(open_connections).parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as ``head``, has closed the pipe. Python flushes stdout once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def command_parser(open_connections: OpenConnections) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ayla_provider",
        description="The Ayla data export, from a shell on an Airflow machine.",
    )
    parser.add_argument("--version", action="version", version=f"airflow-provider-ayla {__version__}")
    parser.set_defaults(open_connections=open_connections)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for command in _COMMANDS:
        command.add(commands)
    return parser

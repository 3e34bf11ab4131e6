"""``init``: a project with DAGs and rights."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    from ayla_provider.cli.init import add_arguments

    command = commands.add_parser(
        "init",
        help="write a project: DAGs, pools, Variables, the connection without its secrets, and rights for the bucket",
        description="Writes a project of your own, from the sample DAGs and a few answers. It asks for what no flag "
        "says, and never for a secret. If you run it again, it remembers the answers, and keeps files that differ. "
        "Exit status: 0 all files are written, 1 one was kept, 2 an answer is missing or wrong, or a file can't be "
        "written.",
    )
    add_arguments(command)
    command.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.init import WrongAnswerError, run

    try:
        return run(arguments, sys.stdin, sys.stdout)
    except (WrongAnswerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

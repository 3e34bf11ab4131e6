"""``evidence``: a document about each hour of a month."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import add_archive
from ayla_provider.cli.running import on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    evidence = commands.add_parser(
        "evidence",
        help="write what an auditor can hold the archive to, for a month",
        description="Writes a document about each hour of a month: its state, its files with checksums, and by which "
        "run. It also states what changed in earlier months since the document before it, and why. Each document has "
        "the hash of the one before it. Reads every manifest of the archive, and changes nothing in it. Exit status: 0 "
        "all changes are explained, 1 one isn't, 2 something can't be read, or wrong usage.",
    )
    evidence.add_argument("--month", required=True, metavar="YYYY-MM", help="a month that is over, in UTC")
    evidence.add_argument(
        "--folder", required=True, metavar="PATH", help="a folder on this machine with the documents of earlier months"
    )
    add_archive(evidence)
    evidence.set_defaults(run=partial(on_archive, _evidence))


def _evidence(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.evidence import make, text_of

    evidence, file = make(arguments, connections)
    for line in text_of(evidence, file):
        print(line, file=stdout)
    return 1 if evidence.objections else 0

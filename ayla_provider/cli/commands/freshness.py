"""``freshness``: how old the newest complete hours are."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import add_archive, time_to_come
from ayla_provider.cli.running import on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    freshness = commands.add_parser(
        "freshness",
        help="show how old the newest complete hours are, and mute alerts",
        description="Shows what the last look of the DAG ayla_export_freshness found at each layer, and until when "
        "nobody is alerted. With --mute or --unmute, it changes that, for all event types and layers or for those that "
        "are named. Needs no connection to Ayla. Exit status: 0 no hour is late, 1 one is, 2 the archive can't be "
        "read, or wrong usage.",
    )
    freshness.add_argument("--event-type", metavar="NAME", help="an event type (default: all)")
    freshness.add_argument("--layer", metavar="NAME", help="such as copied, or loaded_postgres (default: all)")
    change = freshness.add_mutually_exclusive_group()
    change.add_argument(
        "--mute", type=time_to_come, metavar="TIME", help="until when nobody is alerted: 6h, 2d, or a time in UTC"
    )
    change.add_argument("--unmute", action="store_true", help="alert again")
    freshness.add_argument("--json", action="store_true", help="print an object")
    add_archive(freshness)
    freshness.set_defaults(run=partial(on_archive, _freshness))


def _freshness(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.freshness import is_late, run, text_of

    document = run(arguments, connections)
    if arguments.json:
        print(json.dumps(document, indent=1), file=stdout)
    else:
        for line in text_of(document):
            print(line, file=stdout)
    return 1 if is_late(document) else 0

"""``hold``: legal holds."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import add_archive, moment
from ayla_provider.cli.running import on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser(
        "hold",
        help="list, place, and release legal holds, which keep hours from removal and subjects from erasure",
        description="A legal hold is an object in the archive. It keeps the hours of its range from being removed, and "
        "what they have of its subject from being erased. It names a subject by keyed hashes only. Exit status: 0 "
        "done, 2 it can't be done, or wrong usage.",
    )
    actions = command.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the holds")
    listing.add_argument("--json", action="store_true", help="print a list")
    placing = actions.add_parser("place", help="place a hold")
    placing.add_argument("--id", required=True, metavar="ID", help="of the hold; it must not name a person or a device")
    placing.add_argument("--since", type=moment, metavar="TIME", help="the first hour (default: the beginning)")
    placing.add_argument("--until", type=moment, metavar="TIME", help="the end of the last hour (default: its release)")
    placing.add_argument("--event-type", action="append", metavar="NAME", help="repeatable (default: all)")
    placing.add_argument(
        "--subject",
        metavar="FILE",
        help='a JSON file such as {"dsn": ["..."], "user_uuid": ["..."]} (default: everything in the hours)',
    )
    placing.add_argument("--key-conn", metavar="ID", help="the connection whose password is the key of the hashes")
    placing.add_argument("--reason", default="", metavar="TEXT", help="such as a file number")
    releasing = actions.add_parser("release", help="release a hold")
    releasing.add_argument("--id", required=True, metavar="ID", help="of the hold")
    for action, run in ((listing, _hold_list), (placing, _hold_place), (releasing, _hold_release)):
        add_archive(action)
        action.set_defaults(run=partial(on_archive, run))


def _hold_list(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.retention import list_holds, print_holds

    holds = list_holds(connections.destination(arguments.destination, arguments.destination_conn))
    print_holds(holds, stdout, as_json=arguments.json)
    return 0


def _hold_place(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.retention import place, print_holds

    archive = connections.destination(arguments.destination, arguments.destination_conn)
    key = connections.password(arguments.key_conn) if arguments.key_conn else ""
    print_holds([place(archive, arguments, key)], stdout, as_json=False)
    return 0


def _hold_release(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.retention import release

    release(connections.destination(arguments.destination, arguments.destination_conn), arguments.id)
    print(f"The legal hold {arguments.id} is released.", file=stdout)
    return 0

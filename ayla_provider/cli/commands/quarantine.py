"""``quarantine``: lines that couldn't be read."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import TIMES, add_archive, add_hours, add_parquet
from ayla_provider.cli.running import on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser(
        "quarantine",
        help="show why lines are in the quarantine, and try them again",
        description="The quarantine of an archive has the lines that couldn't be read. It prints no content of a line. "
        f"{TIMES}",
    )
    actions = command.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="show event type, month, reason, and how many lines",
        description="Reads the quarantine files of the hours. Exit status: 0 done, 2 it can't be read, or wrong usage.",
    )
    listing.add_argument("--json", action="store_true", help="print a list")
    replaying = actions.add_parser(
        "replay",
        help="make the rows of the hours again that have quarantined lines",
        description="Makes the typed rows again from the archive, after a layout was declared, or this package was "
        "upgraded. The DAG that verifies a warehouse then loads the hours that differ. Exit status: 0 done, 1 an hour "
        "couldn't be tried, 2 it can't be done, or wrong usage.",
    )
    add_parquet(replaying)
    replaying.add_argument("--reason", metavar="TEXT", help="only hours with a reason that has this text")
    replaying.add_argument("--layouts", metavar="FILE.json", help="a list of declared layouts, as in the loads")
    replaying.add_argument("--ignored-file", action="append", default=[], metavar="NAME", help="as in the loads")
    replaying.add_argument("--privacy-conn", metavar="ID", help="the connection with the key of the privacy policy")
    for action, run in ((listing, _quarantine_list), (replaying, _quarantine_replay)):
        add_archive(action)
        add_hours(action, event_types="all", first="366d")
        action.set_defaults(run=partial(on_archive, run))


def _quarantine_list(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.quarantine import hours_of, print_reasons
    from ayla_provider.rows.quarantined import reasons_of

    archive = connections.destination(arguments.destination, arguments.destination_conn)
    print_reasons(reasons_of(archive, hours_of(archive, arguments)), stdout, as_json=arguments.json)
    return 0


def _quarantine_replay(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.extract import declared_in
    from ayla_provider.cli.quarantine import hours_of, print_replayed, replayed
    from ayla_provider.domain.paths import typed_rows_url

    archive = connections.destination(arguments.destination, arguments.destination_conn)
    rows = typed_rows_url(arguments.destination, arguments.parquet or "")
    results = replayed(
        archive,
        connections.destination(rows, arguments.destination_conn),
        hours_of(archive, arguments),
        reason=arguments.reason,
        policy_key=connections.password(arguments.privacy_conn) if arguments.privacy_conn else "",
        layouts=declared_in(arguments.layouts),
        ignored_files=arguments.ignored_file,
    )
    return print_replayed(results, stdout)

"""``extract``: all events of a device or a user, for the right of access."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import add_archive, add_parquet
from ayla_provider.cli.running import on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    extract = commands.add_parser(
        "extract",
        help="write all events of a device or a user into files: the right of access",
        description="Looks for the events of a device or a user in the archive and its typed rows, and writes them, "
        "decoded, as CSV, JSON, and one HTML file into a new folder that nobody else can read. THE FILES HAVE PERSONAL "
        "DATA. The request is a JSON object with dsn, user_uuid, or both, and if wanted from and until. Changes "
        "nothing else. Exit status: 0 done, 1 some hours can't be read any more, 2 it can't be done, or wrong usage.",
    )
    extract.add_argument(
        "--request", required=True, metavar="URL_OR_FILE", help="the object or the file of the request"
    )
    extract.add_argument(
        "--request-conn", metavar="ID", help="the Airflow connection of the request's URL (default: as in the tasks)"
    )
    extract.add_argument("--out", required=True, metavar="FOLDER", help="a folder that doesn't exist yet")
    add_archive(extract)
    add_parquet(extract)
    extract.add_argument(
        "--privacy-conn",
        metavar="ID",
        help="the connection with the key of the privacy policy. With it, fewer hours are read from the archive",
    )
    extract.add_argument(
        "--erasure-conn",
        default="ayla_erasure",
        metavar="ID",
        help="the connection with the keys of the erasure ledger, if there were erasures (default: ayla_erasure)",
    )
    extract.add_argument("--layouts", metavar="FILE.json", help="a list of declared layouts, as in the loads")
    extract.set_defaults(run=partial(on_archive, _extract))


def _extract(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.extract import declared_in, extract, read_request
    from ayla_provider.domain.paths import typed_rows_url
    from ayla_provider.domain.units import counted

    found = extract(
        connections.destination(arguments.destination, arguments.destination_conn),
        connections.destination(
            typed_rows_url(arguments.destination, arguments.parquet or ""), arguments.destination_conn
        ),
        read_request(arguments.request, connections, arguments.request_conn),
        Path(arguments.out),
        policy_key=connections.password(arguments.privacy_conn) if arguments.privacy_conn else "",
        layouts=declared_in(arguments.layouts),
        erasure_keys=partial(connections.erasure_keys, arguments.erasure_conn),
    )
    events = counted(found.rows, "event", "events")
    lines = counted(len(found.lines), "unreadable line", "unreadable lines")
    print(f"In {arguments.out}: {events}, {lines}.", file=stdout)
    for hour in found.not_readable:
        print(f"{hour} can't be read any more.", file=stdout)
    return 1 if found.not_readable else 0

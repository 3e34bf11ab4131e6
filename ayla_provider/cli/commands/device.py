"""``device``: all events of one device."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import TIMES, add_archive, add_hours, add_parquet, first_hour
from ayla_provider.cli.running import on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    device = commands.add_parser(
        "device",
        help="list all events of one device in their order",
        description="Lists the events of one device, of all types, in the order of their times, from the typed rows of "
        "the archive. IT PRINTS PERSONAL DATA: don't put the output into a log or a ticket. What the erasure ledger "
        "names is left out. Hours that can't be shown are named, with CSV on stderr. Needs no warehouse and no "
        f"connection to Ayla. {TIMES} Exit status: 0 all hours are known, 1 some aren't, 2 the archive can't be read, "
        "or wrong usage.",
    )
    device.add_argument("dsn", metavar="DSN", help="the device's serial number")
    add_archive(device)
    add_hours(device, event_types="those that the archive has", first="7d")
    add_parquet(device)
    device.add_argument(
        "--erasure-conn",
        default="ayla_erasure",
        metavar="ID",
        help="the Airflow connection whose password has the keys of the ledger, if something was erased (default: "
        "%(default)s)",
    )
    device.add_argument(
        "--privacy-conn", metavar="ID", help="the connection with the key of the privacy policy, if it hashes columns"
    )
    output = device.add_mutually_exclusive_group()
    output.add_argument("--csv", action="store_true", help="print CSV; its last column has all of a row, as JSON")
    output.add_argument("--json", action="store_true", help="print an object")
    device.set_defaults(run=partial(on_archive, _device))


def _device(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.device import unknown_lines, write_csv, write_json, write_table
    from ayla_provider.domain.events import parse_event_type
    from ayla_provider.domain.hour import describe_hour
    from ayla_provider.domain.paths import typed_rows_url
    from ayla_provider.errors import AylaConfigError
    from ayla_provider.rows.history import DeviceHistory

    if not arguments.dsn:
        raise AylaConfigError("DSN is empty: give the device's serial number")
    types = [parse_event_type(name) for name in arguments.event_type] if arguments.event_type else None
    rows = typed_rows_url(arguments.destination, arguments.parquet or "")
    with DeviceHistory(
        connections.destination(arguments.destination, arguments.destination_conn),
        connections.destination(rows, arguments.destination_conn),
        arguments.dsn,
        policy_key=connections.password(arguments.privacy_conn) if arguments.privacy_conn else "",
        erasure_keys=partial(connections.erasure_keys, arguments.erasure_conn),
    ) as history:
        start = first_hour(arguments.since, connections.first_hour())
        if start >= arguments.until:
            raise AylaConfigError(
                f"--since {describe_hour(start)}: it must be before --until {describe_hour(arguments.until)}"
            )
        history.read(types, start, arguments.until)
        if arguments.json:
            write_json(history, arguments.dsn, stdout)
        elif arguments.csv:
            write_csv(history, stdout)
            for line in unknown_lines(history):
                print(line, file=sys.stderr)
        else:
            write_table(history, arguments.dsn, stdout)
        return 1 if history.unknown else 0

"""``estimate``: what clouds bill for an export of a size."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ayla_provider.cli.arguments import number, whole
from ayla_provider.domain.estimate import Size

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser(
        "estimate",
        help="print what an export of a size needs in 30 days: requests, bytes, storage, work of a warehouse",
        description="Prints the quantities that clouds bill, for 30 days of an export. It asks nobody and knows no "
        "prices: --csv has a column for yours. Exit status: 0, or 2 for wrong usage.",
    )
    command.add_argument("--devices", type=whole(1), required=True, metavar="N", help="how many devices there are")
    command.add_argument(
        "--events", type=number(0), required=True, metavar="N", help="events of one device in a day, of all event types"
    )
    defaults = Size(devices=1, events=1)
    texts = {
        "event_types": "event types that are copied and loaded",
        "files": "files of an event type in an hour",
        "line": "bytes of a line of Ayla's files",
        "looks": "how often a wait looks for an hour",
        "loads": "how often an hour is loaded, because files come late",
        "months": "how long everything is kept",
        "parquet": "bytes of the typed rows, as a share of the lines",
        "row": "bytes of a row in a warehouse, uncompressed",
        "snowflake": "seconds that a virtual warehouse of Snowflake works for a load",
        "record": "bytes of a record of the stream",
        "peak": "how many times the mean the busiest second of the stream has",
    }
    for name, text in texts.items():
        default = getattr(defaults, name)
        kind = whole(1) if isinstance(default, int) else number(0)
        option = f"--{name.replace('_', '-')}"
        command.add_argument(option, type=kind, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    shape = command.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print the quantities as JSON, sizes in bytes")
    shape.add_argument("--csv", action="store_true", help="print a sheet with a column for prices, sizes in GB")
    command.set_defaults(run=_estimate)


def _estimate(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.estimate import run

    return run(arguments)

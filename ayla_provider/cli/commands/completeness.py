"""``completeness``: the export compared with the stream."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import TIMES, add_hours, first_hour
from ayla_provider.cli.running import on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    completeness = commands.add_parser(
        "completeness",
        help="compare what the export brought with what the stream had",
        description="Compares the typed rows of the export's archive with those of the stream's, hour by hour, and "
        "keeps the results in the stream's archive. Needs no connection to Ayla. "
        f"{TIMES} Exit status: 0 each side has all events of the other, 1 a side lacks events, 2 nobody can say: no "
        "hour can be compared, the two sides identify events differently, an archive can't be read, or wrong usage.",
    )
    completeness.add_argument(
        "--archive",
        dest="destination",
        metavar="URL",
        help="the export's archive (default: the Airflow Variable ayla_export_destination)",
    )
    completeness.add_argument(
        "--archive-conn",
        dest="destination_conn",
        metavar="ID",
        help="the Airflow connection of the export's archive (default: as in the tasks)",
    )
    completeness.add_argument("--stream-archive", required=True, metavar="URL", help="the stream's archive")
    completeness.add_argument(
        "--stream-archive-conn",
        metavar="ID",
        help="the Airflow connection of the stream's archive (default: as in the tasks)",
    )
    for side, owner in (("", "export"), ("stream-", "stream")):
        completeness.add_argument(
            f"--{side}parquet",
            metavar="URL",
            help=f"where the {owner}'s typed rows are, as in its loads (default: its archive's parquet/)",
        )
    add_hours(completeness, event_types="the five documented ones", first="7d")
    output = completeness.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print an object")
    output.add_argument(
        "--support", action="store_true", help="print a text that you can send to Ayla support: it has no personal data"
    )
    completeness.set_defaults(run=partial(on_archive, _completeness))


def _completeness(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.completeness import CompletenessReport
    from ayla_provider.domain.paths import typed_rows_url
    from ayla_provider.rows.completeness import Side

    def side(url: str, conn_id: str | None, parquet: str | None) -> Side:
        rows = typed_rows_url(url, parquet or "")
        return Side(connections.destination(url, conn_id), connections.destination(rows, conn_id))

    report = CompletenessReport(
        side(arguments.destination, arguments.destination_conn, arguments.parquet),
        side(arguments.stream_archive, arguments.stream_archive_conn, arguments.stream_parquet),
        event_types=arguments.event_type,
        since=first_hour(arguments.since, connections.first_hour()),
        until=arguments.until,
    )
    report.compare()
    if arguments.json:
        json.dump(report.document(), stdout, indent=1)
        print(file=stdout)
    else:
        for line in report.for_support() if arguments.support else report.text():
            print(line, file=stdout)
    return report.status

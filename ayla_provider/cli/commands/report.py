"""``report``: the archive compared with the export."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import TIMES, add_archive, add_hours, days, first_hour
from ayla_provider.cli.running import on_archive

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections
    from ayla_provider.cli.report import Report
    from ayla_provider.cli.report_table import Row
    from ayla_provider.domain.stream import StreamPosition


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    report = commands.add_parser(
        "report",
        help="compare the archive with the export hour by hour, and show what is missing",
        description="Compares each event type and hour of the archive with Ayla's bucket: landed, late, empty, "
        "waiting, overdue, missing, changed, unproven, lost or expired. Of the archive of a stream, it shows which "
        "hours are complete, how far each shard was read, and what was lost. Changes nothing. "
        f"{TIMES} Exit status: 0 nothing is missing, 1 an hour is missing, changed, unproven or lost, or expires soon "
        "and isn't safe, or a loss of a stream isn't acknowledged, 2 the archive or the export can't be read, or wrong "
        "usage.",
    )
    report.add_argument(
        "--conn", default="ayla_default", metavar="ID", help="the Airflow connection to Ayla (default: %(default)s)"
    )
    add_archive(report)
    add_hours(report, event_types="the five documented ones, and all others in the export", first="48h")
    report.add_argument(
        "--expiring",
        type=days,
        default="14",
        metavar="DAYS",
        help="also count the hours that expire at Ayla within so many days and aren't safe in the archive yet, if the "
        "connection says how long Ayla keeps files, or a weekly comparison saw it (default: %(default)s)",
    )
    report.add_argument("--json", action="store_true", help="print an object with exact bytes and seconds")
    report.set_defaults(run=partial(on_archive, _report))


def _report(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.archive.stream_report import read_position
    from ayla_provider.cli.report import open_report
    from ayla_provider.cli.report_table import header

    archive = connections.destination(arguments.destination, arguments.destination_conn)
    position, _ = read_position(archive)
    if position:
        return _report_stream(arguments, connections, stdout, archive, position)
    wanted = connections.first_hour()
    report = open_report(
        connections,
        conn_id=arguments.conn,
        destination=arguments.destination,
        destination_conn_id=arguments.destination_conn,
        event_types=arguments.event_type,
        since=first_hour(arguments.since, wanted),
        until=arguments.until,
        expiring=arguments.expiring,
        not_before=wanted,
    )
    if arguments.json:
        # Written in pieces: the text of a year's rows takes much memory.
        json.dump(report.document(_with_progress(report, rows_are_shown=False)), stdout, indent=1)
        print(file=stdout)
    else:
        print(f"{report.title}\n\n{header(report.width)}", file=stdout)
        for row in _with_progress(report, rows_are_shown=stdout.isatty()):
            print(row.line(report.width), file=stdout)
        print(f"\n{report.name}\n{report.summary.text()}", file=stdout)
    return 0 if report.summary.complete else 1


def _report_stream(
    arguments: argparse.Namespace,
    connections: Connections,
    stdout: TextIO,
    archive: Destination,
    position: StreamPosition,
) -> int:
    from ayla_provider.cli.stream_report import StreamArchiveReport

    report = StreamArchiveReport(
        archive,
        position,
        destination_conn_id=arguments.destination_conn,
        event_types=arguments.event_type,
        since=first_hour(arguments.since, connections.first_hour()),
        until=arguments.until,
        now=datetime.now(UTC),
    )
    report.read()
    if arguments.json:
        json.dump(report.document(), stdout, indent=1)
        print(file=stdout)
    else:
        for line in report.text():
            print(line, file=stdout)
    return report.status


def _with_progress(report: Report, *, rows_are_shown: bool) -> Iterator[Row]:
    """
    Yield the rows, and show the progress to a person who waits at a terminal.

    :param rows_are_shown: whether the terminal shows the rows themselves, which is progress enough
    """
    if rows_are_shown or not sys.stderr.isatty():
        yield from report.rows()
        return
    for done, row in enumerate(report.rows()):
        if done % 500 == 0:
            print(f"\r{done:,} of {report.total:,} hours compared", end="", file=sys.stderr, flush=True)
        yield row
    print(f"\r{report.total:,} hours compared         ", file=sys.stderr)

"""``verify``: whether the archive still has what its manifests name."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import (
    TIMES,
    add_archive,
    add_duckdb,
    add_hours,
    add_parquet,
    add_warehouse,
    days,
    first_hour,
    span,
)
from ayla_provider.cli.running import any_warehouse, on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    verify = commands.add_parser(
        "verify",
        help="check that the archive still has what its manifests name",
        description="Lists the archive, and compares each object with the manifest that names it. Changes no copy, and "
        "needs no connection to Ayla. "
        f"{TIMES} Exit status: 0 the archive has everything, 1 something is missing, damaged, or different in the "
        "warehouse, 2 the archive or the warehouse can't be read, or wrong usage.",
    )
    add_archive(verify)
    add_hours(verify, event_types="those that the archive has", first=None)
    verify.add_argument(
        "--expected-retention",
        type=days,
        metavar="DAYS",
        help="after how many days a lifecycle rule of yours removes copies; they don't count as damage then",
    )
    add_parquet(verify)
    verify.add_argument(
        "--read-every",
        type=span,
        metavar="SPAN",
        help="also read files and compare their checksums: each run reads a share, so that each file is read once in "
        "this time, such as 90d. The archive keeps the position",
    )
    add_duckdb(verify, "also compare the tables of this DuckDB file with the receipts of the typed rows")
    add_warehouse(verify, "also compare the tables of this warehouse with the receipts of the typed rows")
    verify.add_argument("--json", action="store_true", help="print an object")
    verify.set_defaults(run=partial(on_archive, _verify))


def _verify(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.verify import VerifyReport
    from ayla_provider.domain.paths import typed_rows_url

    rows = typed_rows_url(arguments.destination, arguments.parquet or "")
    report = VerifyReport(
        connections.destination(arguments.destination, arguments.destination_conn),
        connections.destination(rows, arguments.destination_conn),
        event_types=arguments.event_type,
        since=first_hour(arguments.since, connections.first_hour()) if arguments.since else None,
        until=arguments.until,
        expected_retention=arguments.expected_retention,
        read_every=arguments.read_every,
        warehouse=any_warehouse(arguments, connections),
    )
    if arguments.json:
        json.dump(report.document(), stdout, indent=1)
        print(file=stdout)
    else:
        print(f"{report.title}\n", file=stdout)
        separator = ""
        for finding in report.findings():
            print(finding, file=stdout, flush=stdout.isatty())
            separator = "\n"
        print(f"{separator}{report.text()}", file=stdout)
    return 0 if report.is_whole else 1

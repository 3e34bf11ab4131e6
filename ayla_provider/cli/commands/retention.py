"""``retention``: hours that are older than rules."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import add_archive, add_duckdb, add_parquet, days
from ayla_provider.cli.running import duckdb_file, on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    retention = commands.add_parser(
        "retention",
        help="count the hours that are older than rules of yours, and remove them",
        description="Counts what the archive, its typed rows, its quarantine, and the tables of a DuckDB file have of "
        "hours that are older than you want to keep them. With --remove, it removes them. Manifests, receipts, and the "
        "ledger stay, and say so. Hours under a legal hold stay. Exit status: 0 done, 2 something can't be read or "
        "written, or wrong usage.",
    )
    add_archive(retention)
    retention.add_argument(
        "--event-type", action="append", metavar="NAME", help="an event type; repeatable (default: all)"
    )
    for layer, what in (
        ("archive", "copies, or files of a stream"),
        ("parquet", "typed rows"),
        ("quarantine", "quarantined lines"),
        ("tables", "rows in the tables of --duckdb"),
    ):
        retention.add_argument(
            f"--keep-{layer}", type=days, metavar="DAYS", help=f"for how many days to keep {what} (default: for ever)"
        )
    add_parquet(retention)
    add_duckdb(retention, "the DuckDB file of --keep-tables")
    retention.add_argument("--remove", action="store_true", help="remove what is counted")
    retention.add_argument("--json", action="store_true", help="print an object")
    retention.set_defaults(run=partial(on_archive, _retention))


def _retention(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.retention import print_retained, retain
    from ayla_provider.domain.paths import typed_rows_url
    from ayla_provider.errors import AylaConfigError

    layers = ("archive", "parquet", "quarantine", "tables")
    keep_for = {layer: getattr(arguments, f"keep_{layer}") for layer in layers}
    keep_for = {layer: time for layer, time in keep_for.items() if time}
    if not keep_for:
        raise AylaConfigError("say how long to keep something: --keep-archive, --keep-parquet, or another one")
    if ("tables" in keep_for) != bool(arguments.duckdb):
        raise AylaConfigError("--keep-tables and --duckdb belong together")
    found = retain(
        connections.destination(arguments.destination, arguments.destination_conn),
        connections.destination(
            typed_rows_url(arguments.destination, arguments.parquet or ""), arguments.destination_conn
        ),
        keep_for,
        event_types=arguments.event_type,
        warehouse=duckdb_file(arguments),
        remove=arguments.remove,
    )
    print_retained(found, stdout, removed=arguments.remove, as_json=arguments.json)
    return 0

"""``contract``: the data contract of the tables."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ayla_provider.cli.arguments import add_duckdb

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    contract = commands.add_parser(
        "contract",
        help="print the data contract of the tables, or what differs from it",
        description="Prints what the tables of this version have, as a data contract in JSON (ODCS 3.1). With --diff, "
        "it prints what changed since another contract; with --duckdb, how the tables of a file break it. Exit status: "
        "0 nothing differs, 1 something does, 2 it can't be read, or wrong usage.",
    )
    contract.add_argument("--diff", metavar="OLD.json", help="a contract of an earlier version")
    contract.add_argument(
        "--privacy", metavar="FILE.json", help="the privacy policy of the tables: column to treatment"
    )
    add_duckdb(contract, "compare the tables of this DuckDB file")
    contract.set_defaults(run=_contract)


def _contract(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.contract import run

    return run(arguments)

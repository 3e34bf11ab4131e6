"""``erase``: devices and users leave the archive, the typed rows, and a DuckDB file."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ayla_provider.cli.arguments import add_archive, add_duckdb, add_parquet
from ayla_provider.cli.running import duckdb_file, on_archive

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands
    from ayla_provider.cli.connections import Connections


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    erase = commands.add_parser(
        "erase",
        help="erase devices and users from the archive, the typed rows, and a DuckDB file",
        description="Counts what the requests in a folder name: rows, objects, and what a bucket asks for. With "
        "--apply, it erases that, removes the requests, and writes a certificate into the archive's _erasures/. It "
        "prints ids and counts, and no identifier. Exit status: 0 done, 2 something can't be read or written, or wrong "
        "usage.",
    )
    erase.add_argument(
        "--requests", required=True, metavar="URL", help="the folder of the requests, each a JSON object"
    )
    erase.add_argument(
        "--requests-conn", metavar="ID", help="the Airflow connection of that folder (default: that of the archive)"
    )
    add_archive(erase)
    add_parquet(erase)
    add_duckdb(erase, "also erase from the tables of this DuckDB file")
    erase.add_argument(
        "--erasure-conn",
        default="ayla_erasure",
        metavar="ID",
        help="the Airflow connection whose password has the keys of the ledger (default: %(default)s)",
    )
    erase.add_argument(
        "--privacy-conn", metavar="ID", help="the Airflow connection of the privacy policy's key, if it hashes columns"
    )
    erase.add_argument("--apply", action="store_true", help="erase; without it, nothing is written")
    erase.add_argument("--json", action="store_true", help="print an object")
    erase.set_defaults(run=partial(on_archive, _erase))


def _erase(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.erase import erase

    warehouse = duckdb_file(arguments)
    document = erase(arguments, connections, [warehouse] if warehouse else [])
    if arguments.json:
        json.dump(document, stdout, indent=1)
        print(file=stdout)
    else:
        from ayla_provider.cli.erase import text_of

        for line in text_of(document, applied=arguments.apply):
            print(line, file=stdout)
    return 0

"""Prints the data contract of the tables, what a release changes, and how tables differ from it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ayla_provider import __version__
from ayla_provider.domain.contract import breaks, contract, differences
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.errors import AylaConfigError, AylaError

_ANY_KEY = "the key doesn't change the columns"


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return the exit status."""
    try:
        policy = PrivacyPolicy(_read(arguments.privacy) if arguments.privacy else {}, _ANY_KEY)
        document = contract(__version__, policy=policy, table_prefix=arguments.table_prefix)
        if arguments.diff:
            found = differences(_read(arguments.diff), document)
        elif arguments.duckdb:
            found = _broken(document, arguments)
        else:
            print(json.dumps(document, indent=1))
            return 0
    except AylaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in found:
        print(line)
    return 1 if found else 0


def _broken(document: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    from ayla_provider.warehouse.duckdb import DIALECT, DuckDBWarehouse

    if not Path(arguments.duckdb).is_file():
        # DuckDB would create it.
        raise AylaConfigError(f"--duckdb is {arguments.duckdb}: there is no such file")
    with DuckDBWarehouse(arguments.duckdb, schema=arguments.schema, table_prefix=arguments.table_prefix) as warehouse:
        existing = warehouse.described(table["name"] for table in document["schema"])
    return breaks(document, existing, {kind.value: name for kind, name in DIALECT.types.items()})


def _read(path: str) -> dict[str, Any]:
    try:
        document = json.loads(Path(path).read_text("utf-8"))
        if not isinstance(document, dict):
            raise ValueError
    except (OSError, ValueError):
        raise AylaConfigError(f"{path} isn't a file with a JSON object") from None
    return document

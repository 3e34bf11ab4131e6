"""How commands run: with connections, warehouses, and errors for a person at a shell."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ayla_provider.cli.connections import Connections, OpenConnections
    from ayla_provider.warehouse.base import Warehouse
    from ayla_provider.warehouse.duckdb import DuckDBWarehouse


def on_archive(run: Callable[[argparse.Namespace, Connections, TextIO], int], arguments: argparse.Namespace) -> int:
    """Run a command that needs an archive, and print why it can't if it can't."""
    stdout = sys.stdout
    open_connections: OpenConnections = arguments.open_connections
    with open_connections() as connections:
        try:
            arguments.destination = arguments.destination or connections.default_destination()
            return run(arguments, connections, stdout)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - a person sees it; Airflow's hooks raise anything
            subject = " and ".join(filter(None, (getattr(arguments, "conn", None), arguments.destination)))
            print(": ".join(filter(None, ("error", subject, error_text(error, connections)))), file=sys.stderr)
            return 2


def any_warehouse(arguments: argparse.Namespace, connections: Connections) -> Warehouse | None:
    """
    Return the warehouse that the arguments name: a DuckDB file, or any other one; None if they name none.

    :raises AylaConfigError: if it can't be opened as the arguments say
    """
    from ayla_provider.errors import AylaConfigError

    if not arguments.warehouse:
        return duckdb_file(arguments)
    if arguments.duckdb:
        raise AylaConfigError("give --duckdb or --warehouse, not both")
    kind, *rest = arguments.warehouse
    if kind == "duckdb":
        # DuckDB would create a file that doesn't exist.
        raise AylaConfigError("give --duckdb for a DuckDB file")
    wrong = [text for text in rest if "=" not in text]
    if wrong:
        raise AylaConfigError(f"--warehouse {kind} has {wrong[0]!r}: expected NAME=VALUE, such as namespace=ayla")
    return connections.warehouse(kind, dict(text.split("=", 1) for text in rest))


def duckdb_file(arguments: argparse.Namespace) -> DuckDBWarehouse | None:
    """
    Return the tables of the DuckDB file that the arguments name; None if they name none.

    :raises AylaConfigError: if there is no such file
    """
    from ayla_provider.errors import AylaConfigError
    from ayla_provider.warehouse.duckdb import DuckDBWarehouse

    path = arguments.duckdb
    if path is None:
        return None
    if not Path(path).is_file():
        # DuckDB would create it.
        raise AylaConfigError(f"--duckdb is {path}: there is no such file")
    return DuckDBWarehouse(path, schema=arguments.schema, table_prefix=arguments.table_prefix)


def error_text(error: Exception, connections: Connections) -> str:
    """Return an error for a person: without a secret, and without a text that may hold one."""
    from ayla_provider.errors import AylaError
    from ayla_provider.transport.redaction import redacted

    if isinstance(error, AylaError):
        return for_shell(redacted(str(error), connections.secrets()))
    return f"unexpected: {type(error).__name__}. Check the connection of the destination."


_TASK = re.compile(r"\b([Cc])lear (?:the|this) task\b(?: again)?")
"""What errors advise, because most of them are read in the log of a task."""


def for_shell(message: str) -> str:
    """Return an error's message for a person at a shell, who has no task to clear."""
    return _TASK.sub(lambda match: f"{'R' if match[1] == 'C' else 'r'}un this command again", message)

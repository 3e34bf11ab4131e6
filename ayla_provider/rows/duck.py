"""DuckDB as this package uses it: it downloads nothing, thinks in UTC, and stays within its memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    import duckdb

MEMORY = "512MB"
"""DuckDB's limit by default. Beyond it, DuckDB works on disk."""


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return the name of a column or a field as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def connect(path: Path | None = None, memory: str = MEMORY, folder: Path | None = None) -> duckdb.DuckDBPyConnection:
    """
    Open a database.

    :param path: its file; None for one in memory
    :param memory: the limit, as DuckDB writes sizes: ``512MB``
    :param folder: for what doesn't fit into the memory; by default DuckDB's own choice
    :raises AylaConfigError: if DuckDB isn't installed, or the memory isn't a valid size
    :raises duckdb.Error: if the file can't be opened
    """
    try:
        import duckdb
    except ImportError:
        raise AylaConfigError("DuckDB isn't installed: pip install 'airflow-provider-ayla[warehouse]'") from None
    connection = duckdb.connect(str(path) if path else ":memory:")
    try:
        try:
            connection.execute("set memory_limit = $memory", {"memory": memory})
        except duckdb.Error:
            raise AylaConfigError(f"memory is {memory!r}: expected a size such as 512MB or 2GB") from None
        connection.execute(
            "set TimeZone = 'UTC'; set enable_progress_bar = false; "
            "set autoinstall_known_extensions = false; set autoload_known_extensions = false"
        )
        if folder:
            connection.execute(f"set temp_directory = {literal(str(folder))}")
    except BaseException:
        connection.close()
        raise
    return connection

"""
A program that reads tables of Iceberg and Delta with an engine of its own: DuckDB 1.5 or chDB.

It runs in the environment ``.venv-judges`` and imports nothing of this project: see :mod:`harness.judges`. Each line of
its input asks for a table, in JSON; each line of its output has the rows, or the error.

    .venv-judges/bin/python harness/lake_reader.py duckdb
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

Asked = dict[str, Any]
"""``format``: iceberg, delta or parquet; ``location``; ``s3``: endpoint, key, secret and region, or None;
``query``: SQL in which ``{table}`` is the table."""


def plain(value: Any) -> Any:
    """Return a value as JSON has it; a time as text in UTC, with microseconds."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    return value


def duckdb_reader() -> Callable[[Asked], tuple[list[str], list[list[Any]]]]:
    """Return what reads with DuckDB and its extensions."""
    import duckdb

    session = duckdb.connect()
    session.execute("set TimeZone = 'UTC'; set autoinstall_known_extensions = false; set threads = 1")
    for name in ("avro", "httpfs", "iceberg", "delta"):
        module = __import__(f"duckdb_extension_{name}")
        (file,) = _below(module.__path__[0], f"{name}.duckdb_extension")
        session.load_extension(file)
    # Else a table that has grown is read as it was.
    session.execute("set enable_object_cache = false")

    def read(asked: Asked) -> tuple[list[str], list[list[Any]]]:
        if s3 := asked.get("s3"):
            host = s3["endpoint"].partition("://")[2]
            session.execute(
                f"create or replace secret reader (type s3, key_id '{s3['key']}', secret '{s3['secret']}', "
                f"region '{s3['region']}', endpoint '{host}', url_style 'path', use_ssl false)"
            )
        function = {"iceberg": "iceberg_scan", "delta": "delta_scan", "parquet": "read_parquet"}[asked["format"]]
        more = ", hive_partitioning = false" if asked["format"] == "parquet" else ""
        table = f"{function}('{asked['location']}'{more})"
        found = session.execute(asked["query"].format(table=table))
        names = [column[0] for column in found.description or ()]
        return names, [[plain(value) for value in row] for row in found.fetchall()]

    return read


def chdb_reader() -> Callable[[Asked], tuple[list[str], list[list[Any]]]]:
    """Return what reads with chDB, ClickHouse as a library."""
    import chdb

    settings = (
        "settings date_time_output_format = 'iso', output_format_json_quote_64bit_integers = 0, "
        "output_format_json_quote_denormals = 1, session_timezone = 'UTC', max_threads = 1, "
        # Else a table that has changed is read as it was.
        "use_iceberg_metadata_files_cache = 0"
    )

    def read(asked: Asked) -> tuple[list[str], list[list[Any]]]:
        location, s3 = asked["location"], asked.get("s3")
        more = ""
        if asked["format"] == "iceberg":
            # The file of the metadata is named by the catalog, not guessed from the folder.
            location, _, metadata = location.rpartition("/metadata/")
            more = f", settings iceberg_metadata_file_path = 'metadata/{metadata}'"
        if s3:
            url = f"{s3['endpoint']}/{location.partition('://')[2]}"
            function = {"iceberg": "icebergS3", "delta": "deltaLake"}[asked["format"]]
            table = f"{function}('{url}', '{s3['key']}', '{s3['secret']}'{more})"
        else:
            function = {"iceberg": "icebergLocal", "delta": "deltaLakeLocal"}[asked["format"]]
            # Hive writes such URLs with one slash.
            path = location.removeprefix("file:").removeprefix("//")
            table = f"{function}('{path}'{more})"
        statement = f"{asked['query'].format(table=table)} {settings}"
        lines = str(chdb.query(statement, "JSONCompactEachRowWithNames")).splitlines()
        names = json.loads(lines[0]) if lines else []
        return names, [json.loads(line) for line in lines[1:]]

    return read


def _below(folder: str, name: str) -> list[str]:
    from pathlib import Path

    return [str(path) for path in Path(folder).rglob(name)]


READERS = {"duckdb": duckdb_reader, "chdb": chdb_reader}


def main() -> None:
    """Answer until the input ends."""
    read = READERS[sys.argv[1]]()
    for line in sys.stdin:
        try:
            names, rows = read(json.loads(line))
            answer: dict[str, Any] = {"names": names, "rows": rows}
        except Exception as error:  # noqa: BLE001 - the one who asks sees it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

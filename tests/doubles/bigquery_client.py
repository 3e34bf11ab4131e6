"""
A client for bqemulator, and bqemulator.

What bqemulator 1.4 gets wrong or leaves out: parameters of scripts; a statement that adds several columns; a new schema
of a table by the API, which it notes without a change of the table; uploads in one request, whose content type it
doesn't take from Google's own client; keys of Cloud KMS, rights, and locations, which it doesn't check; transactions,
which it runs one after the other, so that none is ever cancelled; partitions, which it doesn't prune.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from google.cloud import bigquery


class Client(bigquery.Client):
    """Writes the parameters of scripts into them, and adds columns one by one."""

    def query(self, query: str, job_config: bigquery.QueryJobConfig, **arguments: Any) -> bigquery.QueryJob:
        if ";" in query:
            for parameter in sorted(job_config.query_parameters, key=lambda one: one.name, reverse=True):
                value = parameter.value
                literal = f"timestamp '{value.isoformat()}'" if isinstance(value, datetime) else json.dumps(value)
                query = query.replace(f"@{parameter.name}", literal)
            job_config = bigquery.QueryJobConfig()
        table, *columns = query.split(" add column ")
        for column in columns[:-1]:
            super().query(f"{table} add column {column.rstrip(',')}", job_config, **arguments).result()
        query = " add column ".join([table, *columns[-1:]])
        return super().query(query, job_config, **arguments)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def bqemulator(home: Path) -> Iterator[str]:
    """Run one, and return its address."""
    import duckdb
    import duckdb_extension_spatial

    # It wants DuckDB's extension for places, looks for it at home, and would download it.
    (extension,) = Path(duckdb_extension_spatial.__path__[0]).rglob("spatial.duckdb_extension")
    ((platform,),) = duckdb.sql("pragma platform").fetchall()
    place = home / ".duckdb" / "extensions" / f"v{duckdb.__version__}" / platform
    place.mkdir(parents=True)
    (place / extension.name).symlink_to(extension)
    # The one for Avro it would download as well, but does without.
    (place / "avro.duckdb_extension").touch()

    port = free_port()
    command = [sys.executable, "-m", "bqemulator", "start", "--rest-port", str(port), "--grpc-port", str(free_port())]
    with (home / "log").open("w") as log:
        emulator = subprocess.Popen(command, env=os.environ | {"HOME": str(home)}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            try:
                with urlopen(f"{url}/healthz"):
                    break
            except OSError:
                assert emulator.poll() is None, (home / "log").read_text()
                time.sleep(0.1)
        yield url
    finally:
        emulator.terminate()
        emulator.wait(30)

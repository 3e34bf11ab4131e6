"""
Two independent judges of lake tables, each in its own process: DuckDB 1.5 with its extensions, and chDB.

Neither shares code with what writes the tables. Their environment, ``.venv-judges``, is made by ``make judges``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TextIO, cast

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
INSTALLED = ROOT / ".venv-judges" / ".judges"
"""Exists when the environment is complete."""

NAMES = ("duckdb", "chdb")

Rows = list[dict[str, Any]]


class Judge:
    """
    A reader in a process of its own.

    :param name: duckdb or chdb
    :param s3: endpoint, key, secret and region, for tables in S3
    """

    def __init__(self, name: str, s3: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._s3 = s3
        self._process: subprocess.Popen[str] | None = None

    def read(self, format_: str, location: str, query: str = "select * from {table}") -> Rows:
        """
        Return rows, each by the names of its columns. Values are as JSON has them, times are text: see :func:`plain`.

        :param format_: iceberg or delta
        :param location: of Iceberg the current metadata file, of Delta the table's folder: a URL, or a path
        :param query: SQL in which ``{table}`` is the table
        :raises RuntimeError: if the judge can't read it
        """
        if self._process is None:
            command: list[str | Path] = [PYTHON, Path(__file__).with_name("lake_reader.py"), self.name]
            # chDB reads only what is below its working directory.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        asked = {"format": format_, "location": location, "query": query, "s3": self._s3}
        # With pipes, both exist.
        stdin, stdout = cast("TextIO", self._process.stdin), cast("TextIO", self._process.stdout)
        print(json.dumps(asked), file=stdin, flush=True)
        line = stdout.readline()
        answer = json.loads(line) if line else {"error": f"it ended with {self._process.wait()}"}
        if "error" in answer:
            raise RuntimeError(f"{self.name} can't read {location}: {answer['error']}")
        return [dict(zip(answer["names"], row, strict=True)) for row in answer["rows"]]

    def end(self) -> None:
        """End the process."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
        self._process = None


@contextmanager
def judges(s3: Mapping[str, str] | None = None) -> Iterator[list[Judge]]:
    """Have both judges until the end of the block."""
    both = [Judge(name, s3) for name in NAMES]
    try:
        yield both
    finally:
        for judge in both:
            judge.end()


def plain(value: Any) -> Any:
    """Return a value as judges return it: a time as text in UTC, with microseconds."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    return value


def comparable(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return rows in an order that doesn't depend on how they came there. A column that a row lacks is empty."""
    return sorted((tuple(plain(row.get(name)) for name in names) for row in rows), key=repr)

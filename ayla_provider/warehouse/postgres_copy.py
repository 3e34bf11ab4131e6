"""Typed rows out of a Parquet file as CSV, through a pipe: no second copy on disk, and little in memory."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import duckdb

from ayla_provider.warehouse.sql import literal

NULL = r"\N"
"""What stands for a value that is missing; a text that reads the same is quoted."""

_CHUNK = 1 << 16
_AHEAD = 1 << 20
# One thread makes rows faster than a server takes them.
_LIMITS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "256MB", "threads": 1}


class CsvPipe:
    """
    A Parquet file's rows to be read as CSV, for the time of a ``with`` statement; DuckDB writes them in a thread.

    Whether all were read is known at the end of the statement.

    :param columns: what is read, in this order
    :raises duckdb.Error: at the end, if not all rows could be read
    """

    def __init__(self, parquet: Path, columns: str) -> None:
        self._select = f"select {columns} from read_parquet({literal(str(parquet))})"
        self._failure: Exception | None = None
        self._ended = False
        self._writer = threading.Thread(target=self._write, name="parquet-to-csv", daemon=True)

    def __enter__(self) -> CsvPipe:
        self._scratch = tempfile.TemporaryDirectory(prefix="ayla-")
        self._duckdb = duckdb.connect(config=_LIMITS)
        self._out, self._in = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # who has many pipes may not have them this long
                fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _AHEAD)
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self._failure if self._ended else None
        # A writer that is still at work meets a broken pipe, and ends.
        os.close(self._out)
        self._duckdb.interrupt()
        self._writer.join()
        self._duckdb.close()
        self._scratch.cleanup()
        # What the reader made of half a row only follows from it.
        if failure and (error is None or isinstance(error, Exception)):
            raise failure

    def read(self, size: int = _CHUNK) -> bytes:
        """Return the next bytes; none at the end, or where DuckDB failed."""
        chunk = os.read(self._out, min(size, _CHUNK))
        if not chunk:
            self._ended = True
            self._writer.join()
        return chunk

    def _write(self) -> None:
        try:
            # The order of rows says nothing, and costs memory.
            self._duckdb.execute(
                f"set temp_directory = {literal(self._scratch.name)}; set preserve_insertion_order = false; "
                "set autoinstall_known_extensions = false; set TimeZone = 'UTC'"
            )
            # Where writes have threads of their own, the one that makes rows spins while the pipe is full.
            if self._duckdb.execute("select 1 from duckdb_settings() where name = 'async_threads'").fetchone():
                self._duckdb.execute("set async_threads = 0")
            self._duckdb.execute(
                f"copy ({self._select}) to '/dev/fd/{self._in}' "
                f"(format csv, header false, nullstr {literal(NULL)}, use_tmp_file false)"
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised at the end
            self._failure = error
        finally:
            os.close(self._in)

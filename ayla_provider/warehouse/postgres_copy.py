"""Typed rows from a Parquet file as CSV, through a pipe: no second copy on disk, and little in memory."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.rows.duck import MEMORY, connect, literal

NULL = r"\N"
"""A missing value. A text that reads the same is quoted."""

_CHUNK = 1 << 16
_AHEAD = 1 << 20
# One thread makes rows faster than a server accepts them.
_THREADS = 1


class CsvPipe:
    """
    Reads a Parquet file's rows as CSV, for the time of a ``with`` statement. DuckDB writes them in a thread.

    Whether all rows were read is known at the end of the statement.

    :param columns: the columns to read, quoted, in this order
    :param memory: DuckDB's limit, as DuckDB writes sizes
    :raises duckdb.Error: at the end, if not all rows could be read
    """

    def __init__(self, parquet: Path, columns: str, memory: str = MEMORY) -> None:
        self._memory = memory
        self._select = f"select {columns} from read_parquet({literal(str(parquet))})"
        self._failure: Exception | None = None
        self._ended = False
        self._writer = threading.Thread(target=self._write, name="parquet-to-csv", daemon=True)

    def __enter__(self) -> CsvPipe:
        self._scratch = ExitStack()
        self._duckdb = connect(memory=self._memory, folder=self._scratch.enter_context(scratch_folder()))
        self._out, self._in = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # a user with many pipes may not enlarge them
                fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _AHEAD)
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self._failure if self._ended else None
        # A writer that is still at work gets a broken pipe, and ends.
        os.close(self._out)
        self._duckdb.interrupt()
        self._writer.join()
        self._duckdb.close()
        self._scratch.close()
        # An error of the reader, about half a row, only follows from this one.
        if failure and (error is None or isinstance(error, Exception)):
            raise failure

    def read(self, size: int = _CHUNK) -> bytes:
        """Return the next bytes; none at the end, or after DuckDB failed."""
        chunk = os.read(self._out, min(size, _CHUNK))
        if not chunk:
            self._ended = True
            self._writer.join()
        return chunk

    def _write(self) -> None:
        try:
            # The order of rows has no meaning, and keeping it costs memory.
            self._duckdb.execute(f"set threads = {_THREADS}; set preserve_insertion_order = false")
            # With separate threads for writing, the thread that makes rows spins while the pipe is full.
            if self._duckdb.execute("select 1 from duckdb_settings() where name = 'async_threads'").fetchone():
                self._duckdb.execute("set async_threads = 0")
            self._duckdb.execute(
                f"copy ({self._select}) to '/dev/fd/{self._in}' "
                f"(format csv, header false, nullstr {literal(NULL)}, use_tmp_file false)"
            )
        except Exception as error:  # noqa: BLE001 - raised at the end
            self._failure = error
        finally:
            os.close(self._in)

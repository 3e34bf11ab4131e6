"""The lines that can't be read: kept with their exact bytes, their place, and the reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ayla_provider.archive.private import open_private
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.rows.duck import literal

if TYPE_CHECKING:
    from types import TracebackType

MAX_MALFORMED = 0.1
"""The share of an hour's lines that may be malformed, by default."""

FEW_MALFORMED = 3
"""So many lines, but not more than half of an hour's lines, may be malformed whatever their share is."""

_COLUMNS = {"source": "INTEGER", "line": "BIGINT", "byte_offset": "BIGINT", "reason": "INTEGER", "row_bytes": "VARCHAR"}
"""The columns of the collected lines: source and reason are numbers, and bytes are hexadecimal."""


class Quarantine:
    """
    Collects the malformed lines of an hour on disk, so that memory doesn't grow with their number.

    :param path: a file to collect them in
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_private(path, "wb")
        self.loaded = 0
        """How many lines were added that are rows, too."""
        self.by_source: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        # Each to its number, from 1, because millions of lines can have the same.
        self._source_numbers: dict[tuple[str, int], int] = {}
        self._reason_numbers: dict[str, int] = {}

    @property
    def total(self) -> int:
        """How many malformed lines were added."""
        return self.by_source.total()

    @property
    def kept(self) -> int:
        """How many lines were added, with those that are rows, too."""
        return self.total + self.loaded

    def __enter__(self) -> Quarantine:
        """Keep the file open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def add(self, source: str, generation: int, line: int, offset: int, reason: str, row: bytes) -> None:
        """
        Keep a malformed line.

        :param source: the object's name in the vendor's bucket
        :param line: its number in the file, from 1
        :param offset: the offset of its first byte in the file
        :param reason: in words, without quoting the row
        """
        self._keep(source, generation, line, offset, reason, row)
        self.by_source[source] += 1
        self.reasons[reason] += 1

    def add_loaded(self, source: str, generation: int, line: int, offset: int, reason: str, row: bytes) -> None:
        """Keep a line that is a row, too, and so isn't malformed: see :meth:`add`."""
        self._keep(source, generation, line, offset, reason, row)
        self.loaded += 1

    def _keep(self, source: str, generation: int, line: int, offset: int, reason: str, row: bytes) -> None:
        source_number = self._source_numbers.setdefault((source, generation), len(self._source_numbers) + 1)
        reason_number = self._reason_numbers.setdefault(reason, len(self._reason_numbers) + 1)
        self._file.write(f"{source_number},{line},{offset},{reason_number},{row.hex()}\n".encode())

    def write_parquet(self, duck: Any, path: Path) -> None:
        """
        Write the collected lines as a Parquet file, in their order.

        :raises AylaWarehouseError: if DuckDB fails
        """
        import duckdb

        self._file.flush()
        try:
            self._write(duck, path)
        except duckdb.Error as error:
            # Not DuckDB's own words, which can quote a row.
            raise AylaWarehouseError(
                f"DuckDB failed to write the {self.kept:,} malformed lines ({type(error).__name__}). Nothing was "
                "loaded. Raise the operator's memory, then clear the task."
            ) from None

    def _write(self, duck: Any, path: Path) -> None:
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _COLUMNS.items())
        ranks = {source: rank for rank, source in enumerate(sorted(self._source_numbers))}
        duck.execute(
            f"""copy (
                select ($sources::varchar[])[source] as source_object,
                    ($generations::bigint[])[source] as source_generation, line, byte_offset,
                    ($reasons::varchar[])[reason] as reason, coalesce(unhex(row_bytes), ''::blob) as row_bytes
                from read_csv($file, auto_detect=false, header=false, delim=',', quote='', escape='', new_line='\\n',
                    columns={{{columns}}}, max_line_size={16 * 1024 * 1024}, buffer_size={32 * 1024 * 1024})
                order by ($ranks::bigint[])[source], line
            ) to {literal(str(path))} (format parquet, compression zstd)""",
            {
                "file": str(self._path),
                "sources": [source for source, _ in self._source_numbers],
                "generations": [generation for _, generation in self._source_numbers],
                "reasons": list(self._reason_numbers),
                "ranks": [ranks[source] for source in self._source_numbers],
            },
        )

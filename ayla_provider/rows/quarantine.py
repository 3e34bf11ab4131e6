"""The lines that can't be read: kept with their exact bytes, their place, and the reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ayla_provider.errors import AylaWarehouseError
from ayla_provider.rows.duck import literal

if TYPE_CHECKING:
    from types import TracebackType

MAX_MALFORMED = 0.1
"""The share of an hour's lines that may be malformed, by default."""

FEW_MALFORMED = 3
"""So many lines, but not more than half of an hour's lines, may be malformed whatever their share is."""

_COLUMNS = {
    "source_object": "VARCHAR",
    "source_generation": "BIGINT",
    "line": "BIGINT",
    "byte_offset": "BIGINT",
    "reason": "VARCHAR",
    "row_bytes": "VARCHAR",
}


class Quarantine:
    """
    Collects the malformed lines of an hour on disk, so that memory doesn't grow with their number.

    :param path: a file to collect them in
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self.by_source: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many lines were added."""
        return self.by_source.total()

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
        Keep a line.

        :param source: the object's name in the vendor's bucket
        :param line: its number in the file, from 1
        :param offset: the offset of its first byte in the file
        :param reason: in words, without quoting the row
        """
        cells = (source.encode().hex(), str(generation), str(line), str(offset), reason.encode().hex(), row.hex())
        self._file.write(",".join(cells).encode() + b"\n")
        self.by_source[source] += 1
        self.reasons[reason] += 1

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
                f"DuckDB failed to write the {self.total:,} malformed lines ({type(error).__name__}). Nothing was "
                "loaded. Raise the operator's memory, then clear the task."
            ) from None

    def _write(self, duck: Any, path: Path) -> None:
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _COLUMNS.items())
        duck.execute(
            f"""copy (
                select decode(unhex(source_object)) as source_object, source_generation, line, byte_offset,
                    decode(unhex(reason)) as reason, coalesce(unhex(row_bytes), ''::blob) as row_bytes
                from read_csv($file, auto_detect=false, header=false, delim=',', quote='', escape='', new_line='\\n',
                    columns={{{columns}}}, max_line_size={16 * 1024 * 1024}, buffer_size={32 * 1024 * 1024})
                order by source_object, line
            ) to {literal(str(path))} (format parquet, compression zstd)""",
            {"file": str(self._path)},
        )

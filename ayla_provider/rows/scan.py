"""What one statement reads: the lines of files as columns of text. The lines are CSV, or JSON of a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.csv.sample import LONGEST_ROW
from ayla_provider.domain.stream_layout import NO_UUID, Place, StreamCells
from ayla_provider.domain.tables import STREAM_TABLES, ColumnType
from ayla_provider.rows.duck import literal, quoted
from ayla_provider.rows.intake import GoodLines
from ayla_provider.rows.stream_intake import LONGEST_LINE, StreamLines

_LONGEST_CSV_LINE = LONGEST_ROW + 1024
"""Above the longest row with its line end and the number of its file, so that the intake alone decides what is too
long."""

_BUFFER = 16 * 1024 * 1024
"""Bytes that a thread reads at once. By default, it is so much that threads wait for each other."""


class Scan(ABC):
    """A file of lines, and the files of the hour that it holds."""

    def __init__(self, path: Path, recognised: Recognised) -> None:
        self.path = path
        self.recognised = recognised
        self.files: list[GoodLines] = []

    @abstractmethod
    def text(self, names: Sequence[str], *, exact: bool) -> str:
        """
        Return the query of columns as text, and of ``#file``, the number of the line's file.

        :param names: the columns that are needed
        :param exact: whether :attr:`line` or :attr:`place` is used; it takes longer
        """

    @abstractmethod
    def cell(self, name: str, *, exact: bool) -> str:
        """Return the expression of a cell of :meth:`text`; null if it is empty, or the word ``null``."""

    @property
    @abstractmethod
    def line(self) -> str:
        """The expression of what a whole row says. Rows are the same if it is."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The expression of the text that names a line, see :meth:`~ayla_provider.rows.intake.GoodLines.is_line`."""


def scans_of(files: Iterable[GoodLines]) -> list[Scan]:
    """Return the scans of all files that have lines."""
    scans: dict[Path, Scan] = {}
    for file in files:
        if file.count:
            if file.path not in scans:
                scans[file.path] = JsonScan(file) if isinstance(file, StreamLines) else CsvScan(file)
            scans[file.path].files.append(file)
    return list(scans.values())


class CsvScan(Scan):
    """Lines of CSV without a header, all with the same columns."""

    def __init__(self, file: GoodLines) -> None:
        super().__init__(file.path, file.known)
        self._first = file

    def text(self, names: Sequence[str], *, exact: bool) -> str:
        """See :class:`Scan`."""
        file = self._first
        types = ["'#file': 'INTEGER'"] if file.joined else []
        types += [f"{literal(name)}: 'VARCHAR'" for name in self.recognised.columns]
        number = "" if file.joined else f'{file.number} as "#file", '
        line_end = "\\r\\n" if file.line_end == b"\r\n" else "\\n"
        # With a text that never occurs, nothing is read as null.
        null = "chr(0)" if exact else "['', 'null']"
        # DuckDB must not guess anything. A line that it can't read is an error, because intake dropped all such lines.
        return (
            f"(select {number}* from read_csv({literal(str(self.path))}, auto_detect=false, header=false, "
            f"columns={{{', '.join(types)}}}, delim=',', quote='', escape='', new_line='{line_end}', nullstr={null}, "
            f"max_line_size={_LONGEST_CSV_LINE}, buffer_size={_BUFFER}, strict_mode=false))"
        )

    def cell(self, name: str, *, exact: bool) -> str:
        """See :class:`Scan`."""
        return f"nullif(nullif(\"{name}\", ''), 'null')" if exact else f'"{name}"'

    @property
    def line(self) -> str:
        """See :class:`Scan`."""
        # Nothing is quoted in the file, so this is the line's text.
        return "concat_ws(',', " + ", ".join(f'"{name}"' for name in self.recognised.columns) + ")"

    @property
    def place(self) -> str:
        """See :class:`Scan`."""
        return self.line


class JsonScan(Scan):
    """Lines of a stream's files."""

    def __init__(self, file: StreamLines) -> None:
        super().__init__(file.path, file.known)
        self._first = file

    @property
    def _cells(self) -> StreamCells:
        cells = self._first.cells
        if cells is None:
            raise ValueError(f"{self._first.source} has no lines")
        return cells

    def text(self, names: Sequence[str], *, exact: bool) -> str:
        """See :class:`Scan`."""
        types = {"shard": "VARCHAR", "sequence": "VARCHAR", "place": "VARCHAR"} if exact else {}
        if self._first.joined:
            types["#file"] = "INTEGER"
        number = '"#file"' if self._first.joined else f'{self._first.number} as "#file"'
        places = [place for name in names for place in self._cells.places.get(name, ())]
        if "event_type" in names:
            places += self._cells.bodies
        # Without a place, the struct would have no field.
        types["event"] = _struct(places) if places else "VARCHAR"
        columns = ", ".join(f"{quoted(name)}: {literal(kind)}" for name, kind in types.items())
        cells = "".join(f', {self._read(name)} as "{name}"' for name in names)
        place = f', {_PLACE} as "#place"' if exact else ""
        return (
            f"(select {number}{cells}{place} from read_json({literal(str(self.path))}, format='newline_delimited', "
            f"columns={{{columns}}}, maximum_object_size={LONGEST_LINE}))"
        )

    def cell(self, name: str, *, exact: bool) -> str:
        """See :class:`Scan`."""
        return f'"{name}"'

    @property
    def line(self) -> str:
        """See :class:`Scan`."""
        # No cell holds a NUL.
        cells = ", ".join(f"coalesce(\"{name}\", '')" for name in self.recognised.columns)
        return f"concat_ws(chr(0), {cells})"

    @property
    def place(self) -> str:
        """See :class:`Scan`."""
        return '"#place"'

    def _read(self, name: str) -> str:
        """Return the expression of a column, over the records' objects."""
        values = [_at(place) for place in self._cells.places.get(name, ())]
        text = f"coalesce({', '.join(values)})" if len(values) > 1 else "".join(values)
        value = f"nullif(nullif({text}, ''), 'null')" if text else "null::varchar"
        event_type = self.recognised.layout.event_type
        if name == "event_type":
            # A record without its body is one of another type.
            bodies = " or ".join(f"{_at(place)} is not null" for place in self._cells.bodies) or "false"
            return f"case when {bodies} then {value} else 'no body' end"
        if name == self.recognised.layout.identity:
            return f"nullif({value}, '{NO_UUID}')"
        kinds = {column.name: column.type for column in STREAM_TABLES[event_type].columns}
        if text and kinds.get(name) is ColumnType.TIMESTAMP:
            # In Ayla's documents, 0000-00-0T00:00:00Z means that there is no time.
            return f"case when not starts_with({value}, '0000-') then {value} end"
        return value


_PLACE = (
    """'{"shard":' || to_json(shard)::varchar || ',"sequence":' || to_json("sequence")::varchar """
    """|| coalesce(',"place":' || place, '') || ','"""
)
"""How a line begins: no other line of the stream begins like this."""


def _at(place: Place) -> str:
    return ".".join(("event", *map(quoted, place)))


def _struct(places: Iterable[Place]) -> str:
    """Return the type that reads the text at some places."""
    fields: dict[str, list[Place]] = {}
    for place in places:
        inner = fields.setdefault(place[0], [])
        if place[1:]:
            inner.append(place[1:])
    kinds = (f"{quoted(key)} {_struct(inner) if inner else 'VARCHAR'}" for key, inner in fields.items())
    return f"STRUCT({', '.join(kinds)})"

"""
An hour's good lines as one Parquet file: typed, decoded, each row once.

The text is scanned, and no table of it is made: a first scan finds the few identities that stand there more than once,
a second, if there are any, gets their rows, and a last one streams every other row straight into the Parquet file. So
neither memory nor disk holds the hour's rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.csv.sample import HEAD, LONGEST_ROW
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.domain.privacy import PrivacyPolicy, Treatment
from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.rows.duck import MEMORY, connect, literal
from ayla_provider.rows.expressions import Typing, filled, table_of, typed_name, typing_of
from ayla_provider.rows.intake import Taken, take_in
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.transport.checksum import Crc32c

if TYPE_CHECKING:
    import duckdb

PARQUET = "format parquet, compression zstd, compression_level 1, parquet_version v2, dictionary_size_limit 4096"

_BLOCK = 64
"""Bytes of SHA-256's block."""

_NO_KEYS = 'select 0::ubigint as "#key" where false'

_TYPES = {
    ColumnType.TEXT: "varchar",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.UUID: "varchar",
    ColumnType.TIMESTAMP: "timestamptz",
}


@dataclass(slots=True)
class FileBalance:
    """What became of the lines of one file: lines = loaded + duplicates + quarantined."""

    lines: int = 0
    loaded: int = 0
    duplicates: int = 0
    quarantined: int = 0


@dataclass(slots=True)
class TypedHour:
    """
    The rows of an hour.

    :param table: the table that they are of, as the privacy policy leaves it
    :param files: source object to what became of its lines
    """

    table: Table
    rows: int
    files: dict[str, FileBalance] = field(default_factory=dict)


@contextlib.contextmanager
def duck(folder: Path, memory: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """
    Open a DuckDB in memory that downloads nothing, and works on disk beyond a limit.

    :param folder: for what doesn't fit into memory
    :param memory: as DuckDB writes sizes: ``512MB``
    :raises AylaConfigError: if DuckDB isn't installed, or the memory is no size
    """
    connection = connect(memory=memory, folder=folder)
    try:
        yield connection
    finally:
        connection.close()


def type_hour(
    connection: Any,
    hour: ExportHour,
    taken: Sequence[Taken],
    parquet: Path,
    *,
    quarantine: Quarantine,
    policy: PrivacyPolicy,
) -> TypedHour:
    """
    Write the rows of an hour's files as a Parquet file.

    :param connection: see :func:`duck`
    :param taken: the files, taken in
    :param parquet: where to write to
    :param quarantine: takes the rows in which a cell isn't of its column's type
    :raises AylaWarehouseError: if DuckDB fails, or lines are neither loaded nor left out for a reason
    """
    table = table_of(hour.event_type, [one.recognised for one in taken if one.recognised])
    with _told(str(hour)):
        typist = _Typist(connection, hour, table, taken, policy)
        typist.write(parquet)
        result = typist.balanced(parquet, quarantine)
    for source, file in result.files.items():
        if file.lines != file.loaded + file.duplicates + file.quarantined:
            raise AylaWarehouseError(
                f"{hour}: of {source}, {file.loaded:,} loaded, {file.duplicates:,} "
                f"duplicate and {file.quarantined:,} quarantined lines don't make its {file.lines:,}. Nothing was "
                "loaded. This is a fault of this provider; please report it."
            )
    return result


def sample(path: Path, found: Recognised, rows: int) -> list[dict[str, object]]:
    """
    Return the first good rows of a file, typed: column of the table to its value.

    :param path: a file on this machine's disk, of which only the beginning is read
    :raises AylaError: if it can't be read
    """
    event_type = found.layout.event_type
    with tempfile.TemporaryDirectory(prefix="ayla-sample-") as name, path.open("rb") as file:
        folder, head = Path(name), file.read(HEAD)
        if len(head) == HEAD:
            head = head[: head.rfind(b"\n") + 1]
        (folder / "head.csv").write_bytes(head)
        entry = ManifestFile(path.name, 0, len(head), Crc32c(head).base64, "", "head.csv")
        with Quarantine(folder / "quarantine") as quarantine, duck(folder) as connection:
            taken = take_in(
                FileDestination(folder),
                entry,
                folder / "good.csv",
                event_type=event_type,
                layouts=(found.layout,),
                quarantine=quarantine,
            )
            table = table_of(event_type, [found])
            with _told(str(path)):
                hour = ExportHour(EventType(event_type), datetime(1970, 1, 1, tzinfo=UTC))
                return _Typist(connection, hour, table, [taken], PrivacyPolicy()).sample(rows)


class _Typist:
    """The statements, in their order."""

    def __init__(
        self,
        connection: Any,
        hour: ExportHour,
        table: Table,
        taken: Sequence[Taken],
        policy: PrivacyPolicy,
    ) -> None:
        self._duck = connection
        self._hour = hour
        self._table = table
        self._taken = taken
        self._policy = policy
        self._files = [one for one in taken if one.good]

    def write(self, parquet: Path) -> None:
        run = self._duck.execute
        run("set preserve_insertion_order = false")
        # Else every expression is computed twice, once of them to filter by it; and the rows, of which DuckDB doesn't
        # know how many they are, are what a join holds in memory.
        run("set disabled_optimizers = 'filter_pushdown,build_side_probe_side,join_order'")
        keys = " union all ".join(f'select "#key" from {self._lines_of(one, exact=False)}' for one in self._files)
        run(
            "create or replace temp table repeated as "
            f'select "#key" from ({keys or _NO_KEYS}) group by all having count(*) > 1'
        )
        ((repeats,),) = run("select count(*) from repeated").fetchall()
        # An hour without any takes one scan less.
        rows = self._rows("semi join repeated", exact=True) if repeats else self._no_rows()
        others = self._rows("anti join repeated" if repeats else "")
        run(
            'create or replace temp table candidates as select * exclude ("#bad", "#fault") '
            f'from ({rows}) where "#bad" is not true'
        )
        newest = "updated_at desc nulls last, " if "updated_at" in self._table.names else ""
        run(
            'create or replace temp table settled as select * exclude ("#identity", "#line") from candidates '
            'qualify row_number() over (partition by coalesce("#identity", "#line") '
            f'order by {newest}source_object desc, "#line" desc) = 1'
        )
        self._hash_with(self._policy.key)
        columns = ", ".join(filter(None, map(self._treated, self._table.columns)))
        run(
            f'copy (select {columns} from ({others}) where "#bad" is not true union all '
            f"select {columns} from settled) to {literal(str(parquet))} ({PARQUET})"
        )

    def balanced(self, parquet: Path, quarantine: Quarantine) -> TypedHour:
        loaded = self._by_source(f"read_parquet({literal(str(parquet))})")
        candidates, settled = self._by_source("candidates"), self._by_source("settled")
        files = {}
        for one in self._taken:
            here, left = loaded.get(one.source, 0), candidates.get(one.source, 0)
            kept = settled.get(one.source, 0)
            if one.good != here - kept + left:
                self._find_faults(one, quarantine)
            files[one.source] = FileBalance(one.lines, here, left - kept, quarantine.by_source[one.source])
        return TypedHour(self._policy.table(self._table), sum(loaded.values()), files)

    def sample(self, rows: int) -> list[dict[str, object]]:
        names = [column.name for column in self._table.data]
        columns = ", ".join(f'"{name}"' for name in names)
        found = self._duck.execute(f'select {columns} from ({self._rows()}) where "#bad" is not true limit {rows:d}')
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def _by_source(self, relation: str) -> dict[str, int]:
        return dict(self._duck.execute(f"select source_object, count(*) from {relation} group by all").fetchall())

    def _find_faults(self, one: Taken, quarantine: Quarantine) -> None:
        """Quarantine the rows in which a cell isn't of its type: in their order, which leads to their places."""
        self._duck.execute("set preserve_insertion_order = true")
        faults = self._duck.execute(f'select "#line", "#fault" from ({self._rows_of(one, exact=True)}) where "#bad"')
        places = one.places()
        while some := faults.fetchmany(1000):
            for line, fault in some:
                row = line.encode()
                number, offset = next((number, offset) for number, offset, text in places if text == row)
                quarantine.add(one.source, one.generation, number, offset, fault, row)

    def _rows(self, only: str = "", *, exact: bool = False) -> str:
        """
        Return what selects rows: typed, and with what tells them apart and what is wrong with them.

        :param only: a join that says which
        :param exact: with each row's whole text, and the reason why it is malformed, which takes longer
        """
        return " union all ".join(self._rows_of(one, only, exact=exact) for one in self._files) or self._no_rows()

    def _no_rows(self) -> str:
        columns = [f'null::{_TYPES[column.type]} as "{column.name}"' for column in self._table.columns]
        internal = '\'\' as "#identity", \'\' as "#line", false as "#bad", \'\' as "#fault"'
        return f"select {', '.join(columns)}, {internal} where false"

    def _rows_of(self, one: Taken, only: str = "", *, exact: bool = False) -> str:
        typing = self._typing(one)
        provenance = {
            "folder_hour": f"timestamptz {literal(self._hour.start.isoformat())}",
            "source_object": literal(one.source),
            "source_generation": f"{one.generation}::bigint",
        }
        values = typing.values | provenance
        typed = [f"{values[name]} as {typed_name(name)}" for name in values]
        columns = [
            f'{typed_name(column.name) if column.name in values else "null"}::{_TYPES[column.type]} as "{column.name}"'
            for column in self._table.columns
        ]
        bad = " or ".join(f"({fault})" for fault in typing.faults) or "false"
        reasons = [f"case when {fault} then {literal(reason)} end" for fault, reason in typing.faults.items()]
        return (
            f'select {", ".join(columns)}, {typing.identity or "null::varchar"} as "#identity", "#line", '
            f'{bad} as "#bad", concat_ws(\'; \', {", ".join([*reasons, "null"])}) as "#fault" '
            f"from (select *, {', '.join(typed)} from {self._lines_of(one, only, exact=exact)})"
        )

    def _lines_of(self, one: Taken, only: str = "", *, exact: bool) -> str:
        """
        Return the text of a file's columns, null where nothing or ``null`` stands, with a number that tells rows apart.

        Rows without an identity share a number, as rows do that only differ in how they say nothing: they count as
        repeated until they are looked at as a whole.

        :param exact: with each row's whole text
        """
        names = one.known.columns
        identity = self._typing(one).identity
        cells = {name: f"nullif(nullif(\"{name}\", ''), 'null')" if exact else f'"{name}"' for name in names}
        join = f'{only} using ("#key")' if only else ""
        if identity is None:
            key = f"hash({', '.join(cells.values())})"
        else:
            name = str(one.known.layout.identity)
            key = f"hash({identity.replace(filled(name), cells[name])})"
        if not exact:
            return f'(select *, null::varchar as "#line" from (select *, {key} as "#key" from {_csv(one)}) {join})'
        # Nothing is quoted, so this is what stands in the file.
        line = "concat_ws(',', " + ", ".join(f'"{name}"' for name in names) + ")"
        columns = ", ".join(f'{cell} as "{name}"' for name, cell in cells.items())
        return (
            f'(select {columns}, {line} as "#line" '
            f'from (select *, {key} as "#key" from {_csv(one, null="chr(0)")}) {join})'
        )

    def _typing(self, one: Taken) -> Typing:
        return typing_of(self._hour.event_type, one.known, self._table)

    def _treated(self, column: Column) -> str:
        name = f'"{column.name}"'
        treatment = self._policy.of(column)
        if treatment is Treatment.DROP:
            return ""
        if treatment is Treatment.KEEP:
            return name
        inner = f"sha256(getvariable('ayla_inner') || encode({name}::varchar))"
        return f"case when {name} is not null then sha256(getvariable('ayla_outer') || unhex({inner})) end as {name}"

    def _hash_with(self, key: str) -> None:
        """Lay down HMAC's two keys, as in RFC 2104, where no statement and no error shows them."""
        secret = key.encode()
        block = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        for name, pad in (("ayla_inner", 0x36), ("ayla_outer", 0x5C)):
            self._duck.execute(f"set variable {name} = $pad::blob", {"pad": bytes(byte ^ pad for byte in block)})


def _csv(one: Taken, null: str = "['', 'null']") -> str:
    """
    Return what reads a file.

    :param null: which text is read as null; one that doesn't occur keeps all as it is
    """
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in one.known.columns)
    line_end = "\\r\\n" if one.line_end == b"\r\n" else "\\n"
    # Nothing is left to guess, and a line that can't be read is an error: there should be none.
    return (
        f"read_csv({literal(str(one.path))}, auto_detect=false, header=false, columns={{{columns}}}, delim=',', "
        f"quote='', escape='', new_line='{line_end}', nullstr={null}, max_line_size={LONGEST_ROW}, strict_mode=false)"
    )


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Tell what failed; not in DuckDB's words, which can quote a row."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise AylaWarehouseError(
            f"{what}: DuckDB needs more memory, or more room for temporary files, than it may take. Raise the "
            "operator's memory, or free space in the worker's temporary folder; then clear the task."
        ) from None
    except duckdb.Error as error:
        raise AylaWarehouseError(
            f"{what}: DuckDB failed to read the files ({type(error).__name__}). Nothing was loaded. If it happens "
            "again, please report it with the version of DuckDB."
        ) from None

"""
Makes one Parquet file of an hour's good lines: typed, decoded, and each row once.

If a column identifies a row, the files' text is scanned once. Every row goes into a Parquet file, whose column says
which identities occur more than once. Only if some do, the file is written again, without the rows that lose.

Otherwise a row's whole text identifies it, and a Parquet file doesn't hold that. Then the text is scanned up to three
times, without making a table of it. The first scan finds the texts that occur more than once. The second, only if there
are any, writes their rows to disk, to choose one of each. The last one streams every other row into the Parquet file.
In both cases memory holds a few numbers for each repeated row, and no row.

The cost depends on the number of lines, not of files: files with the same columns are one file here, see
:class:`~ayla_provider.rows.intake.GoodLines`.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.csv.columns import ColumnLayout
from ayla_provider.domain.csv.fit import is_contradicted, is_order_uncertain
from ayla_provider.domain.csv.recognition import ADVICE, Recognised
from ayla_provider.domain.csv.sample import LONGEST_HEAD, head_of
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.domain.new_columns import NEW_COLUMN, OnNewColumn, new_columns_of
from ayla_provider.domain.privacy import PrivacyPolicy, Treatment
from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.errors import AylaLayoutError, AylaWarehouseError
from ayla_provider.rows.duck import connect, literal
from ayla_provider.rows.expressions import RowExpressions, expressions_of, filled, table_of, typed_name
from ayla_provider.rows.intake import GoodLines, fetch_good_lines
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.rows.scan import Scan, scans_of
from ayla_provider.rows.stream_intake import LinesRefusedError, StreamLines, find_cells
from ayla_provider.transport.checksum import Crc32c

PARQUET = (
    "format parquet, compression zstd, compression_level 1, parquet_version v2, dictionary_size_limit 4096, "
    # By default a row group ends after a number of rows, and so many long values don't fit into the memory.
    "row_group_size_bytes '32MB'"
)

_LONG_LINE = 64 * 1024
"""Bytes. If the lines are longer on average, one thread reads them."""

_QUICK = PARQUET.replace("compression zstd, compression_level 1", "compression snappy")
"""For a file that is only read once, on this disk."""

_MOST_MODELS_COUNTED = 1000
"""How many models of a Parquet file are counted. A receipt names fewer."""

_BLOCK = 64
"""Bytes of a block of SHA-256."""

SAME = "#same"
"""The column of what a row is compared by with the rows of other parts of its hour: a hash that any worker computes
alike. Rows of other files are the same if it is."""

_NO_KEYS = 'select 0::ubigint as "#key" where false'

TYPES = {
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
class HourBalance:
    """
    What became of the lines of an hour.

    :param table: the rows' table, after the privacy policy
    :param rows: in the Parquet file
    :param files: source object to what became of its lines
    :param models: each model to its rows, see :func:`models_of`; None if the rows don't have their names
    """

    table: Table
    rows: int
    files: dict[str, FileBalance] = field(default_factory=dict)
    models: Counter[str] | None = None


def type_hour(
    connection: Any,
    hour: ExportHour,
    files: Sequence[GoodLines],
    parquet: Path,
    *,
    quarantine: Quarantine,
    policy: PrivacyPolicy,
    declared: Sequence[ColumnLayout] = (),
    of_hour: Sequence[Recognised] = (),
    marked: bool = False,
    on_new_column: OnNewColumn = OnNewColumn.EVOLVE,
) -> HourBalance:
    """
    Write the rows of an hour's files as a Parquet file.

    :param connection: see :func:`~ayla_provider.rows.duck.connect`
    :param files: the good lines of each file
    :param parquet: the file to write
    :param quarantine: gets the rows in which a cell isn't of its column's type
    :param declared: for a stream, layouts whose own columns give new columns their types
    :param of_hour: what the columns of all files of the hour are, if ``files`` are a part of it
    :param marked: whether to add the column :data:`SAME`, which takes longer
    :param on_new_column: what becomes of columns that nobody knows
    :raises AylaLayoutError: if the rows of a file contradict the order of its columns, or a file has a new column and
        ``on_new_column`` is ``fail``
    :raises LinesRefusedError: if DuckDB refuses a line of a stream
    :raises AylaWarehouseError: if DuckDB fails, or a line is missing from the balance
    """
    with duckdb_errors(str(hour)), tempfile.TemporaryDirectory(dir=parquet.parent) as folder:
        streamed = [file for file in files if isinstance(file, StreamLines)]
        with _refused_lines() if streamed else contextlib.nullcontext():
            find_cells(connection, hour.event_type, streamed, declared)
            recognised = [file.recognised for file in files if file.recognised]
            table = table_of_hour(hour.event_type, of_hour or recognised)
            new = new_columns_of(hour.event_type, of_hour or recognised)
            if new and on_new_column is OnNewColumn.FAIL:
                raise _refusal_of_new_columns(hour, files)
            treated = policy if on_new_column is OnNewColumn.EVOLVE else policy.leaving_out(new)
            statements = _HourStatements(connection, hour, table, files, treated, marked=marked)
            statements.write(parquet, Path(folder))
        balance = statements.balance(parquet, quarantine)
        if on_new_column is OnNewColumn.QUARANTINE:
            statements.quarantine_rows_with(new, quarantine)
    for source, file in balance.files.items():
        if file.lines != file.loaded + file.duplicates + file.quarantined:
            raise AylaWarehouseError(
                f"{hour}: of {source}, {file.loaded:,} loaded, {file.duplicates:,} "
                f"duplicate and {file.quarantined:,} quarantined lines don't make its {file.lines:,}. Nothing was "
                "loaded. This is a bug in this provider; please report it."
            )
    return balance


def table_of_hour(event_type: str, recognised: Sequence[Recognised]) -> Table:
    """Return the canonical table for an hour's files, given what the columns of each are, in the files' order."""
    different = {(each.layout.name, each.columns): each for each in recognised}
    return table_of(event_type, list(different.values()))


def sample(path: Path, recognised: Recognised, rows: int) -> list[dict[str, object]]:
    """
    Return the first good rows of a file, typed: column of the table to its value.

    :param path: a file on this machine's disk; only its beginning is read
    :raises AylaError: if the file can't be read
    """
    event_type = recognised.layout.event_type
    with scratch_folder() as folder, path.open("rb") as file:
        head = head_of(file.read(LONGEST_HEAD))
        if len(head) < path.stat().st_size:
            head = head[: head.rfind(b"\n") + 1]
        (folder / "head.csv").write_bytes(head)
        entry = ManifestFile(path.name, 0, len(head), Crc32c(head).base64, "", "head.csv")
        with Quarantine(folder / "quarantine") as quarantine, contextlib.closing(connect(folder=folder)) as connection:
            good = fetch_good_lines(
                FileDestination(folder),
                entry,
                folder / "good.csv",
                event_type=event_type,
                layouts=(recognised.layout,),
                quarantine=quarantine,
            )
            table = table_of(event_type, [recognised])
            with duckdb_errors(str(path)):
                hour = ExportHour(EventType(event_type), datetime(1970, 1, 1, tzinfo=UTC))
                statements = _HourStatements(connection, hour, table, [good], PrivacyPolicy())
                return statements.sample(rows)


class _HourStatements:
    """The statements that type an hour's rows, in their order."""

    def __init__(
        self,
        connection: Any,
        hour: ExportHour,
        table: Table,
        files: Sequence[GoodLines],
        policy: PrivacyPolicy,
        *,
        marked: bool = False,
    ) -> None:
        self._duck = connection
        self._hour = hour
        self._table = table
        self._files = files
        self._policy = policy
        self._marked = marked
        self._scans = scans_of(files)
        self._candidates = ""
        """The relation of the rows whose keys are repeated; empty if there are none, or if they weren't needed."""
        self._good: Counter[str] = Counter()
        """How many good rows each file has, with those that repeat others."""
        connection.execute(
            'create or replace temp table sources as select unnest($numbers::integer[]) as "#file", '
            'unnest($names::varchar[]) as "#source", unnest($generations::bigint[]) as "#generation"',
            {
                "numbers": [file.number for file in files],
                "names": [file.source for file in files],
                "generations": [file.generation for file in files],
            },
        )

    def write(self, parquet: Path, folder: Path) -> None:
        """
        Write the rows, if need be slower and with less memory.

        :param folder: for files that aren't needed later
        """
        import duckdb

        size = sum(scan.path.stat().st_size for scan in self._scans)
        if size > _LONG_LINE * sum(file.count for file in self._files):
            # Two threads with long rows can wait for each other's memory, without an end.
            self._duck.execute("set threads = 1")
        try:
            self._write(parquet, folder)
        except duckdb.OutOfMemoryException:
            # Each thread holds rows of its own, and a row can have mebibytes.
            self._duck.execute("set threads = 1")
            self._candidates = ""
            self._write(parquet, folder)

    def _write(self, parquet: Path, folder: Path) -> None:
        run = self._duck.execute
        run("set preserve_insertion_order = false")
        for scan in self._scans:
            if is_order_uncertain(scan.recognised.layout, header=scan.recognised.header):
                self._refuse_another_order(scan)
        # With these optimizers, DuckDB computes every expression twice, once of it to filter. And because it can't know
        # the number of rows, it makes the rows the side of a join that it holds in memory.
        run("set disabled_optimizers = 'filter_pushdown,build_side_probe_side,join_order'")
        self._hash_with(self._policy.key)
        identity = self._typed_identity()
        if identity and self._write_with_one_scan(parquet, folder / "all.parquet", identity):
            return
        columns = self._written
        others = self._choose(folder / "candidates.parquet")
        # The candidates' identity is a hash already.
        mark = f', "#identity" as "{SAME}"' if self._marked else ""
        settled = f" union all select {columns}{mark} from {self._settled()}" if self._candidates else ""
        self._copy(f'select {columns}{self._mark} from ({others}) where "#bad" is not true{settled}', parquet)
        self._good = self._by_source(_all_of(parquet))
        if self._candidates:
            self._good += self._by_source(self._candidates)
            self._good -= self._by_source(self._settled())

    def _typed_identity(self) -> str | None:
        """Return the column by which the Parquet file shows which rows repeat others; None if it needs their text."""
        identities = {self._expressions(scan).typed_identity for scan in self._scans}
        identity = identities.pop() if len(identities) == 1 else None
        # What a row is chosen by.
        needed = {identity, "updated_at", "source_object"}
        treated = any(column.name in needed and not self._is_kept(column) for column in self._table.columns)
        return None if treated else identity

    def _is_kept(self, column: Column) -> bool:
        return self._policy.of(column) is Treatment.KEEP

    def _write_with_one_scan(self, parquet: Path, every: Path, identity: str) -> bool:
        """
        Write all rows, and then again those that stay, if some repeat others.

        :param every: a file for all rows
        :param identity: the column that identifies a row
        :return: False if the text of the rows is needed to choose one of them. Then nothing is written.
        """
        run = self._duck.execute
        self._copy(f'select {self._written}{self._mark} from ({self._rows()}) where "#bad" is not true', every)
        rows = f"read_parquet({literal(str(every))}, file_row_number = true)"
        # A row without an identity is marked by its text.
        if self._marked and run(f'select 1 from {rows} where "{SAME}" is null limit 1').fetchone():
            every.unlink()
            return False
        self._good = self._by_source(rows)
        # A hash takes less memory than an identity. Different ones can have the same, and so are compared below.
        run(
            f'create or replace temp table repeated as select hash("{identity}") as "#key" from {rows} '
            "group by all having count(*) > 1"
        )
        if not run("select 1 from repeated limit 1").fetchone():
            every.rename(parquet)
            return True
        candidates = f'(select *, hash("{identity}") as "#key" from {rows}) semi join repeated using ("#key")'
        best = [f'"{name}"' for name in ("updated_at", "source_object") if name in self._table.names]
        # Of different rows with one identity, time and file, the text decides. So it does for rows without an identity.
        same = ", ".join([f'"{identity}"', *best])
        unclear = f'"{identity}" is null or min({self._digest}) <> max({self._digest})'
        if run(f"select 1 from {candidates} group by {same} having {unclear} limit 1").fetchone():
            every.unlink()
            return False
        order = ", ".join(f"{name} desc nulls last" for name in best)
        best_first = f'partition by "{identity}" order by {order}'
        lost = f"select file_row_number from {candidates} qualify row_number() over ({best_first}) > 1"
        # A bit for each row says whether it is lost. A join would need a hundred times the memory.
        total = self._good.total()
        run(f"set variable ayla_lost = (select bitstring_agg(file_row_number, 0, {total}) from ({lost}))")
        stays = "coalesce(get_bit(getvariable('ayla_lost'), file_row_number::integer), 0) = 0"
        self._copy(f"select * exclude (file_row_number) from {rows} where {stays}", parquet)
        every.unlink()
        return True

    def _copy(self, query: str, parquet: Path) -> None:
        options = _QUICK if self._marked else PARQUET
        self._duck.execute(f"copy ({query}) to {literal(str(parquet))} ({options})")

    @property
    def _mark(self) -> str:
        """The further column of a row's mark; empty if there is none."""
        return f', md5(coalesce("#identity", "#line"))::uuid as "{SAME}"' if self._marked else ""

    @property
    def _written(self) -> str:
        """The columns of the Parquet file, after the privacy policy."""
        return ", ".join(filter(None, map(self._treated, self._table.columns)))

    @property
    def _digest(self) -> str:
        """The expression of what a row of the Parquet file says. No value holds a NUL."""
        kept = [column.name for column in self._policy.table(self._table).columns]
        values = [f"coalesce('=' || \"{name}\"::varchar, '')" for name in kept]
        return f"md5(concat_ws(chr(0), {', '.join(values)}))::uuid"

    def _refuse_another_order(self, scan: Scan) -> None:
        """Refuse a file if all its rows say otherwise than its first ones, by which its layout was recognised."""
        # As in agrees() of the module fit.
        agrees = "registered = coalesce(registered_at > unregistered_at, unregistered_at is null)"
        query = (
            f"select source_object, count(*) filter ({agrees}), count(*) filter (not ({agrees})) "
            f"from ({self._rows_of(scan)}) "
            'where "#bad" is not true and registered_at is distinct from unregistered_at group by all order by all'
        )
        for source, agree, contradict in self._duck.execute(query).fetchall():
            if is_contradicted(agree, contradict):
                raise AylaLayoutError(
                    f"{self._hour}, {source}: its first rows have the layout {scan.recognised.layout.name}, but "
                    f"registered contradicts the dates in {contradict:,} of {agree + contradict:,} rows.",
                    ADVICE,
                )

    def _choose(self, candidates: Path) -> str:
        """
        Choose one of each group of rows that say the same, and return the query of the rows of no group.

        Only what a row is chosen by is held for this, and DuckDB puts it on disk if it doesn't fit into the memory.
        """
        run = self._duck.execute
        keys = " union all ".join(map(self._keys_of, self._scans))
        # Then every row that has no identity is a candidate, and the others' mark doesn't need their text.
        without_identity = ' or "#key" = hash(null::varchar)' if self._marked else ""
        run(
            'create or replace temp table repeated as select "#key", count(*) as lines '
            f"from ({keys or _NO_KEYS}) group by all having lines > 1{without_identity}"
        )
        ((lines,),) = run("select coalesce(sum(lines), 0) from repeated").fetchall()
        if not lines:
            return self._rows()
        # If most keys are repeated, all rows together take less time than two scans.
        total = sum(file.count for file in self._files)
        most = 2 * lines > total
        rows = self._rows("" if most else "semi join repeated", exact=True)
        run(
            'copy (select * exclude ("#bad", "#fault", "#file", "#identity"), '
            'md5("#line")::uuid as "#digest", md5(coalesce("#identity", "#line"))::uuid as "#identity" '
            f'from ({rows}) where "#bad" is not true) to {literal(str(candidates))} ({PARQUET})'
        )
        self._candidates = f"read_parquet({literal(str(candidates))}, file_row_number = true)"
        order = ["updated_at", "source_object"] if "updated_at" in self._table.names else ["source_object"]
        # Of different rows with one identity, time and file, the last in the order of their text is chosen. To sort
        # text takes most of the time and disk space here, and such rows are rare.
        same = ", ".join(['"#identity"', *order])
        differ = f'select 1 from {self._candidates} group by {same} having min("#digest") <> max("#digest") limit 1'
        order.append('"#line"' if run(differ).fetchone() else '"#digest"')
        best = f'partition by "#identity" order by {", ".join(f"{name} desc nulls last" for name in order)}'
        # A bit for each of these rows says whether it is chosen. A join would need a hundred times the memory.
        chosen = f"select file_row_number from {self._candidates} qualify row_number() over ({best}) = 1"
        run(f"set variable ayla_settled = (select bitstring_agg(file_row_number, 0, {total}) from ({chosen}))")
        return self._no_rows() if most else self._rows("anti join repeated")

    def _settled(self) -> str:
        return f"{self._candidates} where get_bit(getvariable('ayla_settled'), file_row_number::integer) = 1"

    def balance(self, parquet: Path, quarantine: Quarantine) -> HourBalance:
        loaded = self._by_source(_all_of(parquet))
        # Every good line is a row, or has a cell of another type.
        for scan in self._scans:
            if any(file.count != self._good[file.source] for file in scan.files):
                self._find_faults(scan, quarantine)
        files = {}
        for file in self._files:
            rows, quarantined = loaded[file.source], quarantine.by_source[file.source]
            files[file.source] = FileBalance(file.all_lines, rows, self._good[file.source] - rows, quarantined)
        models = models_of(self._duck, parquet) if keeps_models(self._policy, self._table) else None
        return HourBalance(self._policy.table(self._table), loaded.total(), files, models)

    def sample(self, rows: int) -> list[dict[str, object]]:
        names = [column.name for column in self._table.data]
        columns = ", ".join(f'"{name}"' for name in names)
        found = self._duck.execute(f'select {columns} from ({self._rows()}) where "#bad" is not true limit {rows:d}')
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def _by_source(self, relation: str) -> Counter[str]:
        return Counter(
            dict(self._duck.execute(f"select source_object, count(*) from {relation} group by all").fetchall())
        )

    def _find_faults(self, scan: Scan, quarantine: Quarantine) -> None:
        """Quarantine the rows in which a cell isn't of its type."""
        # In their order, so that one pass over each file finds all their places. A join wouldn't keep it.
        self._duck.execute("set preserve_insertion_order = true")
        rows = self._rows_of(scan, exact=True, sourced=False)
        faults = self._duck.execute(f'select "#file", "#line", "#fault" from ({rows}) where "#bad"')
        for file, number, offset, text, fault in self._places(scan, faults):
            quarantine.add(file.source, file.generation, number, offset, fault, text)

    @staticmethod
    def _places(scan: Scan, found: Any) -> Iterator[tuple[GoodLines, int, int, bytes, str]]:
        """
        Yield where lines are: the file, the line's number and its offset there, its text, and what is said about it.

        :param found: the result of a query of ``#file``, ``#line``, and a text, in the lines' order
        """
        files = {file.number: file for file in scan.files}
        last = None
        while fetched := found.fetchmany(1000):
            for at, line, about in fetched:
                file, row = files[at], line.encode()
                if file is not last:
                    places, last = file.places(), file
                number, offset, text = next(place for place in places if file.is_line(place[2], row))
                yield file, number, offset, text, about

    def quarantine_rows_with(self, columns: Sequence[str], quarantine: Quarantine) -> None:
        """Keep the good rows that have a value in one of these columns in the quarantine, too."""
        self._duck.execute("set preserve_insertion_order = true")
        for scan in self._scans:
            here = [name for name in columns if name in scan.recognised.columns]
            if not here:
                continue
            rows = self._rows_of(scan, exact=True, sourced=False)
            names = [f'case when "{name}" is not null then {literal(name)} end' for name in here]
            reason = f"concat_ws(', ', {', '.join(names)})"
            found = self._duck.execute(
                f'select "#file", "#line", {reason} as "#new" from ({rows}) where "#bad" is not true and "#new" <> \'\''
            )
            for file, number, offset, text, new in self._places(scan, found):
                quarantine.add_loaded(file.source, file.generation, number, offset, f"{NEW_COLUMN}{new}", text)

    def _rows(self, only: str = "", *, exact: bool = False) -> str:
        """
        Return the query of rows: typed, with their key and whether they are malformed.

        :param only: a join that selects some of them
        :param exact: also with each row's whole text, and why it is malformed, which takes longer. Rows that are to be
            marked and that no column identifies always have it
        """
        rows = []
        for scan in self._scans:
            by_text = self._marked and self._expressions(scan).identity is None
            rows.append(self._rows_of(scan, only, exact=exact or by_text))
        return " union all ".join(rows) or self._no_rows()

    def _no_rows(self) -> str:
        columns = [f'null::{TYPES[column.type]} as "{column.name}"' for column in self._table.columns]
        internal = '0 as "#file", \'\' as "#identity", \'\' as "#line", false as "#bad", \'\' as "#fault"'
        return f"select {', '.join(columns)}, {internal} where false"

    def _rows_of(self, scan: Scan, only: str = "", *, exact: bool = False, sourced: bool = True) -> str:
        """See :meth:`_rows`; without ``sourced``, the rows name their line, and of their file only its number."""
        expressions = self._expressions(scan)
        provenance = {
            "folder_hour": f"timestamptz {literal(self._hour.start.isoformat())}",
            "source_object": '"#source"',
            "source_generation": '"#generation"',
        }
        values = expressions.values | (provenance if sourced else {})
        sources = ' join sources using ("#file")' if sourced else ""
        typed = [f"{values[name]} as {typed_name(name)}" for name in values]
        columns = [
            f'{typed_name(column.name) if column.name in values else "null"}::{TYPES[column.type]} as "{column.name}"'
            for column in self._table.columns
        ]
        identity = "null::varchar"
        if expressions.identity is not None:
            identity = expressions.identity_of(filled(expressions.identity))
        bad = " or ".join(f"({fault})" for fault in expressions.faults) or "false"
        reasons = [f"case when {fault} then {literal(reason)} end" for fault, reason in expressions.faults.items()]
        return (
            f'select {", ".join(columns)}, "#file", {identity} as "#identity", "#line", '
            f'{bad} as "#bad", concat_ws(\'; \', {", ".join([*reasons, "null"])}) as "#fault" '
            f"from (select *, {', '.join(typed)} "
            f"from {self._lines_of(scan, only, exact=exact, placed=not sourced)}{sources})"
        )

    def _lines_of(self, scan: Scan, only: str = "", *, exact: bool, placed: bool = False) -> str:
        """
        Return the query of the text of a file's columns, with a key for each row. Empty cells and ``null`` are null.

        The key is a hash of the identity or of all cells. Different rows can share a key: rows without an identity, and
        rows that differ only in how they write an empty cell. They count as repeated until their text is compared.

        :param only: a join that selects some of the rows
        :param exact: also with each row's whole text
        :param placed: with the text that names the line instead
        """
        names = scan.recognised.columns
        expressions = self._expressions(scan)
        cells = {name: scan.cell(name, exact=exact) for name in names}
        join = f'{only} using ("#key")' if only else ""
        if expressions.identity is None:
            key = f"hash({', '.join(cells.values())})"
        else:
            key = f"hash({expressions.identity_of(cells[expressions.identity])})"
        text = scan.text(names, exact=exact)
        if not exact:
            return f'(select *, null::varchar as "#line" from (select *, {key} as "#key" from {text}) {join})'
        columns = ", ".join(f'{cell} as "{name}"' for name, cell in cells.items())
        line = scan.place if placed else scan.line
        return f'(select "#file", {columns}, {line} as "#line" from (select *, {key} as "#key" from {text}) {join})'

    def _keys_of(self, scan: Scan) -> str:
        """Return the query of each row's key alone."""
        expressions = self._expressions(scan)
        names = [expressions.identity] if expressions.identity else scan.recognised.columns
        cells = [scan.cell(name, exact=False) for name in names]
        key = expressions.identity_of(cells[0]) if expressions.identity else ", ".join(cells)
        return f'select hash({key}) as "#key" from {scan.text(names, exact=False)}'

    def _expressions(self, scan: Scan) -> RowExpressions:
        return expressions_of(self._hour.event_type, scan.recognised, self._table)

    def _treated(self, column: Column) -> str:
        name = f'"{column.name}"'
        treatment = self._policy.of(column)
        if treatment is Treatment.DROP:
            return ""
        if treatment is Treatment.KEEP:
            return name
        inner = f"sha256(getvariable('ayla_inner') || encode({name}::varchar))"
        hashed = f"sha256(getvariable('ayla_outer') || unhex({inner}))"
        return f"case when {name} is not null then {literal(f'{self._policy.key_id}:')} || {hashed} end as {name}"

    def _hash_with(self, key: str) -> None:
        """Put HMAC's two keys, as in RFC 2104, into variables, so that no statement and no error shows them."""
        secret = key.encode()
        block = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        for name, pad in (("ayla_inner", 0x36), ("ayla_outer", 0x5C)):
            self._duck.execute(f"set variable {name} = $pad::blob", {"pad": bytes(byte ^ pad for byte in block)})


def _refusal_of_new_columns(hour: ExportHour, files: Sequence[GoodLines]) -> AylaLayoutError:
    """Return the error of an hour with a new column that nobody wants without a decision."""
    for file in files:
        new = new_columns_of(hour.event_type, [file.recognised]) if file.recognised else ()
        if new:
            break
    return AylaLayoutError(
        f"{hour}, {file.source}: new columns {', '.join(new)}, and on_new_column is fail.",
        "Declare the layout in the task's argument layouts, or let on_new_column be evolve, drop, or quarantine. Then "
        "clear the task.",
    )


def keeps_models(policy: PrivacyPolicy, table: Table) -> bool:
    """
    Return whether the rows have the names of models as they are.

    :param table: the rows' table, before the privacy policy
    """
    return any(column.name == "oem_model" and policy.of(column) is Treatment.KEEP for column in table.columns)


def models_of(connection: Any, parquet: Path) -> Counter[str]:
    """
    Return how many rows of a Parquet file each model has.

    Names of models come from outside. Of very many, the largest ones are returned.
    """
    counted = connection.execute(
        f"select oem_model, count(*) as counted from {_all_of(parquet)} where oem_model is not null "
        f"group by all order by counted desc, oem_model limit {_MOST_MODELS_COUNTED:d}"
    )
    return Counter(dict(counted.fetchall()))


def _all_of(parquet: Path) -> str:
    return f"read_parquet({literal(str(parquet))})"


@contextlib.contextmanager
def _refused_lines() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.InvalidInputException:
        raise LinesRefusedError from None


@contextlib.contextmanager
def duckdb_errors(what: str) -> Iterator[None]:
    """Say what failed, but not in DuckDB's words, which can quote a row."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise AylaWarehouseError(
            f"{what}: DuckDB needs more memory, or more disk space for temporary files. Raise the operator's memory, "
            "or free space in the worker's temporary folder. Then clear the task."
        ) from None
    except duckdb.Error as error:
        raise AylaWarehouseError(
            f"{what}: DuckDB failed to read the files ({type(error).__name__}). Nothing was loaded. If it happens "
            "again, please report it with the version of DuckDB."
        ) from None

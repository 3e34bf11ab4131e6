"""
Matches the events of one hour of the export with those of the stream, in DuckDB.

The first step reads the hour alone. Only events without a partner in it are then looked for in the hours before and
after, so that these cost one scan. Memory holds some numbers for each event. What doesn't fit is put on disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ayla_provider.domain.completeness import MOST_MISSING, MissingEvent
from ayla_provider.domain.new_columns import NEW_COLUMN
from ayla_provider.domain.tables import PROVENANCE, Column, ColumnType
from ayla_provider.domain.typed_manifest import TypedManifest
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.rows.duck import literal

EXPORT, STREAM = "export", "stream"

_NO_USER = "00000000-0000-0000-0000-000000000000"
"""What some files have in place of an empty user."""

_DATES = ("registered_at", "unregistered_at")
"""Either of them can hold the date of a registration."""

_TIMES = ("created_at", "event_time", "acked_at", "registered_at")
"""The columns that hold an event's own time, the first that a table has."""

_NO_ROWS = (
    'select null::uuid as "#key", null::ubigint as "#content", null::bigint as "#updated", '
    'null::timestamptz as "#time", null::varchar as "#id", null::varchar as "#device", null::varchar as "#source" '
    "where false"
)

_LONE = 'select "#key" from lone'

_NOT_COMPARED = {*(column.name for column in PROVENANCE), "updated_at"}


@dataclass(frozen=True, slots=True)
class Likeness:
    """
    By which columns two events are the same.

    :param identity: the column that identifies an event; None if all columns together do
    :param columns: those that both sides have, in the same type, and in comparable form
    :param has_updated_at: whether both sides say when an event was last changed
    """

    identity: str | None
    columns: tuple[Column, ...]
    has_updated_at: bool

    @classmethod
    def of(cls, event_type: str, export: Sequence[TypedManifest], stream: Sequence[TypedManifest]) -> Likeness:
        """
        Return what the receipts of two sides have in common.

        :param export: of one hour, and of those around it
        :param stream: of the same hours
        """
        receipts = [*export, *stream]
        identities = {receipt.identity for receipt in receipts if receipt.path}
        identity = identities.pop() if len(identities) == 1 else None
        sides = [_common(receipts) for receipts in (export, stream) if any(receipt.path for receipt in receipts)]
        common = [column for column in sides[0] if column in sides[-1]] if sides else []
        columns = tuple(Column(name, kind, "") for name, kind in common if _is_comparable(name, identity))
        return cls(identity, columns, ("updated_at", ColumnType.TIMESTAMP) in common)

    def without(self, names: Collection[str]) -> Likeness:
        """Return the likeness that ignores some columns. The date of a registration may be in either column."""
        ignored = set(names) - {*_DATES, "dsn"}
        return replace(self, columns=tuple(column for column in self.columns if column.name not in ignored))

    @property
    def names_devices(self) -> bool:
        """Whether events of different devices differ. Without that, equal rows say nothing."""
        return self.identity is not None or any(column.name == "dsn" for column in self.columns)

    def query(self, path: Path | None, among: str = "") -> str:
        """
        Return the query of a file's events.

        :param path: a Parquet file of typed rows; None if there are no rows
        :param among: a query of the keys that are wanted, so that nothing is computed of other rows; empty for all
        """
        if path is None:
            return _NO_ROWS
        parts = list(self._parts())
        whole = f"md5({_text_of(parts)})::uuid"
        key = f"coalesce(try_cast({_quoted(self.identity)} as uuid), {whole})" if self.identity else whole
        # An event without an id is equal to its partner in all columns.
        content = f"hash({', '.join(parts)})" if self.identity and parts else "null::ubigint"
        updated = "epoch(date_trunc('second', updated_at))::bigint" if self.has_updated_at else "null::bigint"
        device = "dsn::varchar" if any(column.name == "dsn" for column in self.columns) else "null::varchar"
        event_id = f"{_quoted(self.identity)}::varchar" if self.identity else "null::varchar"
        return (
            f'select {key} as "#key", {content} as "#content", {updated} as "#updated", '
            f'{self._time()} as "#time", {event_id} as "#id", {device} as "#device", source_object as "#source" '
            f"from read_parquet({literal(str(path))}, hive_partitioning = false)"
            + (f' semi join ({among}) as wanted on wanted."#key" = {key}' if among else "")
        )

    def _parts(self) -> Iterator[str]:
        """Yield the comparable form of each column."""
        names = {column.name for column in self.columns}
        both_dates = names.issuperset(_DATES)
        for column in self.columns:
            if both_dates and column.name in _DATES:
                continue
            yield _comparable(column)
        if both_dates:
            yield f"epoch(date_trunc('second', greatest({', '.join(_DATES)})))::bigint"

    def _time(self) -> str:
        names = {column.name for column in self.columns if column.type is ColumnType.TIMESTAMP}
        if names.issuperset(_DATES):
            return f"greatest({', '.join(_DATES)})"
        known = [name for name in _TIMES if name in names] or sorted(names)
        return _quoted(known[0]) if known else "null::timestamptz"


def _common(receipts: Sequence[TypedManifest]) -> list[tuple[str, ColumnType]]:
    """Return name and type of the columns that all receipts with rows have."""
    with_rows = [[(column.name, column.type) for column in receipt.columns] for receipt in receipts if receipt.path]
    return [column for column in with_rows[0] if all(column in others for others in with_rows)]


def _is_comparable(name: str, identity: str | None) -> bool:
    # What the export has in base64, the stream has as text. Both have the decoded column.
    return name not in _NOT_COMPARED and name != identity and not name.endswith("_raw")


def _comparable(column: Column) -> str:
    name = _quoted(column.name)
    match column.type:
        case ColumnType.TIMESTAMP:
            # The export's files have whole seconds.
            return f"epoch(date_trunc('second', {name}))::bigint"
        case ColumnType.UUID:
            return f"nullif(lower({name}), '{_NO_USER}')"
        case ColumnType.TEXT:
            # A column that a privacy policy hashes can be a number, which files write with a space.
            # Metadata without an entry is an empty object, or nothing.
            return f"case when trim({name}) not in ('', '{{}}', '[]') then trim({name}) end"
        case _:
            return name


def _text_of(parts: Sequence[str]) -> str:
    # With separators that no text of a row has, so that different rows don't give the same text.
    texts = [f"coalesce(({part})::varchar, chr(30))" for part in parts]
    return f"concat_ws(chr(31), {', '.join(texts)})" if texts else "''"


def _quoted(name: str | None) -> str:
    return f'"{name}"'


@dataclass(frozen=True, slots=True)
class Matches:
    """The counts of an hour, see :class:`~ayla_provider.domain.completeness.HourCompleteness`."""

    export: int
    stream: int
    both: int
    only_export: int
    only_stream: int
    other_hour: int
    newer: int
    differing: int
    repeats: int


class HourMatch:
    """
    Matches one hour: first :meth:`within`, then :meth:`around`, then :meth:`save`.

    :param connection: see :func:`~ayla_provider.rows.duck.connect`
    :param what: the hour, for errors
    """

    def __init__(self, connection: Any, likeness: Likeness, what: str) -> None:
        self._duck = connection
        self._likeness = likeness
        self._what = what
        self._sides: dict[str, Path | None] = {}

    def within(self, export: Path | None, stream: Path | None) -> tuple[bool, bool]:
        """
        Match the events of the hour itself.

        :param export: the export's typed rows; None if there are none
        :param stream: the stream's typed rows; None if there are none
        :returns: whether events of the export, and of the stream, have no partner yet
        :raises AylaWarehouseError: if DuckDB fails
        """
        self._sides = {EXPORT: export, STREAM: stream}
        with _errors(self._what):
            if export and stream:
                # A table has all columns, also those that a side's events don't have.
                self._likeness = self._likeness.without({*self._empty(export), *self._empty(stream)})
            self._run(
                "create or replace temp table pairs as "
                'select "#key", count(*) filter ("#export") as e, count(*) filter (not "#export") as s, '
                'max("#content") filter ("#export") as ec, max("#content") filter (not "#export") as sc, '
                'max("#updated") filter ("#export") as eu, max("#updated") filter (not "#export") as su from '
                f'(select "#key", "#content", "#updated", true as "#export" from ({self._query(EXPORT)}) union all '
                f' select "#key", "#content", "#updated", false from ({self._query(STREAM)})) group by "#key"'
            )
            self._run("create or replace temp table lone as from pairs where e = 0 or s = 0")
            self._none_around()
            ((in_export, in_stream),) = self._run("select bool_or(e > 0), bool_or(s > 0) from lone").fetchall()
        return bool(in_export), bool(in_stream)

    def around(self, export: Mapping[int, Path | None], stream: Mapping[int, Path | None]) -> None:
        """
        Look for the events without a partner in the hours before and after.

        :param export: -1 and 1, for the hour before and after, to the export's typed rows; what can't be read isn't
            there
        :param stream: the same of the stream
        :raises AylaWarehouseError: if DuckDB fails
        """
        sources = [
            f'select "#key", "#content", "#updated", {is_export} as "#export", {place} as "#place" '
            f"from ({self._likeness.query(path, _LONE)})"
            for is_export, side in ((True, export), (False, stream))
            for place, path in side.items()
            if path is not None
        ]
        if not sources:
            return
        with _errors(self._what):
            self._run(
                'create or replace temp table near as select "#key", '
                'count(*) filter ("#export" and "#place" < 0) as eb, '
                'count(*) filter ("#export" and "#place" > 0) as ea, '
                'count(*) filter (not "#export" and "#place" < 0) as sb, '
                'count(*) filter (not "#export" and "#place" > 0) as sa, '
                'max("#content") filter (not "#export") as nc, max("#updated") filter (not "#export") as nu '
                f'from ({" union all ".join(sources)}) group by "#key"'
            )
            self._judge()

    def counts(self) -> Matches:
        """
        Return the counts.

        :raises AylaWarehouseError: if DuckDB fails
        """
        with _errors(self._what):
            ((export, stream, both, repeats, newer, differing),) = self._run(
                "select coalesce(sum(e), 0), coalesce(sum(s), 0), coalesce(sum(least(e, s)), 0), "
                "coalesce(sum(abs(e - s)) filter (e > 0 and s > 0), 0), "
                "count(*) filter (e > 0 and s > 0 and eu <> su), "
                "count(*) filter (e > 0 and s > 0 and coalesce(eu = su, true) and ec is distinct from sc) from pairs"
            ).fetchall()
            # What differs in another hour counts in the hour of the export.
            ((only_export, only_stream, other_hour, more_repeats, more_newer, more_differing),) = self._run(
                "select coalesce(sum(e) filter (there = 0), 0), coalesce(sum(s) filter (there = 0), 0), "
                "coalesce(sum(least(e + s, free)), 0), "
                "coalesce(sum(e + s - least(e + s, free)) filter (there > 0), 0), "
                "count(*) filter (e > 0 and free > 0 and eu <> nu), "
                "count(*) filter (e > 0 and free > 0 and coalesce(eu = nu, true) and ec is distinct from nc) "
                "from verdicts"
            ).fetchall()
        return Matches(
            export=int(export),
            stream=int(stream),
            both=int(both),
            only_export=int(only_export),
            only_stream=int(only_stream),
            other_hour=int(other_hour),
            newer=newer + more_newer,
            differing=differing + more_differing,
            repeats=int(repeats) + int(more_repeats),
        )

    def explained(self, side: str, lines: Sequence[Path], rows: Sequence[Path]) -> int:
        """
        Return how many events that only one side has can be lines that the other side couldn't read.

        Such a line has the event's id or its device. A line with the id of a row that could be read is a copy of that
        row, and explains nothing.

        :param side: the side that has the events
        :param lines: Parquet files of the other side's malformed lines, of the hour and those around it
        :param rows: the other side's typed rows of these hours
        :raises AylaWarehouseError: if DuckDB fails
        """
        letter = "e" if side == EXPORT else "s"
        known = " union all ".join(f'select "#id" from ({self._likeness.query(path)})' for path in (None, *rows))
        with _errors(self._what):
            # The text of bytes has quotes, and what isn't ASCII, in the form \x22.
            self._run(
                "create or replace temp table words as "
                "select line, unnest(regexp_extract_all(text, '[0-9a-z_-]+')) as word from "
                "(select row_number() over () as line, "
                r"regexp_replace(lower(row_bytes::varchar), '\\x[0-9a-f]{2}', ' ', 'g') as text "
                f"from read_parquet([{', '.join(literal(str(path)) for path in lines)}], hive_partitioning = false) "
                # A row with a new column could be read.
                f"where not starts_with(reason, {literal(NEW_COLUMN)}))"
            )
            self._run(
                "create or replace temp table copies as select distinct line from words semi join "
                f'(select lower("#id") as word from ({known})) using (word)'
            )
            ((count,),) = self._run(
                f"select count(*) from ({self._query(side)}) as event "
                f'semi join (from verdicts where there = 0 and {letter} > 0) using ("#key") where exists '
                "(select 1 from (from words anti join copies using (line)) as left_over "
                'where word = lower("#id") or word = lower("#device"))'
            ).fetchall()
        return int(count)

    def save(self, path: Path) -> tuple[MissingEvent, ...]:
        """
        Write the events that one side lacks into a Parquet file, and return the first ones of each side.

        :raises AylaWarehouseError: if DuckDB fails
        """
        queries = [
            f'select \'{side}\' as only_in, "#id" as id, "#time" as time, "#source" as source_object '
            f"from ({self._query(side)}) semi join "
            f'(from verdicts where there = 0 and {letter} > 0) using ("#key")'
            for side, letter in ((EXPORT, "e"), (STREAM, "s"))
        ]
        with _errors(self._what):
            self._run(
                f"copy ({' union all '.join(queries)} order by only_in, time, id) to {literal(str(path))} "
                "(format parquet, compression zstd)"
            )
            # Some of each side, if both lack events.
            found = self._run(
                "select only_in, id, time from (select *, "
                "row_number() over (partition by only_in order by time, id) as place "
                f"from read_parquet({literal(str(path))}) qualify place <= {MOST_MISSING}) "
                f"order by place, only_in limit {MOST_MISSING}"
            ).fetchall()
        events = [MissingEvent(side, key, time.isoformat() if time else None) for side, key, time in found]
        return tuple(sorted(events, key=lambda event: (event.only_in, event.time or "", event.id or "")))

    def _empty(self, path: Path) -> list[str]:
        """Return the columns without any value, as the Parquet file itself says."""
        found = self._run(
            f"select path_in_schema from parquet_metadata({literal(str(path))}) group by path_in_schema "
            "having sum(stats_null_count) = sum(num_values)"
        ).fetchall()
        return [name for (name,) in found]

    def _query(self, side: str) -> str:
        return self._likeness.query(self._sides[side])

    def _none_around(self) -> None:
        self._run(
            'create or replace temp table near as select null::uuid as "#key", 0 as eb, 0 as ea, 0 as sb, 0 as sa, '
            "null::ubigint as nc, null::bigint as nu where false"
        )
        self._judge()

    def _judge(self) -> None:
        """
        Say of each event without a partner in the hour how many rows the other side has in the hours around it.

        A row there is free if it has no partner in its own hour.
        """
        self._run(
            "create or replace temp table verdicts as select lone.*, nc, nu, "
            "coalesce(case when e > 0 then sb + sa else eb + ea end, 0) as there, "
            "coalesce(case when e > 0 then if(eb = 0, sb, 0) + if(ea = 0, sa, 0) "
            "else if(sb = 0, eb, 0) + if(sa = 0, ea, 0) end, 0) as free "
            'from lone left join near using ("#key")'
        )

    def _run(self, statement: str) -> Any:
        return self._duck.execute(statement)


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    """Say what failed, but not in DuckDB's words, which can quote a row."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise AylaWarehouseError(
            f"{what}: DuckDB needs more memory, or more disk space for temporary files, to compare the hour. Free "
            "space in the worker's temporary folder. Then clear the task."
        ) from None
    except duckdb.Error as error:
        raise AylaWarehouseError(
            f"{what}: DuckDB failed to compare the typed rows ({type(error).__name__}). If it happens again, please "
            "report it with the version of DuckDB."
        ) from None

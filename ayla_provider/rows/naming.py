"""
Finds the rows of a Parquet file that name a subject, in a time that doesn't grow with the number of subjects.

Columns that identify people are compared with all identifiers at once. In other columns, each text is looked at once,
however many rows have it, by the same matcher that filters the files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ayla_provider.archive.erasures import Matcher
from ayla_provider.domain.erasure import UUID_SHAPE, canonical, shape_of
from ayla_provider.rows.duck import literal, quoted

_IDENTIFYING = ("dsn", "user_uuid")

_NAMES_NOBODY = {"source_object", "time_uuid", "ack_id", "activation_id"}
"""Columns that identify files and events, and nobody."""

_TEXTS = 10_000
"""How many texts are looked at together."""

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_HASH = "([0-9a-f]{8}:)?[0-9a-f]{64}"
"""What a policy writes in place of a value. Its digits can be those of a UUID by chance."""


def _nothing(column: str) -> bool:
    return False


class NamingRows:
    """
    Finds rows that name one of some subjects. Thread-safe.

    :param matcher: of their identifiers
    :param identifiers: those that it finds
    :param hashes: column to the hashes that a privacy policy writes in place of identifiers
    """

    def __init__(self, matcher: Matcher, identifiers: Collection[str], hashes: Mapping[str, Collection[str]]) -> None:
        self._matcher = matcher
        # Whatever column a request names: a cell is somebody's identifier in either.
        texts = {text for identifier in identifiers for text in _forms(identifier)}
        self._values = {column: sorted({*texts, *hashes.get(column, ())}) for column in _IDENTIFYING}

    @staticmethod
    def may_name(column: str) -> bool:
        """Return whether a column of text can name a subject, by its name."""
        return column not in _NAMES_NOBODY

    def numbers(self, duck: Any, parquet: Path, is_hashed: Callable[[str], bool] = _nothing) -> list[int]:
        """
        Return the numbers of the rows in a file that name a subject, from 0, in order.

        :param duck: a connection to DuckDB
        :param is_hashed: returns whether a privacy policy hashes a column. A text of another column that looks like a
            hash can name a subject
        :param parquet: it may lack the content of columns that name nobody, see
            :func:`~ayla_provider.rows.columns.fetch_columns`
        :raises duckdb.Error: if the file can't be read
        """
        relation = f"read_parquet({literal(str(parquet))}, hive_partitioning = false, file_row_number = true)"
        described = duck.execute(f"describe select * from {relation}").fetchall()
        columns = [name for name, kind, *_ in described if kind == "VARCHAR" and self.may_name(name)]
        found: set[int] = set()
        for column in _IDENTIFYING:
            if column in columns:
                # Hashes are in lower case, too.
                found.update(_rows_with(duck, relation, f"lower({quoted(column)})", self._values[column]))
        naming = self._naming_texts(duck, relation, columns, is_hashed) if columns else []
        for column in columns if naming else ():
            found.update(_rows_with(duck, relation, quoted(column), naming))
        return sorted(found)

    def _naming_texts(
        self, duck: Any, relation: str, columns: list[str], is_hashed: Callable[[str], bool]
    ) -> list[str]:
        """Return the texts of some columns that name a subject."""
        queries = " union all ".join(self._texts_of(relation, column, is_hashed(column)) for column in columns)
        naming: list[str] = []
        result = duck.execute(queries)
        while fetched := result.fetchmany(_TEXTS):
            texts = [text for (text,) in fetched]
            # A line end is no part of an identifier, and of no base64 either.
            if self._matcher.words("\n".join(texts).encode()):
                naming += [text for text in texts if self._matcher.found(text.encode())]
        return naming

    def _texts_of(self, relation: str, column: str, is_hashed: bool) -> str:
        """Return the query of the different texts of a column that are long enough to name a subject."""
        name, shortest = quoted(column), self._matcher.shortest
        conditions = [f"length({name}) >= {shortest}"]
        if column in _IDENTIFYING:
            # As a rule, a cell is an identifier and nothing else, so that comparing it says all about it.
            conditions = [f"length({name}) > {shortest}", f"not regexp_full_match({name}, '{_UUID}')"]
        if is_hashed:
            conditions.append(f"not regexp_full_match({name}, '{_HASH}')")
        return f"select distinct {name} from {relation} where {' and '.join(conditions)}"


def _rows_with(duck: Any, relation: str, cell: str, texts: list[str]) -> Iterator[int]:
    """
    Yield the numbers of the rows whose cell is one of some texts.

    :param cell: the expression of the cell
    """
    query = f"select file_row_number from {relation} where {cell} in (select unnest($texts))"
    for (number,) in duck.execute(query, {"texts": texts}).fetchall():
        yield number


def _forms(identifier: str) -> set[str]:
    """Return how a cell can be an identifier, in lower case."""
    text = canonical(identifier)
    if shape_of(identifier) != UUID_SHAPE:
        return {text}
    return {text, "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))}

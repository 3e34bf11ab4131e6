"""The SQL, for DuckDB, that turns the text of a file's columns into the typed columns of the canonical table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ayla_provider.domain.csv.cells import INTEGER_PATTERN, NUMBER_PATTERN, names_in_rows
from ayla_provider.domain.csv.columns import STRING_BASE_TYPES
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.tables import STREAM_TABLES, TABLES, Column, ColumnType, Table, table_like
from ayla_provider.rows.duck import literal

_JAVA_DATE = "'%a %b %d %H:%M:%S UTC %Y'"
_ISO_DATE = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|[+-](0\d|1[0-5]):?[0-5]\d))?)?"
_USUAL_ISO_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
_TIMES = "timestamptz '0001-01-01T00:00:00Z' and timestamptz '9999-12-31T23:59:59.999999Z'"
"""The timestamps that every warehouse and Python can hold."""

_UUID = "[{0}]{{8}}(-[{0}]{{4}}){{3}}-[{0}]{{12}}"
_NUMERIC = {"integer": "val_int", "decimal": "val_decimal", "float": "val_float", "boolean": "val_boolean"}

_COMMON_TIME = "updated_at"
"""The column whose time the other times of a row mostly repeat."""

_RAW = {"display_name": "display_name_raw", "val_string": "value_raw", "metadata": "metadata_raw"}


class Origin(StrEnum):
    """How a column of the table comes from one of a file."""

    IDENTITY = "identity"
    """The text of the cell, unchanged."""
    PARSED = "parsed"
    """The value that the text means, such as a time."""
    DECODED = "decoded"
    """The text or the value that was encoded in base64."""
    CONDITION = "condition"
    """It decides whether there is a value, and isn't part of it."""


@dataclass(frozen=True, slots=True)
class RowExpressions:
    """
    The expressions that type the rows of one file.

    :param values: column of the table to its expression, which can use the typed columns in front of it; the table's
        other columns are empty
    :param faults: condition of a malformed row, over the file's columns and the typed ones (see :func:`typed_name`), to
        the reason in words
    :param identity: the file's column that identifies a row; None if the whole row does
    :param identity_of: returns the expression of the identity, from that of the column's text
    :param typed_identity: the table's column whose values are the same if, and only if, the identities are; None if
        there is none
    :param origins: column of the table to the file's columns that it comes from, with how it does
    """

    values: dict[str, str]
    faults: dict[str, str]
    identity: str | None
    identity_of: Callable[[str], str] = str
    typed_identity: str | None = None
    origins: dict[str, dict[str, Origin]] = field(default_factory=dict)


def table_of(event_type: str, recognised: list[Recognised]) -> Table:
    """Return the canonical table for files with these layouts, with the additional columns that they have."""
    base = STREAM_TABLES.get(event_type)
    layouts = [each.layout for each in recognised]
    identity = next((layout.identity for layout in layouts if layout.identity), None)
    table = base or table_like(event_type, (), identity)
    additional: list[Column] = []
    for each in recognised:
        additional += _additional_columns(each, table)
    return table.with_columns(tuple(additional))


def _additional_columns(recognised: Recognised, table: Table) -> Iterator[Column]:
    own = {column.name: column for column in recognised.layout.own}
    for name in recognised.columns:
        target = _canonical(name, recognised)
        if target is None or target in table.names:
            continue
        if _is_of_any_base_type(target, recognised):
            yield from (_ANYWHERE[column] for column in (*_NUMERIC.values(), "val_string", "value_raw"))
            continue
        known = own.get(name) or _ANYWHERE.get(name)
        yield known or Column(target, ColumnType.TEXT, "A column that this provider doesn't know.", personal=True)
        if name in recognised.layout.base64_columns:
            yield Column(f"{target}_raw", ColumnType.TEXT, f"{target} as it is in the file: base64.", part_of=target)


_ANYWHERE = {column.name: column for table in TABLES.values() for column in table.data}


def _canonical(name: str, recognised: Recognised) -> str | None:
    """Return the table's column for a column of the file; None if it only repeats the event type."""
    if name == "event_type":
        return None
    if name == "id" and recognised.layout.identity == "id" and recognised.layout.event_type in TABLES:
        return "time_uuid"
    return name


def _is_of_any_base_type(name: str, recognised: Recognised) -> bool:
    """Return whether a column holds the values of all base types."""
    return name in recognised.layout.base64_strings or (name == "value" and recognised.layout.streamed)


def expressions_of(event_type: str, recognised: Recognised, table: Table) -> RowExpressions:
    """
    Return the expressions that type the rows of a file.

    A cell without text, or with the text ``null``, is empty. If another cell isn't of its column's type, the row is
    malformed. A cell that should be base64 and isn't has no decoded value, but the row is good and keeps the raw value.

    :param table: see :func:`table_of`
    """
    kinds = {column.name: column.type for column in table.columns}
    streamed = recognised.layout.streamed
    values: dict[str, str] = {}
    faults: dict[str, str] = {}
    origins: dict[str, dict[str, Origin]] = {}
    for name in recognised.columns:
        target, text = _canonical(name, recognised), filled(name)
        if target is None:
            # Most are spelled as they are compared, and a regular expression takes ten times as long.
            spellings = _spellings(event_type)
            faults[f"{text} not in {spellings} and {_squashed(text)} not in {spellings}"] = (
                f"{name} names another event type"
            )
        elif _is_of_any_base_type(target, recognised):
            values |= _by_base_type(text, streamed=streamed)
            origins |= _origins_by_base_type(name, streamed=streamed)
            faults |= {
                f"base_type = '{base_type}' and {text} is not null and {typed_name(column)} is null": (
                    f"value is no {base_type}"
                )
                for base_type, column in _NUMERIC.items()
            }
        elif name in recognised.layout.base64_columns:
            values[target] = _decoded(text)
            values.setdefault(_RAW.get(target, f"{target}_raw"), text)
            origins[target] = {name: Origin.DECODED}
            origins.setdefault(_RAW.get(target, f"{target}_raw"), {name: Origin.IDENTITY})
        else:
            values[target] = _typed(text, kinds[target], streamed=streamed)
            origins[target] = {name: Origin.IDENTITY if kinds[target] is ColumnType.TEXT else Origin.PARSED}
            if kinds[target] is ColumnType.TIMESTAMP and name != _COMMON_TIME and _COMMON_TIME in recognised.columns:
                # Most of a row's times are the same text, and to parse one takes long.
                same = f"{text} = {filled(_COMMON_TIME)}"
                values[target] = f"case when {same} then {typed_name(_COMMON_TIME)} else {values[target]} end"
            if kinds[target] is not ColumnType.TEXT:
                wrong = f"{typed_name(target)} is null"
                if kinds[target] is ColumnType.TIMESTAMP:
                    wrong = f"({wrong} or {typed_name(target)} not between {_TIMES})"
                faults[f"{text} is not null and {wrong}"] = f"{name} is no {kinds[target].value}"
    if "val_string" in recognised.columns:
        value_columns = [name for name in recognised.columns if name.startswith("val_")]
        values["value_raw"] = f"coalesce({', '.join(map(filled, value_columns))})"
        origins["value_raw"] = dict.fromkeys(value_columns, Origin.IDENTITY)
    for name in ("display_name", "metadata"):
        if name in recognised.columns:
            values.setdefault(_RAW[name], filled(name))
            origins.setdefault(_RAW[name], {name: Origin.IDENTITY})
    if _COMMON_TIME in values:
        values = {_COMMON_TIME: values[_COMMON_TIME]} | values
    identity = recognised.layout.identity
    typed_identity = _canonical(identity, recognised) if identity else None
    if identity and typed_identity and kinds[typed_identity] is not ColumnType.UUID:
        # Of other types than text, different texts can have the same value. And base64 is decoded.
        typed_identity = typed_identity if values[typed_identity] == filled(identity) else None
    return RowExpressions(values, faults, identity, _identity_of(recognised, kinds), typed_identity, origins)


def _identity_of(recognised: Recognised, kinds: dict[str, ColumnType]) -> Callable[[str], str]:
    name = recognised.layout.identity
    if name and kinds[_canonical(name, recognised) or name] is ColumnType.UUID:
        # Upper and lower case mean the same UUID.
        return "lower({})".format
    return str


def typed_name(column: str) -> str:
    """Return the name of a typed column, next to the column of its text."""
    return _name(f"={column}")


def filled(name: str) -> str:
    """Return the text of a cell. The reader turns an empty one into null."""
    return _name(name)


def _name(name: str) -> str:
    return f'"{name}"'


def _typed(text: str, kind: ColumnType, *, streamed: bool = False) -> str:
    if kind is ColumnType.UUID:
        # Most are in lower case already, and regular expressions take the most time here.
        return (
            f"case when regexp_full_match({text}, '{_UUID.format('0-9a-f')}') then {text} "
            f"when regexp_full_match({text}, '{_UUID.format('0-9a-fA-F')}') then lower({text}) end"
        )
    if kind is ColumnType.TIMESTAMP:
        # Java's form first, because real files have it. strptime also accepts words such as infinity, and a time
        # without a date, in 1900. A cast doesn't accept a space in front of the zone.
        java = f"case when contains({text}, ' UTC ') then try_strptime({text}, {_JAVA_DATE}) end"
        iso = f"{text}[:11] || replace(replace({text}[12:], ' ', ''), 'UTC', 'Z')"
        # Most have the usual form, and the others take twice as long.
        parsed_iso = (
            f"case when regexp_full_match({text}, '{_USUAL_ISO_DATE}') then try_cast({text} as timestamptz) "
            f"when regexp_full_match({text}, '{_ISO_DATE}') then try_cast({iso} as timestamptz) end"
        )
        if streamed:
            microseconds = f"try_cast(round(try_cast({text} as double) * 1000) as bigint)"
            return (
                f"coalesce({parsed_iso}, case when regexp_full_match({text}, '{NUMBER_PATTERN}') "
                f"then try(make_timestamptz({microseconds})) end)"
            )
        return f"coalesce(make_timestamptz(epoch_us({java})), {parsed_iso})"
    if kind is ColumnType.BOOLEAN:
        return f"case when length({text}) < 6 then try_cast({text} as boolean) end"
    if kind is ColumnType.INTEGER:
        return f"case when regexp_full_match({text}, '{INTEGER_PATTERN}') then try_cast({text} as bigint) end"
    if kind is ColumnType.NUMBER:
        return (
            f"case when regexp_full_match({text}, '{NUMBER_PATTERN}') and isfinite(try_cast({text} as double)) "
            f"then try_cast({text} as double) end"
        )
    return text


def _decoded(text: str) -> str:
    """Return the decoded text; null if it isn't base64 of UTF-8, or contains a NUL, which PostgreSQL refuses."""
    decoded = f"try(decode(from_base64({text})))"
    return f"case when not contains({decoded}, chr(0)) then {decoded} end"


def _by_base_type(text: str, *, streamed: bool) -> dict[str, str]:
    """
    Return the typed values for layouts with one column for the values of all base types.

    :param streamed: whether the text is as it is in a record, and never base64
    """
    kinds = {"val_int": ColumnType.INTEGER, "val_boolean": ColumnType.BOOLEAN}
    values = {}
    for base_type, column in _NUMERIC.items():
        kind = kinds.get(column, ColumnType.NUMBER)
        value = _typed(text, kind)
        if not streamed:
            # The plain number first, because its text can also be valid base64.
            value = f"coalesce({value}, {_typed(_decoded(text), kind)})"
        values[column] = f"case when base_type = '{base_type}' then {value} end"
    strings = ", ".join(map(literal, STRING_BASE_TYPES))
    values["val_string"] = f"case when base_type in ({strings}) then {text if streamed else _decoded(text)} end"
    values["value_raw"] = text
    return values


def _origins_by_base_type(name: str, *, streamed: bool) -> dict[str, dict[str, Origin]]:
    """Return the origins of the values for layouts with one column for the values of all base types."""
    condition = {"base_type": Origin.CONDITION}
    # A number is mostly plain text, and can be base64.
    origins = {column: {name: Origin.PARSED, **condition} for column in _NUMERIC.values()}
    origins["val_string"] = {name: Origin.IDENTITY if streamed else Origin.DECODED, **condition}
    origins["value_raw"] = {name: Origin.IDENTITY}
    return origins


def _squashed(text: str) -> str:
    return f"regexp_replace(lower({text}), '[ _-]', '', 'g')"


def _spellings(event_type: str) -> str:
    return f"({', '.join(map(literal, names_in_rows(event_type)))})"

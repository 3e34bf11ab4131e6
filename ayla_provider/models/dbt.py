"""
The fleet models as a package for dbt. ``python -m ayla_provider.models.dbt dbt`` writes its files into the folder.

The SQL is that of :mod:`ayla_provider.models.sql`. What differs between engines becomes macros, which dbt chooses by
the adapter.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ayla_provider.domain.tables import TABLES, ColumnType
from ayla_provider.models import tables
from ayla_provider.models.macros import BIGQUERY, DUCKDB, POSTGRES, SNOWFLAKE, Macros
from ayla_provider.models.sql import FleetSql
from ayla_provider.models.tables import Model

_ADAPTERS = {"duckdb": DUCKDB, "postgres": POSTGRES, "bigquery": BIGQUERY, "snowflake": SNOWFLAKE}

_STAGING = {
    "runs": "The spans of hours that the tables have as a whole. Times are microseconds since 1970.",
    "datapoints": "Each datapoint once, with the time of the event.",
    "acks": "Each answer once, with the time of the command and of the answer.",
    "connections": "Each message about a connection once.",
    "registrations": "Each registration once.",
    "activity": "When events happened, for each device, day, and model.",
    "days": "The days, with their bounds.",
    "connection_spans": "Each state of a device, with the time for which it lasted.",
    "values_": "Each value of a property, with the time for which it was valid.",
}
"""The relations that the models are made from."""

_HEADER = "Generated from airflow-provider-ayla by `python -m ayla_provider.models.dbt dbt`. Don't change it here."
_OPEN, _BETWEEN, _CLOSE = "\u27e6", "\u241f", "\u27e7"
"""Around a macro and between its arguments, until it becomes Jinja."""


def _call(name: str, *arguments: str) -> str:
    return f"{_OPEN}{name}{''.join(f'{_BETWEEN}{argument}' for argument in arguments)}{_CLOSE}"


class _Types(dict[ColumnType, str]):
    """The types of columns, each as a macro."""

    def __missing__(self, column_type: ColumnType) -> str:
        return _call("type", column_type.value)


_MACROS = Macros(
    types=_Types(),
    micros=lambda moment: _call("micros", moment),
    moment=lambda micros: _call("moment", micros),
    # The macros know the time zone.
    local_day=lambda moment, _: _call("local_day", moment),
    day_start=lambda day, _: _call("day_start", day),
    next_day=lambda day: _call("next_day", day),
    from_hex=lambda digits: _call("from_hex", digits),
    quotient=lambda number, divisor: _call("quotient", number, divisor),
    total=lambda value, order: _call("total", value, order),
)


def _relation(name: str) -> str:
    """Return the place of a relation: a source, or a model of this package."""
    if name in TABLES or name in ("loads", "hours"):
        return f"{{{{ source('ayla', '{name}') }}}}"
    return f"{{{{ ref('{_file_name(name)}') }}}}"


def _file_name(name: str) -> str:
    return f"ayla_staged_{name.rstrip('_')}" if name in _STAGING else f"ayla_{name}"


def _quoted(name: str) -> str:
    """Return the name of a column of a table. One of them is a reserved word in BigQuery."""
    return f"{{{{ ayla.ayla_name('{name}') }}}}" if name == "rows" else name


def fleet_sql() -> FleetSql:
    """Return the selects of the models, for dbt."""
    columns = {event_type: frozenset(table.names) for event_type, table in TABLES.items()}
    return FleetSql(_MACROS, _relation, "", columns, {}, quote=_quoted)


def _jinja(sql: str) -> str:
    """Return SQL in which each macro is a call in Jinja."""
    parts: list[str] = []
    position = 0
    while (start := sql.find(_OPEN, position)) >= 0:
        end = _end(sql, start)
        parts += [sql[position:start], f"{{{{ {_expression(sql[start:end])} }}}}"]
        position = end
    return "".join([*parts, sql[position:]])


def _end(sql: str, start: int) -> int:
    """Return where the macro ends that begins at a place."""
    depth = 0
    for place in range(start, len(sql)):
        depth += (sql[place] == _OPEN) - (sql[place] == _CLOSE)
        if not depth:
            return place + 1
    raise ValueError("a macro has no end")


def _expression(call: str) -> str:
    """Return a macro as an expression of Jinja. Its arguments are texts and further macros, joined."""
    name, *arguments = _split(call[1:-1])
    return f"ayla.ayla_{name}({', '.join(_text(argument) for argument in arguments)})"


def _split(inner: str) -> list[str]:
    """Return the name and the arguments of a macro, which can have macros inside."""
    parts, depth = [""], 0
    for letter in inner:
        depth += (letter == _OPEN) - (letter == _CLOSE)
        if letter == _BETWEEN and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _text(sql: str) -> str:
    parts: list[str] = []
    position = 0
    while (start := sql.find(_OPEN, position)) >= 0:
        end = _end(sql, start)
        parts += [json.dumps(sql[position:start], ensure_ascii=False), _expression(sql[start:end])]
        position = end
    parts.append(json.dumps(sql[position:], ensure_ascii=False))
    return " ~ ".join(part for part in parts if part != '""') or '""'


_BREAKS = re.compile(r"( (?=(?:from|left join|join|where|group by|having|union all) ))|(\(select )|((?<=union all) )")


def _laid_out(sql: str) -> str:
    """Return SQL in lines: each clause begins one, further to the right the deeper it is."""
    lines, line, depth, opened = [], "", 0, []
    position = 0
    while position < len(sql):
        found = _BREAKS.match(sql, position)
        letter = sql[position]
        if found and found[2]:
            lines.append("  " * depth + line + "(")
            opened.append(0)
            depth += 1
            line, position = "select ", found.end()
            continue
        if found and not found[2] and not sum(opened[-1:]):
            lines.append("  " * depth + line)
            line, position = "", found.end()
            continue
        if letter == "(" and opened:
            opened[-1] += 1
        elif letter == ")" and opened and opened[-1]:
            opened[-1] -= 1
        elif letter == ")" and opened:
            lines.append("  " * depth + line)
            opened.pop()
            depth -= 1
            line = ""
        line += letter
        position += 1
    return "\n".join([*lines, "  " * depth + line])


def _model(select: str) -> str:
    return f"-- {_HEADER}\n{_jinja(_laid_out(select))}\n"


def _yaml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _properties() -> str:
    """Return the descriptions and tests of the models."""
    lines = [f"# {_HEADER}", "models:"]
    for model in tables.MODELS:
        lines += _property_lines(model)
    for name, description in _STAGING.items():
        lines += [f"  - name: {_file_name(name)}", f"    description: {_yaml(description)}"]
    return "\n".join(lines) + "\n"


def _property_lines(model: Model) -> list[str]:
    key = ", ".join(model.key)
    lines = [f"  - name: ayla_{model.name}", f"    description: {_yaml(model.description)}"]
    lines += ["    data_tests:", "      - ayla_unique_key:", "          arguments:", f"            columns: [{key}]"]
    lines.append("    columns:")
    for column in model.columns:
        lines += [f"      - name: {column.name}", f"        description: {_yaml(column.description)}"]
        if column.name in model.key and column.name in ("dsn", "day", "time_uuid", "hour"):
            lines.append("        data_tests: [not_null]")
    return lines


def _exposures() -> str:
    models = [
        f"      - ref('ayla_{model.name}')" for model in tables.MODELS if model not in (tables.ACKED, tables.SENT)
    ]
    return "\n".join(
        [
            f"# {_HEADER}",
            "exposures:",
            "  - name: ayla_fleet_reports",
            "    type: dashboard",
            "    description: What analysts ask about a fleet of devices. Replace it with your own reports.",
            "    owner:",
            "      name: The owner of the fleet's reports",
            "    depends_on:",
            *models,
            "",
        ]
    )


def _macros() -> str:
    """Return the macros: for each adapter what the engine has."""
    zone = '\'{{ var("ayla_day_timezone", "UTC") }}\''
    parts = [f"{{# {_HEADER} #}}"]
    for name, arguments in (
        ("micros", ["moment"]),
        ("moment", ["micros"]),
        ("local_day", ["moment"]),
        ("day_start", ["day"]),
        ("next_day", ["day"]),
        ("from_hex", ["digits"]),
        ("quotient", ["number", "divisor"]),
        ("total", ["value", "ordering"]),
    ):
        names = ", ".join(arguments)
        parts.append(
            f"{{% macro ayla_{name}({names}) %}}"
            f"{{{{ return(adapter.dispatch('ayla_{name}', 'ayla')({names})) }}}}{{% endmacro %}}"
        )
        for adapter, macros in _ADAPTERS.items():
            places = [f"{{{{ {argument} }}}}" for argument in arguments]
            if name in ("local_day", "day_start"):
                places.append(zone)
            sql = getattr(macros, name)(*places)
            parts.append(f"{{% macro {adapter}__ayla_{name}({names}) %}}{sql}{{% endmacro %}}")
    parts.append("{% macro ayla_type(kind) %}{{ return(adapter.dispatch('ayla_type', 'ayla')(kind)) }}{% endmacro %}")
    for adapter, macros in _ADAPTERS.items():
        types = {kind.value: name for kind, name in macros.types.items()}
        parts.append(f"{{% macro {adapter}__ayla_type(kind) %}}{{{{ {json.dumps(types)}[kind] }}}}{{% endmacro %}}")
    parts += [
        "{% macro ayla_name(name) %}{{ return(adapter.dispatch('ayla_name', 'ayla')(name)) }}{% endmacro %}",
        "{% macro default__ayla_name(name) %}{{ adapter.quote(name) }}{% endmacro %}",
        "{% macro snowflake__ayla_name(name) %}{{ adapter.quote(name | upper) }}{% endmacro %}",
        "{% test ayla_unique_key(model, columns) %}\n"
        "select {{ columns | join(', ') }} from {{ model }} group by {{ columns | join(', ') }} having count(*) > 1\n"
        "{% endtest %}",
    ]
    return "\n\n".join(parts) + "\n"


def files() -> dict[str, str]:
    """Return the files that are generated, by their path within the package."""
    sql = fleet_sql()
    made = {f"models/staging/{_file_name(name)}.sql": _model(getattr(sql, name)()) for name in _STAGING}
    made |= {f"models/fleet/ayla_{model.name}.sql": _model(getattr(sql, model.name)()) for model in tables.MODELS}
    return made | {
        "models/fleet/fleet.yml": _properties(),
        "models/fleet/exposures.yml": _exposures(),
        "macros/ayla.sql": _macros(),
    }


def main(arguments: Sequence[str]) -> None:
    """Write the files into a folder."""
    for path, content in files().items():
        file = Path(arguments[0], path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

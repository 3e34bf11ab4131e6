"""
The tables as a data contract, in the form of the Open Data Contract Standard (ODCS) 3.1.

It says what the tables of this version have, before and after a privacy policy. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ayla_provider.domain.privacy import PrivacyPolicy, Treatment
from ayla_provider.domain.tables import PROVENANCE, STREAM_TABLES, Column, ColumnType, Table
from ayla_provider.errors import AylaConfigError

API_VERSION = "v3.1.0"

_LOGICAL = {
    ColumnType.TEXT: "string",
    ColumnType.INTEGER: "integer",
    ColumnType.NUMBER: "number",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.UUID: "string",
    ColumnType.TIMESTAMP: "timestamp",
}
_KEYS = {"folder_hour"}
"""Columns that every row has, besides the one that identifies it."""


def contract(
    version: str,
    *,
    policy: PrivacyPolicy | None = None,
    table_prefix: str = "ayla_",
    tables: Iterable[Table] = tuple(STREAM_TABLES.values()),
) -> dict[str, Any]:
    """
    Return the contract of some tables, for JSON.

    :param version: of this package
    :param policy: the privacy policy that the tables have; by default none
    :param table_prefix: is in front of the name of each table
    """
    policy = policy or PrivacyPolicy()
    return {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": "airflow-provider-ayla",
        "name": "Events of the Ayla data export",
        "version": version,
        "status": "active",
        "description": {
            "purpose": "Events of connected devices, typed, decoded, and each once within an hour.",
            "limitations": "Two hours can have the same event. A table can have more columns: those that Ayla adds.",
        },
        "schema": [_table(table, policy, table_prefix) for table in tables],
    }


def _table(table: Table, policy: PrivacyPolicy, table_prefix: str) -> dict[str, Any]:
    personal = {column.name for column in table.columns if column.personal}
    return {
        "name": table.event_type,
        "physicalName": f"{table_prefix}{table.event_type}",
        "logicalType": "object",
        "physicalType": "table",
        "description": table.description,
        "properties": [_column(column, table, policy, personal) for column in policy.table(table).columns],
    }


def _column(column: Column, table: Table, policy: PrivacyPolicy, personal: set[str]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": column.name,
        "logicalType": _LOGICAL[column.type],
        "physicalType": column.type.value,
        "description": column.description,
        "required": column.name in _KEYS,
    }
    if column.name in personal:
        document["classification"] = "personal"
    if policy.of(table.column(column.name)) is Treatment.HASH:
        document["transformDescription"] = "HMAC-SHA256 with a key, behind the key's short id."
    if column.name in {each.name for each in PROVENANCE}:
        document["tags"] = ["provenance"]
    return document


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """
    Return what a newer contract changes, for people: tables and columns that come, go, or have another type.

    A new description alone is no change.

    :raises AylaConfigError: if one isn't a contract of this form
    """
    before, after = _columns_of(old), _columns_of(new)
    found = [f"table {name} is gone" for name in before if name not in after]
    found += [f"table {name} is new" for name in after if name not in before]
    for table in before.keys() & after.keys():
        for name in before[table].keys() | after[table].keys():
            was, now = before[table].get(name), after[table].get(name)
            if now is None:
                found.append(f"column {table}.{name} is gone")
            elif was is None:
                found.append(f"column {table}.{name} is new: {now}")
            elif was != now:
                found.append(f"column {table}.{name} was {was} and is {now}")
    return sorted(found)


def breaks(
    document: Mapping[str, Any], existing: Mapping[str, Mapping[str, str]], types: Mapping[str, str]
) -> list[str]:
    """
    Return how tables that exist break a contract, for people. Further tables and columns break nothing.

    :param existing: physical name of each table to its columns: name to the warehouse's type
    :param types: our name of each type to the warehouse's
    :raises AylaConfigError: if the document isn't a contract of this form
    """
    found = []
    physical = {str(table["name"]): str(table["physicalName"]) for table in document["schema"]}
    for table, columns in _columns_of(document).items():
        there = existing.get(physical[table])
        if there is None:
            found.append(f"table {physical[table]} is missing")
            continue
        for name, kind in columns.items():
            if name not in there:
                found.append(f"column {physical[table]}.{name} is missing")
            elif there[name] != types[kind]:
                found.append(f"column {physical[table]}.{name} is {there[name]}, not {types[kind]}")
    return found


def _columns_of(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    try:
        return {
            str(table["name"]): {str(column["name"]): str(column["physicalType"]) for column in table["properties"]}
            for table in document["schema"]
        }
    except (KeyError, TypeError) as error:
        raise AylaConfigError(
            f"it isn't a data contract of this package ({type(error).__name__}: {error!s:.80})"
        ) from None

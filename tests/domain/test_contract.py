"""What a data contract says of a table, and how differences from it are named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ayla_provider.domain.contract import breaks, contract, differences
from ayla_provider.domain.events import EventType
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import PROVENANCE, Column, ColumnType, Table
from ayla_provider.errors import AylaConfigError

KEY = "0123456789abcdef"
TABLE = Table(
    EventType("connection"),
    "Connections.",
    (
        Column("dsn", ColumnType.TEXT, "The device.", personal=True),
        Column("events", ColumnType.INTEGER, "How many."),
        *(column for column in PROVENANCE if column.name == "folder_hour"),
    ),
    identity=None,
)
TYPES = {"text": "VARCHAR", "integer": "BIGINT", "timestamp": "TIMESTAMPTZ"}


def made(**arguments: Any) -> dict[str, Any]:
    return contract("1.2.3", tables=(TABLE,), **arguments)


def test_a_contract_says_all_of_a_table() -> None:
    (provenance,) = (column for column in PROVENANCE if column.name == "folder_hour")
    document = made()
    (table,) = document.pop("schema")
    assert document == {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "airflow-provider-ayla",
        "name": "Events of the Ayla data export",
        "version": "1.2.3",
        "status": "active",
        "description": {
            "purpose": "Events of connected devices, typed, decoded, and each once within an hour.",
            "limitations": "Two hours can have the same event. A table can have more columns: those that Ayla adds.",
        },
    }
    device, count, hour = table.pop("properties")
    assert table == {
        "name": "connection",
        "physicalName": "ayla_connection",
        "logicalType": "object",
        "physicalType": "table",
        "description": "Connections.",
    }
    assert device == {
        "name": "dsn",
        "logicalType": "string",
        "physicalType": "text",
        "description": "The device. It can identify a person.",
        "required": False,
        "classification": "personal",
    }
    assert count == {
        "name": "events",
        "logicalType": "integer",
        "physicalType": "integer",
        "description": "How many.",
        "required": False,
    }
    assert hour == {
        "name": "folder_hour",
        "logicalType": "timestamp",
        "physicalType": "timestamp",
        "description": provenance.description,
        "required": True,
        "tags": ["provenance"],
    }


def test_a_contract_says_what_a_policy_does() -> None:
    (table,) = made(policy=PrivacyPolicy({"dsn": "hash", "events": "drop"}, KEY), table_prefix="x_")["schema"]
    assert table["physicalName"] == "x_connection"
    device, hour = table["properties"]
    assert device == {
        "name": "dsn",
        "logicalType": "string",
        "physicalType": "text",
        "description": "The device. Hashed.",
        "required": False,
        "classification": "personal",
        "transformDescription": "HMAC-SHA256 with a key, behind the key's short id.",
    }
    assert "transformDescription" not in hour


def test_each_difference_of_two_contracts_is_named() -> None:
    old, new = made(), made()
    assert differences(old, new) == []
    columns = new["schema"][0]["properties"]
    columns[0]["physicalType"] = "uuid"
    columns[1]["name"] = "count"
    columns[2]["description"] = "Another one."
    new["schema"].append({"name": "datapoint", "properties": []})
    assert differences(old, new) == [
        "column connection.count is new: integer",
        "column connection.dsn was text and is uuid",
        "column connection.events is gone",
        "table datapoint is new",
    ]
    assert differences(new, old)[-1] == "table datapoint is gone"


def test_each_breach_of_a_contract_is_named() -> None:
    columns = {"dsn": "VARCHAR", "events": "BIGINT", "folder_hour": "TIMESTAMPTZ", "more": "VARCHAR"}
    assert breaks(made(), {"ayla_connection": columns, "other": {}}, TYPES) == []
    assert breaks(made(), {}, TYPES) == ["table ayla_connection is missing"]
    wrong = {"dsn": "BLOB", "folder_hour": "TIMESTAMPTZ"}
    assert breaks(made(), {"ayla_connection": wrong}, TYPES) == [
        "column ayla_connection.dsn is BLOB, not VARCHAR",
        "column ayla_connection.events is missing",
    ]
    two = made()
    two["schema"].insert(0, copy.deepcopy(two["schema"][0]) | {"name": "a", "physicalName": "ayla_a"})
    assert breaks(two, {"ayla_connection": wrong}, TYPES)[0] == "table ayla_a is missing"
    assert len(breaks(two, {"ayla_connection": wrong}, TYPES)) == 3


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, "KeyError: 'schema'"),
        ({"schema": 1}, "TypeError: 'int' object is not iterable"),
        ({"schema": [{}]}, "KeyError"),
    ],
)
def test_what_is_no_contract_is_refused(document: dict[str, Any], error: str) -> None:
    with pytest.raises(AylaConfigError) as caught:
        differences(document, made())
    assert str(caught.value).startswith(f"it isn't a data contract of this package ({error}")

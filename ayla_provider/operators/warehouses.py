"""Finds a warehouse by its kind and the arguments that name it, for what works with every kind."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    from ayla_provider.warehouse.base import ErasableWarehouse

KINDS = {
    "bigquery": "AylaExportBigQueryPlanOperator",
    "delta": "AylaExportDeltaPlanOperator",
    "duckdb": "AylaExportDuckDBPlanOperator",
    "iceberg": "AylaExportIcebergPlanOperator",
    "postgres": "AylaExportPostgresPlanOperator",
    "snowflake": "AylaExportSnowflakePlanOperator",
}
"""The kind of a warehouse to the operator whose arguments name one of it."""


def operator_of(kind: str) -> Any:
    """Return the class of operators whose arguments name a warehouse of a kind, which is one of :data:`KINDS`."""
    return getattr(import_module("ayla_provider.operators"), KINDS[kind])


def checked_warehouses(warehouses: Any) -> list[Mapping[str, Any]]:
    """
    Return a rendered argument that names warehouses.

    :raises AylaConfigError: if it isn't a list of objects with a known ``kind``
    """
    is_list = isinstance(warehouses, Sequence) and not isinstance(warehouses, str)
    if not is_list or not all(isinstance(each, Mapping) and each.get("kind") in KINDS for each in warehouses):
        raise AylaConfigError(
            'warehouses: expected a list such as [{"kind": "duckdb", "database": "/data/ayla.duckdb"}]; the kinds are '
            f"{', '.join(sorted(KINDS))}"
        )
    return list(warehouses)


def open_warehouse(kind: str, arguments: Mapping[str, Any]) -> ErasableWarehouse:
    """
    Return a warehouse, not entered.

    :param kind: one of :data:`KINDS`
    :param arguments: those that name it in its load, such as ``namespace`` and ``iceberg_conn_id``
    :raises AylaConfigError: if an argument is missing, or isn't one that names such a warehouse
    """
    if kind not in KINDS:
        raise AylaConfigError(f"there is no kind of warehouse {kind!r}: the kinds are {', '.join(sorted(KINDS))}")
    operator = operator_of(kind)
    try:
        inspect.signature(operator.address).bind(**arguments)
    except TypeError as error:
        names = ", ".join(operator.warehouse_fields)
        raise AylaConfigError(f"the warehouse {kind}: {error}. The arguments that name it are {names}") from None
    # A plan has the fewest arguments. Its archive isn't opened.
    warehouse: ErasableWarehouse = operator(task_id="warehouse", archive="", **arguments).warehouse()
    return warehouse

"""The operator that keeps the fleet models up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator

from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.run import at_work, provenance
from ayla_provider.assets import models_asset
from ayla_provider.errors import AylaConfigError
from ayla_provider.operators.warehouses import operator_of

if TYPE_CHECKING:
    from airflow.sdk import Context

_KINDS = ("bigquery", "delta", "duckdb", "iceberg", "postgres", "snowflake")
"""The kinds of warehouses that the models are made in."""


class AylaFleetModelsOperator(BaseOperator):
    """
    Keeps the fleet models of a warehouse up to date: devices, their days, values, commands, and sums by model.

    It makes what is touched by the hours that changed since its last run, and writes what differs. So it may run after
    each load, and at any other time. Give its DAG ``max_active_runs=1``.

    Each run lists the days of devices that it changed in the table ``fleet_changes``, and emits an event of
    :meth:`asset` if there are any. Its XCom, and the event's ``extra``, have counts:
    ``{"hours", "recomputed", "devices", "device_days", "first_day", "last_day"}``.

    :param warehouse: ``{"kind": "duckdb", ...}`` with the arguments that name the warehouse in its load; the kinds are
        ``bigquery``, ``delta``, ``duckdb``, ``iceberg``, ``postgres``, and ``snowflake`` (templated)
    :param day_timezone: the time zone of days, such as ``Europe/Berlin``. With another one than before, all models are
        made again (templated)
    :param memory: DuckDB's limit for a DuckDB file, and for Delta and Iceberg tables, as DuckDB writes sizes
    """

    template_fields: Sequence[str] = ("warehouse", "day_timezone")
    ui_color = "#e3d9f6"

    def __init__(
        self, *, warehouse: Mapping[str, Any], day_timezone: str = "UTC", memory: str = "1GB", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.warehouse = warehouse
        self.day_timezone = day_timezone
        self.memory = memory

    @staticmethod
    def asset(warehouse: Mapping[str, Any]) -> Asset:
        """
        Return the asset of the models of a warehouse.

        :param warehouse: as the operator has it when it runs
        """
        arguments = {name: value for name, value in _checked(warehouse).items() if name != "kind"}
        return models_asset(_plan(warehouse).address(**arguments))

    def execute(self, context: Context) -> dict[str, Any]:
        """Make what changed, and announce it."""
        with airflow_errors():
            run = provenance(context)
            run_id = f"{run['dag_id']} {run['run_id']}"
            arguments = {name: value for name, value in _checked(self.warehouse).items() if name != "kind"}
            plan = _plan(self.warehouse)(task_id="warehouse", archive="", **arguments)
            plan.memory = self.memory
            with at_work(plan.warehouse(), context) as warehouse:
                report = warehouse.update_models(self.day_timezone, run_id, datetime.now(UTC))
        asset = models_asset(plan.own_address)
        # A DAG can name it, and it is announced only if something changed.
        self.outlets = [outlet for outlet in self.outlets if getattr(outlet, "name", "") != asset.name]
        document: dict[str, Any] = report.document()
        if report.device_days:
            context["outlet_events"][asset].extra = {"run_id": run_id, **document}
            self.outlets.append(asset)
        self.log.info(
            "Fleet models of %s: %d hours changed. Days of devices that were made again: %d. Changed: %d days of %d "
            "devices.",
            warehouse.name,
            report.hours,
            report.recomputed,
            report.device_days,
            report.devices,
        )
        return document


def _checked(warehouse: Any) -> Mapping[str, Any]:
    if not isinstance(warehouse, Mapping) or warehouse.get("kind") not in _KINDS:
        raise AylaConfigError(
            'warehouse: expected a mapping such as {"kind": "duckdb", "database": "/data/ayla.duckdb"}; the kinds are '
            f"{', '.join(_KINDS)}"
        )
    return warehouse


def _plan(warehouse: Any) -> Any:
    """Return the class of operators whose arguments name a warehouse of a kind."""
    return operator_of(_checked(warehouse)["kind"])

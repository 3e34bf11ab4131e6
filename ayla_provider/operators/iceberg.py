"""The operators of Iceberg tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import count, duration, flag, names
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.iceberg import open_catalog, require_iceberg
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.units import size_text
from ayla_provider.errors import AylaError
from ayla_provider.operators.load import AylaLoadOperator, AylaPlanOperator, AylaWarehouseArguments
from ayla_provider.operators.retention import AylaWarehouseRetentionOperator
from ayla_provider.operators.verify_warehouse import AylaWarehouseVerifyOperator
from ayla_provider.rows.duck import MEMORY
from ayla_provider.warehouse.base import TABLE_PREFIX, Warehouse

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.warehouse.iceberg import IcebergWarehouse


class _Iceberg(AylaWarehouseArguments):
    """The arguments that name an Iceberg namespace."""

    warehouse_fields = ("iceberg_conn_id", "namespace", "table_prefix", "tables", "tables_conn_id")

    def __init__(
        self,
        *,
        namespace: str,
        iceberg_conn_id: str = "iceberg_default",
        table_prefix: str = TABLE_PREFIX,
        tables: str = "",
        tables_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.iceberg_conn_id = iceberg_conn_id
        self.namespace = namespace
        self.table_prefix = table_prefix
        self.tables = tables
        self.tables_conn_id = tables_conn_id

    @staticmethod
    def address(
        *,
        namespace: str,
        iceberg_conn_id: str = "iceberg_default",
        table_prefix: str = TABLE_PREFIX,
        tables: str = "",
        tables_conn_id: str | None = None,
    ) -> tuple[str, ...]:
        return "iceberg", iceberg_conn_id, namespace, table_prefix

    def iceberg(self, memory: str = MEMORY) -> IcebergWarehouse:
        """
        Return the tables that the arguments name.

        :param memory: DuckDB's limit, as DuckDB writes sizes
        """
        require_iceberg()
        from ayla_provider.warehouse.iceberg import IcebergWarehouse

        return IcebergWarehouse(
            partial(open_catalog, self.iceberg_conn_id),
            lambda url: open_destination(url, self.tables_conn_id or None),
            namespace=self.namespace,
            table_prefix=self.table_prefix,
            location=self.tables,
            memory=memory,
        )

    def warehouse(self) -> Warehouse:
        # A plan has no limit of memory: it reads no rows.
        return self.iceberg(getattr(self, "memory", MEMORY))


class AylaExportToIcebergOperator(_Iceberg, AylaLoadOperator):
    """
    Loads hours into Iceberg tables. All hours of the task become visible in one commit.

    It takes the arguments of :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`, and:

    :param namespace: of the tables, its parts separated by dots; created if it doesn't exist (templated)
    :param iceberg_conn_id: a connection of Airflow's Iceberg provider, which names the catalog (templated)
    :param table_prefix: is in front of the name of each table (templated)
    :param tables: the URL of the folder for new tables, such as ``s3://bucket/tables``; by default the catalog's own
        choice (templated)
    :param tables_conn_id: the connection for the bucket of the tables, of the kind that ``destination_conn_id`` of a
        copy has; by default the credentials of the machine, and ``google_cloud_default`` for ``gs://`` (templated)
    """


class AylaExportIcebergPlanOperator(_Iceberg, AylaPlanOperator):
    """
    Returns the hours that Iceberg tables lack, see :class:`~ayla_provider.operators.load.AylaPlanOperator`.

    Its other arguments are those of :class:`AylaExportToIcebergOperator`.
    """


class AylaExportIcebergVerifyOperator(_Iceberg, AylaWarehouseVerifyOperator):
    """
    Compares Iceberg tables with the typed rows' receipts. Of compacted files, it reads one column.

    See :class:`~ayla_provider.operators.verify_warehouse.AylaWarehouseVerifyOperator`. Its other arguments are those of
    :class:`AylaExportToIcebergOperator`.
    """


class AylaExportIcebergUpkeepOperator(_Iceberg, BaseOperator):
    """
    Keeps commits and queries of Iceberg tables fast. Run it once a day. Loads may run at the same time.

    It writes the files of days that are older than ``lookback`` as one file of up to 256 MB, sorted by device. It
    removes old snapshots with the files that they alone have, and files that no commit names and that are older than a
    day. Snapshots that a branch or a tag of yours names stay, with their files.

    The tables of the fleet models and of the archive's hours aren't compacted: each of their days is one file anyway.

    Its XCom: a dictionary for each event type and other table, ``{"days_compacted", "files_compacted", "hours_folded",
    "snapshots_expired", "files_removed", "bytes_removed"}``.

    Its other arguments are those of :class:`AylaExportToIcebergOperator`.

    :param event_types: in any spelling; by default those of all tables with the prefix
    :param keep_snapshots: how many snapshots of each table stay: how far back time travel reaches. More of them make
        each commit slower
    :param lookback: days that are younger aren't compacted: as the plan has it
    :param dry_run: whether to say what there is to do, and to change nothing
    :param memory: DuckDB's limit, as DuckDB writes sizes; beyond it, DuckDB works on disk
    """

    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        event_types: Sequence[str] | None = None,
        keep_snapshots: int = 50,
        lookback: timedelta = timedelta(days=7),
        dry_run: bool = False,
        memory: str = MEMORY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_types = None if event_types is None else names(event_types, "event_types")
        self.keep_snapshots = count(keep_snapshots, "keep_snapshots")
        self.lookback = duration(lookback, "lookback", at_least=ONE_HOUR)
        # Not dry_run, which is a method of Airflow's operators.
        self.only_look = flag(dry_run, "dry_run")
        self.memory = memory

    def execute(self, context: Context) -> dict[str, dict[str, int]]:
        """Look after each table."""
        done: dict[str, dict[str, int]] = {}
        failed: list[AylaError] = []
        with airflow_errors():
            with self.iceberg(self.memory) as warehouse:
                for event_type in self._event_types(warehouse):
                    try:
                        done[event_type] = self._look_after(warehouse, event_type, self.only_look)
                    except AylaError as error:
                        # The other tables need upkeep all the same.
                        self.log.error("%s", error)
                        failed.append(error)
            if failed:
                raise failed[0]
        return done

    def _event_types(self, warehouse: IcebergWarehouse) -> list[str]:
        if self.event_types is None:
            return [*warehouse.event_types(), *warehouse.own_tables()]
        return [parse_event_type(name) for name in self.event_types]

    def _look_after(self, warehouse: IcebergWarehouse, event_type: str, dry_run: bool) -> dict[str, int]:
        from ayla_provider.warehouse.iceberg_upkeep import Upkeep

        upkeep = Upkeep(
            warehouse,
            keep_snapshots=self.keep_snapshots,
            lookback=self.lookback,
            now=datetime.now(UTC),
            dry_run=dry_run,
        )
        done = upkeep.run(event_type)
        self.log.info(
            "%s%s: days compacted: %d, of %d files; hours folded: %d; snapshots expired: %d; files removed: %d, and of "
            "these, files that no commit named: %s.",
            "Dry run, nothing is changed. " if dry_run else "",
            warehouse.relation(event_type),
            done.days_compacted,
            done.files_compacted,
            done.hours_folded,
            done.snapshots_expired,
            done.files_removed,
            size_text(done.bytes_removed),
        )
        return asdict(done)


class AylaExportIcebergRetentionOperator(_Iceberg, AylaWarehouseRetentionOperator):
    """
    Removes old hours from an Iceberg namespace, by a rule of yours, with the files that still have them.

    Each earlier version of a table has the old hours. So all of them go, and time travel starts again.

    See :class:`~ayla_provider.operators.retention.AylaWarehouseRetentionOperator`. Its other arguments are those of
    :class:`AylaExportToIcebergOperator`.
    """

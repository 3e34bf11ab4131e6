"""The operators of Delta Lake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ayla_provider._airflow.arguments import count, duration, flag, names
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.units import size_text
from ayla_provider.errors import AylaConfigError
from ayla_provider.operators.load import AylaLoadOperator, AylaPlanOperator, AylaWarehouseArguments
from ayla_provider.operators.retention import AylaWarehouseRetentionOperator
from ayla_provider.operators.verify_warehouse import AylaWarehouseVerifyOperator
from ayla_provider.rows.duck import MEMORY
from ayla_provider.warehouse.base import TABLE_PREFIX

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.warehouse.delta import DeltaWarehouse
    from ayla_provider.warehouse.delta_upkeep import Done


class _Delta(AylaWarehouseArguments):
    """The arguments that name a place with Delta tables."""

    warehouse_fields = ("tables", "tables_conn_id", "table_prefix")

    def __init__(
        self, *, tables: str, tables_conn_id: str | None = None, table_prefix: str = TABLE_PREFIX, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tables = tables
        self.tables_conn_id = tables_conn_id
        self.table_prefix = table_prefix

    @staticmethod
    def address(*, tables: str, tables_conn_id: str | None = None, table_prefix: str = TABLE_PREFIX) -> tuple[str, ...]:
        return "delta", str(tables).strip().replace("://", "/", 1), table_prefix

    def warehouse(self) -> DeltaWarehouse:
        from ayla_provider._airflow.delta import log_options
        from ayla_provider.warehouse.delta import DeltaWarehouse

        # First, because it refuses what deltalake can't use.
        options = log_options(self.tables, self.tables_conn_id)
        return DeltaWarehouse(
            open_destination(self.tables, self.tables_conn_id),
            options,
            table_prefix=self.table_prefix,
            # A plan has no limit of memory: it reads no rows.
            memory=getattr(self, "memory", MEMORY),
        )


class AylaExportToDeltaOperator(_Delta, AylaLoadOperator):
    """
    Loads hours into Delta tables, in a bucket or in a folder that all workers see.

    It takes the arguments of :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`, and:

    :param tables: the URL of the folder with the tables, such as ``s3://bucket/tables``; each event type has a table in
        it (templated)
    :param tables_conn_id: the connection for this URL, as the copy has one in ``destination_conn_id``; on ``gs://`` it
        has the key of a service account, or nothing for the machine's identity (templated)
    :param table_prefix: is in front of the name of each table (templated)
    """


class AylaExportDeltaPlanOperator(_Delta, AylaPlanOperator):
    """
    Returns the hours that Delta tables lack, see :class:`~ayla_provider.operators.load.AylaPlanOperator`.

    Its other arguments are those of :class:`AylaExportToDeltaOperator`.
    """


class AylaExportDeltaVerifyOperator(_Delta, AylaWarehouseVerifyOperator):
    """
    Compares Delta tables with the typed rows' receipts.

    See :class:`~ayla_provider.operators.verify_warehouse.AylaWarehouseVerifyOperator`. Its other arguments are those of
    :class:`AylaExportToDeltaOperator`.
    """


class AylaExportDeltaUpkeepOperator(_Delta):
    """
    Compacts the old days of Delta tables, shortens their logs, and removes the files that nobody needs any more.

    Run it once a day. Loads and readers may run at the same time. A file that was replaced stays for 7 days, or as long
    as the table's property ``delta.deletedFileRetentionDuration`` says, so that queries of earlier versions work.

    It also looks after the tables of the fleet models and of the archive's hours, if there are any. They aren't
    compacted: each of their days is one file anyway.

    Its XCom has the counts of all tables together: ``{"tables", "days_compacted", "files_compacted",
    "files_written", "days_in_use", "files_removed", "bytes_removed", "log_entries", "log_entries_removed"}``, where
    ``days_in_use`` are days that were loaded while they were compacted; the next run compacts them.

    Its other arguments are those of :class:`AylaExportToDeltaOperator`.

    :param event_types: in any spelling; by default the five documented ones. One without a table is passed over
    :param lookback: only days that ended longer ago are compacted; give it the ``lookback`` of the plan
    :param log_entries: how many commits of a table can be looked back to at most
    :param memory: what DuckDB may take, as it writes sizes
    :param dry_run: whether only to find out what there is to do
    """

    template_fields: Sequence[str] = _Delta.warehouse_fields
    ui_color = "#d9e6f6"

    def __init__(
        self,
        *,
        event_types: Sequence[str] = EVENT_TYPES,
        lookback: timedelta = timedelta(days=7),
        log_entries: int = 1000,
        memory: str = MEMORY,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_types = names(event_types, "event_types")
        self.lookback = duration(lookback, "lookback", at_least=timedelta(days=1))
        self.log_entries = count(log_entries, "log_entries")
        self.memory = memory
        # Not dry_run, which is a method of Airflow's operators.
        self.only_look = flag(dry_run, "dry_run")

    def execute(self, context: Context) -> dict[str, int]:
        """Keep up each table."""
        from ayla_provider.warehouse.base import HOURS
        from ayla_provider.warehouse.delta_upkeep import FEWEST_LOG_ENTRIES, upkeep
        from ayla_provider.warehouse.lake_models import OWN_TABLES

        own_tables = [table.event_type for table in (HOURS, *OWN_TABLES)]
        total: Counter[str] = Counter()
        with airflow_errors():
            if self.log_entries < FEWEST_LOG_ENTRIES:
                raise AylaConfigError(
                    f"log_entries is {self.log_entries}: at least {FEWEST_LOG_ENTRIES} must stay, for loads and "
                    "readers that began some commits ago"
                )
            with self.warehouse() as warehouse:
                for event_type in (*map(parse_event_type, self.event_types), *own_tables):
                    done = upkeep(
                        warehouse,
                        event_type,
                        datetime.now(UTC),
                        lookback=self.lookback,
                        log_entries=self.log_entries,
                        dry_run=self.only_look,
                    )
                    if done:
                        self._say(event_type, done)
                        total.update({"tables": 1} | asdict(done))
        return dict(total) or {"tables": 0}

    def _say(self, event_type: str, done: Done) -> None:
        self.log.info(
            "%s%s: compacted %d days, %d files into %d; removed %d files, %s, and %d entries of the log; %d are left.",
            "Would be done, " if self.only_look else "",
            event_type,
            done.days_compacted,
            done.files_compacted,
            done.files_written,
            done.files_removed,
            size_text(done.bytes_removed),
            done.log_entries_removed,
            done.log_entries,
        )
        if done.days_in_use:
            self.log.info(
                "%s: %d days were loaded in the meantime, and stay as they are.", event_type, done.days_in_use
            )


class AylaExportDeltaRetentionOperator(_Delta, AylaWarehouseRetentionOperator):
    """
    Removes old hours from Delta tables, by a rule of yours, with the files that still have them.

    Each earlier version of a table has the old hours. So all of them go, and time travel starts again.

    See :class:`~ayla_provider.operators.retention.AylaWarehouseRetentionOperator`. Its other arguments are those of
    :class:`AylaExportToDeltaOperator`.
    """

"""The operators of DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ayla_provider.errors import AylaConfigError
from ayla_provider.operators.load import AylaLoadOperator, AylaPlanOperator, AylaWarehouseArguments
from ayla_provider.operators.retention import AylaWarehouseRetentionOperator
from ayla_provider.operators.verify_warehouse import AylaWarehouseVerifyOperator
from ayla_provider.rows.duck import MEMORY
from ayla_provider.warehouse.base import TABLE_PREFIX, Warehouse


class _DuckDB(AylaWarehouseArguments):
    """The arguments that name a DuckDB file."""

    warehouse_fields = ("database", "schema", "table_prefix")

    def __init__(self, *, database: str, schema: str = "main", table_prefix: str = TABLE_PREFIX, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.schema = schema
        self.table_prefix = table_prefix

    @staticmethod
    def address(*, database: str, schema: str = "main", table_prefix: str = TABLE_PREFIX) -> tuple[str, ...]:
        return "duckdb", str(database).strip(), schema, table_prefix

    @property
    def _file(self) -> str:
        # A relative path, "~", or ":memory:" would lose the rows in the folder or process of one worker.
        path = str(self.database).strip()
        if not Path(path).is_absolute():
            raise AylaConfigError(
                f"database is {self.database!r}: expected the absolute path of a file on the worker, such as "
                "/data/ayla.duckdb"
            )
        return path

    def warehouse(self) -> Warehouse:
        from ayla_provider.warehouse.duckdb import DuckDBWarehouse

        # A plan has no limit of memory: it reads no rows.
        memory = getattr(self, "memory", MEMORY)
        return DuckDBWarehouse(self._file, schema=self.schema, table_prefix=self.table_prefix, memory=memory)


class AylaExportToDuckDBOperator(_DuckDB, AylaLoadOperator):
    """
    Loads hours into a DuckDB file on the worker's disk. Give it a pool of one slot: only one process can open the file.

    It takes the arguments of :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`, and:

    :param database: the file's absolute path, created if it doesn't exist (templated)
    :param schema: created if it doesn't exist (templated)
    :param table_prefix: is in front of the name of each table and view (templated)
    """


class AylaExportDuckDBPlanOperator(_DuckDB, AylaPlanOperator):
    """
    Returns the hours that a DuckDB file lacks, see :class:`~ayla_provider.operators.load.AylaPlanOperator`.

    Its other arguments are those of :class:`AylaExportToDuckDBOperator`, and it needs the same pool.
    """


class AylaExportDuckDBVerifyOperator(_DuckDB, AylaWarehouseVerifyOperator):
    """
    Compares a DuckDB file with the typed rows' receipts.

    See :class:`~ayla_provider.operators.verify_warehouse.AylaWarehouseVerifyOperator`. Its other arguments are those of
    :class:`AylaExportToDuckDBOperator`, and it needs the same pool.
    """


class AylaExportDuckDBRetentionOperator(_DuckDB, AylaWarehouseRetentionOperator):
    """
    Removes old hours from a DuckDB file, by a rule of yours.

    See :class:`~ayla_provider.operators.retention.AylaWarehouseRetentionOperator`. Its other arguments are those of
    :class:`AylaExportToDuckDBOperator`, and it needs the same pool.
    """

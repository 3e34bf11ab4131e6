"""
BigQuery as a warehouse.

An hour is staged by a load job and put in its place by one script with a transaction: see :meth:`replace`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.errors import AylaTableError, AylaWarehouseError
from ayla_provider.warehouse.base import LEDGER, Load
from ayla_provider.warehouse.sql import Dialect, View, as_it_stands, views_of

if TYPE_CHECKING:
    from google.cloud import bigquery

DIALECT = Dialect(
    types={
        ColumnType.TEXT: "STRING",
        ColumnType.INTEGER: "INT64",
        ColumnType.NUMBER: "FLOAT64",
        ColumnType.BOOLEAN: "BOOL",
        ColumnType.UUID: "STRING",
        ColumnType.TIMESTAMP: "TIMESTAMP",
    },
    day=lambda moment: f"date({moment}, 'UTC')",
    seconds=lambda start, end: f"timestamp_diff({end}, {start}, second)",
    quote="`",
)
# The service answers with the older names.
_SAME_TYPE = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}

LEFTOVERS_EXPIRE = timedelta(hours=1)
"""When what a killed task left behind vanishes by itself."""
FIRST_WAIT, LONGEST_WAIT, PATIENCE = 2.0, 60.0, 600.0
"""Seconds: BigQuery cancels transactions that change the same table at once, instead of queueing them."""


class BigQueryWarehouse:
    """
    A dataset of BigQuery.

    :param client: makes a client, such as ``BigQueryHook(...).get_client``
    :param dataset: the dataset; it is made if it isn't there
    :param project: the dataset's project; without one, the client's
    :param location: where the dataset is made, such as ``EU``
    :param kms_key: the Cloud KMS key for everything that is made, ``projects/.../cryptoKeys/...``
    """

    def __init__(
        self,
        client: Callable[[], bigquery.Client],
        *,
        dataset: str,
        project: str = "",
        location: str = "",
        table_prefix: str = "ayla_",
        kms_key: str = "",
    ) -> None:
        self.name = f"BigQuery {project}.{dataset}" if project else f"BigQuery {dataset}"
        self._connect = client
        self._dataset = dataset
        self._project = project
        self._location = location
        self._prefix = table_prefix
        self._kms_key = kms_key
        self._client: bigquery.Client

    def __enter__(self) -> BigQueryWarehouse:
        from google.api_core.exceptions import NotFound

        with self._told("reach the dataset"):
            self._client = self._connect()
            self._project = self._project or self._client.project
            # A job has to run where the dataset stands.
            with suppress(NotFound):
                self._location = self._client.get_dataset(f"{self._project}.{self._dataset}").location
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """Return the version of each hour that is loaded, from the ledger."""
        from google.api_core.exceptions import NotFound

        query = (
            f"select folder_hour, version from {self._relation(LEDGER.event_type)} "
            "where event_type = @event_type and folder_hour >= @start and folder_hour < @end"
        )
        config = self._with_parameters(
            event_type=("STRING", event_type), start=("TIMESTAMP", start), end=("TIMESTAMP", end)
        )
        # Of queries only those that return rows may have a key.
        config.destination_encryption_configuration = self._key()
        with self._told(f"read which hours of {event_type} are loaded"):
            try:
                self._client.get_table(self._id(self._prefix + LEDGER.event_type))
            except NotFound:
                return {}
            return {row["folder_hour"]: row["version"] for row in self._run(query, config, "ayla_loaded_")}

    def prepare(self, table: Table) -> None:
        """Make dataset, tables and views, and add the columns that are missing."""
        from google.api_core.exceptions import PreconditionFailed
        from google.api_core.retry import Retry, if_exception_type

        # Somebody else changed the same table in between.
        again = Retry(predicate=if_exception_type(PreconditionFailed), initial=FIRST_WAIT, timeout=PATIENCE)
        with self._told(f"make the tables of {table.event_type}"):
            self._make_dataset()
            self._make_table(LEDGER)
            standing = as_it_stands(table, self._make_table(table))
            for view in views_of(standing, self._relation, DIALECT):
                again(self._make_view)(view)

    def replace(self, load: Load) -> None:
        """Stage the rows with a load job, then put them in their place with one script."""
        from google.api_core.retry import Retry

        what = f"{load.table.event_type} {load.hour:%Y-%m-%dT%HZ}"
        job = f"{self._prefix}{load.table.event_type}_{load.hour:%Y%m%d%H}_"
        staged = f"{job}{uuid4().hex}" if load.parquet else ""
        script, config = self._script(load, staged), self._ledger_entry(load)
        again = Retry(predicate=_in_conflict, initial=FIRST_WAIT, maximum=LONGEST_WAIT, timeout=PATIENCE)
        try:
            with self._told(f"load {what}"):
                if load.parquet:
                    self._stage(load, load.parquet, staged, job)
                again(self._run)(script, config, job)
        finally:
            if staged:
                # It expires anyway; and without it, a job that is still on its way can't commit later on.
                with suppress(Exception):
                    self._client.delete_table(self._id(staged), not_found_ok=True)

    def _id(self, name: str) -> str:
        return f"{self._project}.{self._dataset}.{name}"

    def _relation(self, name: str) -> str:
        return DIALECT.name(self._project, self._dataset, self._prefix + name)

    def _key(self) -> bigquery.EncryptionConfiguration | None:
        from google.cloud import bigquery

        return bigquery.EncryptionConfiguration(self._kms_key) if self._kms_key else None

    def _with_parameters(self, **values: tuple[str, Any]) -> bigquery.QueryJobConfig:
        from google.cloud import bigquery

        return bigquery.QueryJobConfig(
            query_parameters=[bigquery.ScalarQueryParameter(name, *value) for name, value in values.items()]
        )

    def _run(self, query: str, config: bigquery.QueryJobConfig, job: str) -> Any:
        """Run a query; its id is the client's, which then finds the job again when an answer is lost."""
        return self._client.query(query, config, job_id_prefix=job, location=self._location or None).result()

    def _make_dataset(self) -> None:
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        dataset = bigquery.Dataset(f"{self._project}.{self._dataset}")
        try:
            self._client.get_dataset(dataset.reference)
        except NotFound:
            dataset.location = self._location or None
            dataset.default_encryption_configuration = self._key()
            self._location = self._client.create_dataset(dataset, exists_ok=True).location

    def _new_table(self, name: str, table: Table, description: str) -> bigquery.Table:
        from google.cloud import bigquery

        new = bigquery.Table(self._id(name), [_field(column) for column in table.columns])
        new.description = description
        new.encryption_configuration = self._key()
        return new

    def _make_table(self, table: Table) -> list[str]:
        """Make a table or add what it lacks, and return the names of the columns that stood there."""
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        name = self._prefix + table.event_type
        try:
            there = self._client.get_table(self._id(name))
        except NotFound:
            new = self._new_table(name, table, table.description)
            if table is not LEDGER:
                # By day: by hour, the limit of partitions of a table is reached within two years.
                new.time_partitioning = bigquery.TimePartitioning(field="folder_hour")
            new.clustering_fields = [one for one in ("event_type", "dsn") if one in table.names] or None
            there = self._client.create_table(new, exists_ok=True)
        types = {field.name.lower(): _type_of(field) for field in there.schema}
        for column in table.columns:
            stands, wanted = types.get(column.name.lower()), DIALECT.types[column.type]
            if stands not in (None, wanted):
                raise AylaTableError(
                    f"{self.name}: column {column.name} of {name} is {stands}, but {wanted} is needed for "
                    f"{table.event_type}. Rename the column or the table there, or choose another table_prefix."
                )
        missing = [
            f"add column if not exists {DIALECT.definition(column)} options (description = {_text(column.description)})"
            for column in table.columns
            if column.name.lower() not in types
        ]
        if missing:
            # Unlike a new schema by the API, it can't undo what another task adds at the same time.
            query = f"alter table {self._relation(table.event_type)} {', '.join(missing)}"
            self._run(query, self._with_parameters(), "ayla_columns_")
        return list(types)

    def _make_view(self, view: View) -> None:
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        name = self._id(self._prefix + view.name)
        try:
            there = self._client.get_table(name)
        except NotFound:
            there = bigquery.Table(name)
            there.view_query, there.description = view.select, view.description
            self._client.create_table(there, exists_ok=True)
            return
        if (there.view_query, there.description) != (view.select, view.description):
            there.view_query, there.description = view.select, view.description
            self._client.update_table(there, ["view_query", "description"])

    def _stage(self, load: Load, parquet: Path, staged: str, job: str) -> None:
        from google.cloud import bigquery

        table = self._new_table(staged, load.table, "Rows on their way into their table; expires by itself.")
        table.expires = datetime.now(UTC) + LEFTOVERS_EXPIRE
        self._client.create_table(table)
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=table.schema,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            # The table is this load's own: a job that is sent twice is refused instead of doubling the rows.
            write_disposition=bigquery.WriteDisposition.WRITE_EMPTY,
            destination_encryption_configuration=self._key(),
        )
        with parquet.open("rb") as file:
            loading: Any = self._client.load_table_from_file(
                file,
                table.reference,
                job_id_prefix=job,
                location=self._location or None,
                job_config=config,
            )
        rows = loading.result().output_rows
        if rows != load.rows:
            raise AylaWarehouseError(
                f"{self.name}: of {load.rows} rows of {load.table.event_type} {load.hour:%Y-%m-%dT%HZ} the load job "
                f"{loading.job_id} took {rows}; the hour there is as it was. Try again."
            )

    def _script(self, load: Load, staged: str) -> str:
        """
        Return the script that replaces the hour.

        A transaction conflicts with others that change the same rows, but two that delete nothing and then insert
        don't: both would load a new hour. So each first changes the one row of a table that only loads of this
        hour know; loads of other hours aren't held up by it. It isn't dropped, since dropping it under a
        transaction that waits is no documented conflict.
        """
        rows, ledger = self._relation(load.table.event_type), self._relation(LEDGER.event_type)
        turn = self._relation(f"{load.table.event_type}_{load.hour:%Y%m%d%H}_turn")
        key = f", kms_key_name = {_text(self._kms_key)}" if self._kms_key else ""
        columns = DIALECT.names(load.table.columns)
        source = DIALECT.name(self._project, self._dataset, staged)
        entry = ", ".join(f"@ledger_{name}" for name in LEDGER.names)
        hours = LEFTOVERS_EXPIRE // timedelta(hours=1)
        return "\n".join(
            (
                f"create table if not exists {turn} options (",
                f"  expiration_timestamp = timestamp_add(current_timestamp(), interval {hours} hour){key}",
                ") as select 1 as turn;",
                "begin transaction;",
                f"update {turn} set turn = turn + 1 where true;",
                f"delete from {rows} where folder_hour = @ledger_folder_hour;",
                *([f"insert into {rows} ({columns}) select {columns} from {source};"] if staged else []),
                f"delete from {ledger} where event_type = @ledger_event_type and folder_hour = @ledger_folder_hour;",
                f"insert into {ledger} ({DIALECT.names(LEDGER.columns)}) values ({entry});",
                "commit transaction;",
            )
        )

    def _ledger_entry(self, load: Load) -> bigquery.QueryJobConfig:
        values = {"event_type": load.table.event_type, "folder_hour": load.hour}
        return self._with_parameters(
            **{
                f"ledger_{column.name}": (
                    DIALECT.types[column.type],
                    values[column.name] if column.name in values else getattr(load, column.name),
                )
                for column in LEDGER.columns
            }
        )

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        from google.api_core.exceptions import Forbidden, GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except (GoogleAPIError, GoogleAuthError, OSError) as error:
            advice = (
                "Give its account what docs/bigquery.md names."
                if isinstance(error, Forbidden)
                else "An hour is replaced as a whole or not at all; try again."
            )
            # Without its cause: what BigQuery says of a value that it refuses may hold the value.
            raise AylaWarehouseError(f"{self.name}: can't {doing}: {_said(error)} {advice}") from None


def _field(column: Column) -> bigquery.SchemaField:
    from google.cloud import bigquery

    return bigquery.SchemaField(column.name, DIALECT.types[column.type], description=column.description)


def _text(text: str) -> str:
    """Return a text as BigQuery writes it: otherwise than other engines, with backslashes."""
    return json.dumps(text, ensure_ascii=False)


def _type_of(field: bigquery.SchemaField) -> str:
    name = _SAME_TYPE.get(field.field_type, field.field_type)
    return f"ARRAY<{name}>" if field.mode == "REPEATED" else name


def _in_conflict(error: Exception) -> bool:
    """Return whether a transaction was cancelled for another one's sake."""
    said = str(error).lower()
    return "concurrent update" in said or "already exists" in said


def _said(error: Exception) -> str:
    """Return what an error says, unless it may quote a row."""
    from google.api_core.exceptions import BadRequest, RetryError

    if isinstance(error, RetryError) and error.cause is not None:
        if _in_conflict(error.cause):
            return f"other loads changed the same tables for {PATIENCE:.0f} seconds on end."
        error = error.cause
    details = getattr(error, "errors", None) or [{}]
    if isinstance(error, BadRequest) and not _in_conflict(error):
        return f"refused ({details[0].get('reason', 'bad request')}). The job history in BigQuery says why."
    return f"{type(error).__name__}: {details[0].get('message') or error}".rstrip(". \n") + "."

"""
BigQuery as a warehouse.

A load job stages an hour's rows in a table of its own. One script with a transaction then puts them in their place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.tables import PROVENANCE, Column, Table
from ayla_provider.domain.work import bigquery_labels
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.models import tables as models
from ayla_provider.models.macros import BIGQUERY
from ayla_provider.warehouse import fleet
from ayla_provider.warehouse.base import SAFE_TO_RETRY, TABLE_PREFIX, Load
from ayla_provider.warehouse.sql import Dialect, View
from ayla_provider.warehouse.sql_warehouse import Explanation, SqlWarehouse

if TYPE_CHECKING:
    from google.cloud import bigquery

DIALECT = Dialect(
    types={kind: name.upper() for kind, name in BIGQUERY.types.items()},
    day=lambda moment: f"date({moment}, 'UTC')",
    seconds=lambda start, end: f"timestamp_diff({end}, {start}, second)",
    hours_later=lambda time, hours: f"timestamp_add({time}, interval {hours} hour)",
    # The prefix, because rows and end are reserved words.
    parameter=lambda name, _: f"@ledger_{name}",
    quote="`",
    # A quoted name has the escapes of a string.
    escape=lambda name: name.replace("\\", "\\\\").replace("`", "\\`"),
    sha256=lambda text: f"to_hex(sha256({text}))",
)
# The service answers with the older names.
_SAME_TYPE = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}

_TIME_TRAVEL_HOURS = 168
"""Of a dataset that doesn't say otherwise."""
_FAIL_SAFE = timedelta(days=7)

LEFTOVERS_EXPIRE = timedelta(hours=1)
"""How long tables of a killed load stay. BigQuery then removes them."""
STAGED_EXPIRE = timedelta(days=1)
"""How long tables stay that a run of the models needs. Only a run that is killed leaves them."""
FIRST_WAIT, LONGEST_WAIT, PATIENCE = 2.0, 60.0, 600.0
"""Seconds. BigQuery doesn't queue transactions that change the same table; it cancels them."""


class BigQueryWarehouse(SqlWarehouse):
    """
    A dataset of BigQuery.

    :param client: returns a client, such as ``BigQueryHook(...).get_client``
    :param dataset: is created if it doesn't exist
    :param project: the dataset's project; by default the client's
    :param location: where the dataset is created, such as ``EU``
    :param kms_key: the Cloud KMS key for everything that is created, ``projects/.../cryptoKeys/...``
    """

    dialect = DIALECT
    macros = BIGQUERY

    def __init__(
        self,
        client: Callable[[], bigquery.Client],
        *,
        dataset: str,
        project: str = "",
        location: str = "",
        table_prefix: str = TABLE_PREFIX,
        kms_key: str = "",
    ) -> None:
        super().__init__(f"BigQuery {project}.{dataset}" if project else f"BigQuery {dataset}", table_prefix)
        self._connect = client
        self._dataset = dataset
        self._project = project
        self._location = location
        self._kms_key = kms_key
        self._client: Any = None
        self._script: list[str] | None = None
        """The statements of the transaction that is being put together; None outside of one."""
        self._script_values: dict[str, Any] = {}
        self._staged_models: set[str] = set()
        """The tables that a run of the models made for itself."""

    def _open(self) -> None:
        from google.api_core.exceptions import NotFound

        self._client = self._connect()
        self._project = self._project or self._client.project
        # A job must run where the dataset is.
        with suppress(NotFound):
            self._location = self._client.get_dataset(f"{self._project}.{self._dataset}").location

    def _close(self) -> None:
        self._client.close()

    def _id(self, name: str) -> str:
        return f"{self._project}.{self._dataset}.{name}"

    def _name_elsewhere(self, table: str) -> tuple[str, str]:
        return "bigquery", self._id(table)

    def _relation(self, name: str) -> str:
        return DIALECT.name(self._project, self._dataset, self._prefix + name)

    def _run(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        """Run a statement; in a transaction, add it to the script."""
        if self._script is None:
            return self._query(statement, self._job_config(values), "ayla_columns_")
        self._script.append(f"{statement};")
        self._script_values |= values or {}
        return None

    def _fetch(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Sequence[Any]]:
        config = self._job_config(values)
        # BigQuery accepts a key only for queries that return rows.
        config.destination_encryption_configuration = self._key()
        return list(self._query(statement, config, "ayla_loaded_"))

    def _query(self, query: str, config: bigquery.QueryJobConfig, job: str) -> Any:
        # The client chooses the job's id, so it finds the job again if an answer is lost.
        return self._client.query(query, config, job_id_prefix=job, location=self._location or None).result()

    def _job_config(self, values: Mapping[str, Any] | None) -> bigquery.QueryJobConfig:
        from google.cloud import bigquery

        parameters = []
        for name, value in (values or {}).items():
            kind = "TIMESTAMP" if isinstance(value, datetime) else "INT64" if isinstance(value, int) else "STRING"
            parameters.append(bigquery.ScalarQueryParameter(f"ledger_{name}", kind, value))
        return bigquery.QueryJobConfig(query_parameters=parameters, labels=bigquery_labels(self._work))

    def _key(self) -> bigquery.EncryptionConfiguration | None:
        from google.cloud import bigquery

        return bigquery.EncryptionConfiguration(self._kms_key) if self._kms_key else None

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        dataset = bigquery.Dataset(f"{self._project}.{self._dataset}")
        try:
            self._client.get_dataset(dataset.reference)
        except NotFound:
            dataset.location = self._location or None
            dataset.default_encryption_configuration = self._key()
            self._location = self._client.create_dataset(dataset, exists_ok=True).location
        yield

    def _columns(self, table: Table) -> dict[str, str]:
        from google.api_core.exceptions import NotFound

        try:
            existing = self._client.get_table(self._id(self._prefix + table.event_type))
        except NotFound:
            return {}
        return {field.name.lower(): _type_of(field) for field in existing.schema}

    def _new_table(self, name: str, table: Table, description: str) -> bigquery.Table:
        from google.cloud import bigquery

        new = bigquery.Table(self._id(name), [_field(column) for column in table.columns])
        new.description = description
        new.encryption_configuration = self._key()
        return new

    def _create_table(self, table: Table) -> None:
        from google.cloud import bigquery

        new = self._new_table(self._prefix + table.event_type, table, table.description)
        if PROVENANCE[-1].name in table.names:
            # By day: by hour, a table reaches its limit of partitions within two years.
            new.time_partitioning = bigquery.TimePartitioning(field="folder_hour")
        new.clustering_fields = [name for name in ("event_type", "dsn") if name in table.names] or None
        self._client.create_table(new, exists_ok=True)

    def _add_columns(self, table: Table, columns: Sequence[Column]) -> None:
        additions = []
        for column in columns:
            options = f"options (description = {_text(column.description)})"
            additions.append(f"add column if not exists {DIALECT.definition(column)} {options}")
        # A new schema by the API could undo what another task adds at the same time.
        self._run(f"alter table {self._relation(table.event_type)} {', '.join(additions)}")

    def _ensure_views(self, views: Sequence[View], *, tables_changed: bool) -> None:
        from google.api_core.exceptions import PreconditionFailed
        from google.api_core.retry import Retry, if_exception_type

        # Another task changed the same view in between.
        again = Retry(predicate=if_exception_type(PreconditionFailed), initial=FIRST_WAIT, timeout=PATIENCE)
        for view in views:
            again(self._ensure_view)(view)

    def _ensure_view(self, view: View) -> None:
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        name = self._id(self._prefix + view.name)
        try:
            existing = self._client.get_table(name)
        except NotFound:
            new = bigquery.Table(name)
            new.view_query, new.description = view.select, view.description
            self._client.create_table(new, exists_ok=True)
            return
        if (existing.view_query, existing.description) != (view.select, view.description):
            existing.view_query, existing.description = view.select, view.description
            self._client.update_table(existing, ["view_query", "description"])

    @contextmanager
    def _staged(self, load: Load) -> Iterator[str]:
        if load.parquet is None:
            yield ""
            return
        names: list[str] = []
        try:
            rows, jobs = 0, []
            # A table for each file, because a load job may only write into an empty one.
            for parquet in load.files:
                names.append(f"{self._job_of(load)}{uuid4().hex}")
                job = self._stage(load, parquet, names[-1])
                rows += job.result().output_rows
                jobs.append(job.job_id)
            if rows != load.rows:
                raise AylaWarehouseError(
                    f"{self.name}: can't load {load}: {rows:,} of {load.rows:,} rows arrived, by the load job "
                    f"{', '.join(jobs)}. {SAFE_TO_RETRY}"
                )
            columns = DIALECT.names(load.table.columns)
            staged = [DIALECT.name(self._project, self._dataset, name) for name in names]
            yield staged[0] if len(staged) == 1 else _union(staged, columns)
        finally:
            # They expire anyway. But without them, a script that is still on its way can't commit later.
            for name in names:
                with suppress(Exception):
                    self._client.delete_table(self._id(name), not_found_ok=True)

    def _stage(self, load: Load, parquet: Path, name: str) -> Any:
        """Load a file into a table of its own, and return the job."""
        from google.cloud import bigquery

        table = self._new_table(name, load.table, "Rows on their way into their table; expires by itself.")
        table.expires = datetime.now(UTC) + LEFTOVERS_EXPIRE
        self._client.create_table(table)
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=table.schema,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            # Only this load writes into the table. If the job is sent twice, BigQuery refuses the second one.
            write_disposition=bigquery.WriteDisposition.WRITE_EMPTY,
            destination_encryption_configuration=self._key(),
            labels=bigquery_labels(self._work),
        )
        with parquet.open("rb") as file:
            return self._client.load_table_from_file(
                file,
                table.reference,
                job_id_prefix=self._job_of(load),
                location=self._location or None,
                job_config=config,
            )

    def _job_of(self, load: Load) -> str:
        return f"{self._prefix}{load.table.event_type}_{load.hour:%Y%m%d%H}_"

    def _turn(self, load: Load) -> str:
        return self._relation(f"{load.table.event_type}_{load.hour:%Y%m%d%H}_turn")

    @contextmanager
    def _transaction(self, load: Load | None = None) -> Iterator[None]:
        """Gather the statements, then run them as one script. Run it again if another transaction cancels it."""
        from google.api_core.retry import Retry

        self._script_values = {}
        self._script = [*(self._make_turn(load) if load else ()), "begin transaction;"]
        try:
            yield
            script = "\n".join([*self._script, "commit transaction;"])
        finally:
            self._script = None
        again = Retry(predicate=_is_conflict, initial=FIRST_WAIT, maximum=LONGEST_WAIT, timeout=PATIENCE)
        again(self._query)(
            script, self._job_config(self._script_values), self._job_of(load) if load else "ayla_change_"
        )

    def _make_turn(self, load: Load) -> list[str]:
        hours = LEFTOVERS_EXPIRE // timedelta(hours=1)
        return [f"create table if not exists {self._turn(load)} {self._expires(hours)} as select 1 as turn;"]

    def _expires(self, hours: int) -> str:
        """Return the options of a table that BigQuery removes after some hours."""
        key = f", kms_key_name = {_text(self._kms_key)}" if self._kms_key else ""
        return f"options (expiration_timestamp = timestamp_add(current_timestamp(), interval {hours} hour){key})"

    def _lock(self, load: Load) -> None:
        """
        Change the one row of a table that only loads of this hour use.

        BigQuery cancels a transaction that changes the same rows as another. Loads of other hours aren't affected. The
        table isn't dropped: the documentation doesn't say that dropping it conflicts with a transaction that uses it.
        """
        self._run(f"update {self._turn(load)} set turn = turn + 1 where true")

    def _insert(self, load: Load, source: str) -> int:
        columns = DIALECT.names(load.table.columns)
        self._run(f"insert into {self._relation(load.table.event_type)} ({columns}) select {columns} from {source}")
        # The load jobs counted them.
        return load.rows

    def update_models(self, day_timezone: str, run_id: str, now: datetime) -> fleet.FleetReport:
        """Bring the fleet models up to date, and remove the tables that it took."""
        try:
            return super().update_models(day_timezone, run_id, now)
        finally:
            for name in self._staged_models:
                with suppress(Exception):
                    self._client.delete_table(name, not_found_ok=True)
            self._staged_models.clear()

    def _engine(self) -> fleet.Engine:
        """
        Return how a run of the models runs statements.

        A script can't ask for something in between, and only a script has temporary tables. So these are tables of the
        dataset, and each change of a table is a transaction of its own.
        """
        # Names of their own, so that no other run has them.
        run = uuid4().hex

        def temporary(name: str) -> str:
            return DIALECT.name(self._project, self._dataset, f"{self._prefix}staged_{run}_{name}")

        def create(name: str, select: str) -> str:
            self._staged_models.add(name.replace(DIALECT.quote, ""))
            hours = STAGED_EXPIRE // timedelta(hours=1)
            return f"create or replace table {name} {self._expires(hours)} as {select}"

        engine = super()._engine()
        return replace(engine, temporary=temporary, create=create, transaction=nullcontext, writing=self._transaction)

    def _ensure_as_of(self) -> None:
        self._run(
            f"create or replace table function {self._relation('property_as_of')}(moment timestamp) as "
            f"select * from {self._relation(models.PROPERTY_VALUE.name)} "
            "where valid_from <= moment and (valid_to is null or moment < valid_to)"
        )

    def expire(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """Return how long the warehouse keeps removed rows."""
        return self.forget(event_types, now)

    def _forget_rows(self, event_types: Sequence[str], now: datetime) -> Sequence[Leftover]:
        """Return how long time travel and fail-safe keep erased rows. Nobody can shorten fail-safe."""
        dataset = self._client.get_dataset(f"{self._project}.{self._dataset}")
        hours = int(getattr(dataset, "max_time_travel_hours", None) or _TIME_TRAVEL_HOURS)
        return [
            Leftover(
                self.name,
                f"time travel keeps removed rows for {hours} hours, and fail-safe for {_FAIL_SAFE.days} days more",
                now + timedelta(hours=hours) + _FAIL_SAFE,
            )
            for _ in event_types[:1]
        ]

    def _explain(self, error: Exception) -> Explanation | None:
        from google.api_core.exceptions import Forbidden, GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        if isinstance(error, Forbidden):
            return Explanation(
                _words(error), "Give the connection's account the rights that this provider's page on BigQuery lists."
            )
        if isinstance(error, (GoogleAPIError, GoogleAuthError, OSError)):
            return Explanation(_words(error))
        return None


def _field(column: Column) -> bigquery.SchemaField:
    from google.cloud import bigquery

    return bigquery.SchemaField(column.name, DIALECT.types[column.type], description=column.description)


def _union(relations: Sequence[str], columns: str) -> str:
    """Return the relation of the rows of several tables."""
    return f"({' union all '.join(f'select {columns} from {relation}' for relation in relations)})"


def _text(text: str) -> str:
    """Return a text as a literal of BigQuery, which escapes with backslashes."""
    return json.dumps(text, ensure_ascii=False)


def _type_of(field: bigquery.SchemaField) -> str:
    name = _SAME_TYPE.get(field.field_type, field.field_type)
    return f"ARRAY<{name}>" if field.mode == "REPEATED" else name


def _is_conflict(error: Exception) -> bool:
    """Return whether BigQuery cancelled a transaction because of another one."""
    message = str(error).lower()
    return "concurrent update" in message or "already exists" in message


def _words(error: Exception) -> str:
    """Return an error's message, unless it may quote a row."""
    from google.api_core.exceptions import BadRequest, RetryError

    if isinstance(error, RetryError) and error.cause is not None:
        if _is_conflict(error.cause):
            return f"other loads changed the same tables all the time, for {PATIENCE:.0f} seconds"
        error = error.cause
    details = getattr(error, "errors", None) or [{}]
    if isinstance(error, BadRequest) and not _is_conflict(error):
        return f"refused ({details[0].get('reason', 'bad request')}). The job history in BigQuery says why"
    return f"{type(error).__name__}: {details[0].get('message') or error}"

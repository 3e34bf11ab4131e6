"""The operator that compares what the export brought with what the stream had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import duration, names, optional_hour
from ayla_provider._airflow.compat import stats
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider.destinations import open_destination
from ayla_provider.domain.completeness import Completeness, CompletenessSummary, HourCompleteness, by_event_type
from ayla_provider.domain.digest import Digest, Layer
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hour import LONGEST, ONE_HOUR, describe_hour, hour_of
from ayla_provider.domain.paths import typed_rows_url
from ayla_provider.domain.units import counted, first_few
from ayla_provider.errors import AylaConfigError, AylaIncompleteError
from ayla_provider.operators.digests import publish

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.warehouse.sql_warehouse import SqlWarehouse

_LOGGED = 200
"""How many hours the log names."""

_LISTED = 100
"""How many hours the XCom lists."""

_NAMED = 5
"""How many hours an error names."""


class AylaExportCompletenessOperator(BaseOperator):
    """
    Compares the typed rows of an export with those of a stream, and fails if the export lacks events.

    It compares the hours that ended at least 27 hours ago. It needs no connection to Ayla. The result of each hour, and
    the missing events, go into the stream's archive, below ``_completeness/``. It may run beside copies and loads.

    Its XCom ``summary`` is ``{"start", "end", "hours", "compared", "states": {state: count}, "totals": {count: events},
    "event_types": {event type: the same counts}, "missing": [{"event_type", "hour", "state", "only_export",
    "only_stream", "missing_path"}, ...]}``. It is there also if the task fails.

    :param archive: the URL that the copy of the export has as its destination (templated)
    :param stream_archive: the URL that the copy of the stream has as its destination (templated)
    :param event_types: in any spelling; by default the five documented ones
    :param lookback: how far back from now to compare
    :param since: the first hour to compare, in place of ``lookback`` (templated)
    :param archive_conn_id: as the copy of the export has it in ``destination_conn_id`` (templated)
    :param stream_archive_conn_id: as the copy of the stream has it in ``destination_conn_id`` (templated)
    :param parquet: where the export's typed rows are, as in its loads (templated)
    :param stream_parquet: where the stream's typed rows are, as in its loads (templated)
    :param memory: what DuckDB may take, as in the loads
    :param fail: whether the task fails if the export lacks events. The page learns nothing from a task that fails, so
        set False for it, and let a later task fail
    :param warehouse: ``{"kind": "postgres", ...}`` with the arguments that name the warehouse of the export in its
        load, to show the result of each hour in its view ``completeness``; not those of table formats (templated)
    """

    template_fields: Sequence[str] = (
        "archive",
        "stream_archive",
        "since",
        "archive_conn_id",
        "stream_archive_conn_id",
        "parquet",
        "stream_parquet",
        "warehouse",
    )
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        archive: str,
        stream_archive: str,
        event_types: Sequence[str] = EVENT_TYPES,
        lookback: timedelta = timedelta(days=7),
        since: str | datetime = "",
        archive_conn_id: str | None = None,
        stream_archive_conn_id: str | None = None,
        parquet: str = "",
        stream_parquet: str = "",
        memory: str = "512MB",
        fail: bool = True,
        warehouse: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.archive = archive
        self.stream_archive = stream_archive
        self.event_types = names(event_types, "event_types")
        self.lookback = duration(lookback, "lookback", at_least=ONE_HOUR)
        self.since = since
        self.archive_conn_id = archive_conn_id
        self.stream_archive_conn_id = stream_archive_conn_id
        self.parquet = parquet
        self.stream_parquet = stream_parquet
        self.memory = memory
        self.fail = fail
        self.warehouse = warehouse

    def execute(self, context: Context) -> None:
        """Compare, and push the counts."""
        now = datetime.now(UTC)
        with airflow_errors():
            start, end = self._start(now), hour_of(now)
            warehouse = self._opened_warehouse()
            hours = self._compare(start, end, now)
            self._publish(context, hours, now)
            summary = _summary(hours, start, end)
            context["ti"].xcom_push("summary", summary)
            self._report(hours, summary)
            if warehouse:
                self._record(warehouse, hours, now)
            lacking = [hour for hour in hours if hour.state.lacks_in_export]
            if lacking and self.fail:
                raise AylaIncompleteError(self._message(lacking))

    def _publish(self, context: Context, hours: Sequence[HourCompleteness], now: datetime) -> None:
        """Tell the page of the export's archive what the comparison found. Airflow keeps it if the task succeeds."""
        digest = Digest(Layer.COMPARED, self.stream_archive)
        for hour in hours:
            digest.add(hour.hour, hour.state.value, only_stream=hour.only_stream, only_export=hour.only_export)
            if hour.state.is_missing:
                digest.note(hour.hour, hour.missing_path)
        publish(context, self, self.archive, now, daily=[digest])

    def _compare(self, start: datetime, end: datetime, now: datetime) -> list[HourCompleteness]:
        from ayla_provider.archive.stream_coverage import read_coverage
        from ayla_provider.rows.completeness import CompletenessComparison, Side

        export, stream = (
            Side(open_destination(archive, conn_id), open_destination(typed_rows_url(archive, parquet), conn_id))
            for archive, parquet, conn_id in (
                (self.archive, self.parquet, self.archive_conn_id),
                (self.stream_archive, self.stream_parquet, self.stream_archive_conn_id),
            )
        )
        event_types = [parse_event_type(name) for name in self.event_types]
        coverage = read_coverage(stream.archive)
        with CompletenessComparison(export, stream, coverage, now=now, memory=self.memory) as comparison:
            return [hour for event_type in event_types for hour in comparison.compare(event_type, start, end)]

    def _report(self, hours: Sequence[HourCompleteness], summary: dict[str, Any]) -> None:
        missing = [hour for hour in hours if hour.state.is_missing]
        for hour in missing[:_LOGGED]:
            self.log.warning(
                "%s: %s: %s, %s. They are in %s.",
                hour.hour,
                hour.state.value,
                counted(hour.only_stream, "event is only in the stream", "events are only in the stream"),
                counted(hour.only_export, "event is only in the export", "events are only in the export"),
                hour.missing_path,
            )
        for event_type, counts in by_event_type(hours).items():
            if counts.states[Completeness.IDENTITIES_DIFFER]:
                self.log.warning(
                    "%s: less than 1 %% of the events match. The two sides identify them differently, so that nobody "
                    "can say what is missing.",
                    event_type,
                )
            for name in ("only_stream", "only_export"):
                stats.gauge(
                    f"ayla_export.{event_type}.{name}", counts.totals[name], tags={"event_type": str(event_type)}
                )
        self.log.info("Compared %s with %s: %s", self.archive, self.stream_archive, summary["states"])

    def _opened_warehouse(self) -> SqlWarehouse | None:
        """Return the warehouse that gets the results, not entered; None if none gets them."""
        if not self.warehouse:
            return None
        from ayla_provider.operators.warehouses import open_warehouse
        from ayla_provider.warehouse.sql_warehouse import SqlWarehouse

        arguments = dict(self.warehouse)
        warehouse = open_warehouse(str(arguments.pop("kind", "")), arguments)
        if not isinstance(warehouse, SqlWarehouse):
            raise AylaConfigError(f"warehouse: {warehouse.name} has no view of completeness. Leave the argument out.")
        return warehouse

    def _record(self, warehouse: SqlWarehouse, hours: Sequence[HourCompleteness], now: datetime) -> None:
        """Write the result of each hour into the warehouse."""
        from ayla_provider.warehouse.base import ComparedHour

        found = [
            ComparedHour(
                str(hour.hour.event_type),
                hour.hour.start,
                hour.state.value,
                hour.both,
                hour.only_stream,
                hour.only_export,
            )
            for hour in hours
        ]
        with warehouse:
            changed = warehouse.record_comparisons(found, now)
        self.log.info("Hours that %s has with another result than before: %d.", warehouse.name, changed)

    def _message(self, lacking: Sequence[HourCompleteness]) -> str:
        events = counted(sum(hour.only_stream for hour in lacking), "event", "events")
        where = first_few([f"{hour.hour} ({hour.only_stream:,})" for hour in lacking], _NAMED)
        return (
            f"the export in {self.archive} lacks {events} that the stream had, in {where}. The files that "
            "missing_path names, in the stream's archive, have all of them. Write a report for Ayla support: "
            f"python -m ayla_provider completeness --stream-archive {self.stream_archive} --support. To only "
            "count them, set fail=False."
        )

    def _start(self, now: datetime) -> datetime:
        since = optional_hour(self.since, "since")
        if since and since >= hour_of(now):
            raise AylaConfigError(f"since is {describe_hour(since)}: no hour after it is over")
        return since or hour_of(now - min(self.lookback, LONGEST))


def _summary(hours: Sequence[HourCompleteness], start: datetime, end: datetime) -> dict[str, Any]:
    total = CompletenessSummary()
    for hour in hours:
        total.add(hour)
    missing = sorted((hour for hour in hours if hour.state.is_missing), key=lambda hour: hour.hour.start, reverse=True)
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        **total.document(),
        "event_types": {event_type: counts.document() for event_type, counts in by_event_type(hours).items()},
        "missing": [_listed(hour) for hour in missing[:_LISTED]],
    }


def _listed(hour: HourCompleteness) -> dict[str, Any]:
    names_listed = ("event_type", "hour", "state", "only_export", "only_stream", "missing_path")
    document = hour.document()
    return {name: document[name] for name in names_listed}

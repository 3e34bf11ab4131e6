"""What the operators share that compare a warehouse with the receipts of the typed rows."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import map_length, names, optional_duration, optional_hour
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.mapping import hours_item, that_fit
from ayla_provider._airflow.run import at_work
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hour import LONGEST, ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.paths import typed_rows_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.archive.findings import Finding
    from ayla_provider.warehouse.base import Warehouse

_LOGGED = 200
"""How many findings the log names."""


class AylaWarehouseVerifyOperator(BaseOperator):
    """
    The base of the operators that compare a warehouse's ledger with the receipts, and its rows with the ledger.

    They change nothing, and may run beside loads. They return the hours to load again, the newest first. An hour that
    has fewer rows than it should isn't among them, because someone may have erased rows: a load would bring them back.

    Its XCom is a list to expand a load over, ``[{"event_type", "start", "end", "reason", "reload"}, ...]``; the XCom
    ``summary`` has counts: ``{"start", "end", "damages": {damage: count}, "loads", "postponed"}``.

    :param archive: the URL that the copy has as its destination (templated)
    :param event_types: in any spelling; by default the five documented ones
    :param lookback: how far back from now to compare; None for everything
    :param since: the first hour to compare, in place of ``lookback`` (templated)
    :param archive_conn_id: as the copy has it in ``destination_conn_id`` (templated)
    :param parquet: where the typed rows are, as in the loads (templated)
    :param expected_retention: after this time, a lifecycle rule of yours removes typed rows, so that older hours aren't
        compared
    :param max_loads: how many loads to return at most, 1 to 1,024; the next run returns the rest
    """

    template_fields: Sequence[str] = ("archive", "since", "archive_conn_id", "parquet")
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        archive: str,
        event_types: Sequence[str] = EVENT_TYPES,
        lookback: timedelta | None = timedelta(days=7),
        since: str | datetime = "",
        archive_conn_id: str | None = None,
        parquet: str = "",
        expected_retention: timedelta | None = None,
        max_loads: int = 200,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.archive = archive
        self.event_types = names(event_types, "event_types")
        self.lookback = optional_duration(lookback, "lookback", at_least=ONE_HOUR)
        self.since = since
        self.archive_conn_id = archive_conn_id
        self.parquet = parquet
        self.expected_retention = optional_duration(expected_retention, "expected_retention")
        self.max_loads = map_length(max_loads, "max_loads", "items")

    @abstractmethod
    def warehouse(self) -> Warehouse:
        """Return the warehouse that the arguments name."""

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Compare, and return the list to expand a load over."""
        from ayla_provider.archive.findings import Damage
        from ayla_provider.archive.verify import Scope
        from ayla_provider.warehouse.verify import verify_ledger

        now = datetime.now(UTC)
        findings: list[Finding] = []
        with airflow_errors():
            event_types = [parse_event_type(name) for name in self.event_types]
            scope = Scope(event_types, self._start(now), hour_of(now), self.expected_retention)
            rows = open_destination(self._rows_url, self.archive_conn_id)
            with at_work(self.warehouse(), context) as warehouse:
                for event_type in event_types:
                    findings += verify_ledger(warehouse, rows, event_type, scope, now=now)
        findings.sort(key=lambda finding: _order(finding.hour), reverse=True)
        for finding in findings[:_LOGGED]:
            self.log.warning("%s", finding)
        to_load = [finding for finding in findings if finding.damage is not Damage.FEWER_ROWS]
        loads = that_fit(map(_arguments, to_load[: self.max_loads]))
        summary = {
            "start": scope.start.isoformat() if scope.start else None,
            "end": scope.end.isoformat(),
            "damages": dict(sorted(Counter(finding.damage.value for finding in findings).items())),
            "loads": len(loads),
            "postponed": len(to_load) - len(loads),
        }
        context["ti"].xcom_push("summary", summary)
        self.log.info("Compared %s with %s: %s", warehouse.name, self._rows_url, summary)
        return loads

    @property
    def _rows_url(self) -> str:
        return typed_rows_url(self.archive, self.parquet)

    def _start(self, now: datetime) -> datetime | None:
        since = optional_hour(self.since, "since")
        if since or self.lookback is None:
            return since
        return hour_of(now - min(self.lookback, LONGEST))


def _order(hour: ExportHour | None) -> tuple[datetime, str]:
    assert hour  # noqa: S101 - for the type checker: each of these findings has its hour
    return hour.start, hour.event_type


def _arguments(finding: Finding) -> dict[str, Any]:
    hour = finding.hour
    assert hour  # noqa: S101 - for the type checker
    return {**hours_item(hour.event_type, hour.start, hour.end, f"{hour}: {finding.detail}"), "reload": True}

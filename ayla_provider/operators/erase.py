"""The operator that erases what people ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator

from ayla_provider._airflow.erasure_keys import ERASURE_CONN_ID, erasure_keys
from ayla_provider._airflow.errors import airflow_errors, undefined_connection
from ayla_provider._airflow.run import at_work, provenance
from ayla_provider.destinations import open_destination
from ayla_provider.domain.paths import typed_rows_url
from ayla_provider.operators.warehouses import checked_warehouses, open_warehouse
from ayla_provider.rows.duck import MEMORY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.archive.erasure_requests import WaitingRequest
    from ayla_provider.warehouse.base import ErasableWarehouse
    from ayla_provider.warehouse.erase import ErasureReport


class AylaExportEraseOperator(BaseOperator):
    """
    Erases devices and users from the archive, the typed rows, and warehouses, and keeps them from coming back.

    A request is a JSON object in a folder of a bucket: ``dsn``, ``user_uuid``, or both, and if wanted ``from`` and
    ``until``. It isn't an argument, because Airflow's database keeps arguments. The operator removes the object when
    the request is done. A task that was killed goes on where it was when it is tried again.

    The archive's erasure ledger, ``_erasures/<id>.json``, has keyed hashes and no identifier. Every later copy, load,
    and drain leaves out what it names. When an erasure is done, its entry is the certificate.

    Its XCom names nobody: ``{"requests", "ids", "open": [{"id", "deadline"}], "hours_looked_at", "hours", "objects",
    "bytes", "erased": {layer: count}, "left": [{"store", "reason", "gone_by"}], "hours_to_load", "cost"}``.

    :param requests: the URL of the folder of the requests, and of nothing else (templated)
    :param archive: the URL that the copy, or the drain of a stream, has as its destination (templated)
    :param requests_conn_id: a connection for ``requests``; by default as ``archive_conn_id`` (templated)
    :param archive_conn_id: as the copy has it in ``destination_conn_id`` (templated)
    :param parquet: where the typed rows are, as in the loads (templated)
    :param warehouses: the warehouses that hours are loaded into, for each ``{"kind": "duckdb", ...}`` with the
        arguments that name it in its load; the kinds are ``bigquery``, ``delta``, ``duckdb``, ``iceberg``,
        ``postgres``, and ``snowflake`` (templated)
    :param erasure_conn_id: a connection whose password has the keys of the ledger (templated)
    :param privacy_conn_id: as in the loads, if a privacy policy hashes ``dsn`` or ``user_uuid`` (templated)
    :param only: the ids of the requests to erase, as an earlier dry run returned them; None for all (templated)
    :param dry_run: count what would be erased, and write nothing
    :param memory: DuckDB's limit in each of four threads, as DuckDB writes sizes
    """

    template_fields: Sequence[str] = (
        "requests",
        "archive",
        "requests_conn_id",
        "archive_conn_id",
        "parquet",
        "warehouses",
        "erasure_conn_id",
        "privacy_conn_id",
        "only",
    )
    ui_color = "#f4dede"

    def __init__(
        self,
        *,
        requests: str,
        archive: str,
        requests_conn_id: str | None = None,
        archive_conn_id: str | None = None,
        parquet: str = "",
        warehouses: Sequence[Mapping[str, Any]] = (),
        erasure_conn_id: str = ERASURE_CONN_ID,
        privacy_conn_id: str | None = None,
        only: Sequence[str] | None = None,
        dry_run: bool = False,
        memory: str = MEMORY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.requests = requests
        self.archive = archive
        self.requests_conn_id = requests_conn_id
        self.archive_conn_id = archive_conn_id
        self.parquet = parquet
        self.warehouses = warehouses
        self.erasure_conn_id = erasure_conn_id
        self.privacy_conn_id = privacy_conn_id
        self.only = only
        # Not self.dry_run, which is a method of every operator.
        self._is_dry_run = dry_run
        self.memory = memory

    def execute(self, context: Context) -> dict[str, Any]:
        """Erase what the requests name."""
        from ayla_provider.archive.erasure_requests import remove_requests, waiting_requests
        from ayla_provider.warehouse.erase import ErasureRun

        with airflow_errors():
            requests = open_destination(self.requests, self.requests_conn_id or self.archive_conn_id)
            keys = erasure_keys(self.erasure_conn_id)
            waiting = waiting_requests(requests, keys, self.only)
            self._log_open(waiting)
            run = ErasureRun(
                open_destination(self.archive, self.archive_conn_id),
                open_destination(typed_rows_url(self.archive, self.parquet), self.archive_conn_id),
                waiting,
                keys,
                warehouses=[at_work(_warehouse(each), context) for each in checked_warehouses(self.warehouses)],
                policy_key=self._policy_key(),
                now=datetime.now(UTC),
                written_by=provenance(context),
                memory=self.memory,
            )
            report = run.count() if self._is_dry_run else run.erase()
            if not self._is_dry_run:
                report.leftovers += remove_requests(requests, waiting)
        self._log_report(report)
        deadlines = [{"id": each.id, "deadline": each.request.deadline.isoformat()} for each in waiting]
        return report.document() | {"open": deadlines if self._is_dry_run else []}

    def _policy_key(self) -> str:
        if not self.privacy_conn_id:
            return ""
        with undefined_connection():
            return BaseHook.get_connection(self.privacy_conn_id).password or ""

    def _log_open(self, waiting: Sequence[WaitingRequest]) -> None:
        today = datetime.now(UTC).date()
        for each in waiting:
            days = (each.request.deadline - today).days
            log = self.log.warning if days < 7 else self.log.info
            log("Request %s: to be answered by %s, in %d days.", each.id, each.request.deadline.isoformat(), days)

    def _log_report(self, report: ErasureReport) -> None:
        from ayla_provider.domain.units import counted
        from ayla_provider.warehouse.erase import layer_text

        erased = ", ".join(layer_text(layer, count) for layer, count in sorted(report.counts.items()))
        self.log.info(
            "%s of %s: %s, in %d of %s; objects to write again or remove: %d.",
            "Would erase" if self._is_dry_run else "Erased",
            counted(len(report.ids), "request", "requests"),
            erased or "nothing",
            report.hours,
            counted(report.hours_looked_at, "hour", "hours"),
            report.objects,
        )
        for leftover in report.leftovers:
            until = f"until {leftover.gone_by:%Y-%m-%d}" if leftover.gone_by else "and nobody knows until when"
            self.log.warning("%s: %s, %s.", leftover.store, leftover.reason, until)
        if report.to_load:
            self.log.warning("Hours whose rows the next load makes again: %d.", report.to_load)


def _warehouse(arguments: Mapping[str, Any]) -> ErasableWarehouse:
    return open_warehouse(str(arguments["kind"]), {name: value for name, value in arguments.items() if name != "kind"})

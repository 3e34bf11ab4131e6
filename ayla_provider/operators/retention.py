"""The operators that remove old hours, by rules of the customer's: storage limitation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import flag, names
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.run import at_work, provenance
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.paths import typed_rows_url
from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.archive.destination import Destination
    from ayla_provider.domain.removal import Removed, Rule
    from ayla_provider.warehouse.base import Warehouse

LAYERS = ("archive", "parquet", "quarantine")
"""What an archive's operator can have a rule for."""


class AylaExportRetentionOperator(BaseOperator):
    """
    Removes old hours from an archive: copies or files of a stream, Parquet files, and quarantined lines.

    Manifests and receipts stay, and say that a rule removed the rest. So nothing copies, types, or loads these hours
    again, and verifications, plans, comparisons, and the page don't report them. A legal hold keeps its hours. A task
    that is killed leaves nothing undone: the next one goes on.

    At its end, the operator writes a certificate into ``_removals/`` of the archive. Its XCom is a list with the counts
    of each layer, see :class:`~ayla_provider.domain.removal.Removed`.

    :param archive: the URL that is the copy's destination, or that of a stream's drain (templated)
    :param keep_for: ``archive``, ``parquet``, or ``quarantine`` to a timedelta of two days or more, counted from the
        hour's start. A layer that isn't named is left as it is. But quarantined lines aren't kept longer than copies
    :param event_types: in any spelling; by default all that the archive has
    :param parquet: where the typed rows are, as in the loads (templated)
    :param archive_conn_id: the copy's ``destination_conn_id`` (templated)
    :param count_only: whether to remove nothing, and count what would be removed (templated)
    """

    template_fields: Sequence[str] = ("archive", "parquet", "archive_conn_id", "count_only")
    ui_color = "#f4dede"

    def __init__(
        self,
        *,
        archive: str,
        keep_for: Mapping[str, timedelta],
        event_types: Sequence[str] | None = None,
        parquet: str = "",
        archive_conn_id: str | None = None,
        count_only: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(keep_for, Mapping) or not keep_for or not set(keep_for) <= set(LAYERS):
            raise AylaConfigError(f"keep_for is {keep_for!r}: expected {', '.join(LAYERS)}, each with a timedelta")
        self.archive = archive
        self.keep_for = keep_for
        self.event_types = None if event_types is None else names(event_types, "event_types")
        self.parquet = parquet
        self.archive_conn_id = archive_conn_id
        self.count_only = count_only

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Remove what is older than the rules say, and return counts."""
        from ayla_provider.archive.records import refuse_no_archive, refuse_no_typed_rows
        from ayla_provider.archive.removal import remove_copies, remove_quarantine
        from ayla_provider.rows.removal import remove_rows

        with airflow_errors():
            run = provenance(context)
            archive = open_destination(self.archive, self.archive_conn_id)
            rows = open_destination(typed_rows_url(self.archive, self.parquet), self.archive_conn_id)
            refuse_no_archive(archive)
            if "parquet" in self.keep_for:
                refuse_no_typed_rows(rows, archive.url)
            now, dry_run = datetime.now(UTC), flag(self.count_only, "count_only")
            rules = self._rules(archive, now)
            removers: dict[str, Callable[[Rule], Removed]] = {
                "parquet": lambda rule: remove_rows(rows, rule, run, dry_run=dry_run),
                "quarantine": lambda rule: remove_quarantine(archive, rule, dry_run=dry_run),
                "archive": lambda rule: remove_copies(archive, rule, run, dry_run=dry_run),
            }
            layers = [remove(rules[layer]) for layer, remove in removers.items() if layer in rules]
            return _finish(self, archive, layers, now, run, dry_run=dry_run)

    def _rules(self, archive: Destination, now: datetime) -> dict[str, Rule]:
        from ayla_provider.archive.holds import read_holds
        from ayla_provider.domain.removal import Rule, with_quarantine

        keep_for = with_quarantine(self.keep_for)
        event_types = None if self.event_types is None else tuple(map(parse_event_type, self.event_types))
        holds = tuple(read_holds(archive))
        return {layer: Rule(layer, time, now, holds, event_types) for layer, time in keep_for.items()}


class AylaWarehouseRetentionOperator(BaseOperator):
    """
    The base of the operators that remove old hours from a warehouse.

    The ledger says that a rule removed them, so that plans and loads leave them alone. A legal hold of the archive
    keeps its hours. Each hour is removed in one transaction.

    At its end, the operator writes a certificate into ``_removals/`` of the archive. Its XCom is a list with the
    counts, see :class:`~ayla_provider.domain.removal.Removed`.

    :param archive: the URL that is the copy's destination: for the legal holds and the certificate (templated)
    :param keep_for: a timedelta of two days or more, counted from the hour's start
    :param event_types: in any spelling; by default the five documented ones
    :param archive_conn_id: the copy's ``destination_conn_id`` (templated)
    :param count_only: whether to remove nothing, and count what would be removed (templated)
    """

    template_fields: Sequence[str] = ("archive", "archive_conn_id", "count_only")
    ui_color = "#f4dede"

    def __init__(
        self,
        *,
        archive: str,
        keep_for: timedelta,
        event_types: Sequence[str] = EVENT_TYPES,
        archive_conn_id: str | None = None,
        count_only: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.archive = archive
        self.keep_for = keep_for
        self.event_types = names(event_types, "event_types")
        self.archive_conn_id = archive_conn_id
        self.count_only = count_only

    @abstractmethod
    def warehouse(self) -> Warehouse:
        """Return the warehouse that the arguments name."""

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Remove what is older than the rule says, and return counts."""
        from ayla_provider.archive.holds import read_holds
        from ayla_provider.archive.records import refuse_no_archive
        from ayla_provider.domain.removal import Rule
        from ayla_provider.warehouse.removal import remove_hours

        with airflow_errors(), at_work(self.warehouse(), context) as warehouse:
            run = provenance(context)
            archive = open_destination(self.archive, self.archive_conn_id)
            # In a wrong place, there would be no legal hold.
            refuse_no_archive(archive)
            now, dry_run = datetime.now(UTC), flag(self.count_only, "count_only")
            rule = Rule(warehouse.name, self.keep_for, now, tuple(read_holds(archive)))
            event_types = list(map(parse_event_type, self.event_types))
            loaded_by = f"{run['dag_id']} {run['run_id']}"
            removed = remove_hours(warehouse, event_types, rule, loaded_by=loaded_by, dry_run=dry_run)
            return _finish(self, archive, [removed], now, run, dry_run=dry_run)


def _finish(
    operator: BaseOperator,
    archive: Destination,
    layers: list[Removed],
    started_at: datetime,
    run: Mapping[str, str],
    *,
    dry_run: bool,
) -> list[dict[str, Any]]:
    """Write the certificate if something was removed, say what was, and return the counts."""
    from ayla_provider.archive.removal import write_certificate
    from ayla_provider.domain.removal import describe

    for layer in layers:
        operator.log.info("%s", describe(layer, dry_run=dry_run))
    if not dry_run and any(layer.hours for layer in layers):
        ended_at, what = datetime.now(UTC), run["task_id"]
        path = write_certificate(archive, layers, started_at=started_at, ended_at=ended_at, written_by=run, what=what)
        operator.log.info("The certificate is %s/%s", archive.url, path)
    return [layer.document() for layer in layers]

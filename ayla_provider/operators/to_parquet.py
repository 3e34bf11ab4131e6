"""The operator that makes typed rows of the archive's files, and what it shares with those that load them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink

from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.interval import END, START, interval
from ayla_provider._airflow.run import provenance
from ayla_provider.assets import layout_alias, layout_asset
from ayla_provider.destinations import open_destination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.units import size_text
from ayla_provider.errors import AylaQuarantineError
from ayla_provider.links import AylaParquetLink, AylaQuarantineLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from ayla_provider.domain.csv.columns import ColumnLayout
    from ayla_provider.domain.privacy import PrivacyPolicy
    from ayla_provider.domain.typed_manifest import TypedManifest
    from ayla_provider.rows.typed_archive import TypedArchive, TypedHourReport


class AylaExportToParquetOperator(BaseOperator):
    """
    Makes typed, decoded and deduplicated rows of the archive's hours: one Parquet file for each event type and hour.

    It is the form that every warehouse is loaded from, and of use to whatever reads Parquet. An hour whose rows stand
    there already, made from the same files under the same policy, is left as it is.

    A line that can't be read is kept in a quarantine in the archive; above ``max_malformed`` the task fails. A layout
    or a column that the event type's files didn't have before is a warning, and an event of the asset
    :func:`~ayla_provider.assets.layout_asset`.

    Its XCom: ``{"event_type", "start", "end", "hours", "unchanged", "lines", "rows", "duplicates", "quarantined",
    "bytes"}``; counts are of the hours that were made now.

    :param event_type: in any spelling (templated)
    :param archive: the URL that the copy has as its destination (templated)
    :param start: the first hour, ISO 8601 with an offset; by default the run's data interval or partition (templated)
    :param end: the end of the last hour; by default that of the run's data interval, else an hour after ``start``
        (templated)
    :param archive_conn_id: as the copy has it in ``destination_conn_id`` (templated)
    :param parquet: where the rows go, of the same kind as the archive; by default the folder ``parquet`` in it
        (templated)
    :param layouts: layouts of your own, see :func:`~ayla_provider.domain.csv.declaration.declared`
    :param privacy: column to ``keep``, ``hash`` or ``drop``; what isn't named is kept
    :param privacy_conn_id: a connection whose password is the key of the hashes; needed where a column is hashed
    :param memory: what DuckDB may take, as it writes sizes; beyond it it works on disk
    :param max_malformed: the share of an hour's lines, 0 to 1, that may be malformed
    :param reason: why the hours are loaded: for the log, and for a ``map_index_template``
    """

    template_fields: Sequence[str] = ("event_type", "archive", "start", "end", "archive_conn_id", "parquet")
    ui_color = "#e4e0f4"
    operator_extra_links: tuple[BaseOperatorLink, ...] = (AylaParquetLink(), AylaQuarantineLink())

    def __init__(
        self,
        *,
        event_type: str,
        archive: str,
        start: str | datetime = START,
        end: str | datetime = END,
        archive_conn_id: str | None = None,
        parquet: str = "",
        layouts: Sequence[Mapping[str, Any]] = (),
        privacy: Mapping[str, str] | None = None,
        privacy_conn_id: str | None = None,
        memory: str = "512MB",
        max_malformed: float = 0.1,
        reason: str = "",
        **kwargs: Any,
    ) -> None:
        # Not an argument by name: Airflow would take its default for that of mapped tasks, too.
        kwargs["outlets"] = [*(kwargs.get("outlets") or []), layout_alias()]
        super().__init__(**kwargs)
        self.event_type = event_type
        self.archive = archive
        self.start = start
        self.end = end
        self.archive_conn_id = archive_conn_id
        self.parquet = parquet
        self.layouts = layouts
        self.privacy = privacy
        self.privacy_conn_id = privacy_conn_id
        self.memory = memory
        self.max_malformed = max_malformed
        self.reason = reason
        # For the links, which are made when the task ends.
        self.parquet_paths: list[str] = []
        self.quarantine_paths: list[str] = []

    @property
    def rows_url(self) -> str:
        """Where the typed rows go."""
        from ayla_provider.domain.typed_manifest import PARQUET

        return self.parquet or f"{self.archive.rstrip('/')}/{PARQUET}"

    @cached_property
    def typed(self) -> TypedArchive:
        """The typed rows of the archive."""
        from ayla_provider.rows.typed_archive import TypedArchive

        return TypedArchive(
            open_destination(self.archive, self.archive_conn_id),
            open_destination(self.rows_url, self.archive_conn_id),
            layouts=self._all_layouts,
            policy=self.policy,
            memory=self.memory,
            max_malformed=self.max_malformed,
        )

    @cached_property
    def policy(self) -> PrivacyPolicy:
        """
        What becomes of columns that can identify a person.

        :raises AylaConfigError: if it isn't one, or its key is missing
        """
        from ayla_provider.domain.privacy import PrivacyPolicy
        from ayla_provider.domain.tables import TABLES

        key = BaseHook.get_connection(self.privacy_conn_id).password if self.privacy_conn_id else None
        policy = PrivacyPolicy(dict(self.privacy or {}), key or "")
        in_tables = {name for table in TABLES.values() for name in table.names}
        policy.refuse_unknown(in_tables | {column.name for layout in self._all_layouts for column in layout.own})
        return policy

    @cached_property
    def _all_layouts(self) -> tuple[ColumnLayout, ...]:
        from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
        from ayla_provider.domain.csv.declaration import declared

        return (*declared(list(self.layouts)), *COLUMN_LAYOUTS)

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the rows of each hour that lacks them."""
        with airflow_errors():
            return self._each_hour(context, self.rows_url, lambda report: report.made)

    def _each_hour(self, context: Context, where: str, bring: Callable[[TypedHourReport], bool]) -> dict[str, Any]:
        """
        Type each hour, do with it what there is to do, and return the XCom.

        :param where: for the log
        :param bring: returns whether it did something
        """
        if self.reason:
            self.log.info("%s", self.reason)
        hours = interval(self.event_type, self.start, self.end)
        written_by = provenance(context)
        counts: Counter[str] = Counter(hours=len(hours))
        for hour in hours:
            started = time.monotonic()
            report = self._ensure(hour, written_by)
            self._warn(context, report)
            if not bring(report):
                counts["unchanged"] += 1
                self.log.info("%s: nothing to do, it is unchanged in %s.", hour, where)
                continue
            self._say(report.manifest, where, time.monotonic() - started)
            counts.update(_counts(report.manifest))
        names = ("hours", "unchanged", "lines", "rows", "duplicates", "quarantined", "bytes")
        return {
            "event_type": hours[0].event_type,
            "start": hours[0].start.isoformat(),
            "end": hours[-1].end.isoformat(),
        } | {name: counts[name] for name in names}

    def _ensure(self, hour: ExportHour, written_by: Mapping[str, str]) -> TypedHourReport:
        from ayla_provider.domain.typed_manifest import quarantine_path

        try:
            report = self.typed.ensure(hour, written_by)
        except AylaQuarantineError:
            self.quarantine_paths.append(quarantine_path(hour))
            raise
        self.parquet_paths += filter(None, [report.manifest.path])
        self.quarantine_paths += filter(None, [report.manifest.quarantine])
        return report

    def _say(self, manifest: TypedManifest, where: str, seconds: float) -> None:
        self.log.info(
            "%s: %s lines = %s loaded + %s duplicate + %s quarantined; %s of Parquet, into %s, in %.1f s.",
            manifest.hour,
            f"{manifest.lines:,}",
            f"{manifest.rows:,}",
            f"{manifest.duplicates:,}",
            f"{manifest.quarantined:,}",
            size_text(manifest.size),
            where,
            seconds,
        )
        if manifest.quarantined:
            self.log.warning(
                "%s lines couldn't be read; they are kept in %s/%s.",
                f"{manifest.quarantined:,}",
                self.archive.rstrip("/"),
                manifest.quarantine,
            )

    def _warn(self, context: Context, report: TypedHourReport) -> None:
        if not report.news:
            return
        manifest = report.manifest
        self.log.warning(
            "%s has files of a layout that wasn't met before: %s. They are loaded; see whether what you make of the "
            "tables is to know of it.",
            manifest.hour,
            "; ".join(report.news),
        )
        context["outlet_events"][layout_alias()].add(
            layout_asset(self.archive, manifest.hour.event_type),
            extra={
                "event_type": manifest.hour.event_type,
                "hour": manifest.hour.start.isoformat(),
                "layouts": list(report.news),
            },
        )


def _counts(manifest: TypedManifest) -> dict[str, int]:
    return {
        "lines": manifest.lines,
        "rows": manifest.rows,
        "duplicates": manifest.duplicates,
        "quarantined": manifest.quarantined,
        "bytes": manifest.size,
    }

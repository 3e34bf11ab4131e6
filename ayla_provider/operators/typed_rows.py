"""What the operators share that make typed rows of the archive's files: into Parquet, and on into warehouses."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink

from ayla_provider._airflow.arguments import count, file_patterns
from ayla_provider._airflow.erasure_keys import ERASURE_CONN_ID, erasure_keys
from ayla_provider._airflow.interval import END, START, interval
from ayla_provider._airflow.run import provenance
from ayla_provider.assets import layout_alias, layout_asset
from ayla_provider.destinations import open_destination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.parts import MAX_BYTES_PER_TASK
from ayla_provider.domain.paths import typed_rows_url
from ayla_provider.domain.units import files_text, size_text
from ayla_provider.errors import AylaQuarantineError
from ayla_provider.links import AylaParquetLink, AylaQuarantineLink
from ayla_provider.rows.duck import MEMORY
from ayla_provider.rows.quarantine import MAX_MALFORMED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from ayla_provider.domain.csv.columns import ColumnLayout
    from ayla_provider.domain.privacy import PrivacyPolicy
    from ayla_provider.domain.typed_manifest import TypedManifest
    from ayla_provider.lineage import TypedRowsLineage
    from ayla_provider.rows.typed_archive import TypedArchive, TypedHourReport


class AylaTypedRowsOperator(BaseOperator):
    """
    The base of the operators that need the typed rows of hours. It makes the rows that don't exist yet.

    For its arguments see :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`.
    """

    template_fields: Sequence[str] = (
        "event_type",
        "archive",
        "start",
        "end",
        "archive_conn_id",
        "parquet",
        "erasure_conn_id",
    )
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
        memory: str = MEMORY,
        max_malformed: float = MAX_MALFORMED,
        ignored_files: Sequence[str] = (),
        on_new_column: str | Mapping[str, str] = "evolve",
        max_bytes_per_task: int = MAX_BYTES_PER_TASK,
        erasure_conn_id: str = ERASURE_CONN_ID,
        reason: str = "",
        **kwargs: Any,
    ) -> None:
        # Not a named argument, because Airflow would apply its default to mapped tasks.
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
        self.ignored_files = file_patterns(ignored_files, "ignored_files")
        self.on_new_column = on_new_column
        self.max_bytes_per_task = count(max_bytes_per_task, "max_bytes_per_task")
        self.erasure_conn_id = erasure_conn_id
        self.reason = reason
        # For the links, which Airflow makes when the task ends.
        self.parquet_paths: list[str] = []
        self.quarantine_paths: list[str] = []
        # For OpenLineage, which asks when the task has ended.
        self.lineage: TypedRowsLineage | None = None

    @property
    def rows_url(self) -> str:
        """Where the typed rows go."""
        return typed_rows_url(self.archive, self.parquet)

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
            ignored_files=self.ignored_files,
            max_bytes_per_task=self.max_bytes_per_task,
            on_new_column=self.on_new_column,
            erasure_keys=partial(erasure_keys, self.erasure_conn_id),
        )

    @cached_property
    def policy(self) -> PrivacyPolicy:
        """
        The treatment of columns that can identify a person.

        :raises AylaConfigError: if the policy isn't valid, or its key is missing
        """
        from ayla_provider.domain.tables import STREAM_TABLES

        policy = policy_with_key(self.privacy, self.privacy_conn_id)
        in_tables = {name for table in STREAM_TABLES.values() for name in table.names}
        policy.refuse_unknown(in_tables | {column.name for layout in self._all_layouts for column in layout.own})
        return policy

    @cached_property
    def _all_layouts(self) -> tuple[ColumnLayout, ...]:
        from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
        from ayla_provider.domain.csv.declaration import declared

        return (*declared(list(self.layouts)), *COLUMN_LAYOUTS)

    def _each_hour(
        self,
        context: Context,
        where: str,
        bring: Callable[[Iterator[TypedHourReport]], Iterable[TypedHourReport]],
    ) -> dict[str, Any]:
        """
        Make each hour's typed rows, bring them to their target, and return the XCom.

        :param where: the target, for the log
        :param bring: takes the hours one after the other, and returns those that it changed, each when it is certain
        """
        if self.reason:
            self.log.info("%s", self.reason)
        hours = interval(self.event_type, self.start, self.end)
        self._begin_lineage()
        counts: Counter[str] = Counter(hours=len(hours), unchanged=len(hours))
        started: dict[ExportHour, float] = {}
        for report in bring(self._typed_hours(context, hours, counts, started)):
            self._say(report.manifest, where, time.monotonic() - started[report.manifest.hour])
            counts["unchanged"] -= 1
            counts.update(_counts(report.manifest))
            if self.lineage:
                self.lineage.add(report)
        names = ("hours", "unchanged", "lost", "lines", "rows", "duplicates", "quarantined", "bytes")
        return {
            "event_type": hours[0].event_type,
            "start": hours[0].start.isoformat(),
            "end": hours[-1].end.isoformat(),
        } | {name: counts[name] for name in names}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the inputs and outputs of the task; None if nothing changed, or nobody wants to know."""
        return self.lineage.facets() if self.lineage else None

    def _begin_lineage(self) -> None:
        from ayla_provider.lineage import TypedRowsLineage, is_reported

        if is_reported():
            from ayla_provider.rows.origins import Origins

            self.lineage = TypedRowsLineage(self.archive, self.rows_url, Origins(self._all_layouts, self.policy))

    def _typed_hours(
        self, context: Context, hours: Sequence[ExportHour], counts: Counter[str], started: dict[ExportHour, float]
    ) -> Iterator[TypedHourReport]:
        """
        Make the typed rows of each hour when it is asked for.

        :param counts: gets the hours with lost files
        :param started: gets the time at which the hour was begun
        """
        written_by = provenance(context)
        for hour in hours:
            started[hour] = time.monotonic()
            report = self._ensure(hour, written_by)
            self._warn(context, report)
            counts["lost"] += bool(report.lost)
            yield report

    def _say_unchanged(self, hour: ExportHour, where: str) -> None:
        self.log.info("%s is unchanged in %s: nothing to do.", hour, where)

    def _ensure(self, hour: ExportHour, written_by: Mapping[str, str]) -> TypedHourReport:
        from ayla_provider.domain.typed_manifest import quarantine_path

        try:
            report = self.typed.ensure(hour, written_by)
        except AylaQuarantineError:
            self.quarantine_paths.append(quarantine_path(hour))
            raise
        self.parquet_paths += [file.path for file in report.manifest.rows_files]
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
            size_text(manifest.bytes),
            where,
            seconds,
        )
        if manifest.quarantined:
            self.log.warning(
                "%s lines couldn't be read. They are kept in %s/%s.",
                f"{manifest.quarantined:,}",
                self.archive.rstrip("/"),
                manifest.quarantine,
            )

    def _fate_of_new_columns(self, hour: ExportHour) -> str:
        from ayla_provider.domain.new_columns import OnNewColumn, on_new_column

        what = on_new_column(self.on_new_column, hour.event_type)
        if what is OnNewColumn.DROP:
            return "They were loaded, without new columns."
        if what is OnNewColumn.QUARANTINE:
            return "They were loaded, without new columns, which the quarantine has."
        return "They were loaded."

    def _warn(self, context: Context, report: TypedHourReport) -> None:
        manifest = report.manifest
        if report.lost:
            what = "Its rows are made of what is left." if manifest.lost else "Its rows were made before, and stay."
            self.log.warning("%s has %s. %s", manifest.hour, files_text(report.lost, "lost"), what)
        if not report.news:
            return
        self.log.warning(
            "%s has files with a new layout: %s. %s Check whether anything downstream needs to handle it.",
            manifest.hour,
            "; ".join(report.news),
            self._fate_of_new_columns(manifest.hour),
        )
        context["outlet_events"][layout_alias()].add(
            layout_asset(self.archive, manifest.hour.event_type),
            extra={
                "event_type": manifest.hour.event_type,
                "hour": manifest.hour.start.isoformat(),
                "layouts": list(report.news),
            },
        )


def policy_with_key(privacy: Mapping[str, str] | None, privacy_conn_id: str | None) -> PrivacyPolicy:
    """
    Return a privacy policy with the key that a connection has.

    :raises AylaConfigError: if the policy isn't valid, or its key is missing
    """
    from ayla_provider.domain.privacy import PrivacyPolicy

    key = BaseHook.get_connection(privacy_conn_id).password if privacy_conn_id else None
    return PrivacyPolicy(privacy or {}, key or "")


def _counts(manifest: TypedManifest) -> dict[str, int]:
    return {
        "lines": manifest.lines,
        "rows": manifest.rows,
        "duplicates": manifest.duplicates,
        "quarantined": manifest.quarantined,
        "bytes": manifest.bytes,
    }

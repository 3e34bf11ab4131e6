"""The operator that copies hours into the customer's bucket."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseOperatorLink

from ayla_provider._airflow.arguments import count, is_rendered, optional_duration
from ayla_provider._airflow.compat import stats
from ayla_provider._airflow.erasure_keys import ERASURE_CONN_ID, erasure_keys
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.interval import END, START, interval
from ayla_provider._airflow.run import provenance, same_task
from ayla_provider.assets import event_asset, event_extra, export_alias
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import EventType, parse_event_type
from ayla_provider.domain.hour import describe_hours
from ayla_provider.domain.paths import Layout
from ayla_provider.domain.units import files_text, size_text
from ayla_provider.errors import AylaError
from ayla_provider.hooks import AylaHook
from ayla_provider.links import AylaDestinationLink, AylaManifestLink

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from ayla_provider.archive.archive import Archive, ArchiveReport, HourPlan


class AylaExportToBucketOperator(BaseOperator):
    """
    Copies the hours of an interval into the customer's own bucket or folder, and commits each by a manifest.

    It streams files from the vendor's credentials to the customer's, many at once, with bounded memory, and verifies
    them from end to end by their CRC32C. It doesn't copy verified files again: a retry does the rest, and a run after a
    success copies nothing. The manifest of an hour, written last, says that the hour is complete.

    Its XCom has counts and bytes: ``{"event_type", "start", "end", "destination", "hours": {state: count}, "files",
    "bytes", "copied_files", "copied_bytes"}``.

    :param event_type: in any spelling, for example ``datapoint_ack`` (templated)
    :param destination: ``gs://bucket/prefix``, ``file:///folder``, ``s3://bucket/prefix``, ``abfs://container/prefix``,
        or any other URL that Airflow's ObjectStoragePath supports (templated)
    :param start: the first hour, ISO 8601 with an offset; by default the run's data interval or partition (templated)
    :param end: the end of the last hour; by default that of the run's data interval, else an hour after ``start``
        (templated)
    :param destination_conn_id: a connection of the type that the store's provider uses; for ``gs://`` by default
        ``google_cloud_default`` (templated)
    :param ayla_conn_id: the id of an Airflow connection of type ``ayla`` (templated)
    :param layout: ``partitioned`` (``event_type=.../date=.../hour=.../...``), or ``mirror``, the source's own names
    :param max_workers: how many files are copied at once
    :param dry_run: log what would be copied, and write nothing
    :param quiet_period: how old an hour's newest file must be before the hour counts as landed; by default as the
        connection says
    :param patience: how long after its end an hour without files may still get some; by default as the connection says
    :param reason: why the hours are copied: for the log, and for a ``map_index_template``
    :param untrusted: paths of copies, and of manifests, to write again even if they look right, as
        :class:`AylaExportVerifyOperator` returns them; ``*`` for all copies of the hours
    :param erasure_conn_id: a connection whose password has the keys of the erasure ledger. It is looked up only if an
        erasure touches an hour (templated)
    """

    template_fields: Sequence[str] = (
        "event_type",
        "start",
        "end",
        "destination",
        "destination_conn_id",
        "ayla_conn_id",
        "erasure_conn_id",
    )
    ui_color = "#dcefdc"
    operator_extra_links: tuple[BaseOperatorLink, ...] = (AylaDestinationLink(), AylaManifestLink())

    report: ArchiveReport | None = None
    """What the copy did; None before it ends."""
    _file_columns: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        event_type: str,
        destination: str,
        start: str | datetime = START,
        end: str | datetime = END,
        destination_conn_id: str | None = None,
        ayla_conn_id: str = AylaHook.default_conn_name,
        layout: str = Layout.PARTITIONED.value,
        max_workers: int = 8,
        dry_run: bool = False,
        quiet_period: timedelta | None = None,
        patience: timedelta | None = None,
        reason: str = "",
        untrusted: Sequence[str] = (),
        erasure_conn_id: str = ERASURE_CONN_ID,
        **kwargs: Any,
    ) -> None:
        if is_rendered(event_type):
            # Not a named argument: Airflow would use its default for mapped tasks too.
            kwargs["outlets"] = [*(kwargs.get("outlets") or []), export_alias(event_type)]
        super().__init__(**kwargs)
        self.event_type = event_type
        self.destination = destination
        self.start = start
        self.end = end
        self.destination_conn_id = destination_conn_id
        self.ayla_conn_id = ayla_conn_id
        self.layout = Layout(layout)
        self.max_workers = count(max_workers, "max_workers")
        # Not self.dry_run, which is a method of every operator.
        self._is_dry_run = dry_run
        self.quiet_period = optional_duration(quiet_period, "quiet_period")
        self.patience = optional_duration(patience, "patience")
        self.reason = reason
        self.untrusted = untrusted
        self.erasure_conn_id = erasure_conn_id

    @cached_property
    def hook(self) -> AylaHook:
        """The hook that reads the source."""
        return AylaHook(self.ayla_conn_id)

    @cached_property
    def archive(self) -> Archive:
        """The customer's archive."""
        from ayla_provider.archive.archive import Archive

        destination = open_destination(self.destination, self.destination_conn_id)
        return Archive(
            destination,
            layout=self.layout,
            max_workers=self.max_workers,
            erasure_keys=partial(erasure_keys, self.erasure_conn_id),
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy what is missing, commit the hours, and announce them."""
        if self.reason:
            self.log.info("%s", self.reason)
        with airflow_errors(), self._failures_counted():
            hours = interval(self.event_type, self.start, self.end)
            export = self.hook.export
            rule = export.rule.override(self.quiet_period, self.patience)
            result = {
                "event_type": hours[0].event_type,
                "start": hours[0].start.isoformat(),
                "end": hours[-1].end.isoformat(),
                "destination": self.destination,
            }
            if self._is_dry_run:
                return result | self._describe_plans(self.archive.plan(export, hours, rule))
            run = provenance(context)
            last_try = context["ti"].try_number > context["ti"].max_tries
            self.report = report = self.archive.take_in(
                export, hours, rule, written_by=run, last_try=last_try, untrusted=self.untrusted
            )
        event_type = hours[0].event_type
        self._log_report(describe_hours(hours), report)
        self._measure(event_type, report)
        self._announce(context, event_type, report, run)
        self._file_columns = self._look_at_columns(report)
        return result | {
            "hours": dict(sorted(report.hours.items())),
            "files": report.files,
            "bytes": report.bytes,
            "copied_files": report.copied_files,
            "copied_bytes": report.copied_bytes,
        }

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the copy's inputs and outputs; None before it ends, or without Airflow's OpenLineage provider."""
        from ayla_provider.lineage import copy_lineage

        if self.report is None:
            return None
        return copy_lineage(
            self.hook.export, parse_event_type(self.event_type), self.destination, self.report, self._file_columns
        )

    def _look_at_columns(self, report: ArchiveReport) -> tuple[str, ...]:
        """Return the columns of the copied files for OpenLineage; empty if nobody wants to know."""
        from ayla_provider.lineage import is_reported

        if not is_reported():
            return ()
        from ayla_provider.archive.columns import columns_of

        return columns_of(self.archive.destination, report.manifests)

    def on_kill(self) -> None:
        """Stop the copies in progress. Complete files stay; incomplete files leave nothing."""
        # Only if it exists: don't open an archive just to stop it.
        if archive := self.__dict__.get("archive"):
            archive.stop()

    def _log_report(self, what: str, report: ArchiveReport) -> None:
        total = f"{files_text(report.files)}, {size_text(report.bytes)}"
        if not report.copied_files and not report.manifests_written:
            self.log.info("Nothing to do for %s: %s already has all of it, %s.", what, self.destination, total)
            return
        self.log.info(
            "Copied %s: %s, %s, in %.1f s; manifests written: %d. In %s now: %s.",
            what,
            files_text(report.copied_files),
            size_text(report.copied_bytes),
            report.seconds,
            report.manifests_written,
            self.destination,
            total,
        )

    def _describe_plans(self, plans: Sequence[HourPlan]) -> dict[str, Any]:
        for plan in plans:
            self.log.info(
                "Dry run: %s is %s; %s of %s, %s, would be copied.",
                plan.status.hour,
                plan.status.state.value,
                len(plan.to_copy),
                files_text(len(plan.status.files)),
                size_text(sum(file.size for file in plan.to_copy)),
            )
        return {
            "dry_run": True,
            "hours": dict(sorted(Counter(plan.status.state.value for plan in plans).items())),
            "files": sum(len(plan.status.files) for plan in plans),
            "bytes": sum(plan.status.size for plan in plans),
            "files_to_copy": sum(len(plan.to_copy) for plan in plans),
            "bytes_to_copy": sum(file.size for plan in plans for file in plan.to_copy),
        }

    def _measure(self, event_type: EventType, report: ArchiveReport) -> None:
        # The name contains the event type, because plain StatsD has no tags.
        name, tags = f"ayla_export.{event_type}", self._tags(event_type)
        stats.incr(f"{name}.files", report.copied_files, tags=tags)
        stats.incr(f"{name}.bytes", report.copied_bytes, tags=tags)
        if report.manifests:
            newest = max(manifest.hour.end for manifest in report.manifests)
            stats.gauge(f"{name}.freshness_lag", (self.hook.export.now() - newest).total_seconds(), tags=tags)

    def _tags(self, event_type: str) -> dict[str, str]:
        return {"event_type": event_type, "ayla_conn_id": self.ayla_conn_id}

    @contextlib.contextmanager
    def _failures_counted(self) -> Iterator[None]:
        try:
            yield
        except AylaError:
            # The event type may be the error, so it isn't parsed here.
            name = re.sub(r"\W+", "_", str(self.event_type)).lower()
            stats.incr(f"ayla_export.{name}.failures", tags=self._tags(name))
            raise

    def _announce(self, context: Context, event_type: EventType, report: ArchiveReport, run: dict[str, str]) -> None:
        """Emit an asset event for each hour that this run committed, in this try or in an earlier one."""
        asset, events = event_asset(self.destination, event_type), context["outlet_events"]
        # Airflow drops the events of an alias that isn't among the outlets. A templated event type isn't known before.
        if export_alias(event_type) not in self.outlets:
            self.outlets.append(export_alias(event_type))
        for manifest in report.manifests:
            if same_task(manifest.written_by, run):
                events[export_alias(event_type)].add(asset, extra=event_extra(manifest))

"""The operator that finds out what an archive lacks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import duration, map_length, names, optional_duration, optional_hour
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.mapping import hours_item, that_fit
from ayla_provider.destinations import open_destination
from ayla_provider.domain.coverage import LEFT_TO_THE_EXPORT
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hour import LONGEST, ONE_HOUR, describe_hour, hour_of
from ayla_provider.errors import AylaError
from ayla_provider.hooks import AylaHook
from ayla_provider.operators.digests import console_links, is_first_of_day, publish
from ayla_provider.transport.redaction import from_outside

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.archive.compare import Findings, Gap
    from ayla_provider.archive.records import Records
    from ayla_provider.domain.coverage import HourCoverage
    from ayla_provider.domain.digest import Digest
    from ayla_provider.domain.events import EventType
    from ayla_provider.source.export import Export

_RECENT = timedelta(days=8)
"""A comparison of a longer time publishes a digest for each of its months, and none of the newest hours."""


class AylaExportReconcileOperator(BaseOperator):
    """
    Compares source and archive over a lookback, and returns the hours to repair, newest first.

    An hour needs repair if it is settled at the source, and the archive has no manifest of it, lacks a file, or has an
    older generation of a file. Files that expired at the source, or that a lifecycle rule removed from the archive,
    aren't changes. An hour whose copy failed, and would only fail again, is counted and left alone until the source
    shows something new, see :class:`~ayla_provider.domain.failure.Failure`.

    Its XCom is a list to expand a copy over, ``[{"event_type", "start", "end", "reason"}, ...]``; the XCom
    ``summary`` has counts: ``{"start", "end", "hours": {state: count}, "repairs",
    "postponed", "left_alone", "older"}``. ::

        reconcile = AylaExportReconcileOperator(task_id="reconcile", destination=...)
        AylaExportToBucketOperator.partial(
            task_id="repair", destination=..., map_index_template="{{ task.reason }}"
        ).expand_kwargs(reconcile.output)

    :param destination: the archive's URL, as the copying tasks have it (templated)
    :param event_types: in any spelling; by default the five documented ones
    :param lookback: how far back from now to compare; the cost grows with it, not with the history
    :param older_hours: whether to compare also hours before the lookback, as far as the source still has files of them
    :param not_before: the first hour that the archive should have, ISO 8601 with an offset; by default there is no
        such bound (templated)
    :param destination_conn_id: as in :class:`AylaExportToBucketOperator` (templated)
    :param ayla_conn_id: the id of an Airflow connection of type ``ayla`` (templated)
    :param max_repairs: how many hours to return at most, 1 to 1,024; the next run returns the rest
    :param quiet_period: how old an hour's newest file must be; by default one hour more than the connection says, so
        that the export DAG copies the hour first
    :param patience: how long after its end an hour without files is left to the export DAG; by default one hour more
        than the connection says
    """

    template_fields: Sequence[str] = ("destination", "not_before", "destination_conn_id", "ayla_conn_id")
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        destination: str,
        event_types: Sequence[str] = EVENT_TYPES,
        lookback: timedelta = timedelta(hours=48),
        older_hours: bool = False,
        not_before: str | datetime = "",
        destination_conn_id: str | None = None,
        ayla_conn_id: str = AylaHook.default_conn_name,
        max_repairs: int = 200,
        quiet_period: timedelta | None = None,
        patience: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.event_types = names(event_types, "event_types")
        self.lookback = duration(lookback, "lookback", at_least=ONE_HOUR)
        self.older_hours = older_hours
        self.not_before = not_before
        self.destination_conn_id = destination_conn_id
        self.ayla_conn_id = ayla_conn_id
        self.max_repairs = map_length(max_repairs, "max_repairs", "hours")
        self.quiet_period = optional_duration(quiet_period, "quiet_period")
        self.patience = optional_duration(patience, "patience")

    @cached_property
    def hook(self) -> AylaHook:
        """The hook that reads the source."""
        return AylaHook(self.ayla_conn_id)

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Compare, and return the arguments to expand a copy over."""
        from ayla_provider.archive.compare import reconcile
        from ayla_provider.archive.countdown import note_oldest
        from ayla_provider.archive.records import Records
        from ayla_provider.domain.digest import Activity, Digest, Layer

        with airflow_errors():
            export = self.hook.export
            end = hour_of(export.now())
            start = end - min(self.lookback, LONGEST)
            longest = end - LONGEST
            first = max(longest, optional_hour(self.not_before, "not_before") or longest)
            start = max(start, first)
            records = Records(open_destination(self.destination, self.destination_conn_id))
            event_types = [parse_event_type(name) for name in self.event_types]
            digest = Digest(Layer.COPIED)
            findings = reconcile(
                export,
                records,
                event_types,
                start,
                end,
                export.rule.plus(LEFT_TO_THE_EXPORT).override(self.quiet_period, self.patience),
                older_from=first if self.older_hours and first < start else None,
                on_hour=partial(_note_hour, digest),
            )
            for gap in findings.gaps:
                digest.act(Activity.REPAIR, gap.hour, gap.reason)
            digest.facts = console_links(self.destination) | _retentions(export, records, event_types)
            if self.older_hours:
                note_oldest(export, records, event_types)
        is_long = self.lookback > _RECENT
        publish(
            context,
            self,
            self.destination,
            datetime.now(UTC),
            # Each run publishes it, so it has no older hours, which can be those of months.
            newest=[] if is_long else [digest.since(start)],
            daily=[digest] if is_long or is_first_of_day(context, datetime.now(UTC)) else [],
        )
        repairs = _repairs(findings.gaps[: self.max_repairs])
        summary = {
            "start": start.isoformat(),
            "end": end.isoformat(),
            "hours": dict(sorted(findings.hours.items())),
            "repairs": len(repairs),
            "postponed": len(findings.gaps) - len(repairs),
            "left_alone": findings.left_alone,
            "older": findings.older,
        }
        if findings.unproven:
            self.log.warning("Hours that no copy can prove, see the warnings above: %d.", findings.unproven)
        context["ti"].xcom_push("summary", summary)
        self._say(findings, start, end, summary)
        return repairs

    def _say(self, findings: Findings, start: datetime, end: datetime, summary: dict[str, Any]) -> None:
        states = ", ".join(f"{count} {state}" for state, count in summary["hours"].items()) or "none"
        self.log.info(
            "Compared Ayla with %s, from %s to %s: %s. %s",
            self.destination,
            describe_hour(start),
            describe_hour(end),
            states,
            f"To repair: {len(findings.gaps)}." if findings.gaps else "Nothing to repair.",
        )
        if findings.older:
            self.log.info("Ayla still has files of %d hours before %s.", findings.older, describe_hour(start))
        for gap in findings.gaps[: summary["repairs"]]:
            self.log.info("To repair: %s", gap)
        if summary["postponed"]:
            self.log.warning("%d more hours wait for the next run.", summary["postponed"])
        if summary["left_alone"]:
            self.log.warning(
                "Hours that can't be repaired now, and are tried again when Ayla shows something new: %d.",
                summary["left_alone"],
            )


def _repairs(gaps: Sequence[Gap]) -> list[dict[str, str]]:
    """Return the arguments of a copy for each gap, as many as an XCom holds."""
    return that_fit(hours_item(gap.hour.event_type, gap.hour.start, gap.hour.end, str(gap)) for gap in gaps)


def _note_hour(digest: Digest, coverage: HourCoverage) -> None:
    """Add what the archive has of an hour to a digest."""
    from ayla_provider.domain.coverage import describe_gap

    manifest, lag = coverage.manifest, coverage.lag
    digest.add(
        coverage.hour,
        "failed" if coverage.failure else coverage.state.value,
        files=coverage.files,
        bytes=coverage.bytes,
        lines=manifest.lines if manifest else None,
        revision=manifest.revision if manifest else None,
        lag=None if lag is None else max(0, lag // timedelta(minutes=1)),
        lost=len(manifest.lost) if manifest else None,
    )
    if coverage.failure:
        digest.note(coverage.hour, from_outside(coverage.failure.message))
    elif not coverage.state.complete:
        digest.note(coverage.hour, from_outside(describe_gap(coverage)))


def _retentions(export: Export, records: Records, event_types: Sequence[EventType]) -> dict[str, dict[str, int]]:
    """Return for how many days Ayla keeps files of each event type, as far as it is known."""
    from ayla_provider.archive.countdown import retention_of

    days: dict[str, int] = {}
    for event_type in event_types:
        # The page then says that nobody knows it. A report tells why.
        with contextlib.suppress(AylaError):
            kept = retention_of(export, records, event_type)
            if kept:
                days[event_type] = kept.days
    return {"retention_days": days}

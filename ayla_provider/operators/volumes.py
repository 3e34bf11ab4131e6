"""The operator that finds hours with unusually few or many rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import names
from ayla_provider._airflow.compat import stats
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider.assets import volume_alias, volume_asset
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hour import describe_hour
from ayla_provider.domain.paths import typed_rows_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.archive.volumes import VolumeReport


class AylaExportVolumeOperator(BaseOperator):
    """
    Finds hours that have landed with unusually few or many rows, and warns.

    An hour is compared with the same hour of the week in up to eight weeks: its lines once it is copied, and the rows
    of each model once it is typed. Before four weeks are known, there is no baseline. It needs no connection to Ayla.
    The numbers are kept in ``_volumes/`` of the archive.

    When an anomaly begins or ends, it emits an asset event, see :func:`~ayla_provider.assets.volume_alias`.

    Its XCom is ``{"begun": [{"event_type", "model", "direction", "hour", "last_hour", "count", "expected", "hours",
    "over"}, ...], "unusual", "without_baseline": [event type, ...]}``, where ``unusual`` is how many anomalies aren't
    over, and ``begun`` has at most 50.

    :param archive: the URL that the copy has as its destination (templated)
    :param event_types: in any spelling; by default the five documented ones
    :param archive_conn_id: as the copy has it in ``destination_conn_id`` (templated)
    :param parquet: where the typed rows are, as in the loads (templated)
    """

    template_fields: Sequence[str] = ("archive", "archive_conn_id", "parquet")
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        archive: str,
        event_types: Sequence[str] = EVENT_TYPES,
        archive_conn_id: str | None = None,
        parquet: str = "",
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = [*(kwargs.get("outlets") or []), volume_alias()]
        super().__init__(**kwargs)
        self.archive = archive
        self.event_types = names(event_types, "event_types")
        self.archive_conn_id = archive_conn_id
        self.parquet = parquet

    def execute(self, context: Context) -> dict[str, Any]:
        """Judge the hours that are new."""
        from ayla_provider.archive.volumes import SHOWN_ANOMALIES, VolumeLooks, document_of

        now = datetime.now(UTC)
        with airflow_errors():
            looks = VolumeLooks(
                open_destination(self.archive, self.archive_conn_id),
                open_destination(typed_rows_url(self.archive, self.parquet), self.archive_conn_id),
            )
            reports = [looks.evaluate(event_type, now) for event_type in map(parse_event_type, self.event_types)]
            # Only now: Airflow drops the event of a task that fails.
            looks.note_published()
        self._say(reports)
        self._measure(reports)
        # An earlier try may have kept a verdict, and ended before Airflow recorded its event.
        if any(report.is_new for report in reports) or context["ti"].try_number > 1:
            if volume_alias() not in self.outlets:
                self.outlets.append(volume_alias())
            asset = volume_asset(self.archive)
            context["outlet_events"][volume_alias()].add(asset, extra=document_of(reports, now))
        begun = [each.document(report.volumes.event_type) for report in reports for each in report.begun]
        return {
            "begun": begun[:SHOWN_ANOMALIES],
            "unusual": sum(len(report.volumes.unusual) for report in reports),
            "without_baseline": [
                str(report.volumes.event_type) for report in reports if not report.document()["has_baseline"]
            ],
        }

    @staticmethod
    def _measure(reports: Sequence[VolumeReport]) -> None:
        """Report the metrics."""
        from ayla_provider.domain.volume import Direction

        for report in reports:
            volumes = report.volumes
            directions = [each.direction for each in volumes.unusual]
            values = {
                "low": directions.count(Direction.LOW),
                "high": directions.count(Direction.HIGH),
                "weeks": report.weeks,
            }
            newest = volumes.newest_lines()
            if newest is not None:
                values["lines"] = newest.count
                if newest.expected is not None:
                    values["expected"] = newest.expected
            for name, value in values.items():
                stats.gauge(
                    f"ayla_export.{volumes.event_type}.volume.{name}",
                    value,
                    tags={"event_type": str(volumes.event_type)},
                )

    def _say(self, reports: Sequence[VolumeReport]) -> None:
        for report in reports:
            event_type = report.volumes.event_type
            if not report.document()["has_baseline"]:
                self.log.info("%s: no baseline yet: %d of 4 weeks are known.", event_type, report.weeks)
            for each in report.volumes.unusual:
                self.log.warning(
                    "%s: %s. Hours so far: %d.", describe_hour(each.start), each.describe(event_type), each.hours
                )

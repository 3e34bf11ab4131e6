"""The operator that drains a stream into the customer's bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import count, flag
from ayla_provider._airflow.compat import stats
from ayla_provider._airflow.erasure_keys import ERASURE_CONN_ID, erasure_keys
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.run import provenance
from ayla_provider.assets import event_asset, event_extra, stream_alias, stream_extra
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.domain.stream import MOST_BYTES, MOST_RECORDS
from ayla_provider.domain.units import counted, size_text
from ayla_provider.errors import AylaError
from ayla_provider.links import AylaStreamDestinationLink

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from ayla_provider.archive.stream import StreamArchive, StreamReport


class AylaStreamToBucketOperator(BaseOperator):
    """
    Drains a stream of Ayla's DataStream Service into the customer's own bucket or folder: every record once.

    It reads each shard from where the last run ended to the time at which this run begins, and writes the records
    unchanged, by event type and hour of the event. The destination has a manifest of each hour, and the position in the
    stream. It belongs to this stream alone.

    If records expired before they were read, all others are written, and then the task fails. Later runs go on.

    Its XCom has counts and bytes: ``{"stream", "destination", "batches", "records", "unreadable", "files", "bytes",
    "gaps", "unacknowledged_gaps", "hours": {state: count}, "complete_to", "lag_seconds"}``.

    :param stream: ``kinesis://name``, ``eventhubs://hub``, or ``eventhubs://hub/consumer-group`` (templated)
    :param destination: as in :class:`AylaExportToBucketOperator` (templated)
    :param stream_conn_id: a connection of the type ``aws`` for Kinesis, and ``azure`` or ``azure_service_bus`` for
        Event Hubs. Without one, Kinesis takes the credentials of the machine (templated)
    :param destination_conn_id: as in :class:`AylaExportToBucketOperator` (templated)
    :param oem_id: the OEM that all records must be of; by default the one of the first record (templated)
    :param max_records: about how many records a batch has at most; a run commits as many batches as it needs
    :param max_bytes: about how many bytes of records a batch has at most
    :param accept_loss: whether to acknowledge all gaps, and to go on with a stream that was created again. Give it as a
        DAG parameter, and set it for one run (templated)
    :param erasure_conn_id: a connection whose password has the keys of the erasure ledger. It is looked up only if an
        erasure touches an hour (templated)
    """

    template_fields: Sequence[str] = (
        "stream",
        "destination",
        "stream_conn_id",
        "destination_conn_id",
        "oem_id",
        "accept_loss",
        "erasure_conn_id",
    )
    ui_color = "#dcefdc"
    operator_extra_links = (AylaStreamDestinationLink(),)

    def __init__(
        self,
        *,
        stream: str,
        destination: str,
        stream_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        oem_id: str = "",
        max_records: int = MOST_RECORDS,
        max_bytes: int = MOST_BYTES,
        accept_loss: bool | str = False,
        erasure_conn_id: str = ERASURE_CONN_ID,
        **kwargs: Any,
    ) -> None:
        # Not a named argument: Airflow would use its default for mapped tasks too.
        kwargs["outlets"] = [*(kwargs.get("outlets") or []), *map(stream_alias, STREAM_EVENT_TYPES)]
        super().__init__(**kwargs)
        self.stream = stream
        self.destination = destination
        self.stream_conn_id = stream_conn_id
        self.destination_conn_id = destination_conn_id
        self.oem_id = oem_id
        self.max_records = count(max_records, "max_records")
        self.max_bytes = count(max_bytes, "max_bytes")
        self.accept_loss = accept_loss
        self.erasure_conn_id = erasure_conn_id
        self._stream_url = ""

    @cached_property
    def archive(self) -> StreamArchive:
        """The customer's archive of the stream."""
        from ayla_provider.archive.stream import StreamArchive

        destination = open_destination(self.destination, self.destination_conn_id)
        return StreamArchive(destination, erasure_keys=partial(erasure_keys, self.erasure_conn_id))

    def execute(self, context: Context) -> dict[str, Any]:
        """Drain the stream, and announce the hours that are complete."""
        from ayla_provider._airflow.streams import open_stream

        with airflow_errors(), self._measured():
            accept_loss = flag(self.accept_loss, "accept_loss")
            with contextlib.closing(open_stream(self.stream, self.stream_conn_id)) as stream:
                self._stream_url = stream.url
                report = self.archive.drain(
                    stream,
                    datetime.now(UTC),
                    written_by=provenance(context),
                    oem_id=self.oem_id,
                    max_records=self.max_records,
                    max_bytes=self.max_bytes,
                    accept_loss=accept_loss,
                )
        self._announce(context, report)
        return {"stream": self.stream, "destination": self.destination, **report.document()}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the stream and what was written; None before it ends, or without Airflow's OpenLineage provider."""
        from ayla_provider.lineage import stream_lineage

        archive: StreamArchive | None = self.__dict__.get("archive")
        if archive is None or archive.report is None:
            return None
        return stream_lineage(self._stream_url, self.destination, archive.report)

    def on_kill(self) -> None:
        """Stop the run. What was committed stays; the next run goes on from there."""
        # Only if it exists: don't open an archive just to stop it.
        if archive := self.__dict__.get("archive"):
            archive.stop()

    @contextlib.contextmanager
    def _measured(self) -> Iterator[None]:
        """Log and measure what came of a run, also if it fails because of a loss."""
        tags = {"task_id": self.task_id, "dag_id": str(self.dag_id)}
        try:
            yield
        except AylaError:
            stats.incr("ayla_stream.failures", tags=tags)
            raise
        finally:
            archive: StreamArchive | None = self.__dict__.get("archive")
            report = archive.report if archive else None
            if report:
                self._log_report(report)
                stats.incr("ayla_stream.records", report.records, tags=tags)
                stats.incr("ayla_stream.bytes", report.bytes, tags=tags)
                stats.gauge("ayla_stream.lag", report.lag.total_seconds(), tags=tags)

    def _log_report(self, report: StreamReport) -> None:
        self.log.info(
            "Drained %s in %.1f s: %s in %s, %s in %s. It was %s behind. Hours are complete up to %s.",
            self.stream,
            report.seconds,
            counted(report.records, "record", "records"),
            counted(report.batches, "batch", "batches"),
            size_text(report.bytes),
            self.destination,
            report.lag,
            report.complete_to.isoformat() if report.complete_to else "none yet",
        )
        if report.unreadable:
            self.log.warning(
                "Records that aren't events of a known type: %d. They are kept in %s/_unreadable.",
                report.unreadable,
                self.destination,
            )
        if report.unacknowledged:
            self.log.warning(
                "Gaps that nobody has acknowledged: %d. Run the task once with accept_loss.", report.unacknowledged
            )

    def _announce(self, context: Context, report: StreamReport) -> None:
        """Emit an asset event for each hour that is complete now, or that got more records since it was."""
        events = context["outlet_events"]
        for manifest in report.hours:
            event_type = manifest.hour.event_type
            asset = event_asset(self.destination, event_type)
            extra = event_extra(manifest) | stream_extra(manifest.export, report.unacknowledged_gaps)
            events[stream_alias(event_type)].add(asset, extra=extra)

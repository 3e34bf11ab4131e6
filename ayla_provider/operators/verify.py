"""The operator that checks whether an archive still has what its manifests name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import map_length, names, optional_duration, optional_hour
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.mapping import MAP_LIMIT, hours_item, that_fit
from ayla_provider.assets import event_asset, event_extra, export_alias
from ayla_provider.destinations import open_destination
from ayla_provider.domain.coverage import describe_lost
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hour import LONGEST, ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import manifest_path, typed_rows_url
from ayla_provider.errors import AylaConfigError
from ayla_provider.operators.digests import publish
from ayla_provider.transport.redaction import from_outside

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.archive.destination import Destination
    from ayla_provider.archive.findings import Finding, Repair
    from ayla_provider.domain.digest import Digest
    from ayla_provider.domain.typed_manifest import TypedManifest

_LOGGED = 200
"""How many findings the log names."""


class AylaExportVerifyOperator(BaseOperator):
    """
    Lists an archive, compares each object with the manifest that names it, and returns the hours to copy again.

    It also compares the typed rows with their receipts. It needs no connection to Ayla, and changes no copy. It may run
    beside copies and loads.

    Its XCom is a list to expand a copy over, the newest hour first, ``[{"event_type", "start", "end", "reason",
    "untrusted"}, ...]``; the XCom ``summary`` has counts: ``{"start", "end", "manifests", "files", "bytes", "damages":
    {damage: count}, "repairs", "postponed", "lost", "read_files", "read_bytes"}``. A load, not a
    copy, makes typed rows again, so that they aren't in the list. It emits an asset event for each hour with files that
    are lost for good, so that the page *Ayla export* shows it. ::

        verify = AylaExportVerifyOperator(task_id="verify", destination=...)
        AylaExportToBucketOperator.partial(
            task_id="repair", destination=..., map_index_template="{{ task.reason }}"
        ).expand_kwargs(verify.output)

    :param destination: the archive's URL, as the copying tasks have it (templated)
    :param event_types: in any spelling; by default the five documented ones. Each is expected in every hour
    :param lookback: how far back from now to verify; None for everything
    :param not_before: the first hour that the archive should have, ISO 8601 with an offset; by default there is no
        such bound (templated)
    :param destination_conn_id: as in :class:`AylaExportToBucketOperator` (templated)
    :param expected_retention: after this time, a lifecycle rule of yours removes copies and manifests, so that their
        absence is no damage; by default there is no such rule
    :param parquet: where the typed rows are, as in the loads; by default ``parquet/`` below the archive (templated)
    :param read_every: also read files, and compare their checksums: each run reads a share, so that each file is read
        once in this time. It needs ``lookback=None``. By default nothing is read
    :param max_repairs: how many hours to return at most, 1 to 1,024; the next run returns the rest
    """

    template_fields: Sequence[str] = ("destination", "not_before", "destination_conn_id", "parquet")
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        destination: str,
        event_types: Sequence[str] = EVENT_TYPES,
        lookback: timedelta | None = timedelta(days=7),
        not_before: str | datetime = "",
        destination_conn_id: str | None = None,
        expected_retention: timedelta | None = None,
        parquet: str = "",
        read_every: timedelta | None = None,
        max_repairs: int = 200,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        lookback = optional_duration(lookback, "lookback", at_least=ONE_HOUR)
        read_every = optional_duration(read_every, "read_every", at_least=ONE_HOUR)
        if read_every is not None and lookback is not None:
            raise AylaConfigError("read_every reads everything, a share in each run: it needs lookback=None")
        self.destination = destination
        self.event_types = names(event_types, "event_types")
        self.lookback = lookback
        self.not_before = not_before
        self.destination_conn_id = destination_conn_id
        self.expected_retention = optional_duration(expected_retention, "expected_retention")
        self.parquet = parquet
        self.read_every = read_every
        self.max_repairs = map_length(max_repairs, "max_repairs", "hours")

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Verify, and return the arguments to expand a copy over."""
        from ayla_provider.archive.findings import Damage, repair_of
        from ayla_provider.archive.verify import Scope, Verification
        from ayla_provider.domain.digest import Digest, Layer
        from ayla_provider.rows.verify import verify_rows

        now = datetime.now(UTC)
        with airflow_errors():
            destination = open_destination(self.destination, self.destination_conn_id)
            start, end = self._start(now), hour_of(now)
            event_types = [parse_event_type(name) for name in self.event_types]
            rows = open_destination(typed_rows_url(self.destination, self.parquet), self.destination_conn_id)
            scope = Scope(event_types, start, end, self.expected_retention)
            archived, typed = Digest(Layer.VERIFIED), Digest(Layer.TYPED)
            verification = Verification(
                destination, scope, now=now, read_every=self.read_every, on_manifest=partial(_note_manifest, archived)
            )
            counts = verification.counts
            of_rows = verify_rows(
                rows,
                scope,
                now=now,
                read_every=self.read_every,
                on_read=counts.add_read,
                on_receipt=partial(_note_receipt, typed),
            )
            damages: Counter[str] = Counter()
            to_repair: dict[ExportHour, list[Finding]] = {}
            marked: set[ExportHour] = set()
            for finding in chain(verification.findings(), of_rows):
                _note_finding(typed if finding.damage in _OF_ROWS else archived, finding)
                if finding.hour and finding.damage is Damage.LOST:
                    marked.add(finding.hour)
                    if finding.path == manifest_path(finding.hour):
                        self.log.warning("%s", finding)
                    continue
                damages[finding.damage.value] += 1
                if damages.total() <= _LOGGED:
                    self.log.warning("%s", finding)
                if finding.hour and finding.damage.can_be_repaired:
                    to_repair.setdefault(finding.hour, []).append(finding)
            self._announce(context, destination, marked)
        publish(context, self, self.destination, now, daily=[archived, typed])
        hours = sorted(to_repair, key=lambda hour: (hour.start, hour.event_type), reverse=True)
        repairs = _arguments([repair_of(hour, to_repair[hour]) for hour in hours[: self.max_repairs]])
        summary = {
            "start": start.isoformat() if start else None,
            "end": end.isoformat(),
            "manifests": counts.manifests,
            "files": counts.files,
            "bytes": counts.bytes,
            "damages": dict(sorted(damages.items())),
            "repairs": len(repairs),
            "postponed": len(hours) - len(repairs),
            "lost": len(marked),
            "read_files": counts.read_files,
            "read_bytes": counts.read_bytes,
        }
        context["ti"].xcom_push("summary", summary)
        self.log.info("Verified %s: %s", self.destination, summary)
        return repairs

    def _announce(self, context: Context, destination: Destination, lost: set[ExportHour]) -> None:
        """Emit an asset event for each hour whose manifest marks files as lost, the newest hours first."""
        from ayla_provider.archive.records import Records

        newest = sorted(lost, key=lambda hour: hour.start, reverse=True)[:MAP_LIMIT]
        with ThreadPoolExecutor(thread_name_prefix="ayla-verify") as pool:
            manifests = Records(destination).read_manifests(newest, pool)
        for hour, manifest in manifests.items():
            if not isinstance(manifest, Manifest) or not manifest.lost:
                # A copy has committed the hour again in the meantime.
                continue
            self.log.warning("%s: %s. Nothing can repair it, unless a copy is restored.", hour, describe_lost(manifest))
            alias = export_alias(hour.event_type)
            # Airflow drops the events of an alias that isn't among the outlets.
            if alias not in self.outlets:
                self.outlets.append(alias)
            asset = event_asset(self.destination, hour.event_type)
            context["outlet_events"][alias].add(asset, extra=event_extra(manifest))

    def _start(self, now: datetime) -> datetime | None:
        start = hour_of(now - min(self.lookback, LONGEST)) if self.lookback else None
        not_before = optional_hour(self.not_before, "not_before")
        return max(filter(None, (start, not_before)), default=None)


def _arguments(repairs: Sequence[Repair]) -> list[dict[str, Any]]:
    """Return the arguments of a copy for each repair, as many as an XCom holds."""
    return that_fit(
        {
            **hours_item(repair.hour.event_type, repair.hour.start, repair.hour.end, str(repair)),
            "untrusted": list(repair.untrusted),
        }
        for repair in repairs
    )


_OF_ROWS = frozenset({"rows_missing", "rows_damaged", "unreadable_receipt"})
"""The damages of typed rows. The others are of files and manifests."""


def _note_manifest(digest: Digest, manifest: Manifest) -> None:
    """Add an hour to a digest, as its manifest describes it."""
    from ayla_provider.domain.digest import Activity

    newest = manifest.newest
    lag = datetime.fromisoformat(newest) - manifest.hour.end if newest else None
    digest.add(
        manifest.hour,
        "sound" if manifest.files else "empty",
        files=len(manifest.files),
        bytes=manifest.size,
        lines=manifest.lines,
        revision=manifest.revision,
        lag=None if lag is None else max(0, lag // timedelta(minutes=1)),
        erased=manifest.erased_lines,
    )
    if manifest.erased_lines:
        digest.act(Activity.ERASURE, manifest.hour, f"{manifest.erased_lines:,}")


def _note_receipt(digest: Digest, receipt: TypedManifest) -> None:
    """Add an hour to a digest, as the receipt of its typed rows describes it."""
    digest.add(
        receipt.hour,
        "removed" if receipt.removed else "typed",
        rows=receipt.rows,
        lines=receipt.lines,
        duplicates=receipt.duplicates,
        quarantined=receipt.quarantined,
    )


def _note_finding(digest: Digest, finding: Finding) -> None:
    """Add what is wrong with an hour to a digest. What nothing needs any more isn't about an hour."""
    from ayla_provider.archive.findings import Damage
    from ayla_provider.domain.digest import Activity

    if finding.hour is None or not finding.damage.is_loss:
        return
    digest.add(finding.hour, finding.damage.value)
    digest.note(finding.hour, from_outside(f"{finding.detail}: {finding.path}"))
    if finding.damage is Damage.LOST:
        digest.act(Activity.LOSS, finding.hour, from_outside(finding.path))
    elif finding.damage.can_be_repaired:
        digest.act(Activity.REPAIR, finding.hour, from_outside(finding.detail))

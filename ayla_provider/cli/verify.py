"""Checks an archive against its manifests, for a person or for cron."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from ayla_provider.archive.findings import Damage, Finding
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hour import ExportHour, describe_hour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.units import counted, files_text, size_text
from ayla_provider.errors import AylaConfigError
from ayla_provider.rows.verify import verify_rows
from ayla_provider.warehouse.verify import verify_ledger

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.warehouse.base import Warehouse

_OF_WAREHOUSE = (Damage.LEDGER, Damage.FEWER_ROWS, Damage.MORE_ROWS)


class VerifyReport:
    """
    One check of an archive.

    :param event_types: in any spelling; None for those that the archive has
    :param since: the first hour, aware; None for everything
    :param until: the end of the last hour, aware
    :param rows: where the typed rows are
    :param expected_retention: see :class:`~ayla_provider.archive.verify.Scope`
    :param read_every: how often each file is read; None to read nothing
    :param warehouse: to compare with the receipts, too, not entered
    :raises AylaConfigError: if there is no hour to check, or if only a part is to be read
    """

    def __init__(
        self,
        destination: Destination,
        rows: Destination,
        *,
        event_types: Sequence[str] | None,
        since: datetime | None,
        until: datetime,
        expected_retention: timedelta | None,
        read_every: timedelta | None = None,
        warehouse: Warehouse | None = None,
    ) -> None:
        if since and since >= until:
            raise AylaConfigError(f"no hour is between {describe_hour(since)} and {describe_hour(until)}")
        if since and read_every:
            raise AylaConfigError("--read-every reads everything, a share in each run: leave out --since")
        names = list(dict.fromkeys(map(parse_event_type, event_types))) if event_types else None
        self._url = destination.url
        self._since = since
        self._until = until
        self._rows = rows
        self._now = datetime.now(UTC)
        self._scope = Scope(names, since, until, expected_retention)
        self._read_every = read_every
        self._warehouse = warehouse
        self._verification = Verification(destination, self._scope, now=self._now, read_every=read_every)
        self._damages: Counter[Damage] = Counter()
        self._hours: set[ExportHour] = set()
        self._lost: set[ExportHour] = set()
        self._without_manifest: set[ExportHour] = set()
        """Hours that are lost for good, with copies that no manifest names."""
        self._nothing: list[str] = []
        """The folders of manifests in which there is none."""
        self._differing: set[ExportHour] = set()
        """Hours that differ in the warehouse."""

    def findings(self) -> Iterator[Finding]:
        """
        Yield what is wrong, and count it.

        :raises AylaError: if the archive or the warehouse can't be read
        """
        on_read = self._verification.counts.add_read
        of_rows = verify_rows(self._rows, self._scope, now=self._now, read_every=self._read_every, on_read=on_read)
        for finding in chain(self._verification.findings(), of_rows, self._of_warehouse()):
            self._damages[finding.damage] += 1
            if finding.damage.is_loss:
                self._note(finding)
            yield finding

    def _of_warehouse(self) -> Iterator[Finding]:
        if self._warehouse is None:
            return
        event_types = self._scope.event_types
        if event_types is None:
            event_types = sorted({*EVENT_TYPES, *self._verification.counts.first})
        with self._warehouse as warehouse:
            if not warehouse.has_ledger():
                raise AylaConfigError(
                    f"{warehouse.name} has no table of loads, so it can't be compared: check the names of the schema "
                    "and the tables, which are those of your loads"
                )
            for event_type in event_types:
                yield from verify_ledger(warehouse, self._rows, event_type, self._scope, now=self._now)

    def _note(self, finding: Finding) -> None:
        """Remember what the verdict says about a loss."""
        if finding.damage is Damage.NEWER:
            return
        if finding.hour is None:
            if finding.damage is Damage.NO_MANIFEST:
                self._nothing.append(finding.path)
        elif finding.damage in _OF_WAREHOUSE:
            self._differing.add(finding.hour)
        elif finding.damage is not Damage.LOST:
            self._hours.add(finding.hour)
        elif finding.path == manifest_path(finding.hour):
            self._without_manifest.add(finding.hour)
        else:
            self._lost.add(finding.hour)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found that is a loss. Use it after :meth:`findings`."""
        return not any(damage.is_loss for damage in self._damages)

    @property
    def title(self) -> str:
        """What is checked, for people."""
        start = f"{describe_hour(self._since)} to" if self._since else "everything until"
        return f"{self._url}, {start} {describe_hour(self._until)}"

    @property
    def verdict(self) -> str:
        """The result, for people."""
        if self.is_whole:
            agreement = " The warehouse agrees with the receipts." if self._warehouse else ""
            return f"Everything that the manifests name is there.{agreement}"
        sentences = []
        if self._nothing:
            sentences.append(
                f"There is nothing to verify in {', '.join(self._nothing)}: check the destination and the event types."
            )
        if self._damages[Damage.NEWER]:
            records = counted(self._damages[Damage.NEWER], "record is", "records are")
            sentences.append(f"{records} of a newer version of this package: upgrade the package.")
        if self._hours:
            hours = counted(len(self._hours), "hour is", "hours are")
            whose = ("its copy task", "its load") if len(self._hours) == 1 else ("their copy tasks", "their loads")
            sentences.append(
                f"{hours} damaged or not complete. Clear {whose[0]}, to copy again what Ayla still has. For typed "
                f"rows, clear {whose[1]}."
            )
            if self._read_every and self._damages[Damage.DAMAGED]:
                # A copy trusts a file of the right size that nobody wrote since.
                sentences.append("Move the damaged files out of the archive first.")
        if self._lost:
            hours = counted(len(self._lost), "hour is", "hours are")
            sentences.append(f"{hours} lost for good: neither the archive nor Ayla has all files any more.")
        if self._without_manifest:
            hours = counted(len(self._without_manifest), "hour has", "hours have")
            sentences.append(
                f"{hours} copies but no valid manifest, and Ayla no longer shows all files: keep the copies, and "
                "restore the manifest."
            )
        if self._differing:
            hours = counted(len(self._differing), "hour differs", "hours differ")
            which = "it" if len(self._differing) == 1 else "them"
            sentences.append(f"{hours} in the warehouse: load {which} again, unless someone erased rows.")
        return " ".join(sentences)

    def text(self) -> str:
        """Return the summary for people."""
        counts = self._verification.counts
        manifests = counted(counts.manifests, "manifest", "manifests")
        lines = [f"{manifests}, {files_text(counts.files)}, {size_text(counts.bytes)}"]
        if self._read_every:
            lines.append(f"{files_text(counts.read_files)} read, {size_text(counts.read_bytes)}")
        if counts.removed:
            lines.append(f"{files_text(counts.removed)} removed on purpose")
        if self._damages:
            lines.append(", ".join(f"{self._damages[damage]:,} {damage}" for damage in Damage if self._damages[damage]))
        return "\n".join([*lines, "", self.verdict])

    def document(self) -> dict[str, Any]:
        """Check, and return the result for JSON."""
        findings = [finding.document() for finding in self.findings()]
        counts = self._verification.counts
        return {
            "destination": self._url,
            "since": self._since.isoformat() if self._since else None,
            "until": self._until.isoformat(),
            "findings": findings,
            "summary": {
                "whole": self.is_whole,
                "verdict": self.verdict,
                "manifests": counts.manifests,
                "files": counts.files,
                "bytes": counts.bytes,
                "removed": counts.removed,
                "read_files": counts.read_files,
                "read_bytes": counts.read_bytes,
                "damages": {damage.value: self._damages[damage] for damage in Damage},
            },
        }

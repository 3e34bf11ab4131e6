"""
What an archive can be held to: a document for each month, with the hash of each manifest, chained from month to month.

A document says what each hour of its month is, and what changed in the hours of earlier months since the document
before it. So a person who keeps one hash can tell whether anything before it was changed afterwards.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from ayla_provider.domain.failure import Failure
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.json_fields import UNREADABLE, require, require_format, time_field, typed_field
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.errors import AylaConfigError, AylaDestinationError

FORMAT = "ayla-evidence/1"

NO_MANIFEST = "no manifest"
"""The state of an hour without a manifest."""

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month in UTC."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """
        Return the month that a text such as ``2026-11`` means.

        :raises AylaConfigError: if it means none
        """
        try:
            day = date.fromisoformat(f"{text}-01")
        except ValueError:
            raise AylaConfigError(f"{text!r} isn't a month such as 2026-11") from None
        return cls(day.year, day.month)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"

    @property
    def start(self) -> datetime:
        """Its first moment, UTC."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def next(self) -> Month:
        """The month after it."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    def has(self, hour: ExportHour) -> bool:
        """Return whether an hour begins in the month."""
        return self.start <= hour.start < self.next.start


def hash_of(entry: Mapping[str, Any], before: str) -> str:
    """
    Return the hash of an entry and of everything before it: the next link of the chain.

    :param before: the hash before it; empty for the first one
    """
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def entry_of(
    hour: ExportHour, content: bytes | None, manifest: Manifest | None, failure: Failure | None
) -> dict[str, Any]:
    """
    Return what a document says of an hour.

    :param content: the bytes of its manifest; None if it has none
    :param failure: the note about a failure, which stays when the hour is copied later
    """
    entry: dict[str, Any] = {"event_type": hour.event_type, "hour": hour.start.isoformat()}
    if content is None or manifest is None:
        entry |= {"state": NO_MANIFEST}
    else:
        entry |= {
            "state": manifest.state.value,
            "manifest_sha256": hashlib.sha256(content).hexdigest(),
            "revision": manifest.revision,
            "written_at": manifest.written_at,
            "written_by": dict(manifest.written_by),
            "files": [_file(file) for file in manifest.files],
        }
    if failure:
        entry["failure"] = {
            "error": failure.error,
            "failed_at": failure.failed_at.isoformat(),
            "tasks": failure.tasks,
            "written_by": dict(failure.written_by),
        }
    return entry


def _file(file: ManifestFile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": file.path,
        "source": file.source,
        "generation": file.generation,
        "created": file.created,
        "size": file.size,
        "crc32c": file.crc32c,
        "sha256": file.sha256 or None,
    }
    if file.lost:
        entry["lost"] = file.lost
    if file.removed:
        entry["removed"] = file.removed
    if file.erased:
        entry["erased"] = {
            "lines": file.erased.lines,
            "size": file.erased.size,
            "crc32c": file.erased.crc32c,
            "by": list(file.erased.by),
        }
    return entry


def change_of(
    old: Mapping[str, Any], new: Mapping[str, Any], *, since: datetime, now: datetime, erasures: Iterable[str]
) -> tuple[list[str], list[str]]:
    """
    Return why an hour is another one than a document said, and what no run of this package explains.

    :param old: the entry of the earlier document
    :param new: the entry of now
    :param since: when the earlier document was made, aware
    :param now: aware
    :param erasures: the ids of the entries in the erasure ledger
    :returns: reasons, and objections; both are empty if nothing changed
    """
    was, now_is = old.get("manifest_sha256"), new.get("manifest_sha256")
    if was == now_is:
        return [], []
    if now_is is None:
        return [], ["the manifest is gone"]
    objections = []
    written = datetime.fromisoformat(new["written_at"])
    if written < since:
        objections.append(f"the manifest says that it was written at {new['written_at']}, before the earlier document")
    if written > now:
        objections.append(f"the manifest says that it was written at {new['written_at']}, which is in the future")
    if was is None:
        return ["copied later"], objections
    if new["revision"] < old["revision"]:
        objections.append(f"its revision was {old['revision']} and is {new['revision']}")
    reasons: list[str] = []
    before = {file["path"]: file for file in old["files"]}
    after = {file["path"]: file for file in new["files"]}
    if before.keys() - after.keys():
        objections.append(f"it no longer names {min(before.keys() - after.keys())}")
    if after.keys() - before.keys():
        reasons.append("files added")
    known = set(erasures)
    for path in sorted(before.keys() & after.keys()):
        file, other = before[path], after[path]
        content = ("generation", "size", "crc32c")
        if [file[name] for name in content] != [other[name] for name in content]:
            if file["generation"] == other["generation"] and file["source"] == other["source"]:
                objections.append(f"{path} has another checksum or size, and no other generation")
            reasons.append("files replaced")
        elif file["sha256"] not in (None, other["sha256"]):
            objections.append(f"{path} has another SHA-256")
        if "lost" in other and "lost" not in file:
            reasons.append("files lost")
        if "lost" in file and "lost" not in other:
            reasons.append("files restored")
        if "removed" in other and "removed" not in file:
            reasons.append("files removed by a rule")
        by, by_before = other.get("erased", {}).get("by", []), file.get("erased", {}).get("by", [])
        if other.get("erased") != file.get("erased"):
            reasons += [f"lines erased by {each}" for each in by if each not in by_before]
            if not set(by) - set(by_before) and "files replaced" not in reasons:
                objections.append(f"{path} has other erased lines without another erasure")
            objections += [f"the erasure {each} isn't in the ledger" for each in by if each not in known]
    needs_revision = {"files added", "files replaced"} & set(reasons) or any("erased" in each for each in reasons)
    if needs_revision and new["revision"] == old["revision"]:
        objections.append("its content changed, and its revision didn't")
    if new["state"] != old["state"]:
        reasons.append(f"{old['state']} became {new['state']}")
    return sorted(set(reasons)) or ["copies written again"], objections


@dataclass(frozen=True)
class Evidence:
    """The document of a month."""

    month: Month
    made_at: datetime
    """Aware, UTC."""
    export: str
    """The URL of the export, or of the stream, that the manifests name."""
    previous: str
    """The hash of the document before it; empty for the first one."""
    hours: tuple[Mapping[str, Any], ...]
    """An entry for each event type and hour of the month: see :func:`entry_of`."""
    changes: tuple[Mapping[str, Any], ...]
    """An entry for each hour of earlier months that isn't as the documents before it said, with ``reasons`` and
    ``objections``."""
    erasures: tuple[Mapping[str, Any], ...]
    """The ledger of erasures: ids, states, and times."""

    @property
    def head(self) -> str:
        """The document's hash, which depends on everything before it."""
        facts = {"format": FORMAT, "month": str(self.month), "made_at": self.made_at.isoformat(), "export": self.export}
        head = hash_of(facts, self.previous)
        for entry in (*self.hours, *self.changes, *self.erasures):
            head = hash_of(entry, head)
        return head

    @property
    def objections(self) -> list[str]:
        """What no run of this package explains, for people."""
        return [
            f"{entry['event_type']} {entry['hour'][:16]}: {objection}"
            for entry in self.changes
            for objection in entry["objections"]
        ]

    def dumps(self) -> str:
        """Return the document as JSON text: the inverse of :func:`loads`."""
        document = {
            "format": FORMAT,
            "month": str(self.month),
            "made_at": self.made_at.isoformat(),
            "export": self.export,
            "previous": self.previous,
            "hours": list(self.hours),
            "changes": list(self.changes),
            "erasures": list(self.erasures),
            "sha256": self.head,
        }
        return json.dumps(document, indent=1) + "\n"


def loads(text: str | bytes, where: str) -> Evidence:
    """
    Return the document in a JSON text.

    :param where: its name, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if it isn't one, or was changed
    """
    try:
        document: dict[str, Any] = json.loads(text)
        require_format(document["format"], FORMAT, where)
        stated = typed_field(document, "sha256", str)
        evidence = Evidence(
            month=Month.parse(typed_field(document, "month", str)),
            made_at=time_field(document, "made_at"),
            export=typed_field(document, "export", str),
            previous=typed_field(document, "previous", str),
            hours=tuple(typed_field(document, "hours", list)),
            changes=tuple(typed_field(document, "changes", list)),
            erasures=tuple(typed_field(document, "erasures", list)),
        )
        require(_SHA256.fullmatch(stated) is not None and evidence.head == stated, "its content isn't that of its hash")
    except (*UNREADABLE, AylaConfigError) as error:
        raise AylaDestinationError(
            f"{where} isn't a valid document of format {FORMAT} ({type(error).__name__}: {error!s:.200}). If it was "
            "changed, restore it from where you keep a copy."
        ) from error
    return evidence


def known_hours(documents: Sequence[Evidence]) -> dict[tuple[str, str], tuple[Mapping[str, Any], datetime]]:
    """
    Return what documents say last of each hour: event type and hour to the entry, and when its document was made.

    :param documents: in their order
    :raises AylaDestinationError: if one is missing between two, or one doesn't follow from the one before it
    """
    known: dict[tuple[str, str], tuple[Mapping[str, Any], datetime]] = {}
    before: Evidence | None = None
    for document in documents:
        if before and (document.month != before.month.next or document.previous != before.head):
            raise AylaDestinationError(
                f"the evidence of {document.month} doesn't follow from that of {before.month}: a document is missing, "
                "or was made again. Restore the documents from where you keep a copy."
            )
        for entry in document.hours:
            known[entry["event_type"], entry["hour"]] = entry, document.made_at
        for entry in document.changes:
            known[entry["event_type"], entry["hour"]] = entry["now"], document.made_at
        before = document
    return known


def hours_in(month: Month, event_types: Iterable[str]) -> list[tuple[str, datetime]]:
    """Return the event type and the start of each hour of a month."""
    count = int((month.next.start - month.start) / ONE_HOUR)
    return [(name, month.start + number * ONE_HOUR) for name in sorted(event_types) for number in range(count)]

"""
Erases subjects from an archive and its typed rows, hour by hour.

The order within an hour lets every try find what an earlier one left: the manifest, which states what its files will
be; the files; the malformed lines; the Parquet files; and their receipt. A file is as its manifest says if that holds
of the file itself, or of what the filter leaves of it.

A damaged file loses the lines of the subjects, too. But its manifest stays as it is, so that a verification finds the
damage afterwards.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from ayla_provider.archive.ahead import read_ahead
from ayla_provider.archive.destination import Destination, Stored, stored_at, url_of
from ayla_provider.archive.erasures import Content, LineFilter, Matcher, filtered_copy
from ayla_provider.archive.gunzip import GZIP, unpacked
from ayla_provider.archive.holds import HeldSubjects, held_error
from ayla_provider.archive.records import Records, write_json
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain import typed_manifest as typed
from ayla_provider.domain.completeness import missing_path, record_path
from ayla_provider.domain.erasure import ErasureEntry, ErasureRequest
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Erased, Manifest, ManifestFile
from ayla_provider.domain.new_columns import NEW_COLUMN
from ayla_provider.domain.paths import (
    MANIFESTS,
    PARTS,
    QUARANTINE,
    TYPED_RECEIPTS,
    UNREADABLE_RECORDS,
    manifest_path,
    parse_stream_path,
)
from ayla_provider.domain.typed_manifest import RowsFile, TypedFile, TypedManifest
from ayla_provider.errors import AylaConflictError, AylaDestinationError, AylaError
from ayla_provider.rows.columns import fetch_columns
from ayla_provider.rows.duck import MEMORY, connect, literal
from ayla_provider.rows.hour_parts import content_of, write_parquet
from ayla_provider.rows.naming import NamingRows
from ayla_provider.rows.parquet import PARQUET, duckdb_errors
from ayla_provider.transport.checksum import Crc32c

log = logging.getLogger(__name__)

_WORKERS = 4
"""How many hours are worked on at once."""

_READERS = 16
"""How many hours are read at once. Most of them have nothing of a subject, and waiting takes most of their time."""

_IN_MEMORY = 16 * 1024 * 1024
"""Bytes. A larger file waits on disk, not in memory, until its checksum is known."""

_LEVEL = 1
"""Of gzip, as the drain of a stream writes it."""

ERASURES_FIELD = "erasures"
"""Of ``written_by`` of a receipt: the ids of the erasures that changed it, with spaces between them."""

_NEVER_NAMING = {"ip", "lat", "long"}
"""Columns that can be personal data, and that no identifier can be in."""

_PARTITION = re.compile(
    r"event_type=(?P<event_type>[a-z0-9_]+)/date=(?P<day>\d{4}-\d{2}-\d{2})/hour=(?P<hour>\d{2})(?=[./])", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request with its entry in the ledger."""

    request: ErasureRequest
    entry: ErasureEntry


class Held(NamedTuple):
    """What a legal hold is on, of what is to be erased."""

    hold: str
    """Its id."""
    entry: str
    """The id of the erasure's entry in the ledger."""
    layer: str
    """As in :attr:`HourErasure.counts`."""


@dataclass(slots=True)
class HourErasure:
    """What an hour has of the subjects, or had."""

    hour: ExportHour
    counts: Counter[str] = field(default_factory=Counter)
    """``csv_lines``, ``stream_lines``, ``quarantined_lines``, ``parquet_rows``: how many are to be erased."""
    objects: int = 0
    """How many objects are written again, or removed."""
    bytes: int = 0
    """How many bytes are read of them."""
    receipt: TypedManifest | None = None
    """The receipt that the hour has now, if it changed."""
    before: str = ""
    """The version that the typed rows had before, as the ledger of a warehouse states it."""
    untyped: bool = False
    """Whether the typed rows were removed, so that the next load makes them again."""
    held: Counter[Held] = field(default_factory=Counter)
    """How many lines and rows are to be erased that name a subject of a legal hold."""


@dataclass(slots=True)
class _Objects:
    """What stores have of an hour."""

    manifest: Stored | None = None
    files: dict[str, Stored] = field(default_factory=dict)
    quarantine: Stored | None = None
    rows: dict[str, Stored] = field(default_factory=dict)
    receipt: Stored | None = None
    parts: list[tuple[bool, Stored]] = field(default_factory=list)
    """Of each: whether it is beside the typed rows, and the object."""

    def versions(self) -> tuple[str, ...]:
        """Return what changes whenever an object of the hour does."""
        stored = [self.manifest, self.quarantine, self.receipt, *self.files.values(), *self.rows.values()]
        stored += [part for _, part in self.parts]
        return tuple(sorted(f"{each.path} {each.version}" for each in stored if each))


class ArchiveErasure:
    """
    Erases subjects from an archive and its typed rows. Use it as a context manager.

    It may run beside copies, loads, and drains: they know the ledger, and what they write meanwhile is looked at again.

    :param wanted: the requests; their entries are in the ledger by then, unless this is a dry run
    :param hashes: column to the hashes of its identifiers, as privacy policies write them into the typed rows
    :param apply: whether to erase; otherwise it only counts
    :param held: finds the subjects of legal holds in what is to be erased
    :param memory: what DuckDB may take in each of a few threads, as it writes sizes
    """

    def __init__(
        self,
        archive: Destination,
        rows: Destination,
        wanted: Sequence[Wanted],
        *,
        now: datetime,
        written_by: Mapping[str, str],
        hashes: Mapping[str, Sequence[str]] | None = None,
        held: HeldSubjects | None = None,
        apply: bool = True,
        memory: str = MEMORY,
        workers: int = _WORKERS,
    ) -> None:
        self._archive, self._rows = archive, rows
        self._records = Records(archive)
        self._wanted = list(wanted)
        self._now = now
        self._written_by = written_by
        self._hashes = hashes or {}
        self._held = held
        self._apply = apply
        self._memory = memory
        self._working = threading.Semaphore(workers)
        """Held while an hour takes memory."""
        self._seen: dict[ExportHour, tuple[str, ...]] = {}
        """The hours that were looked at, and the versions of what they had then."""
        self._changed: set[ExportHour] = set()
        """The hours in which something was erased. Everything in them is read again."""
        self.without_models: set[ExportHour] = set()
        """The hours of which nobody may know how many rows a model had, since an erasure in this run or before it."""
        self._searches: dict[tuple[int, ...], tuple[Matcher, NamingRows]] = {}
        self._closing = contextlib.ExitStack()
        self._local = threading.local()
        self._folder = Path()

    def __enter__(self) -> ArchiveErasure:
        """Make a folder to work in."""
        self._folder = self._closing.enter_context(scratch_folder())
        return self

    def __exit__(self, *error: object) -> None:
        """Remove it."""
        self._closing.close()

    def hours(self) -> Iterator[HourErasure]:
        """
        Work on each hour that a span touches and that changed since it was looked at; yield those that had something.

        Call it again until it yields nothing. Then everything that is left was read, and has nothing of the subjects.

        :raises AylaHeldError: if a legal hold is on what is to be erased of an hour. Nothing of this hour is erased
        :raises AylaError: if something can't be read or written. What was done stays done
        """
        listed = self._listed()
        todo = []
        for hour in sorted(listed, key=lambda each: (each.start, each.event_type)):
            versions = listed[hour].versions()
            if self._seen.get(hour) != versions:
                self._seen[hour] = versions
                todo.append(hour)
        pool = ThreadPoolExecutor(_READERS, "ayla-erase")
        try:
            for found in pool.map(lambda hour: self._hour(hour, listed[hour]), todo):
                if found.counts or found.objects:
                    self._changed.add(found.hour)
                    yield found
        finally:
            pool.shutdown(cancel_futures=True)

    @property
    def looked_at(self) -> int:
        """How many hours were looked at."""
        return len(self._seen)

    def _listed(self) -> dict[ExportHour, _Objects]:
        """Return the hours that a span touches, with what the stores have of them."""
        hours: dict[ExportHour, _Objects] = {}

        def of(path: str) -> _Objects | None:
            match = _PARTITION.search(path)
            if match is None:
                return None
            start = datetime.fromisoformat(f"{match['day']}T{match['hour']}:00:00+00:00")
            hour = ExportHour(EventType(match["event_type"]), start)
            if not any(each.entry.touches(hour) for each in self._wanted):
                return None
            return hours.setdefault(hour, _Objects())

        for stored in self._tree(self._archive, f"{MANIFESTS}/event_type="):
            if objects := of(stored.path):
                objects.manifest = stored
        for stored in self._tree(self._archive, "event_type="):
            if self._archive.url == self._rows.url and stored.path.endswith(".parquet"):
                # A typed file beside the copies, which isn't a file of lines.
                continue
            if objects := of(stored.path):
                objects.files[stored.path] = stored
        for stored in self._tree(self._archive, f"{QUARANTINE}/event_type="):
            if objects := of(stored.path):
                objects.quarantine = stored
        for stored in self._tree(self._archive, f"{UNREADABLE_RECORDS}/"):
            parsed = parse_stream_path(stored.path)
            # Records that aren't events of a known type count as those of an hour of datapoints.
            if parsed and (objects := of(f"event_type=datapoint/date={parsed[1]:%Y-%m-%d}/hour={parsed[1]:%H}/")):
                objects.files[stored.path] = stored
        for stored in self._tree(self._rows, f"{TYPED_RECEIPTS}/event_type="):
            if objects := of(stored.path):
                objects.receipt = stored
        for stored in self._tree(self._rows, "event_type="):
            if objects := of(stored.path):
                objects.rows[stored.path] = stored
        for is_rows, destination in ((False, self._archive), (True, self._rows)):
            for stored in self._tree(destination, f"{PARTS}/event_type="):
                if objects := of(stored.path):
                    objects.parts.append((is_rows, stored))
        return hours

    @staticmethod
    def _tree(destination: Destination, prefix: str) -> Iterator[Stored]:
        for listed in destination.tree(prefix):
            if listed.unfinished:
                continue
            if listed.offline:
                raise AylaDestinationError(
                    f"{url_of(destination, listed.stored.path)} is in an archive tier, so nothing can be erased from "
                    "it. Restore it, and clear the task. The other hours are done by the next try."
                )
            yield listed.stored

    def search(self, hour: ExportHour) -> tuple[Matcher, NamingRows]:
        """Return what finds the subjects of an hour in bytes, and in Parquet files."""
        touching = tuple(number for number, each in enumerate(self._wanted) if each.entry.touches(hour))
        if touching not in self._searches:
            known = [
                (identifier, self._wanted[number].entry.id)
                for number in touching
                for identifier in self._wanted[number].request.identifiers.values()
            ]
            matcher = Matcher.of_known(known)
            rows = NamingRows(matcher, {identifier for identifier, _ in known}, self._hashes)
            self._searches[touching] = matcher, rows
        return self._searches[touching]

    def _hour(self, hour: ExportHour, objects: _Objects) -> HourErasure:
        work = _Hour(self, hour, objects)
        work.run()
        return work.found

    def connection(self) -> Any:
        """Return this thread's DuckDB."""
        if not hasattr(self._local, "duck"):
            self._local.duck = connect(memory=self._memory, folder=self._folder)
            self._closing.callback(self._local.duck.close)
        return self._local.duck


@dataclass(slots=True)
class _Rows:
    """A Parquet file of an hour."""

    local: Path
    """On this disk."""
    stored: Stored
    is_whole: bool
    """Whether the one on this disk has all of it, and not only what can name a subject."""
    numbers: list[int] = field(default_factory=list)
    """The rows that name a subject, see :class:`~ayla_provider.rows.naming.NamingRows`."""

    def fetch(self, destination: Destination) -> None:
        """Bring all of it to this disk."""
        _fetch(destination, self.stored.path, self.local)
        self.is_whole = True


@dataclass(slots=True)
class _Malformed:
    """The malformed lines of an hour."""

    local: Path
    """The file of all of them, on this disk."""
    lines: int = 0
    numbers: list[int] = field(default_factory=list)
    """Those that name a subject, from 0."""


class _MeasuredBlocks:
    """The blocks of a file, and what they are together."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._checksum = Crc32c()
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks that nobody has taken."""
        for block in self._blocks:
            self._checksum.update(block)
            self._size += len(block)
            yield block

    def content(self) -> Content:
        """Take the rest of the blocks, and return what the file is."""
        for _ in self:
            pass
        return Content(self._size, self._checksum.base64)


class _Left(NamedTuple):
    """What an erasure leaves of a file."""

    spool: Any
    """A temporary file with it."""
    lines: LineFilter
    content: Content
    """Of what is left."""
    before: Content
    """Of the file as it was read."""


class _Hour:
    """The erasure of one hour."""

    def __init__(self, run: ArchiveErasure, hour: ExportHour, objects: _Objects) -> None:
        self.found = HourErasure(hour)
        self._run = run
        self._hour = hour
        self._objects = objects
        self._matcher, self._naming = run.search(hour)
        self._archive, self._rows, self._apply = run._archive, run._rows, run._apply
        self._manifest: Manifest | None = None
        self._stored: Stored | None = None
        self._receipt: TypedManifest | None = None
        self._requests = [each.request for each in run._wanted if each.entry.touches(hour)]
        self._held = run._held if run._held and run._held.over(hour) else None

    def run(self) -> None:
        """Erase, or only count."""
        self._manifest, self._stored = self._run._records.read_manifest(self._hour)
        self._receipt = self._read_receipt()
        before = self._manifest
        with tempfile.TemporaryDirectory(dir=self._run._folder) as folder:
            rows = self._rows_with_subjects(Path(folder))
            with self._run._working:
                malformed = self._malformed_with_subjects(Path(folder))
                hits = any(found.numbers for found in rows) or bool(malformed.numbers)
                if hits or self._hour in self._run._changed or not self._rows_prove():
                    self._erase_files()
                self._refuse_held()
                self._erase_quarantine(malformed, Path(folder))
                self._erase_rows(rows, Path(folder))
        self._remove_parts()
        self._remove_comparisons()
        changed = self._manifest is not before or hits
        with self._run._working:
            self._write_receipt(changed=changed)
        if self._hides_models():
            self._run.without_models.add(self._hour)

    def _read_receipt(self) -> TypedManifest | None:
        path = typed.typed_manifest_path(self._hour)
        record = self._rows.read(path) if self._objects.receipt else None
        if record is None:
            return None
        try:
            return typed.parse_typed_manifest(record[0], url_of(self._rows, path), self._hour)
        except AylaDestinationError as error:
            log.warning("%s. It counts as none.", error)
            return None

    def _rows_prove(self) -> bool:
        """
        Return whether rows without a subject prove that the hour's files have none either, nor other layers.

        They do if they are those of the files, and have everything that the files have.
        """
        manifest, receipt = self._manifest, self._receipt
        if manifest is None or receipt is None or manifest.is_stream or manifest.lost or receipt.lost:
            return False
        if receipt.removed:
            # A rule removed the rows, and the files can be there still.
            return False
        if not typed.same_files(receipt.version, manifest) or self._objects.files.keys() - self._paths(manifest):
            return False
        if any(self._objects.rows.get(file.path) is None for file in receipt.rows_files):
            return False
        if self._hidden(receipt) or typed.leaves_columns_out(receipt.version):
            return False
        if receipt.quarantined and self._objects.quarantine is None:
            # A rule removed the malformed lines, which the files still have.
            return False
        typed_files = {file.source for file in receipt.files if file.layout}
        if any(file.held_size and file.source not in typed_files for file in manifest.present):
            # No row is of such a file: a user says that it isn't export data.
            return False
        # Of lines with one identity, the one that was left out can name somebody else.
        return not (receipt.duplicates and receipt.identity)

    def _hidden(self, receipt: TypedManifest) -> set[str]:
        """Return the columns that a policy drops or hashes, so that rows don't show whom they name."""
        hidden = {column for column, treatment in receipt.privacy.items() if treatment != "keep"}
        readable = {column for column in hidden if receipt.privacy[column] == "hash" and self._run._hashes.get(column)}
        wanted = {column for request in self._requests for column in request.identifiers}
        others = {"dsn", "user_uuid"} - wanted
        return hidden - readable - others - _NEVER_NAMING

    @staticmethod
    def _paths(manifest: Manifest) -> set[str]:
        return {entry.path for entry in manifest.files}

    # Legal holds.

    def _look_for_held(self, text: bytes, ids: Collection[str], *, layer: str) -> None:
        """
        Look for subjects of legal holds in a text that is to be erased.

        :param ids: of the entries that have a subject in it
        """
        if self._held is None:
            return
        for hold in self._held.found(text, self._hour):
            for entry in ids:
                self.found.held[Held(hold, entry, layer)] += 1

    def _look_for_held_in(self, rows: _Rows, subjects: HeldSubjects) -> None:
        """Look for subjects of legal holds in the rows that are to be erased."""
        is_unknown = self._hides_whom_rows_name()
        entries = {each.entry.id for each in self._run._wanted if each.entry.touches(self._hour)}
        result = self._run.connection().execute(
            f"select columns(*)::varchar from {_numbered(rows.local)} "
            "where file_row_number in (select unnest($numbers))",
            {"numbers": rows.numbers},
        )
        while fetched := result.fetchmany(1000):
            for values in fetched:
                text = "\n".join(value for value in values if value is not None).encode()
                # In place of an identifier, the row can have a policy's hash of it.
                ids = self._matcher.found(text) or entries
                holds = subjects.over(self._hour) if is_unknown else subjects.found(text, self._hour)
                self.found.held.update(Held(hold, entry, "parquet_rows") for hold in holds for entry in ids)

    def _hides_whom_rows_name(self) -> bool:
        """Return whether a policy hides devices or users, and files that could say whom rows name are gone."""
        privacy = self._receipt.privacy if self._receipt else {}
        treatments = {privacy.get(column, privacy.get("*", "keep")) for column in ("dsn", "user_uuid")}
        return treatments != {"keep"} and (self._manifest is None or bool(self._gone()))

    def _refuse_held(self) -> None:
        if self._apply and self.found.held:
            held = min(self.found.held)
            raise held_error(self._archive.url, held.hold, held.entry, f"lines of {self._hour}")

    # The files.

    def _erase_files(self) -> None:
        entries: dict[str, ManifestFile] = {}
        for entry in self._manifest.present if self._manifest else ():
            entries[entry.path] = entry
        objects = dict(self._objects.files)
        # In the layout mirror, or gone.
        elsewhere = stored_at(self._archive, entries.keys() - objects.keys())
        objects.update({path: stored for path, stored in elsewhere.items() if path in entries})
        paths = sorted(objects)
        far = [path for path in paths if self._archive.local(path) is None]
        readers = [lambda path=path: self._archive.blocks(path) for path in far]
        with contextlib.ExitStack() as stack:
            contents = stack.enter_context(read_ahead(readers))
            spools = {}
            for path in paths:
                blocks = _MeasuredBlocks(next(contents) if path in far else self._archive.blocks(path))
                spool = stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))
                lines = LineFilter(self._matcher, partial(self._look_for_held, layer=_layer_of(path)))
                content = self._filtered(path, blocks, lines, spool)
                if lines.lines:
                    spools[path] = _Left(spool, lines, content, blocks.content())
                    self.found.counts[_layer_of(path)] += lines.lines
                    self.found.objects += 1
                    self.found.bytes += objects[path].size
                else:
                    spool.close()
            if not spools or not self._apply:
                return
            self._refuse_held()
            lacked = {path: self._lines_lacked(entries[path], spools[path]) for path in spools if path in entries}
            damaged = {path for path, lines in lacked.items() if lines is None}
            for path in sorted(damaged):
                log.warning(
                    "%s is damaged: its content isn't what the manifest says. The subjects' lines are removed from "
                    "it, and the manifest stays as it is. Run a verification to repair the file.",
                    url_of(self._archive, path),
                )
            self._write_manifest(entries, spools, lacked)
            versions = {}
            for path, left in spools.items():
                left.spool.seek(0)
                versions[path] = self._archive.write(
                    path,
                    left.spool,
                    size=left.content.size,
                    crc32c=left.content.crc32c,
                    replaces=objects[path],
                    content_type="application/gzip" if path.endswith(".gz") else "text/csv",
                )
            # Nobody has proved the content of a damaged file.
            self._write_versions({path: stored for path, stored in versions.items() if path not in damaged})

    def _lines_lacked(self, entry: ManifestFile, left: _Left) -> int | None:
        """
        Return how many of the vendor's lines a copy lacked when it was read; None if it is damaged.

        It is damaged if it isn't what its manifest says, or what it was before an erasure that was killed.
        """
        if left.before == (entry.size, entry.crc32c):
            return 0
        if entry.erased is None:
            return None
        stated = (entry.erased.size, entry.erased.crc32c)
        if left.before == stated:
            return entry.erased.lines
        if left.content == stated:
            return entry.erased.lines - left.lines.lines
        # The killed erasure was of fewer subjects than this one.
        known = [
            (identifier, each.entry.id)
            for each in self._run._wanted
            if each.entry.id in entry.erased.by
            for identifier in each.request.identifiers.values()
        ]
        if not known:
            return None
        with Path(os.devnull).open("wb") as nowhere:
            lines = LineFilter(Matcher.of_known(known))
            content = self._filtered(entry.path, self._archive.blocks(entry.path), lines, nowhere)
        return entry.erased.lines - lines.lines if content == stated else None

    def _filtered(self, path: str, blocks: Iterable[bytes], lines: LineFilter, copy: IO[bytes]) -> Content:
        """Write what a filter leaves of a file."""
        if not path.endswith(".jsonl.gz"):
            return filtered_copy(blocks, lines, copy)
        checksum, size = Crc32c(), 0
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, GZIP)

        def parts() -> Iterator[bytes]:
            for block in lines.blocks(unpacked(blocks)):
                yield compressor.compress(block)
            yield compressor.flush()

        for part in parts():
            checksum.update(part)
            size += copy.write(part)
        return Content(size, checksum.base64)

    def _write_manifest(
        self, entries: Mapping[str, ManifestFile], spools: Mapping[str, _Left], lacked: Mapping[str, int | None]
    ) -> None:
        """
        State what the files will be.

        :param entries: path to the entry of each file
        :param lacked: path to how many of the vendor's lines the file lacked; None if it is damaged
        """
        manifest = self._manifest
        if manifest is None:
            return
        changed = {}
        for path, left in spools.items():
            entry, before = entries.get(path), lacked.get(path)
            if entry is None or before is None:
                continue
            lines, content, earlier = left.lines, left.content, entry.erased
            if earlier and (earlier.size, earlier.crc32c) == (content.size, content.crc32c):
                # An earlier try stated it, and was killed before it wrote the file.
                continue
            by = tuple(sorted({*(earlier.by if earlier else ()), *lines.by}))
            # What a killed erasure stated can count lines that this one finds, too.
            erased = Erased(before + lines.lines, content.size, content.crc32c, by)
            changed[entry.source] = replace(entry, erased=erased, version="")
        if not changed:
            return
        self._commit(
            replace(
                manifest,
                revision=manifest.revision + 1,
                files=tuple(changed.get(file.source, file) for file in manifest.files),
            )
        )

    def _write_versions(self, versions: Mapping[str, Stored]) -> None:
        """State the versions of the files, where the listing can't prove their content."""
        manifest = self._manifest
        if manifest is None or all(stored.crc32c for stored in versions.values()):
            return
        files = tuple(
            replace(file, version=versions[file.path].version) if file.path in versions else file
            for file in manifest.files
        )
        self._commit(replace(manifest, files=files))

    def _commit(self, manifest: Manifest) -> None:
        written_at = self._run._now.isoformat()
        manifest = replace(manifest, written_at=written_at, written_by=self._run._written_by)
        self._stored = write_json(self._archive, manifest_path(self._hour), manifest.dumps(), self._stored)
        self._manifest = manifest

    # The malformed lines.

    def _malformed_with_subjects(self, folder: Path) -> _Malformed:
        """Bring the malformed lines to this disk, and find those that name a subject."""
        stored = self._objects.quarantine
        found = _Malformed(folder / "quarantine.parquet")
        if stored is None:
            return found
        _fetch(self._archive, stored.path, found.local)
        with duckdb_errors(f"{self._hour}, malformed lines"):
            lines = self._run.connection().execute(
                f"select file_row_number, row_bytes from {_numbered(found.local)} order by file_row_number"
            )
            while fetched := lines.fetchmany(1000):
                found.lines += len(fetched)
                for number, line in fetched:
                    ids = self._matcher.found(line)
                    if ids:
                        found.numbers.append(number)
                        self._look_for_held(line, ids, layer="quarantined_lines")
        return found

    def _erase_quarantine(self, malformed: _Malformed, folder: Path) -> None:
        """Erase malformed lines."""
        stored = self._objects.quarantine
        if stored is None or not malformed.numbers:
            return
        self.found.counts["quarantined_lines"] += len(malformed.numbers)
        self.found.objects += 1
        self.found.bytes += stored.size
        if not self._apply:
            return
        if len(malformed.numbers) == malformed.lines:
            self._archive.remove(stored)
            self._objects.quarantine = None
            return
        left = folder / "left.parquet"
        with duckdb_errors(f"{self._hour}, malformed lines"):
            self._run.connection().execute(
                f"copy (select * exclude (file_row_number) from {_numbered(malformed.local)} "
                "where not list_contains($numbers, file_row_number) order by file_row_number) "
                f"to {literal(str(left))} (format parquet, compression zstd)",
                {"numbers": malformed.numbers},
            )
        write_parquet(self._archive, stored.path, left, content_of(left), stored)

    # The rows.

    def _rows_with_subjects(self, folder: Path) -> list[_Rows]:
        """Bring of the hour's Parquet files what can name a subject to this disk, and find the rows that do."""
        found = []
        for number, path in enumerate(sorted(self._objects.rows)):
            if not path.endswith(".parquet"):
                continue
            local = self._rows.local(path)
            rows = _Rows(local or folder / f"{number}.parquet", self._objects.rows[path], is_whole=bool(local))
            if local is None:
                self._fetch_texts(rows)
            self._find_rows(rows)
            if rows.numbers and self._apply and not rows.is_whole:
                # The rest is needed, too. It can be another file by now.
                rows.fetch(self._rows)
                self._find_rows(rows)
            if rows.numbers and self._held:
                with self._run._working, duckdb_errors(f"{self._hour}, {path}"):
                    self._look_for_held_in(rows, self._held)
            found.append(rows)
        return found

    def _fetch_texts(self, rows: _Rows) -> None:
        import duckdb

        try:
            duck = self._run.connection()
            rows.is_whole = fetch_columns(self._rows, rows.stored, rows.local, duck, NamingRows.may_name)
        except (AylaError, duckdb.Error) as error:
            log.info("%s is read as a whole (%s).", url_of(self._rows, rows.stored.path), type(error).__name__)
            rows.fetch(self._rows)

    def _find_rows(self, rows: _Rows) -> None:
        with self._run._working, duckdb_errors(f"{self._hour}, {rows.stored.path}"):
            rows.numbers = self._naming.numbers(self._run.connection(), rows.local, self._is_hashed)

    def _is_hashed(self, column: str) -> bool:
        privacy = self._receipt.privacy if self._receipt else {}
        return privacy.get(column, privacy.get("*")) == "hash"

    def _erase_rows(self, rows: Sequence[_Rows], folder: Path) -> None:
        duck = self._run.connection()
        for number, found in enumerate(rows):
            if not found.numbers:
                continue
            stored = found.stored
            self.found.counts["parquet_rows"] += len(found.numbers)
            self.found.objects += 1
            self.found.bytes += stored.size
            if not self._apply:
                continue
            left = folder / f"left-{number}.parquet"
            with duckdb_errors(f"{self._hour}, {stored.path}"):
                duck.execute("set preserve_insertion_order = false")
                duck.execute(
                    f"copy (select * exclude (file_row_number) from {_numbered(found.local)} "
                    f"where file_row_number not in (select unnest($numbers))) to {literal(str(left))} ({PARQUET})",
                    {"numbers": found.numbers},
                )
            content = content_of(left)
            write_parquet(self._rows, stored.path, left, content, stored)
            self._objects.rows[stored.path] = replace(stored, size=content.size, crc32c=content.crc32c)

    def _remove_parts(self) -> None:
        """Remove parts of the hour that tasks have typed. They are made again."""
        for is_rows, stored in self._objects.parts:
            self.found.objects += 1
            if self._apply:
                with contextlib.suppress(AylaConflictError):
                    (self._rows if is_rows else self._archive).remove(stored)

    def _remove_comparisons(self) -> None:
        """Remove what comparisons found of the hour, because it can name events that are gone. They are made again."""
        if not self.found.counts:
            return
        for path in (record_path(self._hour), missing_path(self._hour)):
            stored = self._archive.folder(path.rpartition("/")[0]).get(path)
            if stored:
                self.found.objects += 1
                if self._apply:
                    self._archive.remove(stored)

    # The receipt.

    def _write_receipt(self, *, changed: bool) -> None:
        receipt = self._receipt
        if receipt is None:
            return
        if not self._apply:
            # It would be written again, or removed.
            self.found.objects += bool(self.found.counts)
            return
        manifest = self._manifest
        earlier = self._earlier(manifest, receipt) if manifest else None
        is_current = earlier is None or earlier is manifest
        is_missing = any(file.path not in self._objects.rows for file in receipt.rows_files)
        if not changed and is_current and (is_missing or self._stands(receipt)):
            return
        self.found.before = receipt.version
        made = self._receipt_of(receipt, earlier)
        path = typed.typed_manifest_path(self._hour)
        found = self._rows.read(path)
        if made is None:
            # The rows can't be those that the next load would make: it makes them again.
            if self._gone():
                raise AylaDestinationError(
                    f"{self._hour}: its typed rows may name whom to erase, and don't show it, because a privacy policy "
                    "hides it. They can't be made again, because files of the hour are lost, or were removed by a "
                    f"rule. Remove what begins with {url_of(self._rows, self._hour.partition)}, and clear the task."
                )
            self.found.untyped = True
            for stored in self._rows.folder(self._hour.partition).values():
                if stored.path.endswith(".parquet"):
                    self._rows.remove(stored)
            if found:
                self._rows.remove(found[1])
            self.found.objects += 1
            return
        if made.dumps() == receipt.dumps():
            return
        write_json(self._rows, path, made.dumps(), found[1] if found else None)
        self.found.objects += 1
        self.found.receipt = made

    def _hides_models(self) -> bool:
        """Return whether an erasure took the rows of each model out of the receipt, or the whole receipt."""
        receipt = None if self.found.untyped else self.found.receipt or self._receipt
        if receipt is not None:
            return receipt.models is None
        return self.found.untyped or (self._manifest is not None and self._manifest.erased_lines > 0)

    def _stands(self, receipt: TypedManifest) -> bool:
        """
        Return whether the hour's Parquet files are those that its receipt names, as far as their sizes say.

        A rule can have removed the malformed lines.
        """
        stored = self._objects.rows
        return all(file.path in stored and stored[file.path].size == file.size for file in receipt.rows_files) and (
            bool(receipt.quarantine) or not self._objects.quarantine
        )

    def _earlier(self, manifest: Manifest, receipt: TypedManifest) -> Manifest | None:
        """
        Return the manifest, as it was when the rows were made; None if they weren't made of its files.

        An erasure may have changed it since, in this try or in one that was killed.
        """
        ids = {each.entry.id for each in self._run._wanted}
        if typed.same_files(receipt.version, manifest):
            return manifest
        files = []
        for file in manifest.files:
            is_ours = file.erased is not None and ids.issuperset(file.erased.by)
            files.append(replace(file, erased=None) if is_ours else file)
        before = replace(manifest, files=tuple(files))
        return before if typed.same_files(receipt.version, before) else None

    def _receipt_of(self, receipt: TypedManifest, earlier: Manifest | None) -> TypedManifest | None:
        """Return the receipt of what is left; None if it can't be computed."""
        manifest = self._manifest
        kept: list[RowsFile] = []
        loaded: Counter[str] = Counter()
        duck = self._run.connection()
        for path in sorted(self._objects.rows):
            if not path.endswith(".parquet") or path not in {file.path for file in receipt.rows_files}:
                continue
            with tempfile.TemporaryDirectory(dir=self._run._folder) as folder:
                local = self._rows.local(path)
                if local is None:
                    local = Path(folder) / "rows.parquet"
                    _fetch(self._rows, path, local)
                with duckdb_errors(f"{self._hour}, {path}"):
                    counts = duck.execute(
                        f"select source_object, count(*) from {_rows_of(local)} group by all"
                    ).fetchall()
                content = content_of(local)
            loaded.update(dict(counts))
            kept.append(RowsFile(path, content.size, content.crc32c, sum(count for _, count in counts)))
        if len(kept) != len(receipt.rows_files):
            return None
        is_partial = bool(self._hidden(receipt)) or typed.leaves_columns_out(receipt.version)
        if earlier is not None and earlier is not manifest and is_partial:
            # Rows of the subject can be among those that are left.
            return None
        malformed = self._malformed()
        files: list[TypedFile] = []
        for file in receipt.files:
            made = self._file_of(file, earlier, loaded[file.source], malformed[file.source])
            if made is None:
                return None
            files.append(made)
        version = receipt.version
        if earlier is not None and manifest is not None:
            recipe = receipt.version.partition("-")[2]
            version = typed.version_of(manifest, recipe)
        first = kept[0] if kept else RowsFile("", 0, "", 0)
        return replace(
            receipt,
            version=version,
            path=first.path,
            size=first.size,
            crc32c=first.crc32c,
            parts=tuple(kept) if len(kept) > 1 else (),
            # They would say how many rows of a model were erased.
            models=None,
            files=tuple(files),
            quarantine=typed.quarantine_path(self._hour) if self._objects.quarantine else "",
            written_at=datetime.now(UTC).isoformat(),
            written_by={**self._run._written_by, ERASURES_FIELD: " ".join(self._ids(receipt))},
        )

    def _ids(self, receipt: TypedManifest) -> list[str]:
        earlier = receipt.written_by.get(ERASURES_FIELD, "").split()
        return sorted({*earlier, *(each.entry.id for each in self._run._wanted)})

    def _file_of(self, file: TypedFile, earlier: Manifest | None, loaded: int, quarantined: int) -> TypedFile | None:
        """Return what became of the lines that are left of a file."""
        if not file.lines:
            return file
        # Of a file that is another one by now, is gone, or is damaged.
        known = replace(file, lines=loaded + file.duplicates + quarantined, loaded=loaded, quarantined=quarantined)
        if earlier is None or self._manifest is None or file.source in self._gone():
            return known
        erased = _erased_of(self._manifest, file.source) - _erased_of(earlier, file.source)
        lines = file.lines - erased
        if self._receipt and self._receipt.quarantine and self._objects.quarantine is None:
            # A rule removed the malformed lines, or all of them were erased.
            quarantined = min(file.quarantined, max(0, lines - loaded - file.duplicates))
        duplicates = lines - loaded - quarantined
        if lines < 0 or not 0 <= duplicates <= file.duplicates:
            # The manifest of a damaged file doesn't say what was erased from it. Its rows can be all that is left.
            return known if self._has_other_content(file.source) else None
        return replace(file, lines=lines, loaded=loaded, duplicates=duplicates, quarantined=quarantined)

    def _has_other_content(self, source: str) -> bool:
        """Return whether a copy of a file is missing, or isn't what the manifest says."""
        entries = [file for file in self._manifest.files if file.source == source] if self._manifest else []
        stored = stored_at(self._archive, [entry.path for entry in entries])
        for entry in entries:
            if entry.path not in stored:
                return True
            content = _MeasuredBlocks(self._archive.blocks(entry.path)).content()
            if content != (entry.held_size, entry.held_crc32c):
                return True
        return False

    def _gone(self) -> set[str]:
        """Return the files of the hour that are lost, or that a rule removed."""
        manifest = self._manifest
        return {file.source for file in (*manifest.lost, *manifest.removed)} if manifest else set()

    def _malformed(self) -> Counter[str]:
        """Return how many malformed lines of each file stand."""
        path = typed.quarantine_path(self._hour)
        if self._objects.quarantine is None:
            return Counter()
        with tempfile.TemporaryDirectory(dir=self._run._folder) as folder:
            local = self._archive.local(path)
            if local is None:
                local = Path(folder) / "quarantine.parquet"
                _fetch(self._archive, path, local)
            with duckdb_errors(f"{self._hour}, malformed lines"):
                # A row with a new column isn't malformed: it is loaded, too.
                query = (
                    f"select source_object, count(*) from {_rows_of(local)} "
                    f"where not starts_with(reason, {literal(NEW_COLUMN)}) group by all"
                )
                return Counter(dict(self._run.connection().execute(query).fetchall()))


def _layer_of(path: str) -> str:
    return "stream_lines" if path.endswith(".gz") else "csv_lines"


def _erased_of(manifest: Manifest, source: str) -> int:
    return sum(file.erased.lines for file in manifest.files if file.source == source and file.erased)


def _rows_of(parquet: Path) -> str:
    return f"read_parquet({literal(str(parquet))}, hive_partitioning = false)"


def _numbered(parquet: Path) -> str:
    return f"read_parquet({literal(str(parquet))}, hive_partitioning = false, file_row_number = true)"


def _fetch(destination: Destination, path: str, local: Path) -> None:
    with local.open("wb") as file:
        for block in destination.blocks(path):
            file.write(block)

"""Checks an archive by reading: each run reads a share of the bytes, so that everything is read once per period."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

from ayla_provider.archive.destination import Destination, Listed, Stored, url_of
from ayla_provider.archive.findings import Damage, Finding
from ayla_provider.archive.records import write_json
from ayla_provider.archive.ring import Content, Ring
from ayla_provider.archive.temporary import chunks
from ayla_provider.domain import position as positions
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import position_path
from ayla_provider.domain.position import FilePlace, Position
from ayla_provider.domain.units import size_text
from ayla_provider.errors import AylaConflictError, AylaDestinationError, AylaError, AylaNewerFormatError
from ayla_provider.transport.checksum import Crc32c

log = logging.getLogger(__name__)

IN_PROGRESS = timedelta(hours=1)
"""A copy or a load that replaces a file is over after this time."""

_SAVE_EVERY = 60.0
"""Seconds between two writes of the position, which is the time that a killed run loses."""

_READERS = 4
"""How many files are read at once, each in blocks of a few mebibytes."""

_CHUNK = 16
"""How many files are read between two looks at the clock."""

_MOST_AGAIN = 1000
"""How many files the position names that must be read again. A run that finds more stops."""


class Reading:
    """
    Reads files, and compares their checksums. Use it as a context manager, in one thread.

    Each event type has a round of its own, and a document of its own that says how far it is. After a run that was
    killed, the next one reads the rest. Of two runs at the same time, the second one to write the document stops.

    :param read_every: how often each file is read; None to read nothing
    :param now: aware
    :param expected: returns the base64 CRC32C that a file should have by now; None if no record names it any more
    :param damage: of a file with another content
    :param record: names what states the checksum: ``manifest``
    :param on_read: called with the size of each file that was read
    :param save_every: seconds between two writes of the position
    """

    def __init__(
        self,
        destination: Destination,
        read_every: timedelta | None,
        *,
        now: datetime,
        expected: Callable[[ExportHour, str], str | None],
        damage: Damage = Damage.DAMAGED,
        record: str = "manifest",
        on_read: Callable[[int], None] = lambda size: None,
        save_every: float = _SAVE_EVERY,
    ) -> None:
        self._destination = destination
        self._read_every = read_every
        self._now = now
        self._expected = expected
        self._damage = damage
        self._record = record
        self._on_read = on_read
        self._save_every = save_every
        self._ring: Ring

    def __enter__(self) -> Self:
        self._ring = Ring()
        return self

    def __exit__(self, *error: object) -> None:
        self._ring.__exit__(*error)

    def add(self, hour: ExportHour, path: str, listed: Listed | None, crc32c: str) -> None:
        """
        Add a file, whose listing agrees with its record.

        :param listed: None if the listing doesn't show it, so that it can't be read
        :param crc32c: base64, as the record states it
        """
        if self._read_every is not None and listed is not None:
            self._ring.add(Content(hour, path, listed.stored.size, crc32c, listed.offline))

    def findings(self) -> Iterator[Finding]:
        """
        Read what is due of the files that were added, and yield what is wrong with them.

        :raises AylaDestinationError: if the position can't be read or written
        """
        if self._read_every is None:
            return
        with ThreadPoolExecutor(_READERS, "ayla-read") as pool:
            for event_type in self._ring.event_types():
                file = PositionFile(self._destination, event_type)
                try:
                    position = file.read()
                except AylaNewerFormatError as error:
                    yield Finding(Damage.NEWER, None, position_path(event_type), str(error))
                    continue
                yield from self._run(file, position, self._read_every, pool)

    def _run(self, file: PositionFile, position: Position, every: timedelta, pool: Executor) -> Iterator[Finding]:
        """Read what is due of an event type."""
        event_type = position.event_type
        share = position.share(self._now, every)
        total = self._ring.size(event_type)
        read = self._ring.size(event_type, position.last) if position.last else 0
        # At least a byte in the first run of a round: then files without bytes are read, too.
        due = max(int(share * total) - read, 0 if position.last else 1)
        log.info("%s: to read %s of %s", event_type, size_text(due), size_text(total))
        position = replace(position, round_started=position.round_started or self._now)
        again: list[FilePlace] = []
        first = frozenset(position.again)
        for chunk in chunks(self._ring.find(event_type, position.again), _CHUNK):
            yield from self._read(chunk, again, pool)
        position = replace(position, again=tuple(again))
        saved = time.monotonic()
        contents = self._due(position, due, everything=share == 1.0)
        for chunk in chunks((content for content in contents if content.place not in first), _CHUNK):
            yield from self._read(chunk, again, pool)
            position = replace(position, last=chunk[-1].place, again=tuple(again))
            if len(again) > _MOST_AGAIN:
                log.warning("%s: more than %d files are damaged. Nothing more is read", event_type, _MOST_AGAIN)
                break
            if time.monotonic() - saved >= self._save_every:
                if not file.write(position):
                    return
                saved = time.monotonic()
        else:
            if share == 1.0:
                position = replace(position, round_started=None, last=None)
        file.write(replace(position, last_run=self._now))

    def _due(self, position: Position, due: int, *, everything: bool) -> Iterator[Content]:
        """Yield the files that are due, in their order."""
        size = 0
        for content in self._ring.after(position.event_type, position.last):
            if size >= due and not everything:
                return
            size += content.size
            yield content

    def _read(self, contents: list[Content], again: list[FilePlace], pool: Executor) -> Iterator[Finding]:
        """Read files, yield what is wrong, and add what must be read again."""
        online = [content for content in contents if not content.offline]
        checksums = dict(zip(online, pool.map(self._checksum, online), strict=True))
        for content in contents:
            if content.offline:
                yield Finding(Damage.OFFLINE, content.hour, content.path, "it is in an archive tier")
                continue
            self._on_read(content.size)
            if checksums[content] != content.crc32c:
                again.append(content.place)
                finding = self._confirmed(content)
                if finding:
                    yield finding

    def _confirmed(self, content: Content) -> Finding | None:
        """Look at a file again, which a copy or a load may be replacing. Return what is wrong with it now."""
        expected = self._expected(content.hour, content.path)
        listed = self._listed(content.path)
        if expected is None or listed is None or in_progress(listed, self._now):
            # The next run lists it, or reads it again.
            return None
        if listed.offline:
            return Finding(Damage.OFFLINE, content.hour, content.path, "it is in an archive tier")
        result = self._checksum(content)
        if result == expected:
            return None
        if isinstance(result, str):
            detail = f"it has crc32c {result}, its {self._record} says {expected}"
            return Finding(self._damage, content.hour, content.path, detail)
        # On a disk, nothing but the disk can be the reason.
        damage = self._damage if self._destination.local(content.path) else Damage.OFFLINE
        return Finding(damage, content.hour, content.path, f"it can't be read: {result}")

    def _listed(self, path: str) -> Listed | None:
        for listed in self._destination.tree(path):
            if listed.stored.path == path and not listed.unfinished:
                return listed
        return None

    def _checksum(self, content: Content) -> str | AylaError:
        """Return the base64 CRC32C of what is read, or why it can't be read."""
        checksum = Crc32c()
        try:
            for block in self._destination.blocks(content.path):
                checksum.update(block)
        except AylaError as error:
            return error
        return checksum.base64


class PositionFile:
    """The document in the archive that says how far the files of an event type were read."""

    def __init__(self, destination: Destination, event_type: EventType) -> None:
        self._destination = destination
        self._event_type = event_type
        self._path = position_path(event_type)
        self._stored: Stored | None = None

    def read(self) -> Position:
        """
        Return the position; that of the beginning if there is none, or if it can't be understood.

        :raises AylaNewerFormatError: if a newer version of this package wrote it
        :raises AylaDestinationError: if the destination can't be read
        """
        record = self._destination.read(self._path)
        if record is None:
            return Position(self._event_type)
        content, self._stored = record
        try:
            return positions.loads(content, url_of(self._destination, self._path), self._event_type)
        except AylaNewerFormatError:
            raise
        except AylaDestinationError as error:
            log.warning("%s. Reading starts again.", error)
            return Position(self._event_type)

    def write(self, position: Position) -> bool:
        """
        Write the position, unless another run has written it since. Return whether it was written.

        :raises AylaDestinationError: if the destination refuses it
        """
        try:
            self._stored = write_json(self._destination, self._path, position.dumps(), self._stored)
        except AylaConflictError:
            log.info("%s: another run reads the same files, and goes on with them", self._event_type)
            return False
        return True


def in_progress(listed: Listed | None, now: datetime) -> bool:
    """Return whether a copy or a load may be replacing a file."""
    return listed is not None and now - listed.modified < IN_PROGRESS

"""Shows and downloads files of the export and of the archive, for a person at a shell."""

from __future__ import annotations

import argparse
import io
import json
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TextIO, cast

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.paths import hour_of_path, parse_stream_path, unsafe_reason
from ayla_provider.domain.units import files_text, size_text
from ayla_provider.errors import AylaConfigError, AylaDestinationError, AylaUnsafeNameError
from ayla_provider.source.reader import ExportReader
from ayla_provider.source.tree import ExportTree
from ayla_provider.transport.checksum import CHUNK, Crc32c
from ayla_provider.transport.redaction import printable

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination, Stored
    from ayla_provider.cli.connections import Connections
    from ayla_provider.source.bucket import SourceObject
    from ayla_provider.source.export import Export

SCHEME = "ayla://"
"""How the address of a file of the export begins. The id of a connection follows."""

_AT_ONCE = 8
"""How many files are downloaded at once."""

_WILDCARDS = "*?["


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder."""

    path: str
    """Relative to the export's or the archive's root, without slashes at the ends."""
    is_folder: bool = False
    size: int = 0
    """Bytes of a file."""
    modified: datetime | None = None
    """When the file was written, if the listing says it: aware."""
    crc32c: str | None = None
    """Base64; None if the listing doesn't state it."""
    item: SourceObject | None = None
    """The object of the export."""


class NothingError(Exception):
    """A path or a pattern names nothing."""

    def __init__(self, files: Files, path: str) -> None:
        super().__init__(f"{printable(files.url(path))}: there is nothing")


class Files(Protocol):
    """Where files are: the export of a connection, or an archive."""

    def url(self, path: str) -> str:
        """Return the address of a path."""

    def entries(self, folder: str, begin: str = "") -> list[Entry]:
        """
        Return what is directly in a folder, in the order of the paths.

        :param folder: empty for the root
        :param begin: how the names begin
        """

    def below(self, folder: str) -> Iterator[Entry]:
        """Yield all files in a folder and in the folders in it."""

    def find(self, path: str) -> Entry | None:
        """Return a file, None if there is none."""

    def expected(self, entry: Entry) -> str | None:
        """Return the base64 CRC32C that a file must have; None if nobody knows it."""

    def blocks(self, entry: Entry, stop: threading.Event) -> Iterator[bytes]:
        """
        Yield the content of a file in blocks of a few mebibytes. It raises before the last one if the content is wrong.

        :param stop: when set, the next block raises
        """


class ExportFiles:
    """The export of a connection."""

    def __init__(self, conn_id: str, export: Export) -> None:
        self._conn_id = conn_id
        self._source = export.source
        self._tree = ExportTree(export)

    def url(self, path: str) -> str:
        """See :class:`Files`."""
        return f"{SCHEME}{self._conn_id}/{path}"

    def entries(self, folder: str, begin: str = "") -> list[Entry]:
        """See :class:`Files`."""
        entries = self._tree.entries(folder, begin)
        found = [Entry(entry, is_folder=True) if isinstance(entry, str) else self._entry(entry) for entry in entries]
        return sorted(found, key=_path)

    def below(self, folder: str) -> Iterator[Entry]:
        """See :class:`Files`."""
        return map(self._entry, self._tree.below(folder))

    def find(self, path: str) -> Entry | None:
        """See :class:`Files`."""
        item = self._tree.find(path)
        return self._entry(item) if item else None

    def expected(self, entry: Entry) -> str | None:
        """See :class:`Files`."""
        return entry.crc32c

    def blocks(self, entry: Entry, stop: threading.Event) -> Iterator[bytes]:
        """See :class:`Files`."""
        assert entry.item  # noqa: S101 - for mypy
        reader = ExportReader(self._source, entry.item, stop)
        try:
            while block := reader.read(CHUNK):
                yield block
        finally:
            reader.close()

    def _entry(self, item: SourceObject) -> Entry:
        return Entry(self._tree.path(item), size=item.size, modified=item.created, crc32c=item.crc32c, item=item)


class ArchiveFiles:
    """The files of an archive."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._records = Records(destination)

    def url(self, path: str) -> str:
        """See :class:`Files`."""
        return f"{self._destination.url.rstrip('/')}/{path}"

    def entries(self, folder: str, begin: str = "") -> list[Entry]:
        """See :class:`Files`."""
        start = f"{folder}/{begin}" if folder else begin
        folders = [Entry(path, is_folder=True) for path in self._destination.folders(folder)]
        # The root of an archive has no files of its own.
        files = [_stored(stored) for stored in self._destination.folder(folder).values()] if folder else []
        return sorted((entry for entry in [*folders, *files] if entry.path.startswith(start)), key=_path)

    def below(self, folder: str) -> Iterator[Entry]:
        """See :class:`Files`."""
        for listed in self._destination.tree(f"{folder}/" if folder else ""):
            if not listed.unfinished:
                yield _stored(listed.stored, listed.modified)

    def find(self, path: str) -> Entry | None:
        """See :class:`Files`."""
        stored = self._destination.find(path)
        return _stored(stored) if stored else None

    def expected(self, entry: Entry) -> str | None:
        """See :class:`Files`."""
        hour = None if parse_stream_path(entry.path) else hour_of_path(entry.path)
        manifest, _ = self._records.read_manifest(hour) if hour else (None, None)
        named = [file for file in manifest.files if file.path == entry.path] if manifest else []
        return named[0].held_crc32c if named else entry.crc32c

    def blocks(self, entry: Entry, stop: threading.Event) -> Iterator[bytes]:
        """See :class:`Files`."""
        expected = self.expected(entry)
        checksum = Crc32c()
        last = b""
        for block in self._destination.blocks(entry.path):
            if stop.is_set():
                raise AylaDestinationError(f"{self.url(entry.path)}: stopped. Run the command again for the rest.")
            if last:
                yield last
            checksum.update(block)
            last = block
        if expected and checksum.base64 != expected:
            raise AylaDestinationError(
                f"{self.url(entry.path)} has crc32c {checksum.base64}, but {expected} is recorded. Run python -m "
                "ayla_provider verify, which says how to repair it."
            )
        if last:
            yield last


def open_files(arguments: argparse.Namespace, connections: Connections) -> tuple[Files, str]:
    """
    Return where a path leads, and the rest of the path.

    :param arguments: ``path``, and those that name an archive
    :raises AylaError: if it can't be opened
    """
    path: str = arguments.path
    if not path.startswith(SCHEME):
        url = arguments.destination or connections.default_destination()
        reason = unsafe_reason(path.strip("/"))
        if path.strip("/") and reason:
            raise AylaUnsafeNameError(f"{path!r} {reason}. Give a path relative to the archive.")
        return ArchiveFiles(connections.destination(url, arguments.destination_conn)), path.strip("/")
    conn_id, _, rest = path.removeprefix(SCHEME).partition("/")
    if not conn_id:
        raise AylaConfigError(f"{path!r} names no connection: write {SCHEME}ayla_default/Datapoint/...")
    return ExportFiles(conn_id, connections.export(conn_id)), rest.strip("/")


def list_files(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> None:
    """
    Show what a path or a pattern names.

    :raises NothingError: if it names nothing
    :raises AylaError: if the files can't be listed
    """
    files, path = open_files(arguments, connections)
    entries = _below(files, path) if arguments.recursive else _shown(files, path)
    count = 0
    written: list[dict[str, object]] = []
    for entry in entries:
        count += 1
        if arguments.json:
            written.append(_document(entry))
        else:
            print(_line(entry), file=stdout)
    if arguments.json:
        json.dump(written, stdout, indent=1)
        print(file=stdout)
    if not count and path:
        raise NothingError(files, path)


def print_file(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> None:
    """
    Write the content of a file to the standard output.

    :raises NothingError: if there is no such file
    :raises AylaError: if it can't be read, or its content is wrong, which shows at its end
    """
    files, path = open_files(arguments, connections)
    entry = files.find(path) if path else None
    if entry is None and (not path or files.entries(path)):
        raise AylaConfigError(f"{printable(files.url(path))} is a folder. To download its files, use get.")
    if entry is None:
        raise NothingError(files, path)
    stdout.flush()
    output = stdout.buffer
    for block in files.blocks(entry, threading.Event()):
        output.write(block)
    output.flush()


def get_files(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> None:
    """
    Download the files that a path or a pattern names. What is there already, with the same content, stays.

    :raises NothingError: if it names nothing
    :raises AylaError: if a file can't be downloaded; those before it are complete
    """
    files, path = open_files(arguments, connections)
    target = FileDestination(Path(arguments.folder).absolute())
    results: list[tuple[Entry, bool]] = []
    for entry, is_new in _downloaded(files, _below(files, path), target):
        results.append((entry, is_new))
        if not arguments.json:
            print(f"{'got' if is_new else 'had':4} {size_text(entry.size):>9}  {printable(entry.path)}", file=stdout)
    if not results:
        raise NothingError(files, path)
    if arguments.json:
        documents = [
            {**_document(entry), "file": str(target.root / entry.path), "new": is_new} for entry, is_new in results
        ]
        json.dump(documents, stdout, indent=1)
        print(file=stdout)
        return
    new = [entry for entry, is_new in results if is_new]
    print(
        f"{files_text(len(results))} in {target.root}: {files_text(len(new), 'new')}, "
        f"{size_text(sum(entry.size for entry in new))}.",
        file=stdout,
    )


def _downloaded(files: Files, entries: Iterable[Entry], target: FileDestination) -> Iterator[tuple[Entry, bool]]:
    """Yield each file once it is there, and whether it wasn't before."""
    stop = threading.Event()
    with ThreadPoolExecutor(_AT_ONCE, "ayla-get") as pool:
        try:
            for chunk in _chunks(entries, 4 * _AT_ONCE):
                futures = {pool.submit(_download, files, entry, target, stop): entry for entry in chunk}
                for future in as_completed(futures):
                    yield futures[future], future.result()
        finally:
            # After an error, no other download begins, and those in progress end.
            stop.set()
            pool.shutdown(cancel_futures=True)


def _download(files: Files, entry: Entry, target: FileDestination, stop: threading.Event) -> bool:
    """Download a file unless it is there; return whether it wasn't."""
    if reason := unsafe_reason(entry.path):
        raise AylaUnsafeNameError(f"{files.url(entry.path)!r} {reason}, so it isn't downloaded.")
    existing = target.find(entry.path)
    expected = files.expected(entry)
    if _is_there(target, existing, entry, expected):
        return False
    stream = cast("BinaryIO", _BlockStream(files.blocks(entry, stop)))
    target.write(
        entry.path,
        stream,
        size=entry.size,
        crc32c=expected,
        replaces=existing,
        content_type="application/octet-stream",
    )
    return True


def _is_there(target: FileDestination, existing: Stored | None, entry: Entry, expected: str | None) -> bool:
    if existing is None or existing.size != entry.size or expected is None:
        return False
    return target.crc32c(existing) == expected


class _BlockStream(io.RawIOBase):
    """Blocks as a stream of which at most a block is read at a time."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self._blocks = blocks
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; empty at the end."""
        data = self._left or next(self._blocks, b"")
        self._left = data[size:] if size >= 0 else b""
        return data[:size] if size >= 0 else data


def _shown(files: Files, path: str) -> list[Entry]:
    """Return what ``ls`` shows of a path or a pattern."""
    if _has_wildcard(path):
        return _matching(files, path)
    entries = files.entries(path)
    if entries or not path:
        return entries
    entry = files.find(path)
    return [entry] if entry else []


def _below(files: Files, path: str) -> Iterator[Entry]:
    """Yield the files that a path or a pattern names, with those in folders."""
    roots = _matching(files, path) if _has_wildcard(path) else [Entry(path, is_folder=True)]
    for root in roots:
        if not root.is_folder:
            yield root
            continue
        is_empty = True
        for entry in files.below(root.path):
            is_empty = False
            yield entry
        if is_empty and root.path and (entry_itself := files.find(root.path)):
            yield entry_itself


def _matching(files: Files, pattern: str) -> list[Entry]:
    """
    Return the files and folders that match a pattern.

    It lists only the folders that match, and of each only the names that begin as the pattern does.
    """
    itself = files.find(pattern)
    if itself is not None:
        # A name with a character that would be a wildcard.
        return [itself]
    found = [Entry("", is_folder=True)]
    parts = pattern.split("/")
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        found = [child for parent in found for child in _children(files, parent, part, is_last=is_last)]
    return found


def _children(files: Files, parent: Entry, part: str, *, is_last: bool) -> list[Entry]:
    """Return what matches a part of a pattern in a folder."""
    from fnmatch import fnmatchcase

    path = f"{parent.path}/{part}" if parent.path else part
    if not _has_wildcard(part) and not is_last:
        return [Entry(path, is_folder=True)]
    begin = re.split(r"[*?\[]", part, maxsplit=1)[0]
    entries = files.entries(parent.path, begin)
    matching = [entry for entry in entries if fnmatchcase(entry.path.rpartition("/")[2], part)]
    return [entry for entry in matching if entry.is_folder or is_last]


def _has_wildcard(text: str) -> bool:
    return any(wildcard in text for wildcard in _WILDCARDS)


def _chunks(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    chunk: list[Entry] = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _stored(stored: Stored, modified: datetime | None = None) -> Entry:
    return Entry(stored.path, size=stored.size, modified=modified, crc32c=stored.crc32c)


def _path(entry: Entry) -> str:
    return entry.path


def _document(entry: Entry) -> dict[str, object]:
    if entry.is_folder:
        return {"path": entry.path, "type": "folder"}
    modified = entry.modified.isoformat() if entry.modified else None
    return {"path": entry.path, "type": "file", "size": entry.size, "modified": modified, "crc32c": entry.crc32c}


def _line(entry: Entry) -> str:
    size = "" if entry.is_folder else size_text(entry.size)
    modified = f"{entry.modified:%Y-%m-%d %H:%M:%S}" if entry.modified else ""
    return f"{size:>9}  {modified:19}  {printable(entry.path)}{'/' if entry.is_folder else ''}"

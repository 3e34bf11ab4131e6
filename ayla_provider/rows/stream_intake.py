"""
Brings a stream's files to this machine's disk: decompressed, checked, and with each line as DuckDB can read it.

The lines are those that this package wrote, so most of them are copied in whole blocks. A line that DuckDB would change
is rewritten, see :mod:`~ayla_provider.rows.stream_lines`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.erasures import LineFilter, Matcher
from ayla_provider.archive.gunzip import NotGzipError, unpacked
from ayla_provider.archive.private import open_private
from ayla_provider.domain.csv.columns import ColumnLayout
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.domain.stream_layout import Place, StreamCells, cells_of, levels_of
from ayla_provider.domain.units import first_few
from ayla_provider.errors import AylaDestinationError
from ayla_provider.rows.duck import literal
from ayla_provider.rows.intake import GoodLines, checked
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.rows.stream_lines import LineError, rewritten, unusual_lines
from ayla_provider.rows.stream_shapes import ENVELOPE, Shapes

log = logging.getLogger(__name__)

LONGEST_LINE = 24 * 1024 * 1024
"""Bytes. A record has at most 10 MiB, and a line that is written again can be longer than its record."""

_MOST_SHAPELESS = 1000
"""Of a file. It takes several times as long to rewrite a line as to read it."""

_KEYS_SHOWN = 5


@dataclass(slots=True)
class StreamLines(GoodLines):
    """The good lines of a stream's file, on this machine's disk."""

    cells: StreamCells | None = None
    """Where the cells are; None for a file without lines."""
    keys: set[Place] | None = None
    """The place of each key of the records, of the objects whose keys are columns; None if it isn't known."""
    original: Callable[[], Iterator[bytes]] = field(default=lambda: iter(()))
    """Returns the blocks of the decompressed file."""

    @property
    def prefix(self) -> bytes:
        """What each line in :attr:`path` begins with, in place of a brace."""
        return b'{"#file":%d,' % self.number if self.joined else b"{"

    def places(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield each line of the file: its number and its offset in the decompressed file, and its text."""
        number = offset = 0
        for block in _whole_lines(self.original()):
            for line in io.BytesIO(block):
                number += 1
                yield number, offset, line.rstrip(b"\n")
                offset += len(line)

    def is_line(self, text: bytes, row: bytes) -> bool:
        """Return whether a line is that of a row, which is how the line begins."""
        return text.startswith(row)


def fetch_stream_lines(
    archive: Destination,
    file: ManifestFile,
    path: Path,
    *,
    event_type: str,
    quarantine: Quarantine,
    number: int = 0,
    joined: bool = False,
    slowly: bool = False,
    blocks: Iterator[bytes] | None = None,
    matcher: Matcher | None = None,
) -> StreamLines:
    """
    Bring the lines of a stream's file to this machine's disk, and those that aren't records to the quarantine.

    :param file: from the archive's manifest
    :param path: where to put the lines
    :param number: unique among the files of the hour
    :param joined: whether to append them to those of other files
    :param slowly: whether to rewrite each line, because DuckDB refused one
    :param blocks: the file's content, if it is being read already
    :param matcher: finds the lines that are taken for not being there, because they are to be erased
    :raises AylaDestinationError: if the file can't be read, or differs from its manifest
    """
    lines = StreamLines(file.source, file.generation, path, number, joined)

    def left(content: Iterator[bytes]) -> Iterator[bytes]:
        return LineFilter(matcher).blocks(content) if matcher else content

    lines.original = lambda: left(_decompressed(archive.blocks(file.path), file.path))
    content = _decompressed(checked(blocks or archive.blocks(file.path), file), file.path)
    unpacked_lines = _whole_lines(left(content))
    with open_private(path, "ab" if joined else "xb", buffering=0) as output, _behind(output) as write:
        reader = _Reader(lines, event_type, quarantine, write, slowly=slowly)
        for block in _ahead(unpacked_lines):
            reader.take(block)
    lines.keys = reader.keys()
    return lines


def _decompressed(blocks: Iterable[bytes], path: str) -> Iterator[bytes]:
    """
    Yield the decompressed content of a file, in blocks of at most a mebibyte.

    :raises AylaDestinationError: if it isn't gzip, or is cut short
    """
    try:
        yield from unpacked(blocks)
    except NotGzipError as error:
        raise AylaDestinationError(f"{path} in the archive {error}. Is it a file of a stream?") from None


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield blocks of whole lines; the last one gets a line end if it lacks one."""
    rest: list[bytes] = []
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join((*rest, block[:end]))
            rest = []
        rest.append(block[end:])
    last = b"".join(rest)
    if last:
        yield last + b"\n"


def _ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks while a thread makes the next one: zlib and the archive let both work at once."""
    with ThreadPoolExecutor(1, thread_name_prefix="ayla-unpack") as pool:
        coming = pool.submit(next, blocks, b"")
        while block := coming.result():
            coming = pool.submit(next, blocks, b"")
            yield block


@contextlib.contextmanager
def _behind(output: BinaryIO) -> Iterator[Callable[[bytes], None]]:
    """Return a function that writes a block in a thread, while the next one is made."""
    with ThreadPoolExecutor(1, thread_name_prefix="ayla-write") as pool:
        writing = pool.submit(_write, output, b"")

        def write(block: bytes) -> None:
            nonlocal writing
            writing.result()
            writing = pool.submit(_write, output, block)

        yield write
        writing.result()


def _write(output: BinaryIO, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[output.write(view) :]


class _Reader:
    def __init__(
        self,
        lines: StreamLines,
        event_type: str,
        quarantine: Quarantine,
        write: Callable[[bytes], None],
        *,
        slowly: bool,
    ) -> None:
        self._lines = lines
        self._event_type = event_type
        self._quarantine = quarantine
        self._write = write
        self._slowly = slowly
        self._shapes: Shapes | None = Shapes(event_type)
        """None if the lines have too many shapes."""
        self._shapeless = 0
        self._keys: set[Place] = set()
        self._offset = 0
        """Where the block begins in the decompressed file, in bytes."""
        self._counted = (0, 0)
        """Up to where the lines of the block are counted, and how many lines of the file that is."""

    def take(self, block: bytes) -> None:
        """Write the lines of a block."""
        self._counted = (0, self._lines.all_lines)
        refused = self._refused
        if self._slowly:
            good = b"".join(self._rewritten(block, _all_lines(block)))
        elif self._shapes:
            good = b"".join(self._by_shape(block, self._shapes))
        else:
            good = b"".join(self._rewritten(block, unusual_lines(block)))
        if self._lines.joined:
            # To replace what is around each line end takes three times as long.
            lines = good.split(b"\n")[:-1]
            count = len(lines)
            prefix = self._lines.prefix
            good = b"".join([b"%b%b\n" % (prefix, line[1:]) for line in lines])
        else:
            count = good.count(b"\n")
        self._lines.all_lines += count + self._refused - refused
        self._lines.count += count
        self._offset += len(block)
        self._write(good)

    def keys(self) -> set[Place] | None:
        """Return the place of each key of the lines so far; None if not all are known."""
        return self._keys | self._shapes.keys if self._shapes else None

    @property
    def _refused(self) -> int:
        """How many lines of the file are in the quarantine."""
        return self._quarantine.by_source[self._lines.source]

    def _by_shape(self, block: bytes, shapes: Shapes) -> Iterator[bytes]:
        """Yield a block in parts: the lines that have no known shape are rewritten, or their shape is learned."""
        done = 0
        for begin, end in shapes.unknown_lines(block):
            line = block[begin:end]
            text = shapes.quoted(line)
            if text is None:
                is_usual = not unusual_lines(line)
                if is_usual and shapes.learn(line):
                    continue
                if is_usual and self._shapeless >= _MOST_SHAPELESS:
                    # The lines have too many shapes to look for them.
                    self._shapes = None
                    yield from self._rewritten(block, unusual_lines(block, begin), done)
                    return
                self._shapeless += is_usual
                text = self._line_rewritten(block, begin, end)
            yield block[done:begin]
            yield text
            done = end
        yield block[done:]

    def _rewritten(self, block: bytes, lines: Iterable[tuple[int, int]], done: int = 0) -> Iterator[bytes]:
        """Yield a block in parts: the given lines rewritten, and what is between them."""
        for begin, end in lines:
            yield block[done:begin]
            yield self._line_rewritten(block, begin, end)
            done = end
        yield block[done:]

    def _line_rewritten(self, block: bytes, begin: int, end: int) -> bytes:
        """Return a line with its end, or nothing and put it into the quarantine."""
        line = block[begin : end - 1]
        try:
            text, keys = rewritten(line, self._event_type)
        except LineError as error:
            source, generation = self._lines.source, self._lines.generation
            number = self._number(block, end)
            self._quarantine.add(source, generation, number, self._offset + begin, str(error), line)
            return b""
        self._keys |= keys
        return text + b"\n"

    def _number(self, block: bytes, end: int) -> int:
        """Return the number of a line of the file. Each part of the block is counted once."""
        before, number = self._counted
        number += block.count(b"\n", before, end)
        self._counted = (end, number)
        return number


def _all_lines(block: bytes) -> list[tuple[int, int]]:
    ends = [match.end() for match in re.finditer(rb"\n", block)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


class LinesRefusedError(Exception):
    """DuckDB refuses a line of a stream, or would read it as another one, and can't say which."""


def find_cells(
    connection: Any, event_type: str, files: Sequence[StreamLines], declared: Sequence[ColumnLayout]
) -> None:
    """
    Find out which keys the records have, and so where their cells are.

    :param connection: see :func:`~ayla_provider.rows.duck.connect`
    :param files: those of an hour; each gets its :attr:`StreamLines.cells`
    :param declared: layouts whose own columns give new columns their types
    :raises LinesRefusedError: if a line isn't one of a stream
    :raises duckdb.Error: if DuckDB refuses a line
    """
    left_out: set[str] = set()
    shared: set[str] = set()
    by_path = {
        path: cells_of(event_type, _keys(connection, event_type, path, of_path), declared)
        for path, of_path in _by_path(files).items()
    }
    for file in files:
        if file.count:
            file.cells = by_path[file.path]
            file.recognised = file.cells.recognised
            left_out.update(file.cells.left_out)
            shared.update(file.cells.shared)
    if left_out:
        log.warning(
            "%s: some keys of the records aren't loaded, because their names can't be those of columns, or because "
            "there are too many: %s. The archive keeps them.",
            event_type,
            _named(left_out),
        )
    if shared:
        log.warning(
            "%s: some keys of the records share a column, because their names become the same: %s. If a record has "
            "several of them, one is loaded. The archive keeps all.",
            event_type,
            _named(shared),
        )


def _named(keys: Iterable[str]) -> str:
    return first_few([repr(name[:80]) for name in sorted(keys)], _KEYS_SHOWN)


def _by_path(files: Iterable[StreamLines]) -> dict[Path, list[StreamLines]]:
    found: dict[Path, list[StreamLines]] = {}
    for file in files:
        if file.count:
            found.setdefault(file.path, []).append(file)
    return found


def _keys(connection: Any, event_type: str, path: Path, files: Sequence[StreamLines]) -> set[Place]:
    """
    Return the place of each key of the records, of the objects whose keys are columns.

    :param files: all files whose lines are at the path
    :raises LinesRefusedError: if a line isn't one of a stream
    """
    known = [file.keys for file in files if file.keys is not None]
    if len(known) == len(files):
        return set().union(*known)
    count = sum(file.count for file in files)
    levels = levels_of(event_type)
    paths = ["$", *(".".join(("$.event", *level)) for level in levels)]
    # The same keys in the same order count once, so there are few of them, and not one for each record.
    found = connection.execute(
        f"select any_value(keys), count(*) from (select json_keys(json, $paths) as keys from {_json_lines(path)}) "
        "group by hash(keys)",
        {"paths": paths},
    )
    keys: set[Place] = set()
    while fetched := found.fetchmany(1000):
        for (envelope, *keys_of_levels), lines in fetched:
            count -= lines
            if not ENVELOPE.issubset(envelope or ()):
                raise LinesRefusedError
            for level, names in zip(levels, keys_of_levels, strict=True):
                keys.update((*level, name) for name in names or ())
    # DuckDB passes over an empty line.
    if count:
        raise LinesRefusedError
    return keys


def _json_lines(path: Path) -> str:
    """Return the relation of a file's lines, each as JSON."""
    return f"read_ndjson_objects({literal(str(path))}, maximum_object_size={LONGEST_LINE})"

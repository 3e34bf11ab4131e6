"""
Brings a CSV file to this machine's disk: checks its bytes, counts its lines, and drops the lines that aren't rows.

Fields are split at commas and nothing else. Quotes have no meaning in these files: a reader that gives them a meaning
swallows the rows between two stray quotes. So every line is a row, unless its number of columns differs from the
layout's.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.erasures import LineFilter, Matcher
from ayla_provider.archive.private import open_private
from ayla_provider.domain.csv.columns import ColumnLayout
from ayla_provider.domain.csv.foreign import is_beside, is_ignored
from ayla_provider.domain.csv.recognition import (
    KnownColumns,
    Recognised,
    recognise,
    recognise_shortened,
    refuse_other_format,
)
from ayla_provider.domain.csv.sample import HEAD, LONGEST_ROW, Shape, head_of, is_enough, shape_of
from ayla_provider.domain.csv.usual import recognise_usual
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.domain.paths import parse_stream_path
from ayla_provider.errors import AylaDestinationError, AylaLayoutError
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.transport.checksum import Crc32c

_STEP = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
EMPTY_LINE = "an empty line"
"""Why a line without bytes is malformed."""
_KEPT = 64 * 1024
"""How many bytes are kept of a line that is too long to be a row."""
# A row's structure is its commas, its line end, and NUL, which no warehouse's text can hold. This is everything else.
_ALL_BUT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b",\r\n\0")
# Not the last byte of a block: what follows is in the next one.
_LONE_CR = re.compile(rb"\r[^\n]")


class LineSizes:
    """Numbers of lines, and a size in bytes for each, in the lines' order. Each line takes 16 bytes of memory."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._sizes = array("q")

    def add(self, number: int, size: int) -> None:
        """Add a line."""
        self._numbers.append(number)
        self._sizes.append(size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._numbers, self._sizes, strict=True)


@dataclass(slots=True)
class GoodLines:
    """The good lines of a file, on this machine's disk, and how they differ from the file."""

    source: str
    """The object's name in the vendor's bucket."""
    generation: int
    path: Path
    """The good lines, in their order, each with :attr:`line_end`, without a header."""
    number: int = 0
    """Unique among the files of the hour."""
    joined: bool = False
    """Whether :attr:`path` also holds the lines of other files, so that each line begins with :attr:`number`."""
    begin: int = 0
    """Where the lines begin in :attr:`path`, in bytes."""
    recognised: Recognised | None = None
    """None for a file without lines."""
    line_end: bytes = b"\n"
    all_lines: int = 0
    """Lines of the file, without its header."""
    count: int = 0
    """Lines in :attr:`path`."""
    dropped: LineSizes = field(default_factory=LineSizes)
    """Lines of the file that aren't in :attr:`path`, with their length in bytes. A header is line 1."""
    shortened: LineSizes = field(default_factory=LineSizes)
    """Lines in :attr:`path` with another line end than in the file, with how many bytes longer they are in the file."""
    start: int = 0
    """Where the first line begins in the file, in bytes."""
    ends_blank: bool = False
    """Whether the last line is empty. It is malformed, but says nothing about the file."""

    @property
    def prefix(self) -> bytes:
        """What is in front of each line in :attr:`path`."""
        return b"%d," % self.number if self.joined else b""

    @property
    def known(self) -> Recognised:
        """
        The file's columns.

        :raises ValueError: for a file without lines
        """
        if self.recognised is None:
            raise ValueError(f"{self.source} has no lines")
        return self.recognised

    def places(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield each good line: its number and its offset in the whole file, and its text."""
        dropped, shortened = iter(self.dropped), iter(self.shortened)
        next_dropped, dropped_bytes = next(dropped, _NO_LINE)
        next_shortened, missing_bytes = next(shortened, _NO_LINE)
        number, offset, added = 0, self.start, len(self.prefix)
        with self.path.open("rb") as file:
            file.seek(self.begin)
            for line in islice(file, self.count):
                number += 1
                while number == next_dropped:
                    offset += dropped_bytes
                    number += 1
                    next_dropped, dropped_bytes = next(dropped, _NO_LINE)
                yield number, offset, line[added : -len(self.line_end)]
                offset += len(line) - added
                if number == next_shortened:
                    offset += missing_bytes
                    next_shortened, missing_bytes = next(shortened, _NO_LINE)

    def is_line(self, text: bytes, row: bytes) -> bool:
        """Return whether a line is that of a row, by what :meth:`places` yields and what a scan names the row by."""
        return text == row


_NO_LINE = (0, 0)


def fetch_good_lines(
    archive: Destination,
    file: ManifestFile,
    path: Path,
    *,
    event_type: str,
    layouts: Sequence[ColumnLayout],
    quarantine: Quarantine,
    number: int = 0,
    joined: bool = False,
    ignored_files: Sequence[str] = (),
    blocks: Iterator[bytes] | None = None,
    matcher: Matcher | None = None,
    known: Callable[[], Sequence[KnownColumns]] = tuple,
) -> GoodLines:
    """
    Bring the good lines of a file to this machine's disk, and the others to the quarantine.

    A file that is on this disk already, and has good lines only, is linked and not copied. Memory doesn't grow with the
    file. A file that a tool put beside the vendor's has no lines, and neither has one that the user says isn't data.

    :param file: from the archive's manifest
    :param path: where to put the good lines
    :param number: unique among the files of the hour
    :param joined: whether to append them to those of other files with the same columns and line end. Then each of the
        joined files has the name of ``path`` with an addition.
    :param ignored_files: patterns of names without folders
    :param blocks: the file's content, if it is being read already
    :param matcher: finds the lines that are taken for not being there, because they are to be erased
    :param known: returns what the columns of other files are. It is called if lines of this one were erased, and what
        is left doesn't show its layout
    :raises AylaLayoutError: if the file fits no layout, or several
    :raises AylaDestinationError: if the file can't be read, or differs from its manifest
    """
    good = GoodLines(file.source, file.generation, path, number, joined)
    if is_beside(file.source) or is_ignored(file.source, ignored_files):
        return good
    local = archive.local(file.path)
    if local is not None and not joined and matcher is None:
        # What doesn't fit is read again, because only then is its checksum compared.
        with contextlib.suppress(OSError, _NotOnlyGoodLinesError, AylaLayoutError):
            path.hardlink_to(local)
            return _verify(file, replace(good), event_type, layouts)
        # The link must go before the path is opened for writing, or the archive's file would be emptied.
        path.unlink(missing_ok=True)
    with contextlib.closing(_Output(good)) as output:
        reader = _Reader(good, event_type, layouts, quarantine, output)
        _read(blocks or archive.blocks(file.path), file, reader, matcher, known)
    return good


class _Output:
    """Writes the good lines of a file."""

    def __init__(self, good: GoodLines) -> None:
        self._good = good
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Open the file, as soon as columns and line end are known."""
        good = self._good
        if good.joined:
            form = hashlib.sha256(repr((good.known, good.line_end)).encode())
            good.path = good.path.with_name(f"{good.path.name}-{form.hexdigest()[:16]}")
        self._file = open_private(good.path, "ab" if good.joined else "xb")
        good.begin = self._file.tell()

    def write(self, lines: bytes) -> None:
        """Write whole lines."""
        assert self._file  # noqa: S101 - for the type checker
        prefix = self._good.prefix
        if prefix:
            lines = prefix + lines[:-1].replace(b"\n", b"\n" + prefix) + b"\n"
        self._file.write(lines)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


def _read(
    blocks: Iterable[bytes],
    file: ManifestFile,
    reader: _Reader,
    matcher: Matcher | None,
    known: Callable[[], Sequence[KnownColumns]],
) -> None:
    verified = checked(blocks, file)
    left = LineFilter(matcher) if matcher else None
    reader.known = lambda: known() if file.erased or (left and left.lines) else ()
    try:
        for block in left.blocks(verified) if left else verified:
            reader.feed(block)
        reader.finish()
    except AylaLayoutError:
        # Bytes that were damaged on their way say nothing about the file.
        for _ in verified:
            pass
        raise


def checked(blocks: Iterable[bytes], file: ManifestFile) -> Iterator[bytes]:
    """
    Yield the blocks of a file.

    :raises AylaDestinationError: after the last one, if they differ from the manifest
    """
    checksum, size = Crc32c(), 0
    for block in blocks:
        checksum.update(block)
        size += len(block)
        yield block
    if (size, checksum.base64) != (file.held_size, file.held_crc32c):
        is_of_stream = parse_stream_path(file.path) is not None
        advice = (
            "Restore an earlier version of it."
            if is_of_stream
            else "Clear the hour's copy, which verifies it and copies it again."
        )
        raise AylaDestinationError(
            f"{file.path} in the archive has {size:,} bytes with crc32c {checksum.base64}; its manifest says "
            f"{file.held_size:,} with {file.held_crc32c}. Was it changed there? {advice}"
        )


class _NotOnlyGoodLinesError(Exception):
    """A line of the file must be dropped or changed, or it can't be ruled out."""


def _verify(file: ManifestFile, good: GoodLines, event_type: str, layouts: Sequence[ColumnLayout]) -> GoodLines:
    """
    Verify that every line of a file is a row, by whole blocks and not by lines, which is much faster.

    :raises _NotOnlyGoodLinesError: if a line isn't one, or may not be one
    """
    checksum, utf8 = Crc32c(), codecs.getincrementaldecoder("utf-8")()
    row = structure = b""
    open_bytes = 0
    ends_in_cr = False
    with good.path.open("rb", buffering=0) as opened:
        while block := opened.read(_STEP):
            # Only a line that begins in an earlier block can be longer than a block.
            first = block.find(b"\n")
            if open_bytes + (len(block) if first < 0 else first) > LONGEST_ROW:
                raise _NotOnlyGoodLinesError
            open_bytes = open_bytes + len(block) if first < 0 else len(block) - 1 - block.rfind(b"\n")
            if not row:
                row = _row_of(block, good, event_type, layouts, whole=len(block) == file.held_size)
            checksum.update(block)
            structure += block.translate(None, _ALL_BUT_STRUCTURE)
            rows = len(structure) // len(row)
            if structure[: rows * len(row)] != row * rows or not _continues_utf8(utf8, block):
                raise _NotOnlyGoodLinesError
            structure = structure[rows * len(row) :]
            good.count += rows
            # With CRLF, the structure doesn't show text between CR and LF.
            if _LONE_CR.search(block) or (ends_in_cr and block[:1] != b"\n"):
                raise _NotOnlyGoodLinesError
            ends_in_cr = block[-1:] == b"\r"
    if structure or open_bytes or checksum.base64 != file.held_crc32c:
        raise _NotOnlyGoodLinesError
    good.all_lines = good.count
    return good


def _row_of(block: bytes, good: GoodLines, event_type: str, layouts: Sequence[ColumnLayout], *, whole: bool) -> bytes:
    """Recognise a file's layout, and return the structure of each row."""
    if not whole and not is_enough(block):
        raise _NotOnlyGoodLinesError
    head = head_of(block)
    if b"\n" not in head:
        raise _NotOnlyGoodLinesError
    if head.startswith(_BOM):
        raise _NotOnlyGoodLinesError
    whole = whole and len(block) <= len(head)
    good.recognised = recognise_usual(event_type, head, layouts, whole=whole)
    if good.recognised is None:
        shape = shape_of(head, whole=whole)
        # With a single column, an empty line has the same structure as a row.
        if shape.header or not shape.rows or shape.columns < 2:
            raise _NotOnlyGoodLinesError
        good.recognised = recognise(event_type, shape, layouts, file=good.source)
    good.line_end = _line_end(head)
    return b"," * (len(good.recognised.columns) - 1) + good.line_end


def _line_end(block: bytes) -> bytes:
    return b"\r\n" if 2 * block.count(b"\r\n") > block.count(b"\n") else b"\n"


def _continues_utf8(decoder: codecs.IncrementalDecoder, data: bytes) -> bool:
    # ASCII is UTF-8, unless the block before ended inside a character.
    if data.isascii() and not decoder.getstate()[0]:
        return True
    try:
        decoder.decode(data)
    except UnicodeDecodeError:
        return False
    return True


class _Reader:
    def __init__(
        self,
        good: GoodLines,
        event_type: str,
        layouts: Sequence[ColumnLayout],
        quarantine: Quarantine,
        output: _Output,
    ) -> None:
        self._good = good
        self._event_type = event_type
        self._layouts = layouts
        self._quarantine = quarantine
        self._output = output
        self.known: Callable[[], Sequence[KnownColumns]] = tuple
        """Returns what the columns are if the rows don't show it, see :func:`fetch_good_lines`."""
        self._rest = b""
        self._line = 0
        """The number of the last line that was seen, from 1."""
        self._offset = 0
        """Where the next line begins, in bytes."""
        self._commas = -1
        """Commas of each row; -1 before the first row."""
        self._row = b""
        """The structure of each row; empty until the layout is recognised."""
        self._header = b""
        """The header, if nothing but empty lines came after it yet."""
        self._long = 0
        """How many bytes of a line that is too long were seen; 0 outside of such a line."""
        self._long_start = b""

    def feed(self, block: bytes) -> None:
        for start in range(0, len(block), _STEP):
            self._feed(block[start : start + _STEP])

    def finish(self) -> None:
        if self._long:
            self._end_long_line()
        rest, self._rest = self._rest, b""
        if rest:
            # The last line counts even without a line end.
            self._take(rest, whole=True)

    def _feed(self, block: bytes) -> None:
        if self._long:
            end = block.find(b"\n") + 1
            self._long += end or len(block)
            if not end:
                return
            self._end_long_line()
            block = block[end:]
        block = self._rest + block
        if not self._offset and block.startswith(_BOM):
            block = block[len(_BOM) :]
            self._offset = self._good.start = len(_BOM)
        # A first line that is too long is dropped before anything is recognised.
        if not self._row and b"\n" in block and (len(block) < HEAD or not is_enough(block)):
            self._rest = block
            return
        end = block.rfind(b"\n") + 1
        self._rest = block[end:]
        if end:
            self._take(block[:end], whole=False)
        # The last byte may be half of a line end.
        if len(self._rest) > LONGEST_ROW + 1:
            self._long, self._long_start, self._rest = len(self._rest), self._rest[:_KEPT], b""

    def _end_long_line(self) -> None:
        size, self._long = self._long, 0
        self._drop(_too_long(size), self._long_start, size)

    def _drop(self, reason: str, row: bytes, size: int) -> None:
        """
        Put a line into the quarantine.

        :param row: the line without its end, or the part of it that is kept
        :param size: the bytes of the line with its end
        """
        self._line += 1
        self._good.all_lines += 1
        self._quarantine.add(self._good.source, self._good.generation, self._line, self._offset, reason, row)
        self._good.dropped.add(self._line, size)
        self._good.ends_blank = not row
        self._offset += size

    def _take(self, block: bytes, *, whole: bool) -> None:
        if not self._row:
            block = self._begin(block, whole=whole)
        if not self._row:
            # Each line is empty or too long.
            self._take_lines(block)
            return
        structure = block.translate(None, _ALL_BUT_STRUCTURE)
        count = len(structure) // len(self._row)
        # With CRLF, the structure doesn't show text between CR and LF.
        ends = block.count(self._good.line_end)
        alike = structure == self._row * count and ends == count
        # It doesn't show a last word without a line end either, nor an empty line among rows of a single column.
        alike = alike and block.endswith(b"\n") and self._commas > 0
        if not alike or self._is_marked(block) or not _is_utf8(block) or _may_hold_long_line(block):
            self._take_lines(block)
            return
        self._output.write(block)
        self._line += count
        self._offset += len(block)
        self._good.all_lines += count
        self._good.count += count
        self._good.ends_blank = False

    def _begin(self, block: bytes, *, whole: bool) -> bytes:
        """Recognise the layout, if there are rows, and return the block without its header."""
        head = head_of(block)
        whole = whole and len(block) <= len(head)
        # Only the first line can be a header.
        head = (self._header or b"\n" * (self._line > 0)) + head
        recognised = recognise_usual(self._event_type, head, self._layouts, whole=whole)
        has_header = False
        if recognised is None:
            refuse_other_format(self._event_type, head, file=self._good.source)
            shape = shape_of(head, whole=whole)
            has_header = shape.header
            if shape.rows:
                recognised = self._recognised(shape)
                has_header = recognised.header
        if recognised:
            self._good.recognised = recognised
            self._good.line_end = _line_end(block)
            self._commas = len(recognised.columns) - 1
            self._row = b"," * self._commas + self._good.line_end
            self._output.open()
        if has_header and not self._header:
            header, end, block = block.partition(b"\n")
            self._header = header + end
            self._line += 1
            self._offset += len(self._header)
            self._good.dropped.add(self._line, len(self._header))
        return block

    def _recognised(self, shape: Shape) -> Recognised:
        try:
            return recognise(self._event_type, shape, self._layouts, file=self._good.source)
        except AylaLayoutError:
            recognised = recognise_shortened(shape, self.known())
            if recognised is None:
                raise
            return recognised

    def _take_lines(self, block: bytes) -> None:
        for line in io.BytesIO(block):
            row = line.removesuffix(b"\n").removesuffix(b"\r")
            if len(row) > LONGEST_ROW:
                self._drop(_too_long(len(line)), row[:_KEPT], len(line))
            elif reason := self._why_not(row):
                self._drop(reason, row, len(line))
            else:
                self._keep(line, row)

    def _keep(self, line: bytes, row: bytes) -> None:
        self._line += 1
        self._good.all_lines += 1
        self._output.write(row + self._good.line_end)
        self._good.count += 1
        longer = len(line) - len(row) - len(self._good.line_end)
        if longer:
            self._good.shortened.add(self._line, longer)
        self._good.ends_blank = False
        self._offset += len(line)

    def _why_not(self, row: bytes) -> str | None:
        columns = row.count(b",") + 1
        if not row:
            return EMPTY_LINE
        if self._row and columns != self._commas + 1:
            return f"{columns} columns instead of {self._commas + 1}"
        if not _is_utf8(row):
            return "not UTF-8"
        if b"\0" in row or b"\r" in row:
            return "holds a NUL or a carriage return"
        if self._is_marked(row):
            return "begins with a byte order mark"
        return None

    def _is_marked(self, lines: bytes) -> bool:
        """Return whether they begin with a second mark, which a reader of the good lines would take for the file's."""
        return not self._good.count and lines.startswith(_BOM)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_hold_long_line(block: bytes) -> bool:
    return len(block) > LONGEST_ROW and max(map(len, block.split(b"\n"))) > LONGEST_ROW


def _too_long(size: int) -> str:
    return f"{size:,} bytes, more than a row has; the first {_KEPT:,} are kept"

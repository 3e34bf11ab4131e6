"""
The bytes of a CSV file on their way to the disk: checked, counted, and rid of the lines that aren't rows.

Fields are split at commas and nothing else: quotes mean nothing in these files, and a reader that heeds them swallows
what stands between two stray ones. Every line is thus a row, and a line whose columns aren't as many as the layout has
isn't one.
"""

from __future__ import annotations

import codecs
import contextlib
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ayla_provider.archive.destination import Destination
from ayla_provider.domain.csv.columns import ColumnLayout
from ayla_provider.domain.csv.recognition import Recognised, recognise
from ayla_provider.domain.csv.sample import HEAD, LONGEST_ROW, head_of, shape_of
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.errors import AylaDestinationError, AylaLayoutError
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.transport.checksum import Crc32c

_STEP = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
# Everything but what tells rows apart: columns, line ends, and the one character that no warehouse's text can hold.
_ALL_BUT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b",\r\n\0")


@dataclass(slots=True)
class Taken:
    """What was found in a file, and where its good lines stand now."""

    source: str
    """The object's name in the vendor's bucket."""
    generation: int
    path: Path
    """The good lines, in their order, each with :attr:`line_end`, without a header."""
    recognised: Recognised | None = None
    """None for a file without lines."""
    line_end: bytes = b"\n"
    lines: int = 0
    """All lines but the header."""
    good: int = 0
    """Those that are in :attr:`path`."""
    removed: array[int] = field(default_factory=lambda: array("q"))
    """Number and length in bytes of each line that isn't, one after the other; a header is line 1. Behind a negative
    number stands by how many bytes that line, which is there, was longer: files can mix line ends."""
    start: int = 0
    """Where the first line begins, in bytes."""

    @property
    def known(self) -> Recognised:
        """
        What the columns are.

        :raises ValueError: for a file without lines
        """
        if self.recognised is None:
            raise ValueError(f"{self.source} has no lines")
        return self.recognised

    def places(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield line, offset and text of each good line, as they were in the whole file."""
        removed = iter(zip(self.removed[::2], self.removed[1::2], strict=True))
        next_removed, length = next(removed, (0, 0))
        line, offset = 0, self.start
        with self.path.open("rb") as file:
            for text in file:
                line += 1
                while line == next_removed:
                    offset += length
                    line += 1
                    next_removed, length = next(removed, (0, 0))
                yield line, offset, text[: -len(self.line_end)]
                offset += len(text)
                if line == -next_removed:
                    offset += length
                    next_removed, length = next(removed, (0, 0))


def take_in(
    archive: Destination,
    file: ManifestFile,
    path: Path,
    *,
    event_type: str,
    layouts: Sequence[ColumnLayout],
    quarantine: Quarantine,
) -> Taken:
    """
    Bring the good lines of a file to this machine's disk, and the others to the quarantine.

    A file that stands on the disk already, and of which nothing has to be left out, is linked and not copied. Memory
    doesn't grow with the file.

    :param file: as the archive's manifest knows it
    :param path: where the good lines are to stand
    :raises AylaLayoutError: if the file fits no layout, or several
    :raises AylaDestinationError: if it can't be read, or isn't what the manifest says
    """
    local = archive.local(file.path)
    if local is not None:
        with contextlib.suppress(OSError, _NotAsItIsError):
            path.hardlink_to(local)
            return _as_it_is(file, path, event_type, layouts)
        # Not opened as it is: that would empty the archive's file.
        path.unlink(missing_ok=True)
    with path.open("xb") as good:
        return _read(archive.blocks(file.path), file, path, good, event_type, layouts, quarantine)


def _read(
    blocks: Iterable[bytes],
    file: ManifestFile,
    path: Path,
    good: BinaryIO,
    event_type: str,
    layouts: Sequence[ColumnLayout],
    quarantine: Quarantine,
) -> Taken:
    taken = Taken(file.source, file.generation, path)
    checksum, size = Crc32c(), 0
    reader = _Reader(taken, event_type, layouts, quarantine, good)
    for block in blocks:
        checksum.update(block)
        size += len(block)
        reader.feed(block)
    reader.finish()
    if (size, checksum.base64) != (file.size, file.crc32c):
        raise AylaDestinationError(
            f"{file.path} in the archive has {size:,} bytes with crc32c {checksum.base64}; its manifest says "
            f"{file.size:,} with {file.crc32c}. Was it changed there? Clear the hour's copy, which "
            "verifies it and copies it again."
        )
    return taken


class _NotAsItIsError(Exception):
    """Something of the file has to be left out or put right."""


def _as_it_is(file: ManifestFile, path: Path, event_type: str, layouts: Sequence[ColumnLayout]) -> Taken:
    """
    Make sure that every line of a file is a row, without looking at lines.

    :raises _NotAsItIsError: if one isn't, or may not be
    """
    taken = Taken(file.source, file.generation, path)
    checksum, utf8 = Crc32c(), codecs.getincrementaldecoder("utf-8")()
    row = structure = rest = b""
    lines = 0
    with path.open("rb", buffering=0) as opened:
        while block := opened.read(_STEP):
            if not row:
                row = _row_of(block, taken, event_type, layouts, whole=len(block) == file.size)
            checksum.update(block)
            structure += block.translate(None, _ALL_BUT_STRUCTURE)
            rows = len(structure) // len(row)
            if structure[: rows * len(row)] != row * rows or not _goes_on_in_utf8(utf8, block):
                raise _NotAsItIsError
            structure = structure[rows * len(row) :]
            taken.good += rows
            # With CRLF a row's structure says nothing of what stands between the two; a CR of its own ends a line here.
            end = block.rfind(b"\n") + 1
            lines += len(block[:end].splitlines())
            if b"\r" in rest[:-1] or (rest[-1:] == b"\r" and block[:1] != b"\n"):
                raise _NotAsItIsError
            rest = block[end:]
    if structure or rest or lines != taken.good or checksum.base64 != file.crc32c:
        raise _NotAsItIsError
    taken.lines = taken.good
    return taken


def _row_of(block: bytes, taken: Taken, event_type: str, layouts: Sequence[ColumnLayout], *, whole: bool) -> bytes:
    """Recognise a file's layout, and return what is left of each row if only its structure is looked at."""
    head = head_of(block)
    if b"\n" not in head:
        raise _NotAsItIsError
    shape = shape_of(head, whole=whole and len(block) <= len(head))
    # Of a single column the structure doesn't tell an empty line from a row.
    if head.startswith(_BOM) or shape.header or not shape.rows or shape.columns < 2:
        raise _NotAsItIsError
    taken.recognised = recognise(event_type, shape, layouts, file=taken.source)
    taken.line_end = _line_end(head)
    return b"," * (len(taken.recognised.columns) - 1) + taken.line_end


def _line_end(block: bytes) -> bytes:
    return b"\r\n" if 2 * block.count(b"\r\n") > block.count(b"\n") else b"\n"


def _goes_on_in_utf8(decoder: codecs.IncrementalDecoder, data: bytes) -> bool:
    # A character that the block before began has to end here.
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
        taken: Taken,
        event_type: str,
        layouts: Sequence[ColumnLayout],
        quarantine: Quarantine,
        file: BinaryIO,
    ) -> None:
        self._taken = taken
        self._event_type = event_type
        self._layouts = layouts
        self._quarantine = quarantine
        self._file = file
        self._rest = b""
        self._line = 0
        """The last one that was seen, from 1."""
        self._offset = 0
        """Of the next line, in bytes."""
        self._commas = -1
        """Of each row; -1 as long as there is none."""
        self._row = b""
        """What is left of a row and its end if only its structure is looked at; empty before the first block."""

    def feed(self, block: bytes) -> None:
        for start in range(0, len(block), _STEP):
            self._feed(block[start : start + _STEP])

    def finish(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            # A last line without an end is one all the same.
            self._take(rest, whole=True)

    def _feed(self, block: bytes) -> None:
        block = self._rest + block
        end = block.rfind(b"\n") + 1
        self._rest = block[end:]
        if len(self._rest) > LONGEST_ROW - _STEP:
            raise AylaLayoutError(
                f"{self._taken.source}: no line ends within {len(self._rest):,} bytes, so this is no CSV file of "
                "Ayla's. It stays in the archive as it is. Look at it, and ask Ayla support what it is."
            )
        if not self._row and len(block) < HEAD:
            self._rest = block
        elif end:
            self._take(block[:end], whole=False)

    def _take(self, block: bytes, *, whole: bool) -> None:
        if not self._row:
            block = self._begin(block, whole=whole)
        structure = block.translate(None, _ALL_BUT_STRUCTURE)
        count = len(structure) // len(self._row)
        # With CRLF a row's structure says nothing of what stands between the two.
        ends = block.count(self._taken.line_end)
        alike = structure == self._row * count and ends == count
        # Nor does it tell a last word without an end from nothing, nor an empty line from a row of a single column.
        alike = alike and block.endswith(b"\n") and self._commas > 0
        if not alike or self._is_marked(block) or not _is_utf8(block):
            self._one_by_one(block)
            return
        self._file.write(block)
        self._line += count
        self._offset += len(block)
        self._taken.lines += count
        self._taken.good += count

    def _begin(self, block: bytes, *, whole: bool) -> bytes:
        """Recognise the layout, and return the block without what stands ahead of the rows."""
        if block.startswith(_BOM):
            block = block[len(_BOM) :]
            self._offset = self._taken.start = len(_BOM)
        head = head_of(block)
        shape = shape_of(head, whole=whole and len(block) <= len(head))
        if shape.rows:
            found = recognise(self._event_type, shape, self._layouts, file=self._taken.source)
            self._taken.recognised = found
            self._commas = len(found.columns) - 1
        self._taken.line_end = _line_end(block)
        self._row = b"," * self._commas + self._taken.line_end
        if shape.header:
            header, end, block = block.partition(b"\n")
            self._line = 1
            self._offset += len(header + end)
            self._taken.removed.extend((1, len(header + end)))
        return block

    def _one_by_one(self, block: bytes) -> None:
        for line in io.BytesIO(block):
            self._line += 1
            self._taken.lines += 1
            row = line.removesuffix(b"\n").removesuffix(b"\r")
            reason = self._why_not(row)
            if reason is None:
                self._file.write(row + self._taken.line_end)
                self._taken.good += 1
                longer = len(line) - len(row) - len(self._taken.line_end)
                if longer:
                    self._taken.removed.extend((-self._line, longer))
            else:
                self._quarantine.add(self._taken.source, self._taken.generation, self._line, self._offset, reason, row)
                self._taken.removed.extend((self._line, len(line)))
            self._offset += len(line)

    def _why_not(self, row: bytes) -> str | None:
        columns = row.count(b",") + 1
        if not row:
            return "an empty line"
        if columns != self._commas + 1:
            return f"{columns} columns instead of {self._commas + 1}"
        if not _is_utf8(row):
            return "not UTF-8"
        if b"\0" in row or b"\r" in row:
            return "holds a NUL or a carriage return"
        if self._is_marked(row):
            return "begins with a byte order mark"
        return None

    def _is_marked(self, lines: bytes) -> bool:
        """Whether they begin with a second mark, which whoever reads the good lines would take for the file's."""
        return not self._taken.good and lines.startswith(_BOM)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

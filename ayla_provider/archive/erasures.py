"""The erasure ledger of an archive, and the filter that leaves out erased lines. It knows hashes alone."""

from __future__ import annotations

import binascii
import contextlib
import re
import string
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, NamedTuple

from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.domain.csv.sample import LONGEST_ROW
from ayla_provider.domain.erasure import (
    UUID_SHAPE,
    ErasureEntry,
    ErasureKeys,
    Subject,
    canonical,
    digest_of,
    may_touch,
    parse_entry,
    shape_of,
)
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import ERASURES
from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaError
from ayla_provider.transport.checksum import CHUNK, Crc32c

_IN_MEMORY = 16 * 1024 * 1024
"""Bytes. A larger file waits on disk, not in memory, until its checksum is known."""

_OVERLAP = 4096
"""Bytes of a part of a long line that are looked at again with the next part: an identifier in base64 has fewer."""

_MOST_REMEMBERED = 200_000
"""How many texts that name nobody a matcher remembers."""

_READERS = 8
"""How many entries are read at once."""

_ALL = bytes(range(256))


def _kinds(**characters: str) -> bytes:
    """Return a table for ``bytes.translate``: some characters become the name of their kind, and others a dot."""
    table = bytearray(b"." * 256)
    for kind, members in characters.items():
        for member in members.encode():
            table[member] = ord(kind)
    return bytes(table)


# To look for a shape, a text is turned into the kinds of its characters, and the shape is a word of that. A regular
# expression over the text itself takes several times as long.
_OF_SHAPES = bytearray(_ALL)
_OF_SHAPES[:] = _kinds(L=string.ascii_letters, O=string.digits)
for _sign in b"_.:-":
    _OF_SHAPES[_sign] = _sign
_OF_SHAPES[ord(".")] = ord(",")
_OF_UUIDS = bytearray(_kinds(h=string.hexdigits))
_OF_UUIDS[ord("-")] = ord("-")
_OF_BASE64 = _kinds(b=f"{string.ascii_letters}{string.digits}+/")
# Of the alphabet for URLs, the last two characters.
_URL_SAFE = b"-_"
_TO_STANDARD = bytes.maketrans(_URL_SAFE, b"+/")
_GROUPS = b"-".join(b"h" * count for count in (8, 4, 4, 4, 12))
_DIGITS = b"h" * 32


# What JSON writes in place of some characters. Two backslashes are one, whatever follows them.
_BACKSLASHES, _ONE_BACKSLASH, _CODE_OF_BACKSLASH = rb"\\", b"\0", b"005c"
_ESCAPES = {rb"\n": b"\n", rb"\r": b"\r", rb"\t": b"\t", rb"\b": b"\b", rb"\f": b"\f", rb"\"": b'"', rb"\/": b"/"}
_ESCAPED_CODE = re.compile(rb"\\u(?:005[cC](?:u005[cC])*|([0-9a-fA-F]{4}))")
"""
A code. That of a backslash can be followed by what makes another such code of the backslash, and so on. All of them are
one backslash at last. Taken one by one, a value of a few kilobytes would have a thousand levels.
"""


class Matcher:
    """
    Finds subjects of the ledger in bytes. Thread-safe.

    It finds an identifier as text, in upper or lower case, and a UUID also without hyphens. It looks into base64 and
    into JSON escapes, however deep they are nested. So a file's line names a subject if, and only if, a cell of its row
    does, although the cell is decoded.

    :param subjects: each with its key, and the id of its entry
    """

    def __init__(self, subjects: Iterable[tuple[Subject, bytes, str]]) -> None:
        hashes: dict[str, dict[bytes, dict[str, set[str]]]] = {}
        for subject, key, entry in subjects:
            of_key = hashes.setdefault(subject.shape, {}).setdefault(key, {})
            of_key.setdefault(subject.digest, set()).add(entry)
        self._look_in({shape: _by_hash(of_shape) for shape, of_shape in hashes.items()})

    @classmethod
    def of_known(cls, identifiers: Iterable[tuple[str, str]]) -> Matcher:
        """
        Return a matcher of identifiers that are known. It finds the same as one of hashes, in less time.

        :param identifiers: each with the id of its entry
        """
        known: dict[str, dict[bytes, set[str]]] = {}
        for identifier, entry in identifiers:
            of_shape = known.setdefault(shape_of(identifier), {})
            of_shape.setdefault(canonical(identifier).encode(), set()).add(entry)
        matcher = cls.__new__(cls)
        matcher._look_in({shape: partial(_by_identifier, of_shape) for shape, of_shape in known.items()})
        return matcher

    def _look_in(self, ids_of: Mapping[str, Callable[[bytes], Collection[str]]]) -> None:
        self._shapes = [_Shape(shape, ids_of[shape]) for shape in sorted(ids_of)]
        self.shortest = min(shape.size for shape in self._shapes)
        """Bytes of the shortest text that can name a subject."""
        # Base64 has 4 characters for 3 bytes.
        self._shortest_run = self.shortest * 4 // 3

    def found(self, text: bytes) -> set[str]:
        """Return the ids of the entries that have a subject in a text, or in what it encodes."""
        ids: set[str] = set()
        for each in decodings(text, self._shortest_run):
            for of_word in self._plain_words(each).values():
                ids |= of_word
        return ids

    def words(self, text: bytes) -> dict[bytes | None, set[str]]:
        """Return the words of a text that name a subject, with the ids; None for one that is spelled otherwise."""
        words: dict[bytes | None, set[str]] = self._plain_words(text)
        runs = base64_runs(text, self._shortest_run)
        if runs and self.found(_decoded(runs)):
            for run in runs:
                ids = self.found(_decoded([run]))
                if ids:
                    words[run] = words.get(run, set()) | ids
        unescaped = without_escapes(text)
        if unescaped is not None:
            for word, ids in self.words(unescaped).items():
                spelled = word if word is not None and word in text else None
                words[spelled] = words.get(spelled, set()) | ids
        return words

    def _plain_words(self, text: bytes) -> dict[bytes | None, set[str]]:
        """Return the words of a text that are an identifier as it is, with the ids."""
        words: dict[bytes | None, set[str]] = {}
        for shape in self._shapes:
            words |= shape.words(text)
        return words


def decodings(text: bytes, shortest_run: int) -> Iterator[bytes]:
    """
    Yield a text, and what it encodes: in base64 and in JSON escapes, and again what that encodes.

    It ends: decoded base64 is shorter than its run of characters, and a text without escapes is shorter than with them.

    :param shortest_run: characters of base64 that are worth decoding
    """
    waiting = [text]
    decoded: set[bytes] = set()
    while waiting:
        each = waiting.pop()
        yield each
        # The same run, without escapes around it, says nothing new.
        runs = base64_runs(each, shortest_run) - decoded
        if runs:
            decoded |= runs
            waiting.append(_decoded(runs))
        unescaped = without_escapes(each)
        if unescaped is not None:
            waiting.append(unescaped)


def base64_runs(text: bytes, shortest: int) -> set[bytes]:
    """
    Return what can be base64 in a text.

    A run of the alphabet for URLs is cut at ``-`` and ``_``. That cuts no ASCII text in it, but the last character can
    have bits of the text, and of what isn't ASCII after it. So a run also has the character that cuts it.

    :param shortest: characters of the shortest run
    """
    kinds, wanted = text.translate(_OF_BASE64), b"b" * shortest
    runs = set()
    begin = kinds.find(wanted)
    while begin >= 0:
        end = kinds.find(b".", begin)
        end = len(text) if end < 0 else end
        cut_by_url = end < len(text) and text[end] in _URL_SAFE
        runs.add(text[begin : end + cut_by_url])
        begin = kinds.find(wanted, end)
    return runs


def _decoded(runs: Iterable[bytes]) -> bytes:
    """Return what is in base64, with line ends between."""
    parts = []
    for run in runs:
        standard = run.translate(_TO_STANDARD)
        # Nobody knows where in a run the base64 begins.
        for begin in range(4):
            part = standard[begin:]
            rest = len(part) % 4
            # A single character of four says nothing.
            part = part[:-1] if rest == 1 else part + b"=" * (-rest % 4)
            parts.append(binascii.a2b_base64(part))
    return b"\n".join(parts)


def without_escapes(text: bytes) -> bytes | None:
    """Return a text with JSON's escapes replaced by their characters; None if it has none."""
    if b"\\" not in text:
        return None
    plain = text.replace(_BACKSLASHES, _ONE_BACKSLASH)
    for escape, character in _ESCAPES.items():
        plain = plain.replace(escape, character)
    if b"\\u" in plain:
        plain = _ESCAPED_CODE.sub(lambda match: _of_code(match[1] or _CODE_OF_BACKSLASH), plain)
    plain = plain.replace(_ONE_BACKSLASH, b"\\")
    return plain if len(plain) < len(text) else None


def _of_code(digits: bytes) -> bytes:
    # Half of a surrogate pair is no letter, and that is all that counts here.
    return chr(int(digits, 16)).encode("utf-8", "surrogatepass")


def _by_hash(hashes: Mapping[bytes, Mapping[str, set[str]]]) -> Callable[[bytes], Collection[str]]:
    """
    Return what looks up the ids of an identifier's entries.

    :param hashes: key to hash to the ids
    """

    def ids_of(identifier: bytes) -> Collection[str]:
        ids: set[str] = set()
        for key, entries in hashes.items():
            ids |= entries.get(digest_of(key, identifier), set())
        return ids

    return ids_of


def _by_identifier(known: Mapping[bytes, set[str]], identifier: bytes) -> Collection[str]:
    return known.get(identifier, ())


class _Shape:
    """
    The subjects of one shape.

    :param ids_of: returns the ids of an identifier's entries, see :func:`~ayla_provider.domain.erasure.canonical`
    """

    def __init__(self, shape: str, ids_of: Callable[[bytes], Collection[str]]) -> None:
        self._ids_of = ids_of
        self._nobody: set[bytes] = set()
        self._is_uuid = shape == UUID_SHAPE
        # In a shape of our own, a dot is a comma, because a dot means what no shape has.
        self._word = shape.replace("0", "O").replace(".", ",").encode()
        self.size = 32 if self._is_uuid else len(shape)
        """How long an identifier is at least."""

    def words(self, text: bytes) -> dict[bytes | None, set[str]]:
        """Return the words of this shape in a text that name a subject, with the ids of the entries."""
        words: dict[bytes | None, set[str]] = {}
        for word in (uuids_in(text) if self._is_uuid else self._serials(text)) - self._nobody:
            # As canonical() does.
            identifier = word.lower().replace(b"-", b"") if self._is_uuid else word.lower()
            ids = set(self._ids_of(identifier))
            if ids:
                words[word] = ids
            elif not self._is_uuid:
                # Serial numbers come again and again. Most UUIDs are those of events.
                if len(self._nobody) > _MOST_REMEMBERED:
                    self._nobody = set()
                self._nobody.add(word)
        return words

    def _serials(self, text: bytes) -> set[bytes]:
        kinds, size, words = text.translate(bytes(_OF_SHAPES)), self.size, set()
        begin = kinds.find(self._word)
        while begin >= 0:
            end = begin + size
            # A longer serial number is another device.
            if kinds[end : end + 1] not in _ALNUM and (begin == 0 or kinds[begin - 1 : begin] not in _ALNUM):
                words.add(text[begin:end])
            begin = kinds.find(self._word, begin + 1)
        return words


def uuids_in(text: bytes) -> set[bytes]:
    """Return the UUIDs in a text, as they are spelled: with or without hyphens."""
    # Whatever is around one: so many digits can't be anything else by chance.
    kinds, words = text.translate(bytes(_OF_UUIDS)), set()
    for word in (_GROUPS, _DIGITS):
        begin = kinds.find(word)
        while begin >= 0:
            words.add(text[begin : begin + len(word)])
            begin = kinds.find(word, begin + 1)
    return words


_ALNUM = (b"L", b"O")


class LineFilter:
    """
    Leaves out the lines of a file in which a subject is. The other lines stay as they are, byte by byte.

    Memory doesn't grow with the length of a line.

    :param erased: is called with each line that is left out, and the ids of the entries that have a subject in it. A
        line that is too long for a row comes in parts
    """

    def __init__(self, matcher: Matcher, erased: Callable[[bytes, Collection[str]], None] | None = None) -> None:
        self._matcher = matcher
        self._erased = erased
        self.lines = 0
        """How many lines were left out."""
        self.by: set[str] = set()
        """The ids of the entries whose subjects were found."""

    def blocks(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield a file's blocks without the lines in which a subject is."""
        open_line: list[bytes] = []
        size = 0
        source = iter(blocks)
        for block in source:
            end = block.rfind(b"\n") + 1
            if end:
                yield from self._kept(b"".join((*open_line, block[:end])))
                open_line, size = [], 0
            if block[end:]:
                open_line.append(block[end:])
                size += len(block) - end
            if size > LONGEST_ROW:
                rest = yield from self._long_line(b"".join(open_line), source)
                open_line, size = ([rest], len(rest)) if rest else ([], 0)
        if open_line:
            yield from self._kept(b"".join(open_line))

    def _kept(self, lines: bytes) -> Iterator[bytes]:
        """Yield whole lines without those in which a subject is."""
        words = self._matcher.words(lines)
        kept = 0
        for begin, end in _lines_with(lines, words) if words else ():
            ids = self._matcher.found(lines[begin:end])
            if ids:
                self.lines += 1
                self.by |= ids
                if self._erased:
                    self._erased(lines[begin:end], ids)
                if begin > kept:
                    yield lines[kept:begin]
                kept = end
        if kept < len(lines):
            yield lines[kept:]

    def _long_line(self, begin: bytes, source: Iterator[bytes]) -> Generator[bytes, None, bytes]:
        """Yield a line that is too long for a row, or nothing if a subject is in it; return what comes after it."""
        ids = self._matcher.found(begin)
        rest = b""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            spool.write(begin)
            seen = begin[-_OVERLAP:]
            for block in source:
                end = block.find(b"\n") + 1
                part, rest = (block[:end], block[end:]) if end else (block, b"")
                ids |= self._matcher.found(seen + part)
                spool.write(part)
                seen = (seen + part)[-_OVERLAP:]
                if end:
                    break
            if ids:
                self.lines += 1
                self.by |= ids
            spool.seek(0)
            seen = b""
            while part := spool.read(CHUNK):
                if not ids:
                    yield part
                elif self._erased:
                    self._erased(seen + part, ids)
                    seen = part[-_OVERLAP:]
        # What comes after it can have whole lines.
        end = rest.rfind(b"\n") + 1
        if end:
            yield from self._kept(rest[:end])
        return rest[end:]


def _lines_with(lines: bytes, words: Collection[bytes | None]) -> list[tuple[int, int]]:
    """Return where lines begin and end that have one of some words; all lines if a word isn't known."""
    places = set()
    for word in [b"\n"] if None in words else [word for word in words if word is not None]:
        at = lines.find(word)
        while at >= 0:
            end = lines.find(b"\n", at) + 1 or len(lines)
            places.add((lines.rfind(b"\n", 0, at) + 1, end))
            at = lines.find(word, end if word != b"\n" else at + 1)
    if None in words and not lines.endswith(b"\n"):
        places.add((lines.rfind(b"\n") + 1, len(lines)))
    return sorted(places)


class Content(NamedTuple):
    """What distinguishes the content of a file from others."""

    size: int
    """Bytes."""
    crc32c: str
    """Base64."""


def filtered_copy(blocks: Iterable[bytes], lines: LineFilter, copy: IO[bytes]) -> Content:
    """Write the lines of a file that stay into another one, and return what it is then."""
    checksum, size = Crc32c(), 0
    for block in lines.blocks(blocks):
        checksum.update(block)
        size += len(block)
        copy.write(block)
    return Content(size, checksum.base64)


class Erasures:
    """
    The erasure ledger of an archive, as of the first question. Thread-safe.

    It takes one listing. Only entries that can touch a wanted hour are read, and only then the keys are asked for.

    :param keys: returns the keys of the ledger's hashes; None if nobody gave any
    """

    def __init__(self, archive: Destination, keys: Callable[[], ErasureKeys] | None = None) -> None:
        self._archive = archive
        self._keys = keys
        self._lock = threading.Lock()
        self._listed: dict[str, Stored] | None = None
        self._one_lists = threading.Lock()
        self._latest: tuple[float, Collection[str]] | None = None
        """When the latest listing for a commit began, and what it had."""
        self._entries: dict[str, ErasureEntry] = {}
        self._matchers: dict[tuple[tuple[str, Subject], ...], Matcher] = {}

    def begin(self) -> None:
        """List the ledger, so that the first question needn't wait. An error is that of the question."""
        with self._lock, contextlib.suppress(AylaError):
            self._listing()

    def _listing(self) -> dict[str, Stored]:
        """Return the ledger's entries, by path, as of the first question."""
        if self._listed is None:
            self._listed = self._archive.folder(ERASURES)
        return self._listed

    def matcher(self, hour: ExportHour) -> Matcher | None:
        """
        Return what finds the subjects whose span touches an hour; None if no span does.

        :raises AylaConfigError: if a key is missing
        :raises AylaDestinationError: if the ledger can't be read
        """
        with self._lock:
            wanted = [path for path in sorted(self._listing()) if may_touch(path, [hour])]
            if not wanted:
                return None
            self._read([path for path in wanted if path not in self._entries])
            subjects = [
                (subject, entry)
                for entry in (self._entries[path] for path in wanted)
                for subject in entry.subjects
                if subject.touches(hour)
            ]
            if not subjects:
                return None
            wanted_subjects = tuple((entry.id, subject) for subject, entry in subjects)
            if wanted_subjects not in self._matchers:
                self._matchers[wanted_subjects] = matcher_of(subjects, self._known_keys(subjects[0][1]))
            return self._matchers[wanted_subjects]

    def refuse_change(self, hours: Sequence[ExportHour]) -> None:
        """
        Make sure that no erasure that touches one of some hours began since the first question.

        Ask when everything that is about to be committed is in the archive. An erasure that begins after this call
        finds it there.

        :raises AylaConflictError: if one did; what was read in the meantime can have what is to be erased
        """
        with self._lock:
            if self._listed is None:
                return
            known = self._listed
        listed = self._listed_from_now_on()
        if any(path not in known and may_touch(path, hours) for path in listed):
            raise AylaConflictError(
                f"{hours[0]}: an erasure began while the hour was read. Nothing is committed. The task's next try "
                "leaves out what is to be erased."
            )

    def _listed_from_now_on(self) -> Collection[str]:
        """Return the paths of the entries, by a listing that begins after this call. Several calls can share one."""
        called = time.monotonic()
        with self._one_lists:
            # What waited here meanwhile was there before the listing began.
            if self._latest is None or self._latest[0] <= called:
                began = time.monotonic()
                self._latest = began, self._archive.folder(ERASURES)
            return self._latest[1]

    def _read(self, paths: Sequence[str]) -> None:
        if not paths:
            return
        with ThreadPoolExecutor(min(_READERS, len(paths)), "ayla-ledger") as pool:
            for path, record in zip(paths, pool.map(self._archive.read, paths), strict=True):
                content = record[0] if record else b""
                self._entries[path] = parse_entry(content, url_of(self._archive, path))

    def _known_keys(self, entry: ErasureEntry) -> ErasureKeys:
        if self._keys is None:
            raise AylaConfigError(
                f"the archive {self._archive.url} has the erasure {entry.id}, which was made with the key "
                f"{entry.key_id}, and this task has no key. Set its erasure_conn_id."
            )
        return self._keys()


def matcher_of(subjects: Iterable[tuple[Subject, ErasureEntry]], keys: ErasureKeys) -> Matcher:
    """
    Return what finds some subjects.

    :raises AylaConfigError: if a key is missing
    """
    return Matcher((subject, keys.of(entry.key_id, f"the erasure {entry.id}"), entry.id) for subject, entry in subjects)

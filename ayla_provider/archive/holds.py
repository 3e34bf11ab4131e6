"""The legal holds of an archive: what must not be removed or erased."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.archive.erasures import decodings, uuids_in
from ayla_provider.archive.records import write_json
from ayla_provider.domain.erasure import FEWEST, MOST
from ayla_provider.domain.hold import HOLDS, Hold, hold_path, loads
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.keys import key_id, subject_hash
from ayla_provider.errors import AylaConfigError, AylaHeldError

_GROUP = re.compile(rb"[A-Za-z0-9]+")
_BETWEEN = re.compile(rb"[_.:-]+")
"""What a serial number can have between its letters and digits."""

_SHORTEST_RUN = FEWEST * 4 // 3
"""Characters of base64 that can be an identifier."""

_MOST_REMEMBERED = 200_000
"""How many words of nobody are remembered."""


def read_holds(archive: Destination) -> list[Hold]:
    """
    Return all legal holds of an archive, in the order of their ids. It takes a listing, and a read for each hold.

    :raises AylaDestinationError: if the archive can't be read, or a hold isn't valid: then nobody can say what is held
    """
    holds = []
    for path in sorted(archive.folder(HOLDS)):
        # Any object in the folder is meant as a hold, whatever its name is.
        record = archive.read(path)
        # It can have been released since the listing.
        if record:
            holds.append(loads(record[0], url_of(archive, path)))
    return holds


def place_hold(archive: Destination, hold: Hold) -> None:
    """
    Write a legal hold into an archive. The same hold once more is no error.

    :raises AylaConfigError: if the archive has another hold with this id
    :raises AylaError: if it can't be written
    """
    path = hold_path(hold.id)
    record = archive.read(path)
    if record is None:
        write_json(archive, path, hold.dumps(), None)
        return
    existing = loads(record[0], url_of(archive, path))
    if _scope(existing) != _scope(hold):
        raise AylaConfigError(
            f"{url_of(archive, path)} is another hold. Choose another id, or release that hold first."
        )


def release_hold(archive: Destination, id: str) -> bool:  # noqa: A002 - the name of the field
    """
    Remove a legal hold from an archive.

    :returns: False if there is none with this id
    :raises AylaError: if it can't be removed
    """
    record = archive.read(hold_path(id))
    if record is None:
        return False
    archive.remove(record[1])
    return True


def refuse_held(
    archive: Destination,
    holds: Iterable[Hold],
    entry: str,
    identifiers: Mapping[str, str],
    start: datetime | None,
    until: datetime,
    keys: Iterable[str],
) -> None:
    """
    Refuse to erase a subject that a legal hold is on, or hours that one is on.

    :param holds: of the archive
    :param entry: the id of the request, for the error
    :param identifiers: of the subject: ``dsn`` or ``user_uuid`` to its value
    :param start: of the hours to erase from, aware; None for all
    :param until: the end of these hours, aware
    :param keys: all keys that a hold on a subject may be made with
    :raises AylaHeldError: naming the hold, and nobody
    :raises AylaConfigError: if a hold on a subject was made with another key, so that nobody can say
    """
    values, known = {column: [value] for column, value in identifiers.items()}, list(keys)
    for hold in holds:
        if hold.touches(start, until) and hold.concerns(values, known):
            what = "the subject" if hold.subjects else "hours of the span"
            raise held_error(archive.url, hold.id, entry, what)


def held_error(archive: str, hold: str, entry: str, what: str) -> AylaHeldError:
    """
    Return the error of an erasure that a legal hold stops.

    :param archive: its URL
    :param hold: the id
    :param entry: the id of the request
    :param what: what the hold is on, such as ``lines of datapoint 2026-11-01 07:00 UTC``
    """
    return AylaHeldError(
        f"the legal hold {hold!r} of {archive} is on {what} that the request {entry} is to erase. Nothing of it was "
        "erased. Take the request out of its folder, or give it a from and an until without the hours of the hold. "
        f"When the hold has ended, release it: python -m ayla_provider hold release --id {hold}"
    )


class HeldSubjects:
    """
    Finds the subjects of legal holds in lines that are to be erased. Thread-safe.

    A hold knows neither its subjects nor the shape of their identifiers. So every word of a line that can be one is
    hashed. That is slow, and lines that are to be erased are few.

    :param holds: those that may concern what is to be erased. One without a subject counts as none
    :param keys: all keys that a hold may be made with. A hold of another key finds nothing: refuse it before
    """

    def __init__(self, holds: Iterable[Hold], keys: Iterable[str]) -> None:
        self._holds = [hold for hold in holds if hold.subjects]
        self._keys = {key_id(key): key for key in keys}
        subjects = {subject for hold in self._holds for subject in hold.subjects}
        self._hashes = {subject.hash for subject in subjects}
        self._makers = {(subject.column, subject.key_id) for subject in subjects if subject.key_id in self._keys}
        self._nobody: set[bytes] = set()

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._holds)

    def over(self, hour: ExportHour) -> list[str]:
        """Return the ids of the holds whose range an hour is in."""
        return [hold.id for hold in self._holds if hold.covers(hour)]

    def found(self, text: bytes, hour: ExportHour) -> set[str]:
        """Return the ids of the holds over an hour that have a subject in a text, or in what it encodes."""
        hashes: set[str] = set()
        for each in decodings(text, _SHORTEST_RUN):
            for word in self._words(each) - self._nobody:
                hashes |= self._subject(word)
        return {
            hold.id
            for hold in self._holds
            if hold.covers(hour) and any(subject.hash in hashes for subject in hold.subjects)
        }

    def _subject(self, word: bytes) -> set[str]:
        """Return the hashes of a word that are those of a subject."""
        value = word.decode("ascii")
        found = {subject_hash(self._keys[key], column, value) for column, key in self._makers} & self._hashes
        if not found:
            if len(self._nobody) > _MOST_REMEMBERED:
                self._nobody = set()
            self._nobody.add(word)
        return found

    @staticmethod
    def _words(text: bytes) -> set[bytes]:
        """Return the words of a text that can be an identifier, in lower case."""
        words = {uuid.lower() for uuid in uuids_in(text)}
        for chain in _chains(text):
            for place, (begin, _) in enumerate(chain):
                for _, end in chain[place:]:
                    if end - begin > MOST:
                        break
                    if end - begin >= FEWEST:
                        words.add(text[begin:end].lower())
        return words


def _chains(text: bytes) -> Iterator[list[tuple[int, int]]]:
    """Yield where groups of letters and digits begin and end: those that can be of one serial number together."""
    chain: list[tuple[int, int]] = []
    for match in _GROUP.finditer(text):
        if chain and not _BETWEEN.fullmatch(text, chain[-1][1], match.start()):
            yield chain
            chain = []
        chain.append(match.span())
    if chain:
        yield chain


def _scope(hold: Hold) -> tuple[object, ...]:
    return hold.start, hold.end, hold.event_types, hold.subjects

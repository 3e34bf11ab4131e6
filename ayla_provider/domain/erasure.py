"""
Erasure: what a person asks for, and the ledger of keyed hashes that every later copy and typing honours.

An entry of the ledger names nobody. It has a hash of each identifier, and the identifier's shape, such as
``LL000L000000000``. Whoever reads a line hashes what has this shape, and compares.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from ayla_provider.domain.hour import ExportHour, parse_time
from ayla_provider.domain.json_fields import UNREADABLE, require, require_format, time_field, typed_field
from ayla_provider.domain.keys import key_id
from ayla_provider.domain.paths import ERASURES
from ayla_provider.domain.privacy import SHORTEST_KEY
from ayla_provider.errors import AylaConfigError, AylaDestinationError

FORMAT = "ayla-erasure/1"

UUID_SHAPE = "uuid"
"""The shape of a UUID, with or without hyphens."""

FEWEST, MOST = 6, 64
"""Characters of an identifier. A shorter one would be found in words that have nothing to do with it."""

_SERIAL = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9_.:-]{{{FEWEST - 2},{MOST - 2}}})[A-Za-z0-9]", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII)
_SHAPE = re.compile(rf"[L0_.:-]{{{FEWEST},{MOST}}}", re.ASCII)
_NOBODY = "0" * 32
"""The UUID that rows have in place of a user if the device has none, see :func:`canonical`."""
_ID = re.compile(r"(?P<until>\d{8}T\d{6}Z)-(?P<mark>[0-9a-f]{12})", re.ASCII)
_ID_TIME = "%Y%m%dT%H%M%SZ"
_LARGEST_REQUEST = 64 * 1024
"""Bytes of a request."""

_EXACT, _AT_LEAST = "exact", "at_least"
"""What the counts of an entry are."""


class State(StrEnum):
    """How far an erasure is."""

    BEGUN = "begun"
    DONE = "done"


@dataclass(frozen=True)
class ErasureKeys:
    """
    The keys of the ledger's hashes. They aren't the key of a privacy policy.

    :param keys: the first one is for new entries; the others are kept because older entries name them
    """

    keys: tuple[str, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str | None, where: str) -> ErasureKeys:
        """
        Return the keys that a text has: one, or several with spaces between them, the newest first.

        :param where: what has them, for the error
        :raises AylaConfigError: if there is none, or one is too short
        """
        keys = tuple((text or "").split())
        if not keys or any(len(key) < SHORTEST_KEY for key in keys):
            raise AylaConfigError(
                f"{where} needs a key of {SHORTEST_KEY} characters or more for erasures. Put a random one into its "
                "password. To use a new one, put it in front of the others, with a space between them: entries of the "
                "ledger need the key that they were made with."
            )
        return cls(keys)

    @property
    def newest(self) -> str:
        """The key of new entries."""
        return self.keys[0]

    def of(self, wanted: str, what: str) -> bytes:
        """
        Return the key that an entry was made with.

        :param wanted: the key's short id
        :param what: the entry, for the error
        :raises AylaConfigError: if it isn't among the keys
        """
        for key in self.keys:
            if key_id(key) == wanted:
                return key.encode()
        raise AylaConfigError(
            f"{what} was made with the key {wanted}, which the connection doesn't have; it has "
            f"{', '.join(map(key_id, self.keys))}. Without it, erased rows would come back. Add the key to the "
            "password of the connection, after the others, with a space between them. Then clear the task."
        )


def canonical(identifier: str) -> str:
    """Return an identifier as it is hashed: in lower case, and a UUID without hyphens."""
    lower = identifier.lower()
    return lower.replace("-", "") if _UUID.fullmatch(lower) else lower


def shape_of(identifier: str) -> str:
    """Return the shape of an identifier: letters as ``L``, digits as ``0``, other characters as they are."""
    if _UUID.fullmatch(identifier.lower()):
        return UUID_SHAPE
    digits = re.sub(r"[0-9]", "0", identifier)
    return re.sub(r"[A-Za-z]", "L", digits)


def why_no_subject(column: str, value: object) -> str:
    """
    Return why a value can't be the identifier of a column, and what to do; empty if it can. It quotes no value.

    :param column: ``dsn`` or ``user_uuid``
    """
    text = value if isinstance(value, str) else ""
    is_uuid = bool(_UUID.fullmatch(text.lower()))
    if column == "user_uuid":
        if not is_uuid:
            return (
                "user_uuid isn't a whole UUID of 32 hexadecimal digits, with or without hyphens. Give all of it. If it "
                "is a serial number, name it dsn"
            )
        if canonical(text) == _NOBODY:
            return (
                "user_uuid is all zeros. Rows of many devices have that if no user is known. Give the user's own UUID, "
                "or the dsn"
            )
        return ""
    if is_uuid:
        return "dsn is a UUID, and not the serial number of a device. If it is a user's, name it user_uuid"
    if not _SERIAL.fullmatch(text):
        return (
            f"dsn isn't text of {FEWEST} to {MOST} letters, digits, and _ . : - that begins and ends with a letter or "
            "digit"
        )
    return ""


def digest_of(key: bytes, text: bytes) -> str:
    """
    Return the keyed hash of an identifier.

    :param text: the identifier, see :func:`canonical`
    """
    return hmac.digest(key, b"ayla-erasure " + text, "sha256").hex()


@dataclass(frozen=True)
class ErasureRequest:
    """
    What is to be erased: all lines of a device, of a user, or of both, that hours of a span have.

    :param identifiers: column, ``dsn`` or ``user_uuid``, to its value
    :param start: hours that end later belong to the span, aware; None for all hours
    :param until: hours that begin earlier belong to the span, aware
    :param made_at: when it was made, aware
    """

    identifiers: Mapping[str, str] = field(repr=False)
    start: datetime | None
    until: datetime
    made_at: datetime

    @property
    def deadline(self) -> date:
        """The day by which the person must have an answer: one month after the request, as in Article 12(3)."""
        made = self.made_at.astimezone(UTC).date()
        year, month = divmod(made.year * 12 + made.month, 12)
        for day in range(made.day, 27, -1):
            try:
                return date(year, month + 1, day)
            except ValueError:
                continue
        return date(year, month + 1, made.day)

    def id(self, keys: ErasureKeys) -> str:
        """Return the id of the request's entry: the same for each try."""
        facts = [self.start.isoformat() if self.start else "", self.until.isoformat()]
        facts += [f"{column} {canonical(value)}" for column, value in sorted(self.identifiers.items())]
        # Any of the keys would do. The oldest one doesn't change when a new key is put in front.
        mark = digest_of(keys.keys[-1].encode(), "\n".join(facts).encode())[:12]
        return f"{_rounded_up(self.until):{_ID_TIME}}-{mark}"

    def entry(self, keys: ErasureKeys, now: datetime, written_by: Mapping[str, str]) -> ErasureEntry:
        """
        Return the request's entry in the ledger, which names nobody.

        :param now: aware
        :param written_by: which run writes it
        """
        key = keys.newest
        subjects = tuple(
            Subject(
                column=column,
                digest=digest_of(key.encode(), canonical(value).encode()),
                shape=shape_of(value),
                start=self.start,
                until=self.until,
            )
            for column, value in sorted(self.identifiers.items())
        )
        return ErasureEntry(
            id=self.id(keys),
            key_id=key_id(key),
            subjects=subjects,
            made_at=self.made_at,
            begun_at=now,
            written_by=written_by,
        )


def _rounded_up(time: datetime) -> datetime:
    utc = time.astimezone(UTC)
    return utc if not utc.microsecond else utc.replace(microsecond=0) + timedelta(seconds=1)


def parse_request(text: bytes, where: str, made_at: datetime) -> ErasureRequest:
    """
    Return the request that a JSON object is: ``dsn`` and/or ``user_uuid``, and ``from`` and ``until`` if wanted.

    :param where: its URL, for errors, which don't quote it
    :param made_at: when the object was written, aware. Nothing later is erased: a device can have a new owner
    :raises AylaConfigError: if it isn't a valid request
    """
    try:
        require(len(text) <= _LARGEST_REQUEST, "it is too large")
        document = json.loads(text, object_pairs_hook=_once)
        require(isinstance(document, dict), "it isn't an object")
        unknown = document.keys() - {"dsn", "user_uuid", "from", "until"}
        require(not unknown, "it has other fields than dsn, user_uuid, from, and until")
    except UNREADABLE as error:
        reason = str(error) if type(error) is ValueError else "it isn't JSON"
        raise AylaConfigError(f"{where} isn't a valid request: {reason}") from None
    identifiers = {}
    for column in ("dsn", "user_uuid"):
        value = document.get(column)
        if value is None:
            continue
        problem = why_no_subject(column, value)
        if problem:
            raise AylaConfigError(f"{where} isn't a valid request: {problem}")
        identifiers[column] = value
    if not identifiers:
        raise AylaConfigError(f"{where} isn't a valid request: it has neither dsn nor user_uuid")
    start = _time(document, "from", where)
    until = min(_time(document, "until", where) or made_at, made_at)
    if start is not None and start >= until:
        raise AylaConfigError(f"{where} isn't a valid request: from isn't before until, nor before the request itself")
    return ErasureRequest(identifiers, start, until, made_at)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. JSON would take the last one of several values of a field, and leave out the others."""
    document = dict(pairs)
    require(len(document) == len(pairs), "it has a field twice. Write a request of its own for each device and user")
    return document


def _time(document: Mapping[str, Any], name: str, where: str) -> datetime | None:
    if document.get(name) is None:
        return None
    try:
        return parse_time(document[name], name)
    except AylaConfigError:
        # Its own words quote the value, which can be an identifier in the wrong place.
        raise AylaConfigError(
            f"{where} isn't a valid request: {name} isn't a time such as 2024-05-09T02:00:00+00:00"
        ) from None


@dataclass(frozen=True, slots=True)
class Subject:
    """One identifier of an entry, without the identifier."""

    column: str
    digest: str
    """See :func:`digest_of`."""
    shape: str
    """See :func:`shape_of`."""
    start: datetime | None
    """See :class:`ErasureRequest`."""
    until: datetime

    def touches(self, hour: ExportHour) -> bool:
        """Return whether an hour belongs to the span."""
        return hour.start < self.until and (self.start is None or hour.end > self.start)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a store keeps of an earlier version."""

    store: str
    """For people: what and where."""
    reason: str
    gone_by: datetime | None
    """Aware; None if only a person can remove it, or nobody knows."""

    def document(self) -> dict[str, str | None]:
        """Return it for JSON."""
        return {
            "store": self.store,
            "reason": self.reason,
            "gone_by": self.gone_by.isoformat() if self.gone_by else None,
        }


def merged(leftovers: Iterable[Leftover]) -> list[Leftover]:
    """Return each reason of each store once, with the latest date; without a date if one of them isn't known."""
    times: dict[tuple[str, str], list[datetime | None]] = {}
    for each in leftovers:
        times.setdefault((each.store, each.reason), []).append(each.gone_by)
    found = []
    for (store, reason), several in times.items():
        known = [time for time in several if time is not None]
        found.append(Leftover(store, reason, max(known) if len(known) == len(several) else None))
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """A place that an erasure looked at."""

    kind: str
    """``archive``, ``parquet``, or ``warehouse``."""
    name: str
    """For people: its URL, or the name of a warehouse. Without secrets."""


@dataclass(frozen=True, slots=True)
class ErasureEntry:
    """An entry of the ledger. It is never removed: it keeps erased lines from coming back."""

    id: str
    """It begins with the end of the span, so that a copy of a later hour needn't read the entry."""
    key_id: str
    subjects: tuple[Subject, ...]
    made_at: datetime
    """When the request was made."""
    begun_at: datetime
    state: State = State.BEGUN
    done_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    """Layer to what was erased of it: ``csv_lines``, ``parquet_rows``, ``warehouse_rows``, ..."""
    leftovers: tuple[Leftover, ...] = ()
    written_by: Mapping[str, str] = field(default_factory=dict)
    is_counted: bool = True
    """Whether :attr:`counts` is exact. After a try that was killed, it is the least that was erased."""
    looked_at: tuple[Place, ...] = ()
    """Where runs looked at everything. Empty before that, and in entries of earlier versions."""

    def touches(self, hour: ExportHour) -> bool:
        """Return whether an hour belongs to the span of a subject."""
        return any(subject.touches(hour) for subject in self.subjects)

    @property
    def path(self) -> str:
        """The entry's path, relative to the archive."""
        return entry_path(self.id)

    def done(
        self,
        now: datetime,
        counts: Mapping[str, int],
        leftovers: Iterable[Leftover],
        written_by: Mapping[str, str],
        looked_at: Iterable[Place] = (),
    ) -> ErasureEntry:
        """
        Return the entry of an erasure that is done.

        :param looked_at: where this run looked at everything. Places of earlier runs stay
        """
        return replace(
            self,
            state=State.DONE,
            done_at=now,
            counts=counts,
            leftovers=tuple(leftovers),
            written_by=written_by,
            looked_at=tuple(dict.fromkeys([*self.looked_at, *looked_at])),
        )

    def begun_again(self) -> ErasureEntry:
        """Return the entry of an erasure that is looked at again after it was done. Its counts stay."""
        return replace(self, state=State.BEGUN, done_at=None)

    def document(self) -> dict[str, Any]:
        """Return the entry for JSON. It is also the certificate of an erasure that is done."""
        return {
            "format": FORMAT,
            "id": self.id,
            "state": self.state.value,
            "key_id": self.key_id,
            "requested_at": self.made_at.isoformat(),
            "begun_at": self.begun_at.isoformat(),
            "done_at": self.done_at.isoformat() if self.done_at else None,
            "subjects": [
                {
                    "column": subject.column,
                    "hmac_sha256": subject.digest,
                    "shape": subject.shape,
                    "from": subject.start.isoformat() if subject.start else None,
                    "until": subject.until.isoformat(),
                }
                for subject in self.subjects
            ],
            "erased": dict(sorted(self.counts.items())),
            "erased_is": _EXACT if self.is_counted else _AT_LEAST,
            "left": [leftover.document() for leftover in self.leftovers],
            "looked_at": [{"kind": place.kind, "name": place.name} for place in self.looked_at],
            "written_by": dict(self.written_by),
        }

    def dumps(self) -> str:
        """Return the entry as JSON text: the inverse of :func:`parse_entry`."""
        return json.dumps(self.document(), indent=1) + "\n"


def parse_entry(text: bytes, where: str) -> ErasureEntry:
    """
    Return the entry in a JSON text.

    :param where: its URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if it isn't an entry
    """
    try:
        document: dict[str, Any] = json.loads(text)
        require_format(document["format"], FORMAT, where)
        identifier = typed_field(document, "id", str)
        require(_ID.fullmatch(identifier) is not None, "its id isn't one of this package")
        done_at = None if document["done_at"] is None else time_field(document, "done_at")
        return ErasureEntry(
            id=identifier,
            key_id=typed_field(document, "key_id", str),
            subjects=tuple(map(_subject, typed_field(document, "subjects", list))),
            made_at=time_field(document, "requested_at"),
            begun_at=time_field(document, "begun_at"),
            state=State(document["state"]),
            done_at=done_at,
            counts={name: typed_field(document["erased"], name, int) for name in document["erased"]},
            leftovers=tuple(map(_leftover, typed_field(document, "left", list))),
            written_by=typed_field(document, "written_by", dict),
            # Entries of an earlier version don't say it.
            is_counted=document.get("erased_is", _EXACT) == _EXACT,
            looked_at=tuple(map(_place, typed_field({"looked_at": []} | document, "looked_at", list))),
        )
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} isn't a valid entry of the erasure ledger ({type(error).__name__}: {error!s:.200}). Restore an "
            "earlier version of the object: without it, erased rows would come back."
        ) from None


def _subject(document: Any) -> Subject:
    digest, shape = typed_field(document, "hmac_sha256", str), typed_field(document, "shape", str)
    require(re.fullmatch(r"[0-9a-f]{64}", digest, re.ASCII) is not None, "a hash isn't one")
    require(shape == UUID_SHAPE or _SHAPE.fullmatch(shape) is not None, "a shape isn't one")
    start = None if document["from"] is None else time_field(document, "from")
    return Subject(typed_field(document, "column", str), digest, shape, start, time_field(document, "until"))


def _leftover(document: Any) -> Leftover:
    gone_by = None if document["gone_by"] is None else time_field(document, "gone_by")
    return Leftover(typed_field(document, "store", str), typed_field(document, "reason", str), gone_by)


def _place(document: Any) -> Place:
    return Place(typed_field(document, "kind", str), typed_field(document, "name", str))


def entry_path(identifier: str) -> str:
    """Return the path of an entry, relative to the archive."""
    return f"{ERASURES}/{identifier}.json"


def may_touch(path: str, hours: Sequence[ExportHour]) -> bool:
    """
    Return whether the entry at a path can touch an hour, by its path alone. An entry of another name can.

    :param path: relative to the archive
    """
    match = _ID.fullmatch(path.removeprefix(f"{ERASURES}/").removesuffix(".json"))
    if not match:
        return True
    until = datetime.strptime(match["until"], _ID_TIME).replace(tzinfo=UTC)
    return any(hour.start < until for hour in hours)

"""
Legal holds: hours, or what is known of a subject, that must not be removed or erased until the hold is released.

A hold is a JSON object in the folder ``_holds/`` of an archive. It names a subject by keyed hashes only. Its id and its
reason are for people, and must not name the subject.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ayla_provider.domain.erasure import why_no_subject
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.json_fields import UNREADABLE, require, require_format, time_field, typed_field
from ayla_provider.domain.keys import key_id, subject_hash
from ayla_provider.errors import AylaConfigError, AylaDestinationError

FORMAT = "ayla-export-hold/1"

HOLDS = "_holds"
"""The folder of the holds, beside the archive's event types."""

SUBJECT_COLUMNS = ("dsn", "user_uuid")
"""The columns that identify a subject."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEY_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)
_LONGEST_REASON = 200
"""Characters."""


@dataclass(frozen=True, slots=True)
class HeldSubject:
    """What identifies a subject of a hold, as a keyed hash."""

    column: str
    """``dsn`` or ``user_uuid``."""
    hash: str
    """See :func:`~ayla_provider.domain.keys.subject_hash`."""
    key_id: str
    """Which key made the hash, see :func:`~ayla_provider.domain.keys.key_id`."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold on hours: on all that they have, or on what they have of some subjects."""

    id: str
    """For people, and the name of the hold's object: letters, digits, ``_``, and ``-``."""
    placed_at: datetime
    """Aware."""
    start: datetime | None = None
    """The first hour that is held: aware; None if the range has no beginning."""
    end: datetime | None = None
    """The end of the last hour that is held: aware; None if the range has no end."""
    event_types: tuple[EventType, ...] = ()
    """Empty: all of them."""
    subjects: tuple[HeldSubject, ...] = ()
    """Empty: the hold is on everything in its hours."""
    reason: str = ""
    placed_by: Mapping[str, str] = field(default_factory=dict)

    def covers(self, hour: ExportHour) -> bool:
        """Return whether an hour is in the range of the hold, and so must not be removed as a whole."""
        if self.event_types and hour.event_type not in self.event_types:
            return False
        begins_before_end = self.end is None or hour.start < self.end
        ends_after_start = self.start is None or hour.end > self.start
        return begins_before_end and ends_after_start

    def touches(self, start: datetime | None, end: datetime | None) -> bool:
        """
        Return whether the range of the hold and another range have a moment in common.

        :param start: aware; None if the other range has no beginning
        :param end: aware and exclusive; None if the other range has no end
        """
        begins_before_end = self.start is None or end is None or self.start < end
        ends_after_start = self.end is None or start is None or self.end > start
        return begins_before_end and ends_after_start

    def concerns(self, values: Mapping[str, Iterable[str]], keys: Iterable[str]) -> bool:
        """
        Return whether a subject is one of the hold's; True for a hold on everything.

        :param values: of the subject: ``dsn`` or ``user_uuid`` to its values
        :param keys: all keys that a hold may be made with
        :raises AylaConfigError: if a key is missing, so that nobody can say
        """
        if not self.subjects:
            return True
        key_of = {key_id(key): key for key in keys}
        for subject in self.subjects:
            key = key_of.get(subject.key_id)
            if key is None:
                raise AylaConfigError(
                    f"the legal hold {self.id!r} was made with the key {subject.key_id}, which no given connection "
                    "has. Without it nobody can say whether the hold is on this subject. Add a connection with that "
                    "key, or release the hold."
                )
            hashes = (subject_hash(key, subject.column, value) for value in values.get(subject.column, ()))
            if subject.hash in hashes:
                return True
        return False

    def dumps(self) -> str:
        """Return the hold as JSON text: the inverse of :func:`loads`."""
        document = {
            "format": FORMAT,
            "id": self.id,
            "start": self.start and self.start.isoformat(),
            "end": self.end and self.end.isoformat(),
            "event_types": list(self.event_types),
            "subjects": [
                {"column": subject.column, "hash": subject.hash, "key_id": subject.key_id} for subject in self.subjects
            ],
            "reason": self.reason,
            "placed_at": self.placed_at.isoformat(),
            "placed_by": dict(self.placed_by),
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def hold(
    id: str,  # noqa: A002 - the name of the field
    *,
    placed_at: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
    event_types: Iterable[EventType] = (),
    subject: Mapping[str, Iterable[str]] | None = None,
    key: str = "",
    reason: str = "",
    placed_by: Mapping[str, str] | None = None,
) -> Hold:
    """
    Return a new hold.

    :param subject: ``dsn`` or ``user_uuid`` to its values; None for everything in the hours
    :param key: makes the hashes of the subject
    :raises AylaConfigError: if an argument isn't valid, or the hold would be on everything for ever
    """
    refuse_id(id)
    if len(reason) > _LONGEST_REASON:
        raise AylaConfigError(f"the hold's reason has more than {_LONGEST_REASON} characters: refer to a file instead")
    if start and end and end <= start:
        raise AylaConfigError("the hold ends before it begins: correct start or end")
    pairs = [(column, value) for column, values in (subject or {}).items() for value in values]
    if subject is not None and not pairs:
        raise AylaConfigError("the hold's subject has no value: give a dsn or a user_uuid")
    if any(column not in SUBJECT_COLUMNS for column in subject or {}):
        raise AylaConfigError("the hold's subject has other fields than dsn and user_uuid")
    for column, value in pairs:
        problem = why_no_subject(column, value)
        if problem:
            raise AylaConfigError(f"the hold's subject isn't valid: {problem}")
    if pairs and not key:
        raise AylaConfigError("the hold is on a subject, so it needs a key for its hash: name the connection")
    if not pairs and start is None and end is None:
        raise AylaConfigError("the hold is on everything for ever: give a start, an end, or a subject")
    subjects = tuple(HeldSubject(column, subject_hash(key, column, value), key_id(key)) for column, value in pairs)
    return Hold(id, placed_at, start, end, tuple(event_types), subjects, reason, dict(placed_by or {}))


def refuse_id(id: str) -> None:  # noqa: A002 - the name of the field
    """
    Refuse an id that can't be the name of an object.

    :raises AylaConfigError: if it isn't valid
    """
    if not _ID.fullmatch(id):
        raise AylaConfigError(
            f"the hold's id is {id!r}: use at most 64 letters, digits, _ and -, without a name of a person or a device"
        )


def loads(text: str | bytes, where: str) -> Hold:
    """
    Return the hold that a JSON text holds.

    A hold that can't be read must stop everything, so this never leaves anything out.

    :param where: the hold's URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if the text isn't a valid hold
    """
    try:
        document: dict[str, Any] = json.loads(text)
        require_format(document["format"], FORMAT, where)
        found = Hold(
            id=typed_field(document, "id", str),
            placed_at=time_field(document, "placed_at"),
            start=None if document["start"] is None else time_field(document, "start"),
            end=None if document["end"] is None else time_field(document, "end"),
            event_types=tuple(EventType(_text(name)) for name in typed_field(document, "event_types", list)),
            subjects=tuple(_subject(entry) for entry in typed_field(document, "subjects", list)),
            reason=typed_field(document, "reason", str),
            placed_by=typed_field(document, "placed_by", dict),
        )
        require(_ID.fullmatch(found.id) is not None, "its id isn't valid")
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} isn't a valid legal hold of format {FORMAT} ({type(error).__name__}: {error!s:.200}). While it "
            "is there, nothing is removed or erased. Correct it, or release the hold."
        ) from error
    return found


def hold_path(id: str) -> str:  # noqa: A002 - the name of the field
    """
    Return the path of a hold, relative to the archive.

    :raises AylaConfigError: if the id isn't valid
    """
    refuse_id(id)
    return f"{HOLDS}/{id}.json"


def first_over(holds: Iterable[Hold], hour: ExportHour) -> Hold | None:
    """Return the first hold, by id, whose range an hour is in; None if the hour may be removed."""
    return min((each for each in holds if each.covers(hour)), key=lambda each: each.id, default=None)


def _text(value: object) -> str:
    require(isinstance(value, str), "an event type isn't text")
    return str(value)


def _subject(entry: Any) -> HeldSubject:
    subject = HeldSubject(
        column=typed_field(entry, "column", str),
        hash=typed_field(entry, "hash", str),
        key_id=typed_field(entry, "key_id", str),
    )
    require(subject.column in SUBJECT_COLUMNS, "a subject has another column")
    require(_HASH.fullmatch(subject.hash) is not None, "a subject's hash isn't valid")
    require(_KEY_ID.fullmatch(subject.key_id) is not None, "a subject's key_id isn't valid")
    return subject

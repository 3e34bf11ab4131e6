"""Who was erased, and which lines name them: a second, simple implementation, without code of the package."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

_WORD = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")
"""What can be Base64."""

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Subject:
    """
    A device, a user, or both, and the hours in which they are erased.

    :param identifiers: ``dsn``, ``user_uuid``, or both, with their values
    :param start: hours that end later belong to the span; None for all hours
    :param until: hours that begin earlier belong to the span
    """

    identifiers: Mapping[str, str]
    start: datetime | None
    until: datetime

    def touches(self, hour: datetime) -> bool:
        """Return whether an hour belongs to the span."""
        return hour < self.until and (self.start is None or hour + _HOUR > self.start)


class Subjects:
    """All that was erased."""

    def __init__(self, subjects: Iterable[Subject] = ()) -> None:
        self.all = list(subjects)

    def left(self, hour: datetime, content: bytes) -> bytes:
        """Return what an erasure leaves of a file of an hour."""
        lines = _LINE.findall(content)
        return b"".join(line for line in lines if not self.names(hour, line))

    def names(self, hour: datetime, line: bytes) -> bool:
        """Return whether a line of an hour names somebody who is erased in it."""
        touching = [subject for subject in self.all if subject.touches(hour)]
        if not touching:
            return False
        texts = list(_texts(line.decode("latin-1")))
        identifiers = {value for subject in touching for value in subject.identifiers.values()}
        return any(_is_in(identifier, text) for identifier in identifiers for text in texts)


def _texts(text: str) -> Iterator[str]:
    """Yield a text, and what is in it in Base64, also if that is in Base64 again."""
    yield text
    for word in _WORD.findall(text):
        try:
            decoded = base64.b64decode(word, validate=True).decode("latin-1")
        except binascii.Error:
            continue
        yield from _texts(decoded)


def _is_in(identifier: str, text: str) -> bool:
    wanted, lower = identifier.lower(), text.lower()
    if re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", wanted):
        return wanted in lower or wanted.replace("-", "") in lower
    return re.search(f"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9])", lower) is not None

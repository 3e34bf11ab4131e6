"""Text from outside, in a form that a log, a terminal, and a database can take."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

LONGEST = 200
"""Characters of a text from outside that a message quotes."""

_MOST_KNOWN = 1000
_known: dict[str, None] = {}
"""The secrets of this process, the newest last. With an hourly token, a triggerer would collect them without end."""


def know_secret(secret: str) -> None:
    """Remember a secret, so that no text from outside shows it in this process, whatever service quotes it."""
    if secret:
        _known.pop(secret, None)
        _known[secret] = None
    for oldest in list(islice(_known, max(0, len(_known) - _MOST_KNOWN))):
        _known.pop(oldest, None)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """
    Return a text on one line, with ``***`` in place of each secret, and with escapes in place of control characters.

    :param secrets: secrets in addition to those of :func:`know_secret`
    """
    known = {*secrets, *list(_known)} - {""}
    # The longest first: a secret can be a part of another.
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return printable(" ".join(text.split()))


def from_outside(text: object) -> str:
    """
    Return what a message may quote of a text that somebody else wrote: :func:`redacted`, and not too long.

    Every text of a vendor, a store, or a proxy passes through here before it becomes part of a message.
    """
    return redacted(str(text))[:LONGEST]


def printable(text: str) -> str:
    """Return a text that leaves a terminal as it is: with escapes in place of control characters."""
    return "".join(_printable(character) for character in text)


def _printable(character: str) -> str:
    # Escape sequences of terminals and characters that change the direction of text aren't printable.
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()

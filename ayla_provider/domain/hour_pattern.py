"""How folders of the export write their time, where they don't in one of the known styles."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from ayla_provider.errors import AylaConfigError

_DIGITS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}
"""Directive to the number of its digits, as in strftime."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""What ``%b`` means, in any language of the machine."""

_REQUIRED = "YmdH"

_NOT_UTC = re.compile(r"[+-](?!00:?00)\d{2}:?\d{2}(?=/|$)|\b[AP]\.?M\b|\b[ECMP][SD]T\b", re.ASCII | re.IGNORECASE)
"""What is beside a local time, or beside one of a clock of twelve hours."""

_AFTER_TIME = re.compile(r"[ _.:,-]*0{0,9}[ _.-]*(h|Z|UTC|GMT|\((UTC|GMT)\)|[+-]00(:?00)?)?", re.ASCII | re.IGNORECASE)
"""What a folder may have after a time in UTC: nothing, a fraction of a second, or that it is UTC."""


class HourPattern:
    """
    A pattern such as ``%Y-%m-%dT%H:%M:%SZ`` or ``%Y/%m/%d/%H``: of the text between event folder and file, in UTC.

    :param text: ``%Y``, ``%m`` or ``%b``, ``%d``, and ``%H``, each once, perhaps ``%M`` and ``%S`` after these, and
        other characters of ASCII
    :raises AylaConfigError: if it is something else, or isn't in UTC
    """

    def __init__(self, text: str) -> None:
        directives = re.findall(r"%(.?)", text)
        required = directives[: len(_REQUIRED)]
        rest = directives[len(_REQUIRED) :]
        numeric = ["m" if directive == "b" else directive for directive in required]
        if sorted(numeric) != sorted(_REQUIRED) or rest not in ([], ["M"], ["M", "S"]) or not _is_plain(text):
            raise AylaConfigError(
                f"hour_pattern is {text!r}: expected %Y, %m, %d, and %H, each once, then perhaps %M and %S, such as "
                "%Y-%m-%dT%H:%M:%SZ or %Y/%m/%d/%H. %b instead of %m is the month as Jan, Feb, and so on"
            )
        _, _, after_time = text.rpartition("%")
        folder_ends_with, _, _ = after_time[1:].partition("/")
        # A character that is in no word takes the place of a directive.
        if _NOT_UTC.search(re.sub("%.", "\0", text)) or not _AFTER_TIME.fullmatch(folder_ends_with):
            raise AylaConfigError(
                f"hour_pattern is {text!r}: folders that write a local time, or a clock of twelve hours, can't be read."
                " After the time, only Z, UTC, GMT, or +00:00 may follow. Ask Ayla support to write the folders in UTC"
            )
        self.text = text
        last = max(text.index(f"%{directive}") for directive in required) + 2
        self._hour_text = text[:last]
        folder = "".join(_regex_of(part) for part in re.split(r"(%.)", text))
        self._regex = re.compile(f"{folder}/.*[^/]", re.ASCII | re.DOTALL)

    def parse(self, relative: str) -> datetime | None:
        """
        Return the UTC time that a name states; None if it isn't a file in such a folder.

        :param relative: the name without the event folder
        """
        match = self._regex.fullmatch(relative)
        if not match:
            return None
        texts = match.groupdict()
        if "b" in texts:
            texts["m"] = str(_MONTHS.index(texts.pop("b")) + 1)
        numbers = {name: int(value) for name, value in texts.items()}
        try:
            return datetime(
                numbers["Y"],
                numbers["m"],
                numbers["d"],
                numbers["H"],
                numbers.get("M", 0),
                numbers.get("S", 0),
                tzinfo=UTC,
            )
        except ValueError:
            return None

    def window(self, hours: Iterable[datetime]) -> tuple[str, str]:
        """
        Return the bounds of a listing that holds every folder of some hours: inclusive, exclusive.

        It can also hold others, and does if the pattern doesn't sort by time.

        :param hours: their starts, aware
        """
        texts = [self._text_of(hour) for hour in hours]
        last = max(texts)
        return min(texts), last[:-1] + chr(ord(last[-1]) + 1)

    def _text_of(self, hour: datetime) -> str:
        """Return how the folders of an hour begin."""
        utc = hour.astimezone(UTC)
        month = _MONTHS[utc.month - 1]
        values = {
            "b": month,
            "Y": f"{utc.year:04}",
            "m": f"{utc.month:02}",
            "d": f"{utc.day:02}",
            "H": f"{utc.hour:02}",
        }
        return re.sub(r"%(.)", lambda match: values[match[1]], self._hour_text)


def _regex_of(part: str) -> str:
    """Return the regular expression of a directive or of the text between two."""
    if not part.startswith("%"):
        return re.escape(part)
    directive = part[1]
    if directive == "b":
        return f"(?P<b>{'|'.join(_MONTHS)})"
    return f"(?P<{directive}>\\d{{{_DIGITS[directive]}}})"


def _is_plain(text: str) -> bool:
    """Whether a pattern is printable ASCII, and its slashes separate folders."""
    return text.isascii() and text.isprintable() and all(part not in ("", ".", "..") for part in text.split("/"))

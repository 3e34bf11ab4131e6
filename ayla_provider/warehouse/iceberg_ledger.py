"""
Which hours an Iceberg table holds: a table property for each hour, which the same commit sets that changes the rows.

Each property makes every commit a little slower. So upkeep folds old hours into one file, which one property names. A
property counts more than the file: an hour that was folded and is loaded again gets a property. Another property says
how the folded hours were made, so that a load that compares privacy policies doesn't read the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.json_fields import UNREADABLE, typed_field
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.warehouse.base import LEDGER, Load
from ayla_provider.warehouse.lake import LedgerEntry
from ayla_provider.warehouse.made_hours import MadeHours, hour_of_key, parse_made

HOUR = "ayla.load."
"""In front of an hour, as in ``ayla.load.2026110112``: the property of an hour."""

FOLDED = "ayla.loads"
"""The property that names the file of folded hours: first hour, last hour, CRC32C, and URL."""

MADE = "ayla.made"
"""The property that says how the folded hours were made: CRC32C of their file, and :class:`MadeHours` as JSON."""

_LONGEST_MADE = 4000
"""Characters of this property, as far as every Hive metastore takes them. If it would be longer, the file is read."""

_KEY = "%Y%m%d%H"

_HOUR = re.compile(r"ayla\.load\.(\d{10})", re.ASCII)

_FIELDS = LEDGER.names[2:]
"""The columns of the ledger after event type and hour, in the order of an entry's values."""


@dataclass(frozen=True, slots=True)
class Entry(LedgerEntry):
    """What was loaded of an hour."""

    def text(self) -> str:
        """Return the value of the property."""
        return json.dumps([getattr(self, name) for name in _FIELDS], ensure_ascii=False)


def entry_of(load: Load) -> Entry:
    """Return the entry of a load."""
    row = load.ledger_row()
    values: dict[str, Any] = {name: row[name] for name in _FIELDS}
    return replace(Entry(**values), loaded_at=load.loaded_at.astimezone(UTC).isoformat())


def key_of(hour: datetime) -> str:
    """Return the name of the property of an hour."""
    return HOUR + hour.astimezone(UTC).strftime(_KEY)


@dataclass(frozen=True, slots=True)
class Folded:
    """
    The file of folded hours.

    :param first: the first hour, as a text that sorts by time
    :param last: the last hour
    """

    first: str
    last: str
    crc32c: str
    url: str

    def text(self) -> str:
        """Return the value of the property."""
        return f"{self.first} {self.last} {self.crc32c} {self.url}"


class Ledger:
    """
    The ledger of a table, as of one commit.

    :param where: the table, for people
    :param properties: the table's
    :param read: returns the content of a small file by its URL, None if it doesn't exist
    """

    def __init__(self, where: str, properties: Mapping[str, str], read: Callable[[str], bytes | None]) -> None:
        self._where = where
        self._read = read
        self.own = {match[1]: text for name, text in properties.items() if (match := _HOUR.fullmatch(name))}
        """The text of each hour that has a property."""
        stated = properties.get(FOLDED)
        self.folded = self._parsed_folded(stated) if stated else None
        self._made = properties.get(MADE, "")
        self._old: dict[str, str] | None = None

    def texts(self, start: datetime, end: datetime) -> dict[datetime, str]:
        """
        Return the entries of hours, as texts.

        :param start: the first hour, aware
        :param end: the end of the last hour
        :raises AylaWarehouseError: if the file of folded hours can't be read
        """
        first, behind = start.astimezone(UTC).strftime(_KEY), end.astimezone(UTC).strftime(_KEY)
        texts: dict[str, str] = {}
        if self.folded and self.folded.first < behind and first <= self.folded.last:
            texts.update(self.old())
        texts.update(self.own)
        found = {self._hour(key): text for key, text in texts.items() if first <= key < behind}
        return dict(sorted(found.items()))

    def entries(self, start: datetime, end: datetime) -> dict[datetime, Entry]:
        """Return the entries of hours, see :meth:`texts`."""
        return self.parsed(self.texts(start, end))

    def parsed(self, texts: Mapping[datetime, str]) -> dict[datetime, Entry]:
        """Return the entries that texts say."""
        return {hour: self._parsed(text) for hour, text in texts.items()}

    def made(self) -> MadeHours:
        """
        Return how all hours were made.

        :raises AylaWarehouseError: if the file of folded hours is needed, and can't be read
        """
        own = {self._hour(key): self._parsed(text).version for key, text in self.own.items()}
        made = self._made_of_folded()
        for hour in own:
            made = made.without(hour, hour + ONE_HOUR)
        return made.joined(MadeHours.of(own))

    def _made_of_folded(self) -> MadeHours:
        crc32c, _, text = self._made.partition(" ")
        if self.folded and crc32c == self.folded.crc32c:
            try:
                return parse_made(json.loads(text))
            except UNREADABLE:
                # Another tool changed the property. The file says the same.
                pass
        return MadeHours.of({self._hour(key): self._parsed(text).version for key, text in self.old().items()})

    def own_before(self, end: datetime) -> list[str]:
        """
        Return the keys of the properties of hours before a time.

        :raises AylaWarehouseError: if a property isn't of an hour
        """
        return [key for key in self.own if self._hour(key) < end]

    def old(self) -> dict[str, str]:
        """
        Return what the file of folded hours has.

        :raises AylaWarehouseError: if it can't be read
        """
        if self._old is None:
            self._old = self._read_folded(self.folded) if self.folded else {}
        return self._old

    def _read_folded(self, folded: Folded) -> dict[str, str]:
        content = self._read(folded.url)
        if content is None or Crc32c(content).base64 != folded.crc32c:
            state = "is missing" if content is None else "is damaged"
            raise AylaWarehouseError(
                f"{self._where}: {folded.url} {state}. It says which of the table's hours from {folded.first} to "
                f"{folded.last} are loaded. Restore it from an earlier version of the bucket. If you can't, remove the "
                f"table's property {FOLDED}: these hours then count as not loaded, and are loaded again."
            )
        try:
            hours: dict[str, str] = typed_field(json.loads(content), "hours", dict)
        except UNREADABLE as error:
            raise AylaWarehouseError(f"{self._where}: {folded.url} isn't valid ({type(error).__name__}).") from None
        return hours

    def _hour(self, key: str) -> datetime:
        try:
            return hour_of_key(key)
        except ValueError:
            place = f"the property {HOUR}{key}" if key in self.own else f"{key!r} in {self.folded and self.folded.url}"
            raise AylaWarehouseError(f"{self._where}: {place} isn't an hour. Remove it.") from None

    def _parsed(self, text: str) -> Entry:
        try:
            return Entry(*json.loads(text))
        except UNREADABLE:
            raise AylaWarehouseError(
                f"{self._where}: a property {HOUR}... isn't valid: {text!r:.200}. Remove it: its hour then counts as "
                "not loaded, and is loaded again."
            ) from None

    def _parsed_folded(self, text: str) -> Folded:
        parts = text.split(" ", 3)
        if len(parts) != 4:
            raise AylaWarehouseError(f"{self._where}: the property {FOLDED} isn't valid: {text!r:.200}")
        return Folded(*parts)


def folded_file(old: Mapping[str, str], more: Mapping[str, str], url: str) -> tuple[bytes, dict[str, str]]:
    """
    Return the content of a file of folded hours, and the properties that name it.

    :param old: what the file before it has
    :param more: what to add: hour to text. It replaces older texts
    :param url: where the file goes
    """
    hours = dict(sorted({**old, **more}.items()))
    content = json.dumps({"hours": hours}, ensure_ascii=False, indent=0).encode()
    folded = Folded(min(hours), max(hours), Crc32c(content).base64, url)
    properties = {FOLDED: folded.text()}
    ledger = Ledger(url, properties, lambda _: content)
    made = f"{folded.crc32c} {json.dumps(ledger.made().document())}"
    if len(made) <= _LONGEST_MADE:
        properties[MADE] = made
    return content, properties

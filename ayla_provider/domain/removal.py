"""Storage limitation: how long each layer keeps hours, and the certificate of what was removed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ayla_provider.domain.erasure import Leftover, merged
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hold import Hold
from ayla_provider.domain.hour import ExportHour, describe_hour, hour_of
from ayla_provider.domain.units import counted, files_text, size_text
from ayla_provider.errors import AylaConfigError

FORMAT = "ayla-export-removal/1"

CERTIFICATES = "_removals"
"""The folder of the certificates, beside the archive's event types."""

SHORTEST = timedelta(days=2)
"""Files of an hour come up to a day late, and are loaded after that."""


@dataclass(frozen=True, slots=True)
class Rule:
    """
    How long a layer keeps hours.

    :param layer: for people, such as ``archive``
    :param keep_for: how long, after the hour's start
    :param now: aware
    :param holds: the legal holds of the archive: their hours stay
    :param event_types: those that the rule is for; None for all
    :raises AylaConfigError: if the time is too short
    """

    layer: str
    keep_for: timedelta
    now: datetime
    holds: tuple[Hold, ...] = ()
    event_types: tuple[EventType, ...] | None = None

    def __post_init__(self) -> None:
        """Check the time."""
        if not isinstance(self.keep_for, timedelta) or self.keep_for < SHORTEST:
            raise AylaConfigError(
                f"keep_for of {self.layer} is {self.keep_for!r}: expected a timedelta of {SHORTEST.days} days or more"
            )

    @property
    def before(self) -> datetime:
        """The end of the hours to remove: aware, UTC, on the hour."""
        return hour_of(self.now - self.keep_for)

    def is_over(self, hour: ExportHour) -> bool:
        """Return whether the layer need not keep an hour any longer, whatever is held."""
        return hour.start < self.before and (self.event_types is None or hour.event_type in self.event_types)

    def hold_on(self, hour: ExportHour) -> Hold | None:
        """Return the first legal hold, by its id, that an hour is in; None if there is none."""
        return min((hold for hold in self.holds if hold.covers(hour)), key=lambda hold: hold.id, default=None)


def with_quarantine(keep_for: Mapping[str, timedelta]) -> dict[str, timedelta]:
    """Return how long to keep each layer, where quarantined lines aren't kept longer than the copies that have them."""
    of_lines = [keep_for[layer] for layer in ("archive", "quarantine") if layer in keep_for]
    return {**keep_for, **({"quarantine": min(of_lines)} if of_lines else {})}


@dataclass(slots=True)
class Removed:
    """What was removed from a layer, or what would be: counts, and no names of objects."""

    layer: str
    keep_for: timedelta
    before: datetime
    hours: int = 0
    objects: int = 0
    bytes: int = 0
    rows: int = 0
    """Rows of tables; 0 for layers of objects."""
    held: Counter[str] = field(default_factory=Counter)
    """The id of each legal hold to the number of hours that it keeps."""
    by_event_type: Counter[str] = field(default_factory=Counter)
    """The hours."""
    oldest: datetime | None = None
    newest: datetime | None = None
    leftovers: list[Leftover] = field(default_factory=list)
    """What stores still have of it."""
    remains: str = ""
    """The same in words."""

    @classmethod
    def of(cls, rule: Rule) -> Removed:
        """Return the counts of a rule that has removed nothing yet."""
        return cls(rule.layer, rule.keep_for, rule.before)

    def add(self, hour: ExportHour, *, objects: int = 0, size: int = 0, rows: int = 0) -> None:
        """Count an hour."""
        self.hours += 1
        self.objects += objects
        self.bytes += size
        self.rows += rows
        self.by_event_type[str(hour.event_type)] += 1
        self.oldest = min(hour.start, self.oldest or hour.start)
        self.newest = max(hour.start, self.newest or hour.start)

    def keep(self, leftovers: Iterable[Leftover]) -> None:
        """Add what stores still have of what was removed."""
        self.leftovers = merged([*self.leftovers, *leftovers])

    def document(self) -> dict[str, Any]:
        """Return the counts, for JSON."""
        return {
            "layer": self.layer,
            "keep_for_days": self.keep_for / timedelta(days=1),
            "before": self.before.isoformat(),
            "hours": self.hours,
            "objects": self.objects,
            "bytes": self.bytes,
            "rows": self.rows,
            "held": dict(self.held),
            "hours_by_event_type": dict(sorted(self.by_event_type.items())),
            "oldest": self.oldest and self.oldest.isoformat(),
            "newest": self.newest and self.newest.isoformat(),
            "remains": self.remains,
        }


def describe(removed: Removed, *, dry_run: bool) -> str:
    """
    Return what was removed from a layer, for people.

    :param dry_run: whether it only would be
    """
    verb = "would lose" if dry_run else "lost"
    text = f"{removed.layer} {verb} {counted(removed.hours, 'hour', 'hours')} before {describe_hour(removed.before)}"
    if removed.objects:
        text += f", {files_text(removed.objects)}, {size_text(removed.bytes)}"
    if removed.rows:
        text += f", {counted(removed.rows, 'row', 'rows')}"
    for name, hours in sorted(removed.held.items()):
        text += f"; {counted(hours, 'hour stays', 'hours stay')} because of the legal hold {name}"
    return f"{text}. {removed.remains[:1].upper()}{removed.remains[1:]}.".removesuffix(" .")


def in_words(leftovers: Iterable[Leftover]) -> str:
    """Return what stores still have of removed data, and until when, for :attr:`Removed.remains`."""
    texts = []
    # What several tables of a warehouse have alike is said once.
    for each in merged(replace(one, store="") for one in leftovers):
        until = f" (gone by {each.gone_by.astimezone(UTC):%Y-%m-%d})" if each.gone_by else ""
        texts.append(f"{each.reason}{until}")
    return "; ".join(texts)


def certificate(
    layers: Iterable[Removed], *, started_at: datetime, ended_at: datetime, written_by: Mapping[str, str]
) -> str:
    """Return the certificate of a removal as JSON text."""
    document = {
        "format": FORMAT,
        "started_at": started_at.isoformat(),
        "ended_at": ended_at.isoformat(),
        "written_by": dict(written_by),
        "layers": [layer.document() for layer in layers],
    }
    return json.dumps(document, indent=1) + "\n"


def certificate_path(started_at: datetime, what: str) -> str:
    """
    Return the path of a certificate, relative to the archive.

    :param what: keeps the certificates of two tasks apart, such as a task's id; letters, digits, ``_``, and ``-``
    """
    at = started_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    safe = "".join(character if character.isalnum() or character in "_-" else "-" for character in what)
    return f"{CERTIFICATES}/{at}-{safe or 'removal'}.json"

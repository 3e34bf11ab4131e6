"""How far verifications have read the files of an event type: a small JSON document in the archive."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ayla_provider.domain.events import EventType
from ayla_provider.domain.json_fields import UNREADABLE, require, require_format, time_field, typed_field
from ayla_provider.domain.paths import unsafe_reason
from ayla_provider.errors import AylaDestinationError

FORMAT = "ayla-verify-position/1"

FIRST_SHARE = timedelta(days=1)
"""How much of the period the first run reads: nobody knows yet how often verifications run."""


@dataclass(frozen=True, slots=True, order=True)
class FilePlace:
    """A file's place in the order in which files are read."""

    hour: datetime
    """Aware, UTC."""
    path: str


@dataclass(frozen=True, slots=True)
class Position:
    """
    How far the files of an event type have been read.

    A *round* reads each file once. A run reads the part of the round that is due until the next run.
    """

    event_type: EventType
    round_started: datetime | None = None
    """When the first run of the round began: aware. None between two rounds."""
    last: FilePlace | None = None
    """The last file that was read in the round; None if none was."""
    last_run: datetime | None = None
    """When the last run began that read all that was due: aware. None before the first one."""
    again: tuple[FilePlace, ...] = ()
    """Files whose content was wrong, or couldn't be read. Each run reads them again, until they are right."""

    def share(self, now: datetime, read_every: timedelta) -> float:
        """
        Return the share of all bytes, 0 to 1, that the round must have read when this run ends.

        The next run is expected to come as long after this one as this one comes after the last. A round has as many
        runs as begin within the period, so that each file is read again within it.

        :param now: when this run began, aware
        :param read_every: the period
        """
        since_last = now - self.last_run if self.last_run and self.last_run < now else FIRST_SHARE
        # Runs don't begin on the second: a few seconds must not change the number of runs.
        runs = max(int(read_every / since_last + 0.02), 1)
        elapsed = now - min(self.round_started or now, now)
        runs_before = round(elapsed / since_last)
        return min((runs_before + 1) / runs, 1.0)

    def dumps(self) -> str:
        """Return the position as JSON text: the inverse of :func:`loads`."""
        document = {
            "format": FORMAT,
            "event_type": self.event_type,
            "round_started": _text(self.round_started),
            "last": _place_document(self.last) if self.last else None,
            "last_run": _text(self.last_run),
            "again": [_place_document(place) for place in self.again],
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def loads(text: str | bytes, where: str, event_type: EventType) -> Position:
    """
    Return the position that a JSON text holds.

    :param where: the document's URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if the text isn't the position of this event type
    """
    try:
        document: dict[str, Any] = json.loads(text)
        require_format(document["format"], FORMAT, where)
        require(document["event_type"] == event_type, "it is that of another event type")
        return Position(
            event_type,
            round_started=_optional_time(document, "round_started"),
            last=None if document["last"] is None else _place(document["last"]),
            last_run=_optional_time(document, "last_run"),
            again=tuple(map(_place, typed_field(document, "again", list))),
        )
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} isn't a valid position of format {FORMAT} ({type(error).__name__}: {error!s:.200})"
        ) from error


def _place(document: Any) -> FilePlace:
    place = FilePlace(time_field(document, "hour"), typed_field(document, "path", str))
    reason = unsafe_reason(place.path)
    require(not reason, f"a path {reason}")
    return place


def _place_document(place: FilePlace) -> dict[str, str]:
    return {"hour": place.hour.isoformat(), "path": place.path}


def _optional_time(document: dict[str, Any], name: str) -> datetime | None:
    return None if document[name] is None else time_field(document, name)


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None

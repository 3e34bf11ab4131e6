"""A note that an hour couldn't be copied, and why. It keeps the reconcile DAG from trying the same again and again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ayla_provider.domain.arrival import HourStatus
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.json_fields import UNREADABLE, time_field
from ayla_provider.errors import AylaError

FORMAT = "ayla-export-failure/1"

_LONGEST = timedelta(days=7)


def facts_of(status: HourStatus) -> str:
    """Return a digest of what the source shows for an hour: files, with their generations, and what is in doubt."""
    shown = "\n".join(sorted(f"{file.generation} {file.name}" for file in status.files))
    if status.obstacle:
        shown += f"\nunplaced {status.obstacle.name}"
    return hashlib.sha256(shown.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Failure:
    """What the last task that couldn't copy an hour leaves for later tasks."""

    hour: ExportHour
    facts: str
    """What the source showed, see :func:`facts_of`."""
    error: str
    """The name of the error's class."""
    message: str
    passing: bool
    """Whether a later try can succeed although nobody changes anything."""
    tasks: int
    """How many tasks in a row failed, each after all its tries, while the source showed the same."""
    failed_at: datetime
    written_by: Mapping[str, str] = field(default_factory=dict)
    """Which run: ``dag_id``, ``run_id``, ``task_id``, ``try_number``."""

    def is_to_be_left(self, now: datetime) -> bool:
        """
        Whether another copy would only fail again, as long as the source shows the same files.

        If only a person can help, always. Otherwise for 2, 4, 8, ... hours, and for seven days at most. A time of the
        future, beyond what clocks differ, says nothing.
        """
        pause = min(ONE_HOUR * 2 ** min(self.tasks, 10), _LONGEST)
        return not self.passing or -ONE_HOUR < now - self.failed_at < pause

    def dumps(self) -> str:
        """Return the note as JSON text: the inverse of :func:`loads`."""
        document = {
            "format": FORMAT,
            "event_type": self.hour.event_type,
            "hour": self.hour.start.isoformat(),
            "error": self.error,
            "message": self.message,
            "passing": self.passing,
            "tasks": self.tasks,
            "failed_at": self.failed_at.isoformat(),
            "written_by": dict(self.written_by),
            "facts": self.facts,
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def loads(text: str | bytes) -> Failure | None:
    """Return the note that a JSON text holds; None if it isn't a valid note."""
    try:
        document: dict[str, Any] = json.loads(text)
        if document["format"] != FORMAT:
            return None
        note = Failure(
            hour=ExportHour(EventType(str(document["event_type"])), datetime.fromisoformat(document["hour"])),
            facts=str(document["facts"]),
            error=str(document["error"]),
            message=str(document["message"]),
            passing=bool(document["passing"]),
            tasks=max(1, int(document["tasks"])),
            failed_at=time_field(document, "failed_at"),
            written_by=dict(document["written_by"]),
        )
    except UNREADABLE:
        return None
    return note


def note(
    previous: Failure | None, status: HourStatus, error: AylaError, *, now: datetime, written_by: Mapping[str, str]
) -> Failure:
    """
    Return the note of a task that couldn't copy an hour.

    :param previous: the note of an earlier task; None if there is none
    """
    facts = facts_of(status)
    return Failure(
        hour=status.hour,
        facts=facts,
        error=type(error).__name__,
        message=str(error),
        passing=error.retryable,
        tasks=previous.tasks + 1 if previous and previous.facts == facts else 1,
        failed_at=now,
        written_by=written_by,
    )

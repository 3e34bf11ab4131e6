"""Objects of the export that can't be placed in time, and which hours they leave in doubt. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ayla_provider.domain.events import EVENT_FOLDERS, EventType, fold
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of

_ARRIVAL = 2 * ONE_HOUR
"""How long after its hour an object without any readable time is taken for one of that hour's files."""

_WILDCARD = re.compile(r"[*?\[]")

_LIKE_A_TIME = re.compile(
    r"(?P<year>[12]\d{3})(?P<separator>[^0-9]?)(?P<month>\d{2})(?P=separator)(?P<day>\d{2})[^0-9]{0,2}(?P<hour>\d{1,2})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An object that isn't a file in a folder named by a time, or is in a folder of no known event type."""

    name: str
    """The object's whole name."""
    created: datetime
    """When this generation was created: aware, UTC."""
    likely_hour: datetime | None = None
    """The start of the hour that the name seems to state; None if it states none. A guess proves nothing."""
    all_hours: bool = False
    """Whether it leaves every hour in doubt, because more such objects follow than a look reads."""
    folder: str | None = None
    """The event folder that nobody declared, if that is why the object can't be placed."""
    certain: bool = False
    """Whether ``likely_hour`` is certain, because the name has a known style."""
    beside: tuple[str, ...] = ()
    """The folders that the connection names for the event type, if the object's folder also means it."""

    @classmethod
    def of(cls, name: str, prefix: str, created: datetime) -> Unplaced:
        """
        Return an object of an event folder.

        :param prefix: the event folder's, see :func:`~ayla_provider.domain.paths.source_prefix`
        """
        return cls(name, created, likely_hour(name.removeprefix(prefix)))

    def doubts_absence(self, hour: ExportHour) -> bool:
        """
        Whether it can be a file of an hour that has no file.

        It was created after the hour began, or its name looks like this hour: the exporter's clock can be wrong.
        """
        if self.certain:
            return self.likely_hour == hour.start
        return self.all_hours or self.created >= hour.start or self.likely_hour == hour.start

    def doubts_completeness(self, hour: ExportHour) -> bool:
        """Whether it can be a file of an hour that has other files."""
        if self.folder is not None or self.all_hours:
            return False
        if self.likely_hour is not None:
            return self.likely_hour == hour.start
        return hour.start <= self.created < hour.end + _ARRIVAL


def advise(unplaced: Unplaced, event_type: str = "<event type>") -> str:
    """
    Return what an object means and the ways out, for a message.

    :param event_type: of the hour that is in doubt
    """
    if unplaced.folder is not None and unplaced.beside:
        return (
            f"the object {unplaced.name!r} is in a folder of this event type that the connection doesn't read. Set "
            f"event_folders to {_setting(event_type, *unplaced.beside, unplaced.folder)} to read both. If it "
            f"isn't export data, add {ignoring(unplaced.folder, '/*')} to ignored_objects"
        )
    if unplaced.folder is not None and _is_event_folder_below(unplaced.name, unplaced.folder):
        return (
            f"the object {unplaced.name!r} is in an event folder inside the folder {unplaced.folder!r}. If "
            f"the export is there, set prefix to the whole path of {unplaced.folder!r} in the bucket. If it "
            f"isn't export data, add {ignoring(unplaced.folder, '/*')} to ignored_objects"
        )
    if unplaced.folder is not None:
        both = _setting(event_type, unplaced.folder, EVENT_FOLDERS.get(EventType(event_type)))
        return (
            f"the object {unplaced.name!r} is in a folder that is not a known event type. If it is this event type "
            f"under another name, set event_folders in the connection to {both}, the new name first; if it is "
            "another event type, give it a name of its own there. If it isn't export data, add "
            f"{ignoring(unplaced.folder, '/*')} to ignored_objects"
        )
    return (
        f"the object {unplaced.name!r} can't be placed in time. If it is export data, set hour_pattern in the "
        "connection to how its folder writes the time, such as %Y-%m-%dT%H:%M:%SZ, %Y/%m/%d/%H, or %d-%b-%Y %H. If it "
        f"is a stray file, add {ignoring(unplaced.name)} to ignored_objects"
    )


def _is_event_folder_below(name: str, folder: str) -> bool:
    """Whether an object is in a folder of a known event type inside another folder."""
    _, _, rest = f"/{name}".partition(f"/{folder}/")
    inner, slash, _ = rest.partition("/")
    return bool(slash) and fold(inner) in {fold(event_type) for event_type in EVENT_FOLDERS}


def _setting(event_type: str, *folders: str | None) -> str:
    """Return the value of ``event_folders`` that names the folders, as JSON."""
    names = list(dict.fromkeys(folder for folder in folders if folder))
    return json.dumps({event_type: names}, ensure_ascii=False)


def ignoring(name: str, pattern: str = "") -> str:
    """
    Return the entry of ``ignored_objects`` that matches a name alone, as JSON.

    :param pattern: what follows the name
    """
    return json.dumps(_WILDCARD.sub(r"[\g<0>]", name) + pattern, ensure_ascii=False)


def likely_hour(text: str) -> datetime | None:
    """Return the start of the hour that a name seems to state, in any style; None if it states none."""
    match = _LIKE_A_TIME.match(text)
    if not match:
        return None
    year, month, day, hour = (int(match[part]) for part in ("year", "month", "day", "hour"))
    try:
        return datetime(year, month, day, hour, tzinfo=UTC)
    except ValueError:
        return None


class UnplacedObjects:
    """
    Some of these objects: the newest one of each hour, so that their number is bounded.

    :param objects: the first ones
    """

    def __init__(self, objects: Iterable[Unplaced] = ()) -> None:
        self._newest: dict[tuple[bool, datetime], Unplaced] = {}
        for unplaced in objects:
            self.add(unplaced)

    def add(self, unplaced: Unplaced) -> None:
        """Take an object."""
        likely = unplaced.likely_hour
        key = (likely is None, likely or hour_of(unplaced.created))
        known = self._newest.get(key)
        if known is None or (known.all_hours, known.created) < (unplaced.all_hours, unplaced.created):
            self._newest[key] = unplaced

    def __iter__(self) -> Iterator[Unplaced]:
        return iter(self._newest.values())

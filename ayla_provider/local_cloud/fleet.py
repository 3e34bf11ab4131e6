"""The files of the export for each hour, generated from a seed, with every oddity of real exports."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import exp, log
from typing import Any

from ayla_provider.domain.events import EVENT_FOLDERS, EventType
from ayla_provider.domain.hour import ONE_HOUR, format_folder, hour_of
from ayla_provider.local_cloud.answers import FileAnswer, FleetFile, HourAnswer, answer_of, generation_of
from ayla_provider.local_cloud.events import Events

CYCLE = 6
"""The length of the cycle of oddities, in hours. This number of consecutive hours contains every oddity."""

TWO_FOLDERS, MALFORMED, GAP, EMPTY_FILE, REPLACED, LATE = range(CYCLE)
"""The places of the oddities in the cycle. Every hour of datapoints has duplicates and rows out of order."""

_GOOD_FOR_EACH_MALFORMED = 20
"""Lines for each malformed one, at least."""

_LAGS = ((0.0, 15.0), (0.5, 26.3), (0.95, 49.0), (0.97, 60.0), (0.99, 1440.0), (1.0, 1578.0))
"""Share of files, and minutes from the end of the hour until they existed, as in exports that Ayla published."""

_FILES = {
    "datapoint": "Datapoints.csv",
    "datapoint_ack": "DatapointAcks.csv",
    "connection": "Connections.csv",
    "location": "Locations.csv",
    "registration": "Registrations.csv",
}


@dataclass(frozen=True)
class ExportParameters:
    """
    The parameters of a made-up export. The same parameters always create the same export.

    :param start: the first hour; None means no export
    :param end: the end of the last hour; None means that the export doesn't end
    """

    seed: int
    oem_id: str
    rows: int
    start: datetime | None
    end: datetime | None
    max_lag: timedelta | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "seed": self.seed,
            "oem_id": self.oem_id,
            "rows": self.rows,
            "start": self.start.isoformat() if self.start else None,
            "end": self.end.isoformat() if self.end else None,
            "max_lag": self.max_lag.total_seconds() if self.max_lag else None,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ExportParameters:
        """Return the parameters from the result of :meth:`as_json`."""
        start, end = (values[name] and datetime.fromisoformat(values[name]) for name in ("start", "end"))
        lag = None if values["max_lag"] is None else timedelta(seconds=values["max_lag"])
        return cls(values["seed"], values["oem_id"], values["rows"], start, end, lag)


class Fleet:
    """
    Creates the files of any hour. They depend on the parameters and the hour only.

    :param oem_id: the customer's folder, and the value of a column
    :param rows: the approximate number of rows in an average hour of datapoints; other event types have fewer
    :param max_lag: the longest time from the end of an hour until its files exist; None means as late as real files
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        oem_id: str = "1a2b3c4d",
        devices: int = 24,
        rows: int = 120,
        max_lag: timedelta | None = None,
    ) -> None:
        if max_lag is not None and max_lag <= timedelta(0):
            raise ValueError("max_lag: expected more than 0, because files come after their hour")
        self.seed = seed
        self.oem_id = oem_id
        self._max_lag = max_lag
        self.events = Events(seed, devices, rows, oem_id, self._is_gap)

    def place(self, hour: datetime) -> int:
        """Return the place of an hour in the cycle of oddities."""
        return (int(hour.timestamp()) // 3600 + self.seed) % CYCLE

    def _is_gap(self, hour: datetime) -> bool:
        return self.place(hour) == GAP

    def answer(self, event_type: str, hour: datetime) -> HourAnswer:
        """Return the facts about an hour."""
        return answer_of(event_type, hour, self.files(event_type, hour))

    def files(self, event_type: str, hour: datetime) -> list[FleetFile]:
        """Return the files of one event type and hour."""
        hour = hour_of(hour)
        place = self.place(hour)
        rng = random.Random(f"{self.seed}/{event_type}/{hour.isoformat()}")  # noqa: S311 (made-up data)
        lines = self.events.lines(event_type, hour)
        if not lines:
            return []
        files = []
        for folder_time, part in self._folders(rng, event_type, place, hour, lines):
            created = self._created(rng, event_type, place, hour)
            contents = self._contents(rng, event_type, place, part)
            files.append(self._file(event_type, folder_time, created, contents))
        return files

    def _folders(
        self, rng: random.Random, event_type: str, place: int, hour: datetime, lines: list[bytes]
    ) -> list[tuple[datetime, list[bytes]]]:
        """Distribute the lines of an hour over its folders. A second folder repeats a row of the first."""
        busy = event_type == "datapoint" and place == TWO_FOLDERS
        some = event_type in ("datapoint", "connection") and rng.random() < 0.1
        if len(lines) < 2 or not (busy or some):
            return [(hour, lines)]
        half = len(lines) // 2
        second = hour + timedelta(seconds=rng.randrange(600, 3000))
        return [(hour, lines[:half]), (second, [lines[half - 1], *lines[half:]])]

    def _created(self, rng: random.Random, event_type: str, place: int, hour: datetime) -> datetime:
        """Return the time from which a file exists."""
        minutes = lag_minutes(rng.random())
        if event_type == "datapoint" and place == LATE:
            minutes = rng.uniform(180, 300)
        elif event_type == "datapoint" and place == (LATE + 1) % CYCLE:
            # The files of the hour before, which is late, come after the files of this hour.
            minutes = min(minutes, 110)
        lag = timedelta(minutes=minutes, microseconds=rng.randrange(1_000_000))
        return hour + ONE_HOUR + self._capped(lag)

    def _capped(self, lag: timedelta) -> timedelta:
        return lag if self._max_lag is None else min(lag, self._max_lag)

    def _contents(self, rng: random.Random, event_type: str, place: int, lines: list[bytes]) -> list[bytes]:
        """Return the bytes of each generation of a file."""
        if event_type == "datapoint_ack" and place == EMPTY_FILE:
            return [b""]
        lines = list(lines)
        if event_type in ("datapoint", "datapoint_ack"):
            for line in rng.sample(lines, max(1, len(lines) // 50)):
                lines.insert(rng.randint(0, len(lines)), line)
            at = rng.randrange(len(lines) // 2)
            lines.append(lines.pop(at))
        if event_type == "datapoint" and place == MALFORMED:
            for broken in _malformed(rng, lines):
                lines.insert(rng.randint(1, len(lines)), broken)
        whole = b"".join(line + b"\r\n" for line in lines)
        if event_type == "connection" and place == REPLACED:
            return [b"".join(line + b"\r\n" for line in lines[: len(lines) // 2]), whole]
        return [whole]

    def _file(self, event_type: str, folder_time: datetime, created: datetime, contents: list[bytes]) -> FleetFile:
        file_name = _FILES[event_type]
        name = f"{self.oem_id}/{EVENT_FOLDERS[EventType(event_type)]}/{format_folder(folder_time)}/{file_name}"
        times = [created]
        if len(contents) == 2:
            end = hour_of(folder_time) + ONE_HOUR
            second = end + self._capped(created - end + timedelta(minutes=20))
            times = [min(created, end + (second - end) / 2), second] if created >= second else [created, second]
        generations = tuple(generation_of(event_type, time, data) for time, data in zip(times, contents, strict=True))
        return FleetFile(FileAnswer(name, folder_time, file_name, generations), tuple(contents))


def lag_minutes(share: float) -> float:
    """Return the lag of a file after the end of its hour, in minutes: the quantile for a share from 0 to 1."""
    for (low, least), (high, most) in pairwise(_LAGS):
        if share <= high:
            part = (share - low) / (high - low)
            return exp(log(least) + part * (log(most) - log(least)))
    return _LAGS[-1][1]


def _malformed(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    """Return some malformed lines: each of another kind, and fewer than a load refuses, unless there are few lines."""
    cut = rng.choice(lines)
    fields = rng.choice(lines).split(b",")
    fields[4] = b"\xff\xfe" + fields[4]
    kinds = [cut[: len(cut) // 2], rng.choice(lines) + b",one,more", b",".join(fields)]
    return rng.sample(kinds, min(max(1, len(lines) // _GOOD_FOR_EACH_MALFORMED), len(kinds)))

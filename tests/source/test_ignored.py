"""What ``ignored_objects`` matches, and that each message names an entry that works."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest

from ayla_provider.domain.arrival import ArrivalRule, HourState, HourStatus
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, format_folder
from ayla_provider.source.export import Export
from ayla_provider.source.settings import export_settings
from ayla_provider.source.unplaced import IgnoredObjects
from tests.support.exporter import DAY, START, MemoryBucket

NOW = START + 10 * DAY
HOUR = START + 5 * DAY


def export_with(*names: str, ignored: Sequence[str] = ()) -> Export:
    """An export with a datapoint for each hour, a connection before and after HOUR, and further objects of today."""
    hours = [START + number * ONE_HOUR for number in range(239)]
    objects = {f"Datapoint/{format_folder(hour)}/f.csv": hour + 2 * ONE_HOUR for hour in hours}
    for hour in (HOUR - DAY, HOUR + DAY):
        objects[f"Connection/{format_folder(hour)}/f.csv"] = hour + 2 * ONE_HOUR
    objects.update(dict.fromkeys(names, NOW - ONE_HOUR))
    patterns = export_settings("ayla_default", {"ignored_objects": list(ignored)}).ignored_objects
    return Export(MemoryBucket(objects), "", now=lambda: NOW, ignored_objects=patterns)


def status_of(export: Export) -> HourStatus:
    (status,) = export.status([ExportHour(EventType("connection"), HOUR)], ArrivalRule())
    return status


def name_in(status: HourStatus) -> str:
    """The entry that the message says."""
    match = re.search(r'add ("(?:[^"\\]|\\.)+") to ignored_objects', status.problem)
    assert match, status.problem
    return str(json.loads(match[1]))


@pytest.mark.parametrize(
    "name",
    [
        "Connection/README",
        "Connection/notes[1].txt",
        "Connection/what?.txt",
        "Connection/a*b[",
        "Connection/Kopie von ä.txt",
        'Connection/"x"\\',
        "Old [backup]/x/f",
        "Old?/x",
        "Old*/x",
    ],
)
def test_the_entry_that_the_message_says_ignores_the_object(name: str) -> None:
    status = status_of(export_with(name))
    assert status.state is HourState.UNPROVEN
    assert status_of(export_with(name, ignored=[name_in(status)])).state is HourState.EMPTY
    # Nothing else.
    other = "Connection/what1.txt" if name.startswith("Connection") else "Old1/x"
    assert status_of(export_with(name, other, ignored=[name_in(status)])).state is HourState.UNPROVEN


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("Connection/notes[1].txt", "Connection/notes[1].txt"),
        ("Old [backup]/x/f", "Old [backup]/*"),
        ("Connection/notes[1].txt", "Connection/notes[[]1].txt"),
    ],
)
def test_a_name_matches_itself_also_with_brackets(name: str, pattern: str) -> None:
    assert name in IgnoredObjects("", [pattern])
    assert status_of(export_with(name, ignored=[pattern])).state is HourState.EMPTY


@pytest.mark.parametrize("folder", ["_backup", ".backup", "2026-08-25T", "2026-08"])
def test_any_number_of_ignored_objects_blocks_nothing(folder: str) -> None:
    names = [f"Connection/{folder}/{number:05}" for number in range(5_100)]
    ignored = [f"Connection/{folder}/*"]
    few, many = export_with(*names[:2_000], ignored=ignored), export_with(*names, ignored=ignored)
    costs = []
    for export in (few, many):
        assert status_of(export).state is HourState.EMPTY
        costs.append(export.source.requests)
    assert costs[0] == costs[1]


def test_an_object_behind_ignored_ones_keeps_the_doubt() -> None:
    names = [f"Connection/_backup{folder}/{number:05}" for folder in range(7) for number in range(1_100)]
    ignored = [f"Connection/_backup{folder}/*" for folder in range(7)]
    assert status_of(export_with(*names, ignored=ignored)).state is HourState.EMPTY
    assert status_of(export_with(*names, "Connection/_x", ignored=ignored)).state is HourState.UNPROVEN
    # A pattern that can leave some out is no group.
    assert status_of(export_with(*names, ignored=["Connection/_*/0*"])).state is HourState.UNPROVEN

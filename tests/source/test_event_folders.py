"""An event type whose folder gets another name."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from ayla_provider.domain.arrival import ArrivalRule, HourState, HourStatus
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, format_folder
from ayla_provider.source.export import Export
from ayla_provider.source.settings import export_settings
from tests.support.exporter import DAY, START, MemoryBucket

NOW = START + 10 * DAY
RENAMED = START + 5 * DAY
BEFORE, AFTER = RENAMED - ONE_HOUR, RENAMED + 2 * ONE_HOUR
NEW = "Connections v2"


def export_with(extra: dict[str, datetime] | None = None, *, folders: Any = None, **settings: Any) -> Export:
    """An export with a datapoint for each hour, and a connection for each third, in a new folder from RENAMED on."""
    objects = {}
    for number in range(239):
        hour = START + number * ONE_HOUR
        objects[f"Datapoint/{format_folder(hour)}/f.csv"] = hour + timedelta(minutes=90)
        if number % 3 == 2:
            folder = "Connection" if hour < RENAMED else NEW
            objects[f"{folder}/{format_folder(hour)}/f.csv"] = hour + timedelta(minutes=90)
    objects.update(extra or {})
    read = export_settings("ayla_default", {"event_folders": {"connection": folders}}).event_folders if folders else {}
    return Export(MemoryBucket(objects), "", now=lambda: NOW, event_folders=read, **settings)


def status_of(export: Export, hour: datetime) -> HourStatus:
    (status,) = export.status([ExportHour(EventType("connection"), hour)], ArrivalRule())
    return status


def test_the_new_folder_alone_leaves_hours_of_the_old_one_in_doubt() -> None:
    export = export_with(folders=NEW)
    status = status_of(export, BEFORE)
    assert status.state is HourState.UNPROVEN
    assert '{"connection": ["Connections v2", "Connection"]}' in status.problem
    assert status_of(export, AFTER).state is HourState.LANDED
    # Only the hours of which it has files.
    assert status_of(export, BEFORE - ONE_HOUR).state is HourState.EMPTY
    assert status_of(export, AFTER + ONE_HOUR).state is HourState.EMPTY
    assert status_of(export_with(folders=NEW, ignored_objects=["Connection/*"]), BEFORE).state is HourState.EMPTY
    # In an unknown style as well.
    odd = {f"Connection/{BEFORE - ONE_HOUR:%Y-%m-%dT%H}/f.csv": BEFORE + ONE_HOUR}
    assert status_of(export_with(odd, folders=NEW), BEFORE - ONE_HOUR).state is HourState.UNPROVEN


def test_both_folders_are_read() -> None:
    export = export_with(folders=[NEW, "Connection"])
    event_type = EventType("connection")
    hours = [ExportHour(event_type, START + number * ONE_HOUR) for number in range(230)]
    statuses = export.status(hours, ArrivalRule())
    expected = [HourState.LANDED if number % 3 == 2 else HourState.EMPTY for number in range(230)]
    assert [status.state for status in statuses] == expected
    assert len(export.hours_before(event_type, NOW)) == len(export.oldest_hours(event_type)) == 79
    assert export.event_folders() == {"connection": NEW, "datapoint": "Datapoint"}
    assert export.later_than(ExportHour(event_type, BEFORE))[0].name.startswith(NEW)
    odd = {f"Connection/{BEFORE - ONE_HOUR:%Y-%m-%dT%H}/f.csv": BEFORE + ONE_HOUR}
    doubt = status_of(export_with(odd, folders=[NEW, "Connection"]), BEFORE - ONE_HOUR)
    assert doubt.state is HourState.UNPROVEN


def test_files_of_one_name_in_both_folders_have_paths_of_their_own() -> None:
    other = {f"{NEW}/{format_folder(BEFORE)}/f.csv": BEFORE + 2 * ONE_HOUR}
    export = export_with(other, folders=[NEW, "Connection"])
    status = status_of(export, BEFORE)
    assert status.count == 2
    assert {file.file for file in status.files} == {"f.csv", "Connection/f.csv"}


def test_an_old_folder_alone_is_the_event_type_s() -> None:
    export = export_with(folders=["Not yet", "Connection"])
    assert export.event_folders()["connection"] == "Connection"
    assert status_of(export, BEFORE).state is HourState.LANDED


@pytest.mark.parametrize("late", [RENAMED + ONE_HOUR, NOW - 6 * ONE_HOUR])
def test_one_file_in_the_old_folder_does_not_hide_the_new_one(late: datetime) -> None:
    export = export_with({f"Connection/{format_folder(late)}/late.csv": late + 90 * timedelta(minutes=1)})
    status = status_of(export, AFTER)
    assert status.state is HourState.UNPROVEN
    assert '{"connection": ["Connections v2", "Connection"]}' in status.problem
    ignoring = export_with(
        {f"Connection/{format_folder(late)}/late.csv": late + 90 * timedelta(minutes=1)},
        ignored_objects=[f"{NEW}/*"],
    )
    assert status_of(ignoring, AFTER).state is HourState.EMPTY


def test_an_export_in_a_folder_of_its_own_asks_for_a_prefix() -> None:
    name = f"export/Connection/{format_folder(BEFORE)}/f.csv"
    status = status_of(export_with({name: NOW - ONE_HOUR}, ignored_objects=[f"{NEW}/*"]), BEFORE - ONE_HOUR)
    assert status.state is HourState.UNPROVEN
    assert "set prefix to the whole path of 'export' in the bucket" in status.problem
    assert "event_folders" not in status.problem
    assert '"export/*"' in status.problem

"""Checks of an export's bucket: whether it can be listed, its event folders, and the newest file of each."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.csv.foreign import is_beside
from ayla_provider.domain.csv.recognition import described, recognise, refuse_other_format
from ayla_provider.domain.csv.sample import HEAD, LONGEST_HEAD, Shape, head_of, is_enough, shape_of
from ayla_provider.domain.events import EVENT_FOLDERS, EventType
from ayla_provider.domain.hour import ONE_HOUR, FolderStyle, describe_hour, hour_of, hours_of
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.units import counted, files_text, size_text
from ayla_provider.domain.unplaced import Unplaced, advise, ignoring
from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaError, AylaLayoutError
from ayla_provider.source.check_steps import (
    CheckedConnection,
    ListedExport,
    compare_with_dashboard,
)
from ayla_provider.source.export import Export
from ayla_provider.source.newest_files import NewestFiles
from ayla_provider.source.reader import first_bytes
from ayla_provider.transport.steps import Finding, StepRunner

BUCKET_STEPS = ("connection", "bucket", "event folders")
"""The steps to the event folders of an export in Amazon S3."""

_LATEST = timedelta(hours=27)
"""Of 266 files that Ayla published, the latest came 26.3 hours after its hour."""

_USUAL = timedelta(hours=2)
"""Of 266 files that Ayla published, 97 % came within an hour of their hour's end."""

_RECENT = timedelta(days=2)
"""The hours that are in use. An object that is older leaves none of them in doubt."""

UNPLACED_STEP = "objects"

_LOCAL_TIME = (
    "Folder names are read as UTC. If yours are in local time, all hours are shifted: ask Ayla support which time zone "
    "the export has."
)

_DECLARE = "To load such files, declare their layout in the task's argument layouts."


def reach_bucket(connection: CheckedConnection, runner: StepRunner) -> ListedExport | None:
    """
    Run the steps to the event folders of an export in Amazon S3.

    :return: None if a step failed
    """
    export = runner.run("connection", partial(open_export, connection, runner), partial(advise_connection, connection))
    if export is None:
        return None
    fields = "bucket_name and prefix"
    if runner.run("bucket", partial(list_bucket, export), partial(advise_bucket, fields)) is None:
        return None
    return reach_event_folders(export, runner, fields)


def reach_event_folders(export: Export, runner: StepRunner, bucket_fields: str) -> ListedExport | None:
    """
    Run the step that lists the event folders.

    :param bucket_fields: the connection's fields that say where the export is
    :return: None if there are no folders
    """
    folders = runner.run("event folders", partial(list_event_folders, export, bucket_fields), advise_event_folders)
    return ListedExport(export, folders) if folders else None


def advise_connection(connection: CheckedConnection, error: Exception) -> str:
    """Return what to do about a connection that is missing or incomplete."""
    if isinstance(error, AylaConfigError) and "isn't defined" not in str(error):
        return f"Correct the connection {connection.conn_id!r} as the message says, where it is defined."
    return (
        f"Define the connection {connection.conn_id!r} in the Airflow UI, in a secrets backend, or as "
        f"AIRFLOW_CONN_{connection.conn_id.upper()}, with conn_type ayla, login (the e-mail) and password, and "
        "with app_id, app_secret, oem_id, bucket and acs_url in its extra."
    )


def open_export(connection: CheckedConnection, runner: StepRunner) -> Finding[Export]:
    """Check that all fields are there."""
    export = connection.fresh_export()
    runner.secrets += connection.secrets
    return Finding(True, f"{connection.conn_id}: all fields are there", value=export)


def advise_bucket(fields: str, error: Exception) -> str:
    """
    Return what to do if the bucket can't be listed.

    :param fields: the connection's fields that say where the export is
    """
    if isinstance(error, AylaAccessDenied | AylaConfigError):
        return f"{compare_with_dashboard(fields)}."
    return "Check that this machine reaches Cloud Storage (proxy, firewall). Then check again."


def list_bucket(export: Export) -> Finding[bool]:
    """Check that objects can be listed. The value is whether there is any."""
    try:
        has_objects = _holds_objects(export, export.root)
    except AylaAccessDenied:
        folders = sorted({*EVENT_FOLDERS.values(), *export.declared_folders.values()})
        allowed = [folder for folder in folders if _may_list(export, folder)]
        if not allowed:
            raise
        return Finding(
            False,
            f"{_quoted(allowed)} may be listed, but not the folder that contains them, {export.url}",
            "The connection is right. Ask Ayla support for access to all of this folder: without the list of all event "
            "folders, nothing shows whether an hour without files is empty.",
        )
    return Finding(True, f"{export.url} may be listed", value=has_objects)


def _holds_objects(export: Export, prefix: str) -> bool:
    listing = export.source.objects(prefix, f"a listing below {export.source.url}/{prefix}", max_results=1)
    return next(listing, None) is not None


def _may_list(export: Export, folder: str) -> bool:
    try:
        _holds_objects(export, export.prefix(folder))
    except AylaError:
        return False
    return True


def advise_event_folders(error: Exception) -> str:
    """Return what to do if the event folders can't be listed."""
    return (
        "If two folders mean one event type, name the one to take in the connection's event_folders. Otherwise check "
        "again."
    )


def list_event_folders(export: Export, bucket_fields: str) -> Finding[dict[EventType, str]]:
    """Check that the event folders are the expected ones. The value is event type to folder."""
    folders = export.event_folders()
    if not folders:
        advice = f"{compare_with_dashboard(bucket_fields)}."
        return Finding(False, f"{export.url} holds objects but no event folders", advice)
    known = [folder for event_type, folder in folders.items() if event_type in EVENT_FOLDERS]
    unknown = {event_type: folder for event_type, folder in folders.items() if event_type not in EVENT_FOLDERS}
    missing = [folder for event_type, folder in EVENT_FOLDERS.items() if event_type not in folders]
    found = f"found {_quoted(known) or 'none of the documented ones'}"
    if unknown:
        found += f"; unknown: {_quoted(list(unknown.values()))}"
    if missing:
        found += f"; missing: {', '.join(missing)}"

    absent = [folder for event_type, folder in export.declared_folders.items() if event_type not in folders]
    if absent:
        advice = (
            "Check the spelling in the connection's event_folders. A folder doesn't exist before the first event of "
            "its type."
        )
        return Finding(False, f"{found}; declared, but not there: {_quoted(absent)}", advice, folders)
    undeclared = {name: unknown[name] for name in sorted(unknown.keys() - export.declared_folders.keys())}
    if undeclared:
        advice = (
            "An unknown folder can be copied as an event type of its own: declare it in the connection's "
            f"event_folders, as {json.dumps(undeclared)}. If it is another spelling of a missing one, use the name of "
            "that event type. If it isn't export data, add it to ignored_objects, as "
            f"[{', '.join(ignoring(name, '/*') for name in undeclared.values())}]."
        )
        return Finding(False, found, advice, folders)
    note = "This can be right: a folder doesn't exist before the first event of its type." if missing else ""
    return Finding(True, found, note, folders)


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def find_unplaced(listed: ListedExport) -> Finding[None]:
    """Check that all objects can be placed in time, as far as a look shows them: at the dates of the last two days."""
    export = listed.export
    start = hour_of(export.now()) - _RECENT
    found: dict[EventType, Unplaced] = {}
    for event_type in listed.folders:
        try:
            objects = export.all_unplaced(hours_of(event_type, start, hour_of(export.now())))
        except AylaError:
            # The step of the event type's newest files reports it.
            continue
        newest = max(objects, key=lambda unplaced: unplaced.created, default=None)
        # A folder of no known event type is reported by the step before. Here it would be reported for each event type.
        if newest is not None and newest.folder is None:
            found[event_type] = newest
    if not found:
        return Finding(True, "all objects that were looked at can be placed in time")
    event_type, newest = max(found.items(), key=lambda item: item[1].created)
    advice = f"{_sentence(advise(newest, event_type))}."
    in_folders = _quoted([listed.folders[event_type] for event_type in found])
    detail = f"an object below {in_folders} can't be placed in time, created {newest.created:%Y-%m-%d %H:%M}"
    if newest.created < start:
        return Finding(True, f"{detail}; it leaves only older hours in doubt", advice)
    return Finding(False, f"{detail}; hours without files are unproven", advice)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def find_newest(export: Export, event_type: EventType, folder: str) -> Finding[ExportFile]:
    """Check that an event type has files. The value is the newest one with content, None if there is none."""
    listings = NewestFiles(export, event_type)
    newest_files = listings.newest()
    effort = counted(listings.requests, "request", "requests")
    if not newest_files:
        return Finding(
            False,
            f"no file in a folder named by a time below {' and '.join(listings.prefixes)} ({effort})",
            "Expected folders such as '2024-05-09 02:00:00' or '2024-05-09-02:00:00'. If the connection's "
            f"event_folders names {folder!r}, check the spelling.",
        )
    hour = hour_of(max(file.folder_time for file in newest_files))
    files = [file for file in newest_files if file.hour.start == hour]
    age = export.now() - hour - ONE_HOUR
    size = sum(file.size for file in files)
    hyphen = any(file.style is FolderStyle.HYPHEN for file in files)
    style = ", folders written with a hyphen" if hyphen else ""
    note = ""
    if age > _LATEST:
        note = (
            "Published exports came up to 26 hours late. If there were events of this type since, ask Ayla whether the "
            "export has stopped."
        )
    soonest = min(file.created - file.hour.end for file in newest_files)
    if soonest > _USUAL:
        note = (
            f"Each of these files came {soonest / ONE_HOUR:.1f} hours or more after the hour of its folder; most of "
            f"the published ones came within an hour. {_LOCAL_TIME}"
        )
    detail = f"{describe_hour(hour)}, {_age_text(age)}: {files_text(len(files))}, {size_text(size)}{style} ({effort})"
    data_files = [file for file in newest_files if file.name not in export.ignored_objects]
    value = _newest_with_content(data_files)
    if soonest < timedelta(0):
        early = f"{detail}; a file was created {-soonest / ONE_HOUR:.1f} hours before the end of its folder's hour"
        return Finding(False, early, _LOCAL_TIME, value)
    return Finding(True, detail, note, value)


def _newest_with_content(files: list[ExportFile]) -> ExportFile | None:
    return max(
        (file for file in files if file.size and not is_beside(file.name)),
        key=lambda file: (file.folder_time, file.name),
        default=None,
    )


def _age_text(age: timedelta) -> str:
    if age < timedelta(0):
        return "not over yet by this machine's clock"
    hours = age / ONE_HOUR
    return f"ended {hours:.1f} hours ago" if hours < 48 else f"ended {age.days} days ago"


def read_file(export: Export, event_type: EventType, file: ExportFile) -> Finding[None]:
    """Check that a file has a known layout, from the bytes by which a load recognises it."""
    data = first_bytes(export.source, file, HEAD)
    try:
        refuse_other_format(event_type, data, file=file.name)
    except AylaLayoutError as error:
        return Finding(False, error.finding, error.advice)
    if len(data) < file.size and not is_enough(data):
        data = first_bytes(export.source, file, LONGEST_HEAD)
    head = head_of(data)
    return recognition(event_type, file.name, shape_of(head, whole=len(head) == file.size))


def recognition(event_type: EventType, file: str, shape: Shape) -> Finding[None]:
    """
    Return what a load makes of a file, as long as no layout is declared.

    :param file: its name
    """
    if not shape.rows:
        return Finding(None, "no rows")
    if not any(layout.event_type == event_type for layout in COLUMN_LAYOUTS):
        return Finding(None, f"no built-in layout to compare it with: {described(shape)}", _DECLARE)
    try:
        recognised = recognise(event_type, shape, file=file)
    except AylaLayoutError as error:
        return Finding(False, error.finding, error.advice)
    if shape.header and not recognised.header:
        shape = shape.without_header()
    notes = []
    if recognised.new_columns:
        notes.append(f"New columns, which are loaded as text: {', '.join(recognised.new_columns)}.")
    if shape.quotes:
        notes.append("Some cells begin with a quote. A load takes it as part of the value.")
    if not shape.utf8:
        notes.append("A load leaves out the lines that aren't UTF-8.")
    return Finding(True, f"fits {recognised.layout.name}: {described(shape)}", " ".join(notes))

"""Checks every step from a connection to a file of the export, and every assumption about the export."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.paths import ExportFile
from ayla_provider.source.check_export import (
    BUCKET_STEPS,
    UNPLACED_STEP,
    find_newest,
    find_unplaced,
    reach_bucket,
    read_file,
)
from ayla_provider.source.check_sign_in import SIGN_IN_STEPS, reach_cloud_storage
from ayla_provider.source.check_steps import CheckedConnection, ListedExport
from ayla_provider.transport.steps import Step, StepRunner, advise_trying_again

__all__ = ["CheckedConnection", "answer", "check"]


def check(connection: CheckedConnection, on_step: Callable[[Step], None] = lambda step: None) -> list[Step]:
    """
    Run all steps, and return their results. Changes nothing. A problem raises no error: its step isn't ok.

    :param on_step: called with each result at once
    """
    runner = StepRunner(on_step)
    names = BUCKET_STEPS if _is_in_s3(connection) else SIGN_IN_STEPS
    listed = _reach_event_folders(connection, runner)
    for name in names[len(runner.steps) :]:
        runner.skip(name)
    if listed is None:
        runner.skip(UNPLACED_STEP)
        for kind in ("newest", "file"):
            for event_type in EVENT_TYPES:
                runner.skip(f"{kind} {event_type}")
    else:
        event_types = [*EVENT_TYPES, *sorted(listed.folders.keys() - set(EVENT_TYPES))]
        runner.run(UNPLACED_STEP, partial(find_unplaced, listed), advise_trying_again)
        files = _check_newest(listed, event_types, runner)
        _check_files(listed, event_types, files, runner)
    return runner.steps


def answer(connection: CheckedConnection) -> tuple[bool, str]:
    """
    Return whether event folders can be listed, and in a few sentences what was found, or what failed and what to do.

    The sentences leave out the connection's id, because Airflow tests a connection under an id that it makes up.
    """
    runner = StepRunner()
    listed = _reach_event_folders(connection, runner)
    last = runner.steps[-1]
    if listed:
        where = listed.export.url
        return True, f"Signed in, got a storage token, listed {where}: {last.detail}. {last.advice}".strip()
    # Airflow shows the answer for five seconds. The other words say what the address of the request does.
    detail = last.detail.replace(f"connection {connection.conn_id!r}: ", "")
    detail = re.sub(r"GET https?://\S+: ", "", detail).rstrip(".")
    # Of a connection that is being tested, nothing but fields can be missing or malformed.
    advice = "Correct the connection." if last.name == "connection" else last.advice
    return False, f"{last.name[0].upper()}{last.name[1:]}: {detail}. {advice}"


def _is_in_s3(connection: CheckedConnection) -> bool:
    """Return whether nobody signs in. A connection that can't be read counts as one to Cloud Storage."""
    try:
        return connection.in_s3
    except Exception:  # noqa: BLE001 - the first step reports what is wrong with the connection
        return False


def _reach_event_folders(connection: CheckedConnection, runner: StepRunner) -> ListedExport | None:
    reach = reach_bucket if _is_in_s3(connection) else reach_cloud_storage
    return reach(connection, runner)


def _check_newest(
    listed: ListedExport, event_types: list[EventType], runner: StepRunner
) -> dict[EventType, ExportFile]:
    """Check the newest files of each event type, and return one with content for each that has one."""
    files: dict[EventType, ExportFile] = {}
    for event_type in event_types:
        name = f"newest {event_type}"
        if event_type not in listed.folders:
            runner.skip(name, "no folder")
            continue
        look = partial(find_newest, listed.export, event_type, listed.folders[event_type])
        file = runner.run(name, look, advise_trying_again)
        if file:
            files[event_type] = file
    return files


def _check_files(
    listed: ListedExport, event_types: list[EventType], files: dict[EventType, ExportFile], runner: StepRunner
) -> None:
    """
    Check one file of each event type.

    :param files: event type to the file
    """
    for event_type in event_types:
        name = f"file {event_type}"
        if event_type not in listed.folders:
            runner.skip(name, "no folder")
        elif event_type not in files:
            runner.skip(name, "no file with content in the newest folders")
        else:
            look = partial(read_file, listed.export, event_type, files[event_type])
            runner.run(name, look, advise_trying_again)

"""Shows what lies in a quarantine, and tries it again, for a person at a shell."""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, describe_hour
from ayla_provider.domain.units import counted
from ayla_provider.rows.quarantined import Reason, Replayed, quarantined_hours, reasons_of, replay

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.domain.csv.columns import ColumnLayout


def hours_of(archive: Destination, arguments: argparse.Namespace) -> list[ExportHour]:
    """
    Return the hours with quarantined lines that arguments name.

    :raises AylaError: if an event type isn't valid, or the archive can't be listed
    """
    types = [parse_event_type(name) for name in arguments.event_type] if arguments.event_type else None
    start, _ = arguments.since
    return quarantined_hours(archive, types, start, arguments.until)


def print_reasons(reasons: Sequence[Reason], stdout: TextIO, *, as_json: bool) -> None:
    """Print why lines are in the quarantine."""
    if as_json:
        json.dump([asdict(each) for each in reasons], stdout, indent=1, default=datetime.isoformat)
        print(file=stdout)
        return
    for each in reasons:
        span = (
            f"{describe_hour(each.first)} to {describe_hour(each.last + ONE_HOUR)}" if each.first and each.last else ""
        )
        lines, hours = counted(each.lines, "line", "lines"), counted(each.hours, "hour", "hours")
        print(f"{each.event_type:14} {each.month}  {lines:>14} in {hours:>10}, {span}: {each.reason}", file=stdout)
    if not reasons:
        print("No line is in the quarantine.", file=stdout)


def replayed(
    archive: Destination,
    rows: Destination,
    hours: Sequence[ExportHour],
    *,
    reason: str | None,
    policy_key: str,
    layouts: Sequence[ColumnLayout],
    ignored_files: Sequence[str],
) -> Iterator[Replayed]:
    """
    Try hours again, and yield what became of each.

    :param reason: only hours with a reason that has this text; None for all
    :raises AylaError: if the rows can't be read or written
    """
    for hour in hours:
        if reason and not any(reason in each.reason for each in reasons_of(archive, [hour])):
            continue
        yield replay(
            archive,
            rows,
            hour,
            {"user": getpass.getuser()},
            policy_key=policy_key,
            layouts=layouts,
            ignored_files=ignored_files,
        )


def print_replayed(results: Iterable[Replayed], stdout: TextIO) -> int:
    """Print what became of hours that were tried again, and return the exit status."""
    fewer = problems = 0
    for each in results:
        if each.problem:
            problems += 1
            print(f"{each.hour}: not made again: {each.problem}", file=stdout)
        else:
            fewer += each.after < each.before
            print(f"{each.hour}: {each.before:,} quarantined lines before, {each.after:,} now", file=stdout)
    print(f"{counted(fewer, 'hour has', 'hours have')} fewer quarantined lines.", file=stdout)
    if fewer:
        print("To load them, run the DAG that verifies the warehouse, or load the hours with reload=True.", file=stdout)
    return 1 if problems else 0

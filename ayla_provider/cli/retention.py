"""Counts and removes old hours, and places and releases legal holds, for a person at a shell."""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ayla_provider.archive.holds import place_hold, read_holds, release_hold
from ayla_provider.archive.records import refuse_no_archive, refuse_no_typed_rows
from ayla_provider.archive.removal import remove_copies, remove_quarantine, write_certificate
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hold import Hold, hold
from ayla_provider.domain.hour import describe_hour
from ayla_provider.domain.removal import Removed, Rule, describe, with_quarantine
from ayla_provider.domain.units import counted
from ayla_provider.errors import AylaConfigError
from ayla_provider.rows.removal import remove_rows
from ayla_provider.warehouse.removal import remove_hours

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.warehouse.base import Warehouse

_LARGEST_SUBJECT = 1024 * 1024
"""Bytes of a file that names a subject."""


def retain(
    archive: Destination,
    rows: Destination,
    keep_for: dict[str, timedelta],
    *,
    event_types: Sequence[str] | None,
    warehouse: Warehouse | None = None,
    remove: bool = False,
    now: datetime | None = None,
) -> list[Removed]:
    """
    Remove old hours, or count them.

    :param keep_for: ``archive``, ``parquet``, ``quarantine``, or ``tables`` to how long. Quarantined lines aren't kept
        longer than copies
    :param event_types: in any spelling; None for all that the archive has, and in tables for the documented ones
    :param warehouse: for ``tables``, not entered
    :param remove: whether to remove them
    :raises AylaConfigError: if the archive or the rows aren't where their URLs say
    :raises AylaError: if a time is too short, or archive, rows, or warehouse can't be read or written
    """
    refuse_no_archive(archive)
    if "parquet" in keep_for:
        refuse_no_typed_rows(rows, archive.url)
    now, by = now or datetime.now(UTC), {"user": getpass.getuser()}
    holds = tuple(read_holds(archive))
    types = None if event_types is None else tuple(map(parse_event_type, event_types))
    rules = {layer: Rule(layer, time, now, holds, types) for layer, time in with_quarantine(keep_for).items()}
    layers = []
    if warehouse and "tables" in rules:
        with warehouse:
            of_tables = types or tuple(map(parse_event_type, EVENT_TYPES))
            removed = remove_hours(warehouse, of_tables, rules["tables"], loaded_by=by["user"], dry_run=not remove)
            layers.append(removed)
    if "parquet" in rules:
        layers.append(remove_rows(rows, rules["parquet"], by, dry_run=not remove))
    if "quarantine" in rules:
        layers.append(remove_quarantine(archive, rules["quarantine"], dry_run=not remove))
    if "archive" in rules:
        layers.append(remove_copies(archive, rules["archive"], by, dry_run=not remove))
    if remove and any(layer.hours for layer in layers):
        ended = datetime.now(UTC)
        write_certificate(archive, layers, started_at=now, ended_at=ended, written_by=by, what="command")
    return layers


def print_retained(layers: Sequence[Removed], stdout: TextIO, *, removed: bool, as_json: bool) -> None:
    """Print what was removed, or would be."""
    if as_json:
        json.dump({"removed": removed, "layers": [layer.document() for layer in layers]}, stdout, indent=1)
        print(file=stdout)
        return
    for layer in layers:
        print(describe(layer, dry_run=not removed), file=stdout)
    if not removed:
        print("Nothing was removed. To remove it, add --remove.", file=stdout)


def place(archive: Destination, arguments: argparse.Namespace, key: str) -> Hold:
    """
    Place the legal hold that arguments describe, and return it.

    :param key: makes the hashes of the subject; empty if no connection is given
    :raises AylaError: if the hold isn't valid, or can't be written
    """
    # In a wrong place, it would hold nothing.
    refuse_no_archive(archive)
    made = hold(
        arguments.id,
        placed_at=datetime.now(UTC),
        start=arguments.since,
        end=arguments.until,
        event_types=tuple(map(parse_event_type, arguments.event_type or ())),
        subject=_subject_in(arguments.subject) if arguments.subject else None,
        key=key,
        reason=arguments.reason,
        placed_by={"user": getpass.getuser()},
    )
    place_hold(archive, made)
    return made


def list_holds(archive: Destination) -> list[Hold]:
    """
    Return the legal holds of an archive.

    :raises AylaError: if it isn't an archive, or can't be read
    """
    refuse_no_archive(archive)
    return read_holds(archive)


def release(archive: Destination, id: str) -> None:  # noqa: A002 - the name of the field
    """
    Release a legal hold.

    :raises AylaConfigError: if there is none with this id
    """
    refuse_no_archive(archive)
    if not release_hold(archive, id):
        raise AylaConfigError(f"{archive.url} has no legal hold {id!r}")


def print_holds(holds: Sequence[Hold], stdout: TextIO, *, as_json: bool) -> None:
    """Print legal holds."""
    if as_json:
        json.dump([json.loads(each.dumps()) for each in holds], stdout, indent=1)
        print(file=stdout)
        return
    for each in holds:
        span = f"from {_time(each.start, 'the beginning')} to {_time(each.end, 'its release')}"
        values = counted(len(each.subjects), "hashed value of a subject", "hashed values of a subject")
        whom = values if each.subjects else "everything"
        types = ", ".join(each.event_types) or "all event types"
        reason = f" ({each.reason})" if each.reason else ""
        print(f"{each.id}: {whom}, {types}, {span}; placed on {each.placed_at:%Y-%m-%d}{reason}", file=stdout)
    if not holds:
        print("There is no legal hold.", file=stdout)


def _time(moment: datetime | None, otherwise: str) -> str:
    return describe_hour(moment) if moment else otherwise


def _subject_in(path: str) -> dict[str, list[str]]:
    """
    Return the subject that a JSON file names: ``{"dsn": ["..."], "user_uuid": ["..."]}``.

    :raises AylaConfigError: without a value of the file, if it can't be read
    """
    try:
        file = Path(path)
        if file.stat().st_size > _LARGEST_SUBJECT:
            raise ValueError
        document: Any = json.loads(file.read_text("utf-8"))
        lists = {column: [value] if isinstance(value, str) else value for column, value in document.items()}
        if not all(isinstance(value, str) and value for values in lists.values() for value in values):
            raise ValueError
    except (OSError, ValueError, TypeError, AttributeError):
        raise AylaConfigError(
            f'{path} names no subject: expected a JSON file such as {{"dsn": ["..."], "user_uuid": ["..."]}}'
        ) from None
    return lists

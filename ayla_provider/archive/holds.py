"""The legal holds of an archive: what must not be removed or erased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.archive.records import write_json
from ayla_provider.domain.hold import HOLDS, Hold, hold_path, loads
from ayla_provider.errors import AylaConfigError, AylaHeldError


def read_holds(archive: Destination) -> list[Hold]:
    """
    Return all legal holds of an archive, in the order of their ids. It takes a listing, and a read for each hold.

    :raises AylaDestinationError: if the archive can't be read, or a hold isn't valid: then nobody can say what is held
    """
    holds = []
    for path in sorted(archive.folder(HOLDS)):
        # Any object in the folder is meant as a hold, whatever its name is.
        record = archive.read(path)
        # It can have been released since the listing.
        if record:
            holds.append(loads(record[0], url_of(archive, path)))
    return holds


def place_hold(archive: Destination, hold: Hold) -> None:
    """
    Write a legal hold into an archive. The same hold once more is no error.

    :raises AylaConfigError: if the archive has another hold with this id
    :raises AylaError: if it can't be written
    """
    path = hold_path(hold.id)
    record = archive.read(path)
    if record is None:
        write_json(archive, path, hold.dumps(), None)
        return
    existing = loads(record[0], url_of(archive, path))
    if _scope(existing) != _scope(hold):
        raise AylaConfigError(
            f"{url_of(archive, path)} is another hold. Choose another id, or release that hold first."
        )


def release_hold(archive: Destination, id: str) -> bool:  # noqa: A002 - the name of the field
    """
    Remove a legal hold from an archive.

    :returns: False if there is none with this id
    :raises AylaError: if it can't be removed
    """
    record = archive.read(hold_path(id))
    if record is None:
        return False
    archive.remove(record[1])
    return True


def refuse_held(
    archive: Destination,
    identifiers: Mapping[str, str],
    start: datetime | None,
    until: datetime,
    keys: Iterable[str],
) -> None:
    """
    Refuse to erase what a legal hold is on.

    :param identifiers: of the subject: ``dsn`` or ``user_uuid`` to its value
    :param start: of the hours to erase from, aware; None for all
    :param until: the end of these hours, aware
    :param keys: all keys that a hold on a subject may be made with
    :raises AylaHeldError: naming the hold, and nobody
    :raises AylaConfigError: if a hold on a subject was made with another key, so that nobody can say
    :raises AylaDestinationError: if a hold can't be read
    """
    values, known = {column: [value] for column, value in identifiers.items()}, list(keys)
    for hold in read_holds(archive):
        if hold.touches(start, until) and hold.concerns(values, known):
            raise AylaHeldError(
                f"the legal hold {hold.id!r} of {archive.url} is on what is to be erased. Nothing was erased. When the "
                f"hold has ended, release it: python -m ayla_provider hold release --id {hold.id}"
            )


def _scope(hold: Hold) -> tuple[object, ...]:
    return hold.start, hold.end, hold.event_types, hold.subjects

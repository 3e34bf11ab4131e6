"""What of a stream was read, from the position in the stream's archive."""

from __future__ import annotations

import json
from typing import Any

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.domain.completeness import StreamCoverage
from ayla_provider.domain.events import EventType
from ayla_provider.domain.json_fields import UNREADABLE, time_field, typed_field
from ayla_provider.domain.stream import Gap
from ayla_provider.errors import AylaConfigError, AylaDestinationError

POSITION = "_stream/position.json"
"""The path of the position, relative to the stream's archive."""


def read_coverage(archive: Destination) -> StreamCoverage:
    """
    Return what of a stream was read.

    :param archive: the destination of the stream's records
    :raises AylaConfigError: if no stream was read into this archive
    :raises AylaDestinationError: if the position can't be read
    """
    where = url_of(archive, POSITION)
    found = archive.read(POSITION)
    if found is None:
        raise AylaConfigError(f"{where} doesn't exist: no stream was read into this archive. Correct its URL.")
    try:
        document: dict[str, Any] = json.loads(found[0])
        return StreamCoverage(
            started_at=time_field(document, "started_at") if document["started_at"] else None,
            event_types=frozenset(map(EventType, typed_field(document, "event_types", list))),
            gaps=tuple(map(_gap, typed_field(document, "gaps", list))),
        )
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} isn't a valid position of a stream ({type(error).__name__}: {error!s:.200}). Find out what "
            "wrote it."
        ) from error


def _gap(document: Any) -> Gap:
    return Gap(
        shard=typed_field(document, "shard", str),
        start=time_field(document, "start") if document["start"] else None,
        end=time_field(document, "end"),
        lost=None if document["lost"] is None else typed_field(document, "lost", int),
    )

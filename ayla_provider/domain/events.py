"""The event types of the Ayla export, and how its folders spell them."""

from __future__ import annotations

import re
from typing import NewType

from ayla_provider.errors import AylaConfigError

EventType = NewType("EventType", str)
"""
The canonical name of an event type, such as ``datapoint_ack``: safe in paths, URLs and SQL identifiers.

:func:`parse_event_type` makes it, once, where a name enters the program. Everything else takes it as it is.
"""

EVENT_FOLDERS = {
    EventType("connection"): "Connection",
    EventType("datapoint"): "Datapoint",
    EventType("datapoint_ack"): "Datapoint Ack",
    EventType("location"): "Location",
    EventType("registration"): "Registration",
}
"""Event type to the spelling of its folder, as seen in exports that Ayla published."""

EVENT_TYPES = tuple(EVENT_FOLDERS)
"""The five documented event types. Others may exist: a folder of one can be copied by its spelling."""

ACTIVATION = EventType("activation")
"""An event type that only streams have: the export has no folder for it."""

STREAM_EVENT_TYPES = (*EVENT_TYPES, ACTIVATION)
"""The event types of a stream."""

SEPARATOR = "[ _-]"
"""Regular expression for a character between the words of an event type."""

_IDENTIFIER = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def fold(name: str) -> str:
    """Return a name in lower case and without separators: neither distinguishes event types."""
    return re.sub(SEPARATOR, "", name).lower()


_BY_FOLDED = {fold(event_type): event_type for event_type in EVENT_TYPES}


def parse_event_type(name: object) -> EventType:
    """
    Return the event type that a name means: ``Datapoint Ack`` and ``datapointack`` are ``datapoint_ack``.

    Case, spaces, underscores and hyphens don't matter, because Ayla's documents and folders differ in them.
    Any other name becomes an identifier of its own: ``Device Activation`` is ``device_activation``.

    :param name: an event type as a user wrote it, or the name of a folder
    :raises AylaConfigError: if the name isn't text that can become an identifier
    """
    # A rendered argument can be of any type.
    text = str(name) if isinstance(name, str) else ""
    known = _BY_FOLDED.get(fold(text))
    if known:
        return known
    identifier = re.sub(f"{SEPARATOR}+", "_", text).strip("_").lower()
    if not _IDENTIFIER.fullmatch(identifier):
        raise AylaConfigError(
            f"event type {name!r}: expected letters, digits, spaces, '_' or '-'. "
            f"The documented event types are {', '.join(EVENT_TYPES)}."
        )
    return EventType(identifier)

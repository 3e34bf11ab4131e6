"""The event types of the Ayla export, and how its folders spell them."""

from __future__ import annotations

import re

from ayla_provider.errors import AylaConfigError

EVENT_FOLDERS = {
    "connection": "Connection",
    "datapoint": "Datapoint",
    "datapoint_ack": "Datapoint Ack",
    "location": "Location",
    "registration": "Registration",
}
"""Event type to the spelling of its folder, as seen in exports that Ayla published."""

EVENT_TYPES = tuple(EVENT_FOLDERS)
"""The five documented event types. Others may exist: a folder of one can be copied by its spelling."""

_SAFE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def _squash(name: str) -> str:
    return re.sub(r"[ _-]", "", name).lower()


_BY_SQUASHED = {_squash(event_type): event_type for event_type in EVENT_TYPES}


def event_type_of(name: str) -> str:
    """
    Return the event type that a name means: ``Datapoint Ack`` and ``datapointack`` are ``datapoint_ack``.

    Case, spaces, underscores and hyphens don't count, since Ayla's documents and folders differ in them.
    A name of none of the five documented types becomes an identifier of its own (``Device Activation`` is
    ``device_activation``), fit to stand in a path.

    :param name: an event type as a user wrote it, or the name of a folder
    :raises AylaConfigError: if nothing is left that can stand in a path
    """
    known = _BY_SQUASHED.get(_squash(name))
    if known:
        return known
    own = re.sub(r"[ _-]+", "_", name).strip("_").lower()
    if not _SAFE.fullmatch(own):
        raise AylaConfigError(
            f"event type {name!r}: expected letters, digits, spaces, '_' or '-'. "
            f"The documented event types are {', '.join(EVENT_TYPES)}."
        )
    return own

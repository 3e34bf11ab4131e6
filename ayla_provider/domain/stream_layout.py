"""
The cells of a stream's records: which keys they are under, and which column each becomes.

A record is ``{"metadata": {...}, "<body>": {...}, "timestamp": ...}``, or the same inside ``{"dpl_event": ...}``. The
metadata describes the device, and the body the event. The timestamp is when the record was sent, and isn't loaded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ayla_provider.domain import stream_event
from ayla_provider.domain.csv.columns import RESOURCE_TAGS, ColumnLayout
from ayla_provider.domain.csv.fit import MOST_NEW_COLUMNS
from ayla_provider.domain.csv.recognition import MADE, NAME_PATTERN, Recognised
from ayla_provider.domain.tables import STREAM_TABLES
from ayla_provider.errors import AylaConfigError

Place = tuple[str, ...]
"""The keys that lead to a value, from the record's own level."""

WRAPPER = "dpl_event"
"""The key that may be around a record."""

METADATA = "metadata"

BODIES = {str(event_type): keys for event_type, keys in stream_event.BODIES.items()}
"""Event type to the keys of its body."""

NO_UUID = "00000000-0000-0000-0000-000000000000"
"""As an identity, it means that there is none."""

_OUTER: tuple[Place, ...] = ((), (WRAPPER,))
"""A record's own level."""

_KEYS = {"time_uuid": ("id", "time_uuid"), "activation_id": ("id",)}
"""Column to its keys, where they aren't its name."""

_VALUES = {"val_int", "val_decimal", "val_float", "val_boolean", "val_string"}


def _layout(event_type: str) -> ColumnLayout:
    table = STREAM_TABLES[event_type]
    names = [column.name for column in table.data if column.name not in MADE | _VALUES]
    if "value_raw" in table.names:
        names.append("value")
    return ColumnLayout(
        event_type,
        "stream-1",
        (*names, RESOURCE_TAGS.name, "event_type"),
        identity=table.identity,
        own=(RESOURCE_TAGS,),
        streamed=True,
    )


STREAM_LAYOUTS = {event_type: _layout(event_type) for event_type in BODIES}
"""Event type to the cells of its records, each named as its column."""


@dataclass(frozen=True, slots=True)
class StreamCells:
    """
    Where the cells of some records are.

    :param places: column to the places of its cell; the first one with a value counts
    :param bodies: the places of the body that some record has
    :param left_out: keys that can't become columns
    :param shared: unknown keys that become the same column as another key of a record
    """

    recognised: Recognised
    places: Mapping[str, tuple[Place, ...]]
    bodies: tuple[Place, ...]
    left_out: tuple[str, ...]
    shared: tuple[str, ...]


def levels_of(event_type: str) -> tuple[Place, ...]:
    """
    Return the places of the objects whose keys are columns: the record itself, its metadata, and its body.

    :raises AylaConfigError: if streams have no such event type
    """
    if event_type not in BODIES:
        raise AylaConfigError(f"{event_type!r} isn't an event type of a stream: those are {', '.join(BODIES)}")
    inner = [(), (METADATA,), *((body,) for body in BODIES[event_type])]
    return (*inner, *((WRAPPER, *level) for level in inner))


def cells_of(event_type: str, keys: Collection[Place], declared: Iterable[ColumnLayout] = ()) -> StreamCells:
    """
    Return where the cells of some records are.

    An unknown key becomes a column: in lower case, with ``_`` for other characters. A file has at most
    :data:`~ayla_provider.domain.csv.fit.MOST_NEW_COLUMNS` of them, the first ones by their names.

    :param keys: the place of each key of the objects at :func:`levels_of`
    :param declared: layouts whose own columns give new columns their types
    :raises AylaConfigError: if streams have no such event type
    """
    levels = levels_of(event_type)
    layout = STREAM_LAYOUTS[event_type]
    columns = _columns_by_key(layout)
    # The metadata comes before the body, which may repeat it.
    in_order = sorted(keys, key=lambda place: (levels.index(place[:-1]), place))
    known = [place for place in in_order if place not in levels and _is_known(place, columns)]
    places: dict[str, list[Place]] = {}
    for place in known:
        places.setdefault(columns[place[-1]], []).append(place)
    new, left_out = _new_columns(event_type, [place for place in in_order if place not in known], [*levels, *known])
    own = {column.name: column for each in declared if each.event_type == event_type for column in each.own}
    typed = tuple(own[name] for name in new if name in own)
    found = [name for name in layout.columns if name in places or name not in _optional(event_type)]
    return StreamCells(
        Recognised(replace(layout, own=(RESOURCE_TAGS, *typed)), (*found, *new), header=False, new_columns=tuple(new)),
        {name: tuple(at) for name, at in (places | new).items()},
        tuple(level for level in levels if level in keys and level[-1] in BODIES[event_type]),
        tuple(sorted(left_out)),
        tuple(sorted({place[-1] for at in new.values() if _are_of_a_record(at) for place in at})),
    )


def _are_of_a_record(places: Iterable[Place]) -> bool:
    """Return whether a record can have several of these keys. With and without a wrapper, a key is the same one."""
    return len({place[1:] if place[0] == WRAPPER else place for place in places}) > 1


def _is_known(place: Place, columns: Mapping[str, str]) -> bool:
    """Return whether a key is that of a known column. A record's own level has no known columns."""
    return place[-1] in columns and place[:-1] not in _OUTER


def _new_columns(
    event_type: str, places: Iterable[Place], others: Iterable[Place]
) -> tuple[dict[str, list[Place]], set[str]]:
    """
    Return the columns that unknown keys become, with their places; and the keys that can't become columns.

    :param others: the places of known keys
    """
    taken = {*STREAM_LAYOUTS[event_type].columns, *STREAM_TABLES[event_type].names, *MADE}
    # DuckDB can't tell apart keys that differ only in upper and lower case.
    folded = {_folded(place) for place in others}
    new: dict[str, list[Place]] = {}
    left_out = set()
    for place in places:
        if place in levels_of(event_type) or _is_not_loaded(place, event_type):
            continue
        name = _name_of(place[-1], taken)
        if not name or _folded(place) in folded:
            left_out.add(place[-1])
            continue
        folded.add(_folded(place))
        new.setdefault(name, []).append(place)
    names = sorted(new)
    left_out |= {place[-1] for name in names[MOST_NEW_COLUMNS:] for place in new[name]}
    return {name: new[name] for name in names[:MOST_NEW_COLUMNS]}, left_out


def _folded(place: Place) -> Place:
    return tuple(key.lower() for key in place)


def is_sent_at(place: Place) -> bool:
    """Return whether a key says when the record was sent. It isn't loaded."""
    return place[-1] == "timestamp" and place[:-1] in _OUTER


def _is_not_loaded(place: Place, event_type: str) -> bool:
    """Return whether a key says nothing of the event: when the record was sent, or the metadata once more."""
    if place[:-1] in _OUTER:
        return is_sent_at(place)
    return place[-1] == METADATA and METADATA not in STREAM_TABLES[event_type].names


def _optional(event_type: str) -> set[str]:
    """Return the columns that a table has only if a record has them."""
    return set(STREAM_LAYOUTS[event_type].columns) - {*STREAM_TABLES[event_type].names, "value", "event_type"}


def _columns_by_key(layout: ColumnLayout) -> dict[str, str]:
    return {key: name for name in layout.columns for key in _KEYS.get(name, (name,))}


def _name_of(key: str, taken: Collection[str]) -> str:
    """Return the name of the column that an unknown key becomes; empty if it can't become one."""
    name = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
    if name in taken:
        name += "_x"
    return name if re.fullmatch(NAME_PATTERN, name) and name not in taken else ""

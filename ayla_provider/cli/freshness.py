"""``freshness``: how old the newest complete hours are, and until when nobody is alerted."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ayla_provider.archive.freshness import FreshnessStore, change_mutes
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.freshness import FreshnessState, Mute, TrackView, document_of, muted_until, state_of
from ayla_provider.domain.hour import ONE_HOUR, describe_hour
from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    from ayla_provider.cli.connections import Connections


def run(arguments: argparse.Namespace, connections: Connections) -> dict[str, Any]:
    """
    Change what is muted, if that is asked for, and return what the last look found, for JSON.

    :raises AylaError: if the archive can't be read or written
    """
    now = datetime.now(UTC)
    store = FreshnessStore(connections.destination(arguments.destination, arguments.destination_conn))
    record = store.read()
    event_type = str(parse_event_type(arguments.event_type)) if arguments.event_type else ""
    layer = arguments.layer or ""
    known = {each.layer for each in record.tracks.values()}
    if layer and layer not in known:
        raise AylaConfigError(
            f"--layer is {layer!r}: the layers that were checked are {', '.join(sorted(known))}"
            if known
            else f"--layer is {layer!r}: no layer was checked yet"
        )
    if arguments.mute or arguments.unmute:
        mutes = change_mutes(store, Mute(event_type, layer, arguments.mute or now), now)
    else:
        mutes = store.mutes()
    views = []
    for track in record.tracks.values():
        wanted = event_type in ("", track.event_type) and layer in ("", track.layer)
        if wanted:
            views.append(TrackView(track, state_of(track), muted_until(mutes, *track.name, now)))
    held = [each for each in mutes if each.until > now]
    return document_of(views, now) | {
        "evaluated_at": record.looked_at.isoformat() if record.looked_at else None,
        "mutes": [
            {"event_type": each.event_type or None, "layer": each.layer or None, "until": each.until.isoformat()}
            for each in held
        ],
    }


def is_late(document: dict[str, Any]) -> bool:
    """Return whether an hour is late."""
    return any(track["state"] == FreshnessState.BREACH.value for track in document["tracks"])


def text_of(document: dict[str, Any]) -> Iterator[str]:
    """Yield the lines for a person."""
    if document["evaluated_at"] is None:
        yield "Nothing is known yet: the DAG ayla_export_freshness has never looked at this archive."
    else:
        yield f"as of {document['evaluated_at'][:16].replace('T', ' ')} UTC"
    for track in document["tracks"]:
        yield _line(track)
    if document["left_out"]:
        yield f"and {document['left_out']} more"
    for mute in document["mutes"]:
        what = ", ".join(filter(None, (mute["event_type"] or "all event types", mute["layer"] or "all layers")))
        yield f"muted until {mute['until'][:16].replace('T', ' ')} UTC: {what}"


def _line(track: dict[str, Any]) -> str:
    parts = [f"{track['event_type']}, {track['layer']}: {track['state']}"]
    if track["complete_to"]:
        hours = track["lag"] / ONE_HOUR.total_seconds()
        parts.append(f"complete until {describe_hour(datetime.fromisoformat(track['complete_to']))}, {hours:.1f} h ago")
    if track["hour"]:
        parts.append(f"late: {track['late']}, the first {describe_hour(datetime.fromisoformat(track['hour']))}")
    if track["share"] is not None:
        parts.append(f"within the objective in 30 days: {track['share']:.1%} of {track['hours']} hours")
    return "; ".join(parts)

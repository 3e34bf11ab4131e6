"""The assets of an archive, on which you can schedule your own DAGs."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import Asset, AssetAlias

from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.paths import DIGESTS, FRESHNESS, LAYOUTS, VOLUMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ayla_provider.domain.manifest import Manifest
    from ayla_provider.domain.stream import Gap

__all__ = [
    "digest_alias",
    "export_alias",
    "export_asset",
    "freshness_alias",
    "freshness_asset",
    "layout_alias",
    "layout_asset",
    "load_asset",
    "load_hours_asset",
    "models_asset",
    "stream_alias",
    "volume_alias",
    "volume_asset",
]

_MOST_GAPS = 5
"""How many gaps of a stream an asset event names."""

_LOADS, _LOADED_HOURS, _MODELS = "ayla_load", "ayla_load_hours", "ayla_models"
"""The beginning of the names of the assets of loads, and of the fleet models."""

_PLAIN_URI = re.compile(r"(gs|s3)://[A-Za-z0-9._-]+(/[A-Za-z0-9._=-]+)+")
"""The address of an asset that Airflow keeps as it is."""


@dataclass(frozen=True, slots=True)
class _EventAsset:
    """What an asset event reads of an asset."""

    name: str
    uri: str
    extra: dict[str, Any] = field(default_factory=dict)


def export_asset(destination: str, event_type: str) -> Asset:
    """
    Return the asset of an event type in one archive.

    :param destination: the destination's URL, exactly as in the task that copies
    :param event_type: in any spelling
    """
    return Asset(uri=_export_uri(destination, event_type))


def event_asset(destination: str, event_type: str) -> Asset:
    """
    Return the asset of :func:`export_asset`, for an asset event of an alias.

    To make an asset, Airflow imports each provider's check of addresses. In a task this takes longer than its copy, and
    the checks of ``gs`` and ``s3`` change no plain address. So the event gets a plain address as it is.
    """
    uri = _export_uri(destination, event_type)
    if not _PLAIN_URI.fullmatch(uri):
        return Asset(uri=uri)
    return cast("Asset", _EventAsset(uri, uri))


def _export_uri(destination: str, event_type: str) -> str:
    return f"{destination.strip().rstrip('/')}/event_type={parse_event_type(event_type)}"


def export_alias(event_type: str) -> AssetAlias:
    """
    Return the alias of an event type in all archives.

    Schedule a DAG on it if the DAG must follow the event type in every destination.

    :param event_type: in any spelling
    """
    return AssetAlias(f"ayla_export_{parse_event_type(event_type)}")


def stream_alias(event_type: str) -> AssetAlias:
    """
    Return the alias of an event type in the archives of all streams. The asset of one is that of :func:`export_asset`.

    :param event_type: in any spelling
    """
    return AssetAlias(f"ayla_stream_{parse_event_type(event_type)}")


def event_extra(manifest: Manifest) -> dict[str, Any]:
    """Return the ``extra`` of an asset event that announces an hour. Only that of an hour with lost files says so."""
    from ayla_provider.domain.coverage import Coverage

    lost = len(manifest.lost)
    extra = {
        "event_type": manifest.hour.event_type,
        "hour": manifest.hour.start.isoformat(),
        "state": manifest.state.value,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "lines": manifest.lines,
        "revision": manifest.revision,
        "newest": manifest.newest,
    }
    return extra | {"state": Coverage.LOST.value, "lost": lost} if lost else extra


def stream_extra(stream: str, gaps: Sequence[Gap]) -> dict[str, Any]:
    """
    Return what the ``extra`` of an asset event of a stream's hour has besides that of :func:`event_extra`.

    :param stream: the stream's URL
    :param gaps: those that nobody acknowledged
    """
    from ayla_provider.domain.stream import gap_facts

    return {
        "stream": stream,
        "unacknowledged_gaps": len(gaps),
        # Each event repeats them.
        "gaps": [gap_facts(gap) for gap in gaps[:_MOST_GAPS]],
    }


def layout_asset(archive: str, event_type: str) -> Asset:
    """
    Return the asset of the layouts of an event type's files. It gets an event when a layout appears for the first time.

    :param archive: the destination's URL, exactly as in the task that copies
    :param event_type: in any spelling
    """
    return Asset(uri=f"{archive.strip().rstrip('/')}/{LAYOUTS}/event_type={parse_event_type(event_type)}")


def layout_alias() -> AssetAlias:
    """Return the alias of the layouts of all event types in all archives."""
    return AssetAlias("ayla_export_layout")


def freshness_asset(archive: str) -> Asset:
    """
    Return the asset of the age of an archive's newest complete hours.

    :param archive: the destination's URL, exactly as in the task that evaluates it
    """
    return Asset(uri=f"{archive.strip().rstrip('/')}/{FRESHNESS}")


def freshness_alias() -> AssetAlias:
    """Return the alias of the age of the newest complete hours of all archives."""
    return AssetAlias("ayla_export_freshness")


def volume_asset(archive: str) -> Asset:
    """
    Return the asset of the hours of an archive with unusually few or many rows.

    :param archive: the destination's URL, exactly as in the task that evaluates it
    """
    return Asset(uri=f"{archive.strip().rstrip('/')}/{VOLUMES}")


def volume_alias() -> AssetAlias:
    """Return the alias of the hours of all archives with unusually few or many rows."""
    return AssetAlias("ayla_export_volume")


def digest_alias() -> AssetAlias:
    """Return the alias of what tasks tell the page *Ayla export*, of all archives."""
    return AssetAlias("ayla_export_digest")


def digest_asset(archive: str, *, is_daily: bool) -> Asset:
    """
    Return the asset of what tasks tell the page *Ayla export* about many hours of an archive.

    :param archive: the destination's URL, exactly as in the task that copies
    :param is_daily: whether of the events of each day, which have months of hours; else of those of each run
    """
    uri = f"{archive.strip().rstrip('/')}/{DIGESTS}/{'daily' if is_daily else 'newest'}"
    if not _PLAIN_URI.fullmatch(uri):
        return Asset(uri=uri)
    return cast("Asset", _EventAsset(uri, uri))


def load_asset(address: Sequence[str], event_type: str) -> Asset:
    """
    Return the asset of a table of a warehouse. The operators of a warehouse have it as their method ``asset``.

    Its name is that of the table, such as ``ayla_load/postgres/postgres_default/ayla/ayla_datapoint``.

    :param address: what tells the warehouse from others, and at last what is in front of the event type in a table's
        name
    :param event_type: in any spelling
    """
    return Asset(_name(_LOADS, address, event_type))


def load_hours_asset(address: Sequence[str], event_type: str) -> Asset:
    """
    Return the asset of the hours of a table. The operators of a warehouse have it as their method ``hours_asset``.

    Its events have the hour as their partition key. The arguments are those of :func:`load_asset`.
    """
    return Asset(_name(_LOADED_HOURS, address, event_type))


def models_asset(address: Sequence[str]) -> Asset:
    """
    Return the asset of the fleet models of a warehouse. A run that changes days of devices emits an event of it.

    :param address: as for :func:`load_asset`
    """
    return Asset(_name(_MODELS, address, "device_day"))


def is_of_load(outlet: object) -> bool:
    """Return whether an outlet is an asset of :func:`load_asset` or :func:`load_hours_asset`."""
    return isinstance(outlet, Asset) and outlet.name.partition("/")[0] in (_LOADS, _LOADED_HOURS)


def _name(kind: str, address: Sequence[str], event_type: str) -> str:
    # Without a colon, Airflow doesn't take a name for a URI. To check a URI, it imports every provider.
    *places, table_prefix = (urllib.parse.quote(str(part).strip("/")) for part in address)
    return "/".join([kind, *(place or "-" for place in places), f"{table_prefix}{parse_event_type(event_type)}"])

"""The assets of an archive: what a DAG of yours can be scheduled on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from ayla_provider.domain.events import parse_event_type

if TYPE_CHECKING:
    from ayla_provider.domain.manifest import Manifest

__all__ = ["export_alias", "export_asset", "layout_alias", "layout_asset"]


def export_asset(destination: str, event_type: str) -> Asset:
    """
    Return the asset that an event type in an archive is.

    :param destination: the destination's URL, as the copying task has it
    :param event_type: in any spelling
    """
    return Asset(uri=f"{destination.rstrip('/')}/event_type={parse_event_type(event_type)}")


def export_alias(event_type: str) -> AssetAlias:
    """
    Return the alias under which every copying task announces an event type, wherever it is copied to.

    For a DAG that is to follow an event type without knowing the destination.

    :param event_type: in any spelling
    """
    return AssetAlias(f"ayla_export_{parse_event_type(event_type)}")


def event_extra(manifest: Manifest) -> dict[str, Any]:
    """Return what an asset event says of the hour that it announces."""
    return {
        "event_type": manifest.hour.event_type,
        "hour": manifest.hour.start.isoformat(),
        "state": manifest.state.value,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "lines": manifest.lines,
        "revision": manifest.revision,
        "newest": manifest.newest,
    }


def layout_asset(archive: str, event_type: str) -> Asset:
    """
    Return the asset that the layouts of an event type's files are: it has an event when one is met for the first time.

    :param archive: the destination's URL, as the copying task has it
    :param event_type: in any spelling
    """
    return Asset(uri=f"{archive.rstrip('/')}/_layouts/event_type={parse_event_type(event_type)}")


def layout_alias() -> AssetAlias:
    """Return the alias under which every task that types files announces a new layout, of whatever event type."""
    return AssetAlias("ayla_export_layout")

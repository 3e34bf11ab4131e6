"""The client of an Ayla cloud, signed in to a local one, and a day of its export."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud import storage
from google.oauth2 import service_account

from ayla_provider.archive.archive import Archive, ArchiveReport
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source import guard
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from ayla_provider.source.gcs import GcsSource
from ayla_provider.source.guard import SignInGuard
from ayla_provider.source.settings import AylaSettings

NOW = datetime(2024, 5, 9, 12, tzinfo=UTC)
"""The time of the export."""

RULE = ArrivalRule(timedelta(minutes=15), timedelta(minutes=90))


def at(hour: int, minute: int = 0) -> datetime:
    """Return a time of the day of the export."""
    return NOW.replace(hour=hour, minute=minute)


def connection_of(cloud: LocalCloud, *, password: str | None = None, host: str | None = None, **extra: str) -> Any:
    made = cloud.ayla_connection()
    return {
        "conn_id": "ayla_test",
        "login": made["login"],
        "password": password or made["password"],
        "host": host or made["host"],
        "port": None,
        "extra": made["extra"] | extra,
    }


def settings_of(cloud: LocalCloud, **changes: Any) -> AylaSettings:
    return AylaSettings.from_fields(**connection_of(cloud, **changes))


def provider_of(
    settings: AylaSettings, memory: guard.Memory | None = None, on_secret: Callable[[str], None] = lambda secret: None
) -> TokenProvider:
    return TokenProvider(settings, SignInGuard("ayla_test", settings.fingerprint, memory), on_secret)


def export_of(cloud: LocalCloud, provider: TokenProvider, **arguments: Any) -> Export:
    of_source = {"bucket": cloud.vendor.name, "endpoint": cloud.url}
    of_source |= {name: arguments.pop(name) for name in ("bucket", "endpoint", "network") if name in arguments}
    source = GcsSource(provider.credentials(), **of_source)
    root = f"{arguments.pop('oem_id', cloud.oem_id)}/"
    return Export(source, root, **{"now": cloud.clock.now} | arguments)


def client_of(export: Export) -> storage.Client:
    """Return the google-cloud-storage client of an export's source."""
    assert isinstance(export.source, GcsSource)
    return export.source.client


def age(provider: TokenProvider) -> None:
    """Make a provider's token one that was fetched a minute ago."""
    assert provider._token
    provider._token = dataclasses.replace(provider._token, fetched=provider._token.fetched - 60)


def requests_of(cloud: LocalCloud, *steps: str) -> list[Any]:
    """Return the requests for some purposes, once the last one is in the cloud's log."""
    time.sleep(0.05)
    return [one for one in list(cloud.requests) if one.step in steps]


def put(
    cloud: LocalCloud, hour: int, file: str, data: Any = b"row\r\n", *, folder: str = "Datapoint", minute: int = 0
) -> str:
    """Put an object of the day into Ayla's bucket, there half an hour after its hour, and return its name."""
    name = f"{at(hour):%Y-%m-%d} {hour:02}:{minute:02}:00"
    return cloud.put_object(folder, name, file, data, at(hour) + timedelta(minutes=90)).name


def bytes_of(content: Any) -> bytes:
    return b"".join(content.chunks(0, content.size))


def customer_credentials(cloud: LocalCloud) -> service_account.Credentials:
    scope = "https://www.googleapis.com/auth/devstorage.read_write"
    made = service_account.Credentials.from_service_account_info(cloud.service_account_key(), scopes=[scope])
    # google-auth would ask Google, in the background, for the regions that this account is allowed in.
    made._is_regional_access_boundary_lookup_required = lambda: False
    return made


def hours_at(*hours: int, event_type: str = "datapoint") -> list[ExportHour]:
    """Return these hours of the day of :func:`at`."""
    return [ExportHour(EventType(event_type), at(hour)) for hour in hours]


def take_in(archive: Archive, export: Export, *hours: int, event_type: str = "datapoint") -> ArchiveReport:
    """Copy some hours of the day."""
    return archive.take_in(export, hours_at(*hours, event_type=event_type), RULE, written_by={"run_id": "test"})

"""The Airflow side of a connection to Ayla."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from ayla_provider._airflow.sign_in_variable import VariableMemory
from ayla_provider.domain.events import EventType, parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, hours_of, parse_time
from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from ayla_provider.domain.paths import ExportFile
    from ayla_provider.source.auth import TokenProvider
    from ayla_provider.source.bucket import Source
    from ayla_provider.source.export import Export
    from ayla_provider.source.gcs import GcsSource
    from ayla_provider.source.s3 import S3Source
    from ayla_provider.source.settings import AylaSettings

__all__ = ["AylaHook"]


class AylaHook(BaseHook):
    """
    A signed-in view of an OEM's Ayla export.

    Nothing is read or requested before a method is called. The storage token is fetched and renewed as needed, also
    in the middle of a download; every secret that becomes known is masked in Airflow's logs.

    :param ayla_conn_id: the id of an Airflow connection of type ``ayla``; of type ``aws`` for an export of the time
        before it moved to Cloud Storage
    """

    conn_name_attr = "ayla_conn_id"
    default_conn_name = "ayla_default"
    conn_type = "ayla"
    hook_name = "Ayla Networks"

    _masks_tokens = True
    """Whether Airflow's masker is told of tokens, too; of the connection's own secrets it is in any case."""

    def __init__(self, ayla_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ayla_conn_id = ayla_conn_id

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields, for Airflow 3.1; newer versions read the provider's metadata."""
        from ayla_provider._airflow.form import widgets

        return widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form looks, for Airflow 3.1; newer versions read the provider's metadata."""
        from ayla_provider._airflow.form import behaviour

        return behaviour()

    @cached_property
    def settings(self) -> AylaSettings:
        """
        The connection's settings, checked.

        :raises AylaConfigError: naming the field that is missing or malformed
        """
        from ayla_provider.source.settings import AylaSettings

        connection = self.get_connection(self.ayla_conn_id)
        try:
            extra = connection.extra_dejson
        except (ValueError, AttributeError):  # the latter where Airflow masks an extra that is no object
            extra = None
        if not isinstance(extra, dict):
            raise AylaConfigError(f"connection {self.ayla_conn_id!r}: the extra is no JSON object")
        settings = AylaSettings.from_fields(
            conn_id=self.ayla_conn_id,
            login=connection.login,
            password=connection.password,
            host=connection.host,
            port=connection.port,
            extra=extra,
        )
        for secret in settings.secrets:
            _mask(secret)
        return settings

    @cached_property
    def export(self) -> Export:
        """The export as it stands in the vendor's bucket."""
        return self._open(self._s3_source() if self.in_s3 else self._gcs_source(self.get_credentials()))

    def fresh_export(self) -> Export:
        """
        Return the same, but with a sign-in of its own, which knows nothing of earlier ones of this process.

        A server runs for weeks: by what it knows, a check would call a connection good that isn't any more.

        :raises AylaConfigError: if the connection's fields are incomplete
        """
        return self._open(self._s3_source() if self.in_s3 else self._gcs_source(self._token_provider().credentials()))

    @cached_property
    def in_s3(self) -> bool:
        """Whether the connection leads to Amazon S3, where the export lay before it moved to Cloud Storage."""
        return bool(self.get_connection(self.ayla_conn_id).conn_type == "aws")

    @property
    def secrets(self) -> list[str]:
        """All that must be shown to nobody, as far as it is known by now."""
        known = vars(self)
        if "settings" in known:
            token = self.get_credentials().token
            return [*self.settings.secrets, *([token] if token else [])]
        password = self.get_connection(self.ayla_conn_id).password if known.get("in_s3") else None
        return [password] if password else []

    def _gcs_source(self, credentials: Credentials) -> GcsSource:
        from ayla_provider.source.gcs import GcsSource

        settings = self.settings
        return GcsSource(credentials, settings.bucket, endpoint=settings.storage_endpoint, network=settings.network)

    def _s3_source(self) -> S3Source:
        try:
            from airflow.providers.amazon.aws.hooks.s3 import S3Hook
        except ImportError:
            raise AylaConfigError(
                f"connection {self.ayla_conn_id!r} is of type aws, which needs Airflow's Amazon provider: pip install "
                "'airflow-provider-ayla[amazon]'"
            ) from None
        from botocore.config import Config

        from ayla_provider.source.s3 import S3Source
        from ayla_provider.transport.http import CONNECTIONS

        hook = S3Hook(aws_conn_id=self.ayla_conn_id)
        bucket = hook.service_config.get("bucket_name")
        if not bucket:
            raise AylaConfigError(
                f"connection {self.ayla_conn_id!r}: bucket_name is missing. Put it into the extra, as "
                '{"service_config": {"s3": {"bucket_name": "..."}}}. The Ayla dashboard shows it under OEM Profile, '
                "Data Export."
            )
        config = hook.config.merge(Config(max_pool_connections=CONNECTIONS))
        return S3Source(hook.get_client_type(config=config), bucket)

    def _open(self, source: Source) -> Export:
        from ayla_provider.source.export import Export

        if self.in_s3:
            from ayla_provider.source.settings import arrival_rule

            # The bucket is the OEM's own.
            extra = self.get_connection(self.ayla_conn_id).extra_dejson
            return Export(source, "", rule=arrival_rule(self.ayla_conn_id, extra))
        settings = self.settings
        return Export(source, f"{settings.oem_id}/", event_folders=settings.event_folders, rule=settings.rule)

    def get_conn(self) -> Any:
        """
        Return a google-cloud-storage client that signs in, and fetches and renews its token, by itself.

        Ayla's token allows to list below ``<oem_id>/`` and to download from there, nothing else: use
        ``client.bucket(...)`` (not ``get_bucket``), and list with a prefix. Of a connection to Amazon S3 it is boto3's
        client.

        :raises AylaConfigError: if the connection's fields are incomplete
        """
        return self.export.source.client

    def get_credentials(self) -> Credentials:
        """
        Return google-auth credentials for Cloud Storage, without signing in yet.

        :raises AylaConfigError: if the connection's fields are incomplete
        """
        from ayla_provider.source.auth import shared_provider

        return shared_provider(self.settings, self._token_provider).credentials()

    def _token_provider(self) -> TokenProvider:
        from ayla_provider.source.auth import TokenProvider
        from ayla_provider.source.guard import SignInGuard

        settings = self.settings
        guard = SignInGuard(self.ayla_conn_id, settings.fingerprint, VariableMemory(settings.fingerprint))
        return TokenProvider(settings, guard, _mask) if self._masks_tokens else TokenProvider(settings, guard)

    def list_event_types(self) -> dict[EventType, str]:
        """
        Return event type to the real spelling of its folder, as the bucket shows them now.

        A folder of an event type that Ayla's documents don't list is included, with a warning.

        :raises AylaError: if it can't be listed
        """
        return self.export.event_folders()

    def list_files(self, event_type: str, hour: datetime | str) -> list[ExportFile]:
        """
        Return the files of one hour of an event type that stand in the source now.

        :param event_type: in any spelling, for example ``datapoint_ack``
        :param hour: the hour's start, aware or ISO 8601 with an offset
        :raises AylaError: if it can't be listed
        """
        start = parse_time(hour, "hour")
        return self.export.list_files(hours_of(parse_event_type(event_type), start, start + ONE_HOUR))

    def test_connection(self) -> tuple[bool, str]:
        """Sign in, get a token, list the event folders; return whether it worked, and what failed and what to do."""
        from ayla_provider.source.check import answer

        return answer(self.ayla_conn_id)


def _mask(secret: str) -> None:
    from airflow.sdk.log import mask_secret

    mask_secret(secret)

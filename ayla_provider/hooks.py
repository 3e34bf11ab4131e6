"""The hook of a connection to Ayla."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from ayla_provider._airflow.errors import undefined_connection
from ayla_provider._airflow.exports import open_in_cloud_storage, open_in_s3
from ayla_provider._airflow.sign_in_variable import SIGN_IN_VARIABLE, VariableMemory
from ayla_provider.domain.events import EventType, parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, hours_of, parse_time
from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from google.auth.credentials import Credentials

    from ayla_provider.domain.paths import ExportFile
    from ayla_provider.source.auth import TokenProvider
    from ayla_provider.source.export import Export
    from ayla_provider.source.settings import AylaSettings

__all__ = ["AylaHook"]


class AylaHook(BaseHook):
    """
    A signed-in view of an OEM's Ayla export.

    Nothing is read or requested before you call a method. The hook gets the storage token and renews it as needed,
    even during a download. It masks all secrets in Airflow's logs.

    :param ayla_conn_id: the id of an Airflow connection of type ``ayla``, or of type ``aws`` for an export in Amazon
        S3, where exports were before they moved to Cloud Storage
    """

    conn_name_attr = "ayla_conn_id"
    default_conn_name = "ayla_default"
    conn_type = "ayla"
    hook_name = "Ayla Networks"

    _masks_tokens = True
    """Whether Airflow masks tokens, too. It masks the connection's own secrets in any case."""

    def __init__(self, ayla_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ayla_conn_id = ayla_conn_id

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields, for Airflow 3.1. Newer versions read the provider's metadata."""
        from ayla_provider._airflow.form import widgets

        return widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form looks, for Airflow 3.1. Newer versions read the provider's metadata."""
        from ayla_provider._airflow.form import behaviour

        return behaviour()

    @cached_property
    def _connection(self) -> Connection:
        # A task asks Airflow for it over the network.
        return self.get_connection(self.ayla_conn_id)

    @cached_property
    def settings(self) -> AylaSettings:
        """
        The connection's settings, checked.

        :raises AylaConfigError: if a field is missing or malformed; the message names it
        """
        from ayla_provider.source.settings import AylaSettings

        connection = self._connection
        try:
            # Not extra_dejson: Airflow would take each value for a secret, such as the region.
            extra = json.loads(connection.extra or "{}")
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            raise AylaConfigError(f"connection {self.ayla_conn_id!r}: the extra must be a JSON object")
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
        """The export in the vendor's bucket."""
        return self._open(self.get_credentials)

    def fresh_export(self) -> Export:
        """
        Return the export with a sign-in of its own, which ignores earlier ones of this process.

        A server runs for weeks. With a token from before, a check would accept a connection that no longer works.

        :raises AylaConfigError: if the connection's fields are incomplete
        """
        return self._open(lambda: self._token_provider().credentials())

    @cached_property
    def in_s3(self) -> bool:
        """Whether the connection leads to Amazon S3, where the export was before it moved to Cloud Storage."""
        return bool(self._connection.conn_type == "aws")

    @property
    def secrets(self) -> list[str]:
        """The secrets that are known so far. Show them to nobody."""
        known = vars(self)
        if "settings" in known:
            token = self.get_credentials().token
            return [*self.settings.secrets, *([token] if token else [])]
        password = self._connection.password if known.get("in_s3") else None
        return [password] if password else []

    def _open(self, credentials: Callable[[], Credentials]) -> Export:
        if self.in_s3:
            return open_in_s3(self.ayla_conn_id)
        return open_in_cloud_storage(self.settings, credentials())

    def get_conn(self) -> Any:
        """
        Return a google-cloud-storage client that signs in, and gets and renews its token, by itself.

        Ayla's token permits only to list objects below ``<oem_id>/`` and to download them. Use ``client.bucket(...)``,
        not ``get_bucket``, and list with a prefix. For a connection to Amazon S3, this is boto3's client.

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
        Return the event types that have a folder in the bucket now, each with the spelling of its folder.

        Event types that Ayla doesn't document are included. The log warns about them.

        :raises AylaError: if the bucket can't be listed
        """
        return self.export.event_folders()

    def list_files(self, event_type: str, hour: datetime | str) -> list[ExportFile]:
        """
        Return the files of one hour of an event type that are in the bucket now.

        :param event_type: in any spelling, for example ``datapoint_ack``
        :param hour: the hour's start, aware or ISO 8601 with an offset
        :raises AylaError: if the bucket can't be listed
        """
        start = parse_time(hour, "hour")
        return self.export.list_files(hours_of(parse_event_type(event_type), start, start + ONE_HOUR))

    def test_connection(self) -> tuple[bool, str]:
        """Sign in, get a token, list the event folders; return whether it worked, and what failed and what to do."""
        from ayla_provider.source.check import answer

        return answer(HookConnection(self))


class HookConnection:
    """
    The connection of a hook, as a :class:`~ayla_provider.source.check.CheckedConnection`.

    :raises AylaConfigError: from each member but ``conn_id``, if the connection isn't defined
    """

    def __init__(self, hook: AylaHook) -> None:
        self._hook = hook

    @property
    def conn_id(self) -> str:
        """The connection's id."""
        return self._hook.ayla_conn_id

    @property
    def conn_type(self) -> str:
        """The connection's type in Airflow."""
        with undefined_connection():
            return str(self._hook.get_connection(self.conn_id).conn_type)

    @property
    def in_s3(self) -> bool:
        """Whether the export is in Amazon S3."""
        with undefined_connection():
            return self._hook.in_s3

    @property
    def settings(self) -> AylaSettings:
        """The settings of an export in Cloud Storage."""
        with undefined_connection():
            return self._hook.settings

    @property
    def secrets(self) -> list[str]:
        """All secrets that are known so far."""
        with undefined_connection():
            return self._hook.secrets

    def fresh_export(self) -> Export:
        """Return the export, with a sign-in of its own."""
        with undefined_connection():
            return self._hook.fresh_export()

    def sign_in_record(self) -> str:
        """Return how a sentence names the record of the last sign-in."""
        variable = SIGN_IN_VARIABLE.format(fingerprint=self.settings.fingerprint)
        return f"the Airflow Variable {variable}"


def _mask(secret: str) -> None:
    from airflow.sdk.log import mask_secret

    mask_secret(secret)

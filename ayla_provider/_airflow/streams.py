"""Opens the stream that a URL names, with an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ayla_provider._airflow.errors import undefined_connection
from ayla_provider.errors import TEMPORARY, AylaAccessDenied, AylaConfigError, AylaUnavailable
from ayla_provider.stream.url import StreamUrl
from ayla_provider.transport.redaction import from_outside, know_secret

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from ayla_provider.stream.base import Stream

_TIMEOUT = (10, 60)
"""Seconds to connect to AWS, and to wait for an answer or for its next bytes."""

_ATTEMPTS = 5
_CONNECTIONS = 32
"""Shards that are read at once use as many connections at most."""

_TICK = 1.0
"""Seconds after which a thread of Azure's client notices that the client was closed."""

_CLOUDS = {
    "AzurePublicCloud": "login.microsoftonline.com",
    "AzureUSGovernment": "login.microsoftonline.us",
    "AzureChinaCloud": "login.chinacloudapi.cn",
}
"""The connection's ``cloud_environment`` to the host that signs in, as in Airflow's Azure provider."""


def open_stream(url: str, conn_id: str | None = None) -> Stream:
    """
    Return the stream that a URL names. Nothing is read yet.

    :param url: ``kinesis://stream``, ``eventhubs://hub`` or ``eventhubs://hub/consumer-group``
    :param conn_id: for Kinesis, an AWS connection, or None for the credentials of the machine. For Event Hubs, a
        connection of the type ``azure`` or ``azure_service_bus``
    :raises AylaConfigError: if the URL or the connection is malformed, or something that it needs isn't installed
    :raises AylaAccessDenied: if the connection's role can't be taken on
    :raises AylaUnavailable: if the service that gives credentials doesn't answer
    """
    parsed = StreamUrl.parse(url)
    if parsed.scheme == "kinesis":
        return _open_kinesis(parsed, conn_id)
    return _open_event_hub(parsed, conn_id)


def _open_kinesis(url: StreamUrl, conn_id: str | None) -> Stream:
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
    except ImportError as error:
        raise _not_installed("Kinesis", "kinesis", error) from None
    from ayla_provider.stream.kinesis import KinesisStream

    if conn_id is not None:
        # Without this, the hook silently takes the machine's credentials in place of a connection that doesn't exist.
        _connection(conn_id)
    connect_timeout, read_timeout = _TIMEOUT
    ours = Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_CONNECTIONS,
    )
    hook = AwsBaseHook(aws_conn_id=conn_id, client_type="kinesis")
    try:
        # What the connection's config_kwargs set takes precedence.
        client = hook.get_client_type(config=ours.merge(hook.config))
    except NoRegionError:
        raise AylaConfigError(
            f"connection {conn_id!r}: set region_name in its extra to the region of the Kinesis stream {url.name!r}"
        ) from None
    except ClientError as error:
        raise AylaAccessDenied(
            f"connection {conn_id!r} gives no credentials for the Kinesis stream {url.name!r}: {from_outside(error)}"
        ) from None
    except BotoCoreError as error:
        raise AylaUnavailable(
            f"connection {conn_id!r} has no usable credentials for the Kinesis stream {url.name!r} "
            f"({type(error).__name__}: {from_outside(error)}). {TEMPORARY}"
        ) from None
    return KinesisStream(client, url.name, client.meta.region_name)


def _open_event_hub(url: StreamUrl, conn_id: str | None) -> Stream:
    try:
        import azure.eventhub
        import azure.identity
    except ImportError as error:
        raise _not_installed("Event Hubs", "eventhubs", error) from None
    from ayla_provider.stream.eventhubs import EventHubStream

    if conn_id is None:
        raise AylaConfigError(
            f"event hub {url.name!r} needs a connection of the type azure or azure_service_bus: it names the namespace"
        )
    connection = _connection(conn_id)
    settings: dict[str, Any] = {
        "consumer_group": url.group,
        "eventhub_name": url.name,
        "retry_total": 0,
        "load_balancing_interval": _TICK,
    }
    if connection.conn_type == "azure_service_bus" and connection.schema:
        text, namespace = _connection_string(connection, url)

        def connect() -> Any:
            return azure.eventhub.EventHubConsumerClient.from_connection_string(text, **settings)
    else:
        namespace, credential = _namespace(connection), _credential(connection)

        def connect() -> Any:
            return azure.eventhub.EventHubConsumerClient(namespace, credential=credential, **settings)

    return EventHubStream(connect, namespace, url.name, url.retention)


def _connection(conn_id: str) -> Connection:
    from airflow.sdk import BaseHook

    with undefined_connection():
        return BaseHook.get_connection(conn_id)


def _connection_string(connection: Connection, url: StreamUrl) -> tuple[str, str]:
    """Return the connection string and its host."""
    from airflow.sdk.log import mask_secret
    from azure.eventhub import parse_connection_string

    text = str(connection.schema).strip()
    expected = (
        f"connection {connection.conn_id!r}: expected a connection string such as "
        "Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=NAME;SharedAccessKey=KEY"
    )
    try:
        parts = parse_connection_string(text)
    except ValueError:
        # The message doesn't quote the error, which can contain a part of the string.
        raise AylaConfigError(expected) from None
    for secret in (parts.shared_access_key, parts.shared_access_signature):
        if secret:
            know_secret(secret)
            mask_secret(secret)
    if parts.eventhub_name and parts.eventhub_name != url.name:
        raise AylaConfigError(
            f"connection {connection.conn_id!r} is for the event hub {parts.eventhub_name!r} (EntityPath), and the "
            f"stream is {url.name!r}: use a connection string of the namespace, or of this hub"
        )
    return text, urlsplit(parts.endpoint).netloc


def _namespace(connection: Connection) -> str:
    """Return the host of the namespace that a connection names."""
    extra = connection.extra_dejson
    prefix = f"extra__{connection.conn_type}__"
    stated = extra.get("fully_qualified_namespace") or extra.get(f"{prefix}fully_qualified_namespace")
    namespace = str(stated or connection.host or "").strip()
    if "://" not in namespace:
        namespace = f"sb://{namespace}"
    host = urlsplit(namespace).netloc
    if "." not in host or "@" in host:
        raise AylaConfigError(
            f"connection {connection.conn_id!r}: set fully_qualified_namespace in its extra to the host of the Event "
            "Hubs namespace, such as NAMESPACE.servicebus.windows.net"
        )
    return host


def _credential(connection: Connection) -> Any:
    """
    Return the credential of Microsoft Entra that a connection describes, in the fields of Airflow's Azure provider.

    That provider's own method returns one of an older library, which Event Hubs doesn't accept.
    """
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

    extra = connection.extra_dejson
    authority = _CLOUDS.get(extra.get("cloud_environment") or "AzurePublicCloud")
    if authority is None:
        raise AylaConfigError(
            f"connection {connection.conn_id!r}: cloud_environment must be one of {', '.join(_CLOUDS)}"
        )
    tenant = extra.get("tenantId")
    if connection.login and connection.password and tenant:
        know_secret(connection.password)
        return ClientSecretCredential(tenant, connection.login, connection.password, authority=authority)
    options: dict[str, Any] = {"authority": authority}
    identity = extra.get("managed_identity_client_id")
    if identity:
        options["managed_identity_client_id"] = identity
    workload_tenant = extra.get("workload_identity_tenant_id")
    if workload_tenant:
        options["workload_identity_tenant_id"] = workload_tenant
        options["additionally_allowed_tenants"] = [workload_tenant]
    return DefaultAzureCredential(**options)


def _not_installed(what: str, extra: str, error: ImportError) -> AylaConfigError:
    return AylaConfigError(
        f"a stream of {what} needs a package that isn't installed ({error}): "
        f"pip install 'airflow-provider-ayla[{extra}]'"
    )

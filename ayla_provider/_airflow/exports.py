"""Opens the vendor's export: in Cloud Storage, or in Amazon S3, where it was before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from ayla_provider.source.bucket import Source
    from ayla_provider.source.export import Export
    from ayla_provider.source.settings import AylaSettings, ExportSettings


def open_in_cloud_storage(settings: AylaSettings, credentials: Credentials) -> Export:
    """Return the export that a connection of the type ``ayla`` names."""
    from ayla_provider.source.gcs import GcsSource

    source = GcsSource(credentials, settings.bucket, endpoint=settings.storage_endpoint, network=settings.network)
    return _export(source, settings.export)


def open_in_s3(conn_id: str) -> Export:
    """
    Return the export that a connection of the type ``aws`` names.

    :raises AylaConfigError: if Airflow's Amazon provider isn't installed, or the connection doesn't name the bucket
    """
    try:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    except ImportError:
        raise AylaConfigError(
            f"connection {conn_id!r} is of type aws, which needs Airflow's Amazon provider: pip install "
            "'airflow-provider-ayla[amazon]'"
        ) from None
    from botocore.config import Config

    from ayla_provider.source.s3 import TIMEOUT, S3Source
    from ayla_provider.source.settings import export_settings
    from ayla_provider.transport.http import CONNECTIONS

    hook = S3Hook(aws_conn_id=conn_id)
    bucket = hook.service_config.get("bucket_name")
    if not bucket:
        raise AylaConfigError(
            f"connection {conn_id!r}: bucket_name is missing. Put it into the extra, as "
            '{"service_config": {"s3": {"bucket_name": "..."}}}. The Ayla dashboard shows it under OEM Profile, '
            "Data Export."
        )
    # The connection's own timeouts take precedence.
    timeouts = Config(connect_timeout=TIMEOUT[0], read_timeout=TIMEOUT[1])
    config = timeouts.merge(hook.config).merge(Config(max_pool_connections=CONNECTIONS))
    source = S3Source(hook.get_client_type(config=config), bucket)
    extra = BaseHook.get_connection(conn_id).extra_dejson
    # By default without a folder for the OEM, because the bucket is the OEM's own.
    return _export(source, export_settings(conn_id, extra))


def _export(source: Source, settings: ExportSettings) -> Export:
    from ayla_provider.source.export import Export

    return Export(
        source,
        settings.root,
        event_folders=settings.event_folders,
        rule=settings.rule,
        ignored_objects=settings.ignored_objects,
        hour_pattern=settings.hour_pattern,
        retention=settings.retention,
    )

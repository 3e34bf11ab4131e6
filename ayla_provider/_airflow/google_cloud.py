"""Opens a Cloud Storage bucket with an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ayla_provider.errors import AylaConfigError, AylaDestinationError

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.archive.url import DestinationUrl


def open_google(url: DestinationUrl, conn_id: str | None, install: str) -> Destination:
    """
    Return the destination of a ``gs://`` URL.

    :param conn_id: a Google connection; None for ``google_cloud_default``
    :param install: what to do if Airflow's Google provider isn't installed
    """
    try:
        from airflow.providers.google.cloud.hooks.gcs import GCSHook
    except ImportError:
        raise AylaConfigError(f"destination {str(url)!r} needs Airflow's Google provider: {install}") from None
    from google.auth.exceptions import GoogleAuthError

    from ayla_provider.archive.gcs import GcsDestination
    from ayla_provider.transport.cloud_storage import storage_client
    from ayla_provider.transport.retry_log import keep_retries_out_of_the_log

    keep_retries_out_of_the_log()
    conn_id = conn_id or GCSHook.default_conn_name
    try:
        hook = GCSHook(gcp_conn_id=conn_id)
        # The hook's own client has no deadline for an answer as a whole, and none for tokens.
        credentials, endpoint = hook.get_credentials(), hook.get_conn().api_endpoint
    except GoogleAuthError as error:
        # Retryable: on Google's machines, credentials come from a service that can fail for a moment.
        raise AylaDestinationError(
            f"connection {conn_id!r} has no usable credentials for {str(url)!r}: {error}"
        ) from None
    client = storage_client(credentials, endpoint)
    return GcsDestination(client, url.bucket, url.path, credentials=credentials)

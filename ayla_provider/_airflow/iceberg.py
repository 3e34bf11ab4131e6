"""The catalog that an Iceberg connection of Airflow names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ayla_provider._airflow.errors import undefined_connection
from ayla_provider.errors import AylaConfigError
from ayla_provider.transport.redaction import know_secret

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_SECRET = re.compile(r"secret|token|password|credential|key$|uri", re.IGNORECASE)
"""Names of a catalog's properties that are secret, or can have a password in them."""


def require_iceberg() -> None:
    """
    Make sure that the packages for Iceberg are installed.

    :raises AylaConfigError: if one isn't
    """
    try:
        import airflow.providers.apache.iceberg.hooks.iceberg  # noqa: F401
        import pyiceberg.io.pyarrow  # noqa: F401
    except ImportError:
        raise AylaConfigError(
            "Airflow's Iceberg provider isn't installed: pip install 'airflow-provider-ayla[iceberg]'"
        ) from None


def open_catalog(conn_id: str) -> Catalog:
    """
    Return the catalog of a connection of Airflow's Iceberg provider.

    :raises AylaConfigError: if the provider isn't installed or too old, the connection isn't defined, or pyiceberg
        can't make a catalog of it
    """
    require_iceberg()
    from airflow.providers.apache.iceberg.hooks.iceberg import IcebergHook
    from pyiceberg.catalog import Catalog
    from pyiceberg.exceptions import NotInstalledError

    hook = IcebergHook(iceberg_conn_id=conn_id)
    with undefined_connection():
        connection = hook.get_connection(conn_id)
    secrets = [connection.password or ""]
    secrets += [str(value) for name, value in connection.extra_dejson.items() if _SECRET.search(name)]
    for secret in secrets:
        know_secret(secret)
    try:
        catalog = hook.get_conn()
    except (ValueError, TypeError, ImportError, NotInstalledError) as error:
        # pyiceberg's words name the property or the package that is missing.
        raise AylaConfigError(f"the connection {conn_id} names no catalog that pyiceberg can open: {error}") from None
    if not isinstance(catalog, Catalog):
        raise AylaConfigError(
            "Airflow's Iceberg provider is older than 2.0, and has no catalog: "
            "pip install 'airflow-provider-ayla[iceberg]'"
        )
    return catalog

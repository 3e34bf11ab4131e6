"""The keys of the erasure ledger, from an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from ayla_provider.domain.erasure import ErasureKeys

ERASURE_CONN_ID = "ayla_erasure"
"""The id of the connection whose password has the keys, by default. Without an erasure, nobody looks it up."""


def erasure_keys(conn_id: str) -> ErasureKeys:
    """
    Return the keys of the erasure ledger.

    :param conn_id: the id of a connection whose password has them: one, or several with spaces between them
    :raises AylaConfigError: if there is none, or one is too short
    """
    from ayla_provider._airflow.errors import undefined_connection
    from ayla_provider.domain.erasure import ErasureKeys

    with undefined_connection():
        password = BaseHook.get_connection(conn_id).password
    return ErasureKeys.parse(password, f"the connection {conn_id!r}")

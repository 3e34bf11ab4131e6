"""What the commands need opened. The Airflow face opens it, so that nothing here imports Airflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.domain.erasure import ErasureKeys
    from ayla_provider.source.check import CheckedConnection
    from ayla_provider.source.export import Export
    from ayla_provider.stream.base import Stream
    from ayla_provider.warehouse.base import Warehouse


class Connections(Protocol):
    """Opens exports, streams, and destinations by the ids of connections."""

    def check(self, conn_id: str) -> CheckedConnection:
        """Return what a check needs of a connection to Ayla."""

    def export(self, conn_id: str) -> Export:
        """
        Return the export of a connection to Ayla.

        :raises AylaError: if the connection isn't defined, or incomplete
        """

    def destination(self, url: str, conn_id: str | None) -> Destination:
        """
        Return the destination that a URL names.

        :raises AylaError: if it can't be opened
        """

    def stream(self, url: str, conn_id: str | None) -> Stream:
        """
        Return the stream that a URL names.

        :param conn_id: None for the credentials of this machine
        :raises AylaError: if it can't be opened
        """

    def warehouse(self, kind: str, arguments: Mapping[str, str]) -> Warehouse:
        """
        Return a warehouse, not entered.

        :param kind: such as "iceberg"
        :param arguments: those that name it in its load
        :raises AylaError: if there is no such kind, or the arguments don't fit it
        """

    def erasure_keys(self, conn_id: str) -> ErasureKeys:
        """
        Return the keys of the erasure ledger that a connection has.

        :raises AylaError: if it has none
        """

    def password(self, conn_id: str) -> str:
        """
        Return the password of a connection: a key.

        :raises AylaConfigError: if the connection isn't defined, or has none
        """

    def default_destination(self) -> str:
        """
        Return the URL of the destination if the user names none.

        :raises AylaConfigError: if there is none
        """

    def first_hour(self) -> datetime | None:
        """
        Return the first hour that the sample DAGs copy and repair, aware; None if it isn't set.

        :raises AylaConfigError: if it isn't a time
        """

    def secrets(self) -> list[str]:
        """Return all secrets of what was opened, as far as they are known."""


OpenConnections = Callable[[], AbstractContextManager[Connections]]
"""Opens the connections for the length of a ``with`` block. Within it stdout is stderr, where Airflow may log."""

"""``python -m ayla_provider``: the commands of an Airflow machine's shell, with Airflow's connections and Variables."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ayla_provider._airflow.errors import undefined_connection
from ayla_provider.cli.main import main as run_command
from ayla_provider.domain.hour import hour_of, parse_time
from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.domain.erasure import ErasureKeys
    from ayla_provider.hooks import AylaHook, HookConnection
    from ayla_provider.source.export import Export
    from ayla_provider.stream.base import Stream
    from ayla_provider.warehouse.base import Warehouse

DESTINATION_VARIABLE = "ayla_export_destination"
"""The Airflow Variable from which the sample DAGs take the destination."""

FIRST_HOUR_VARIABLE = "AYLA_EXPORT_START"
"""The environment variable from which the sample DAGs take the first hour."""

_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"
"""How Airflow's own commands say that they may look up connections in the metadata database."""


_MASKERS = [f"airflow.{package}_shared.secrets_masker.secrets_masker" for package in ("", "sdk.")]
"""
The loggers of Airflow's secrets masker. Airflow takes each value of an extra for a secret when it reads a connection,
and warns that "us" is too short for one.
"""


class AirflowConnections:
    """What :class:`ayla_provider.cli.connections.Connections` asks for. Use it within :func:`airflow_connections`."""

    def __init__(self) -> None:
        self._hooks: list[AylaHook] = []
        self._passwords: list[str] = []

    def check(self, conn_id: str) -> HookConnection:
        """Return what a check needs of a connection to Ayla."""
        from ayla_provider.hooks import HookConnection

        return HookConnection(self._hook(conn_id))

    def export(self, conn_id: str) -> Export:
        """
        Return the export of a connection to Ayla.

        :raises AylaConfigError: if the connection isn't defined, or incomplete
        """
        with undefined_connection():
            return self._hook(conn_id).export

    def secrets(self) -> list[str]:
        """Return all secrets of the connections to Ayla, as far as they are known."""
        return [*self._passwords, *(secret for hook in self._hooks for secret in hook.secrets)]

    def _hook(self, conn_id: str) -> AylaHook:
        from ayla_provider.hooks import AylaHook

        hook = AylaHook(conn_id)
        self._hooks.append(hook)
        return hook

    def destination(self, url: str, conn_id: str | None) -> Destination:
        """
        Return the destination that a URL names.

        :raises AylaError: if it can't be opened
        """
        from ayla_provider.destinations import open_destination

        with undefined_connection():
            return open_destination(url, conn_id)

    def stream(self, url: str, conn_id: str | None) -> Stream:
        """
        Return the stream that a URL names.

        :param conn_id: None for the credentials of this machine
        :raises AylaError: if it can't be opened
        """
        from ayla_provider._airflow.streams import open_stream

        with undefined_connection():
            return open_stream(url, conn_id)

    def warehouse(self, kind: str, arguments: Mapping[str, str]) -> Warehouse:
        """
        Return a warehouse, not entered.

        :param kind: such as "iceberg"
        :param arguments: those that name it in its load
        :raises AylaConfigError: if there is no such kind, or the arguments don't fit it
        """
        from ayla_provider.operators.warehouses import open_warehouse

        with undefined_connection():
            return open_warehouse(kind, arguments)

    def erasure_keys(self, conn_id: str) -> ErasureKeys:
        """
        Return the keys of the erasure ledger that a connection has.

        :raises AylaConfigError: if it has none
        """
        from ayla_provider._airflow.erasure_keys import erasure_keys

        return erasure_keys(conn_id)

    def password(self, conn_id: str) -> str:
        """
        Return the password of a connection: a key.

        :raises AylaConfigError: if the connection isn't defined, or has none
        """
        from airflow.sdk import BaseHook

        with undefined_connection():
            password = BaseHook.get_connection(conn_id).password
        if not password:
            raise AylaConfigError(f"the connection {conn_id!r} has no password, which is the key")
        self._passwords.append(password)
        return password

    def first_hour(self) -> datetime | None:
        """
        Return the first hour that the sample DAGs copy and repair, aware; None if it isn't set.

        :raises AylaConfigError: if it isn't a time
        """
        text = os.environ.get(FIRST_HOUR_VARIABLE)
        return hour_of(parse_time(text, FIRST_HOUR_VARIABLE)) if text else None

    def default_destination(self) -> str:
        """
        Return the URL that the sample DAGs copy to.

        :raises AylaConfigError: if there is none
        """
        from airflow.models.variable import Variable

        destination = Variable.get(DESTINATION_VARIABLE, default_var=None)
        if not destination:
            raise AylaConfigError(
                f"no destination: give --destination, or set the Airflow Variable {DESTINATION_VARIABLE}"
            )
        return str(destination)


@contextlib.contextmanager
def airflow_connections() -> Iterator[AirflowConnections]:
    """Look up connections as Airflow's own commands do, and keep Airflow's log out of stdout."""
    context_before = os.environ.get(_CONTEXT)
    disabled_before = logging.root.manager.disable
    os.environ[_CONTEXT] = "server"
    logging.disable(max(disabled_before, logging.INFO))
    for name in _MASKERS:
        logging.getLogger(name).addFilter(_is_worth_reading)
    try:
        # Airflow is imported within, and takes this for the stdout that it logs to.
        with contextlib.redirect_stdout(sys.stderr):
            yield AirflowConnections()
    finally:
        for name in _MASKERS:
            logging.getLogger(name).removeFilter(_is_worth_reading)
        logging.disable(disabled_before)
        if context_before is None:
            del os.environ[_CONTEXT]
        else:
            os.environ[_CONTEXT] = context_before


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return "too short" not in record.getMessage()


def main(arguments: list[str] | None = None) -> int:
    """
    Run a command with Airflow's connections.

    :param arguments: of the command line; by default those of this process
    :return: the exit status, see :func:`ayla_provider.cli.main.main`
    """
    return run_command(arguments, open_connections=airflow_connections)


if __name__ == "__main__":
    sys.exit(main())

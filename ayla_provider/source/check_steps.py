"""What the steps of a check of an export need, and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ayla_provider.domain.events import EventType
from ayla_provider.source.export import Export
from ayla_provider.source.settings import AylaSettings


def compare_with_dashboard(fields: str) -> str:
    """Return the advice to compare fields of the connection, without a full stop."""
    return f"Compare {fields} in the connection with the Ayla dashboard (OEM Profile, Data Export)"


class CheckedConnection(Protocol):
    """What a check needs of a connection to Ayla. Nothing is read before a member is used."""

    @property
    def conn_id(self) -> str:
        """The connection's id."""

    @property
    def conn_type(self) -> str:
        """
        The connection's type in Airflow.

        :raises AylaError: if the connection can't be read
        """

    @property
    def in_s3(self) -> bool:
        """
        Whether the export is in Amazon S3, where nobody signs in.

        :raises AylaError: if the connection can't be read
        """

    @property
    def settings(self) -> AylaSettings:
        """
        The settings of an export in Cloud Storage.

        :raises AylaError: naming the field that is missing or malformed
        """

    @property
    def secrets(self) -> list[str]:
        """All secrets that are known so far."""

    def fresh_export(self) -> Export:
        """
        Return the export, with a sign-in of its own that knows nothing of earlier ones.

        :raises AylaError: if a field is missing or malformed
        """

    def sign_in_record(self) -> str:
        """Return how a sentence names the record of the last sign-in: ``the Airflow Variable ayla_sign_in_...``."""


@dataclass(frozen=True, slots=True)
class ListedExport:
    """
    An export whose event folders could be listed.

    :param folders: event type to the name of its folder, at least one
    """

    export: Export
    folders: dict[EventType, str]

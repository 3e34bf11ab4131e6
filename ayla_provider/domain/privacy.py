"""What becomes of each column that can identify a person, from the typed tables on."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ayla_provider.domain.tables import PROVENANCE, Column, ColumnType, Table
from ayla_provider.errors import AylaConfigError

PERSONAL = "It can identify a person."
"""Stands in the description of such a column, as long as it is kept."""

SHORTEST_KEY = 16
"""Characters."""


class Treatment(StrEnum):
    """What becomes of a column."""

    KEEP = "keep"
    HASH = "hash"
    """HMAC-SHA256 with a key, in hexadecimal: the same value gives the same text, and nobody without the key can
    find it by trying."""
    DROP = "drop"


@dataclass(frozen=True)
class PrivacyPolicy:
    """
    A treatment for each column; without one it is kept.

    :param treatments: column to ``keep``, ``hash`` or ``drop``
    :param key: of the hashes
    :raises AylaConfigError: if a treatment isn't known, a column can't have it, or the key is missing or too short
    """

    treatments: Mapping[str, str] = field(default_factory=dict)
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check."""
        for column, treatment in self.treatments.items():
            if treatment not in list(Treatment):
                raise AylaConfigError(f"privacy: {column!r} is to be {treatment!r}; expected {', '.join(Treatment)}")
            known = _PART_OF.get(column)
            if known:
                raise AylaConfigError(f"privacy: {column!r} holds what {known!r} does: name that one, it rules both")
            if column in _FIXED:
                raise AylaConfigError(
                    f"privacy: {column!r} is what hours are replaced and rows told apart by, and says nothing of a "
                    "person; it can only be kept"
                )
        if self.hashes and len(self.key) < SHORTEST_KEY:
            raise AylaConfigError(
                f"privacy: to hash {', '.join(sorted(self.hashes))} a key of {SHORTEST_KEY} characters or more is "
                "needed: put a random one into the password of the Airflow connection that privacy_conn_id names"
            )

    @property
    def hashes(self) -> list[str]:
        """The columns that are hashed."""
        return [column for column, treatment in self.treatments.items() if treatment == Treatment.HASH]

    def of(self, column: Column) -> Treatment:
        """Return what becomes of a column."""
        return Treatment(self.treatments.get(column.part_of or column.name, Treatment.KEEP))

    def refuse_unknown(self, columns: Collection[str]) -> None:
        """
        Make sure that no column is misspelt, and so kept against somebody's will.

        :param columns: that a table can have; one that only a file has is ``column_23``, by its place
        :raises AylaConfigError: naming the first that is none of them
        """
        for name in self.treatments:
            if name not in columns and not _BY_PLACE.fullmatch(name):
                raise AylaConfigError(
                    f"privacy: no table has a column {name!r}. Correct its name; a column that a header names belongs "
                    "into a layout of your own, see the argument layouts"
                )

    def table(self, table: Table) -> Table:
        """Return a table as it is after the treatment."""
        kept = (column for column in table.columns if self.of(column) is not Treatment.DROP)
        return replace(table, columns=tuple(self._treated(column) for column in kept))

    def _treated(self, column: Column) -> Column:
        if self.of(column) is Treatment.KEEP:
            return replace(column, description=f"{column.description} {PERSONAL}") if column.personal else column
        return replace(column, type=ColumnType.TEXT, description=f"{column.description} Hashed.")

    @property
    def fingerprint(self) -> str:
        """A text that changes with the policy or its key, and tells nothing of the key; empty if all is kept."""
        ruled = sorted(f"{column}={what}" for column, what in self.treatments.items() if what != Treatment.KEEP)
        if not ruled:
            return ""
        # Keyed only where a key matters, and cut, so that it proves nothing about the key.
        key = self.key.encode() if self.hashes else b"ayla"
        return hmac.new(key, ("ayla-export-policy " + " ".join(ruled)).encode(), hashlib.sha256).hexdigest()[:8]


_BY_PLACE = re.compile(r"column_\d+")
_FIXED = {*(column.name for column in PROVENANCE), "time_uuid", "updated_at"}
_PART_OF = {"display_name_raw": "display_name", "value_raw": "val_string", "metadata_raw": "metadata"}

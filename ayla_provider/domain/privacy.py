"""The treatment of columns that can identify a person, in the typed tables and everything made from them."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ayla_provider.domain.keys import key_id
from ayla_provider.domain.tables import PROVENANCE, STREAM_TABLES, Column, ColumnType, Table
from ayla_provider.errors import AylaConfigError

PERSONAL = "It can identify a person."
"""Added to the description of such a column if it is kept."""

SHORTEST_KEY = 16
"""Characters."""

EVERY_OTHER = "*"
"""In a policy, all columns that it doesn't name."""

NO_POLICY = "none"
"""The id of a policy that keeps everything."""


class Treatment(StrEnum):
    """How a column is treated."""

    KEEP = "keep"
    HASH = "hash"
    """The key's short id, a colon, and HMAC-SHA256 with the key, in hexadecimal. The same value gives the same text,
    and without the key nobody can find the value by trying."""
    DROP = "drop"


@dataclass(frozen=True)
class PrivacyPolicy:
    """
    A treatment for each column. A column without a treatment has that of ``*``, and is kept if that isn't there either.

    ``*`` doesn't rule the columns that can only be kept: those that identify hours and rows.

    :param treatments: column, or ``*``, to ``keep``, ``hash`` or ``drop``
    :param key: the key of the hashes
    :raises AylaConfigError: if a treatment doesn't exist, a column can't have it, or the key is missing or too short
    """

    treatments: Mapping[str, str] = field(default_factory=dict)
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check treatments and key."""
        if not isinstance(self.treatments, Mapping):
            raise AylaConfigError(f"privacy is {self.treatments!r}: expected columns with keep, hash or drop for each")
        for column, treatment in self.treatments.items():
            if treatment not in list(Treatment):
                raise AylaConfigError(
                    f"privacy: unknown treatment {treatment!r} for {column!r}; use keep, hash or drop"
                )
            known = _PART_OF.get(column)
            if known:
                raise AylaConfigError(f"privacy: {column!r} follows {known!r}; set {known!r}, which covers both")
            if column in _FIXED:
                raise AylaConfigError(
                    f"privacy: {column!r} identifies hours or rows and contains nothing about a person; "
                    "it can only be kept"
                )
        if self.hashes and len(self.key) < SHORTEST_KEY:
            raise AylaConfigError(
                f"privacy: to hash {', '.join(sorted(self.hashes))} a key of {SHORTEST_KEY} characters or more is "
                "needed: put a random one into the password of the Airflow connection that privacy_conn_id names"
            )

    @property
    def hashes(self) -> list[str]:
        """The columns that are hashed; ``*`` for those that the policy doesn't name."""
        return [column for column, treatment in self.treatments.items() if treatment == Treatment.HASH]

    @property
    def key_id(self) -> str:
        """The short id of the key, which each hash begins with; empty if nothing is hashed."""
        return key_id(self.key) if self.hashes else ""

    def hashed(self, text: str) -> str:
        """
        Return the hash of a value, as the tables have it.

        :param text: the value's text; of a UUID in lower case
        """
        return f"{key_id(self.key)}:{hmac.new(self.key.encode(), text.encode(), hashlib.sha256).hexdigest()}"

    def of(self, column: Column) -> Treatment:
        """Return a column's treatment."""
        if column.name in _FIXED:
            return Treatment.KEEP
        named = self.treatments.get(column.part_of or column.name)
        return Treatment(named or self.treatments.get(EVERY_OTHER, Treatment.KEEP))

    def refuse_unknown(self, columns: Collection[str]) -> None:
        """
        Refuse columns that no table has. A misspelled column would be kept, against the user's will.

        :param columns: the columns that a table can have; a column that only a file has is ``column_23``, by its place
        :raises AylaConfigError: if a column isn't one of them
        """
        for name in self.treatments:
            if name != EVERY_OTHER and name not in columns and not _BY_PLACE.fullmatch(name):
                raise AylaConfigError(
                    f"privacy: no table has a column {name!r}. Correct its name; a column that a header names belongs "
                    "into a layout of your own, see the argument layouts"
                )

    def table(self, table: Table) -> Table:
        """Return a table after the treatment of its columns."""
        kept = (column for column in table.columns if self.of(column) is not Treatment.DROP)
        complete = not drops_from(table.event_type, self.treatments)
        return replace(table, columns=tuple(self._treated(column) for column in kept), complete=complete)

    def _treated(self, column: Column) -> Column:
        if self.of(column) is Treatment.KEEP:
            return replace(column, description=f"{column.description} {PERSONAL}") if column.personal else column
        return replace(column, type=ColumnType.TEXT, description=f"{column.description} Hashed.")

    def leaving_out(self, columns: Collection[str]) -> PrivacyPolicy:
        """Return the policy that also drops some columns."""
        dropped = dict.fromkeys(columns, Treatment.DROP.value)
        return replace(self, treatments={**self.treatments, **dropped}) if columns else self

    @property
    def fingerprint(self) -> str:
        """
        A text that changes with the policy or its key, and reveals nothing about the key; empty if all is kept.

        It begins with ``p``, which no other part of a version does.
        """
        ruled = self._ruled()
        if not ruled:
            return ""
        text = " ".join(["ayla-export-policy 2", self.key_id, *ruled])
        return f"p{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def id(self) -> str:
        """What identifies the policy and its key for people: the fingerprint, or ``none``."""
        return self.fingerprint or NO_POLICY

    def made(self, version: str) -> bool:
        """
        Return whether an hour of this version was made under this policy, with this key.

        :param version: see :func:`~ayla_provider.domain.typed_manifest.version_of`
        """
        if policy_of(version) == self.id:
            return True
        # Version 0.1 wrote another fingerprint. Its rows are the same if nothing is hashed.
        recipe = version.partition("-")[2].split("-")
        return bool(self._ruled()) and not self.hashes and recipe[0] == self._fingerprint_of_0_1()

    def _ruled(self) -> list[str]:
        """Return what the policy says beyond that all is kept."""
        others = self.treatments.get(EVERY_OTHER, Treatment.KEEP)
        # What is named as kept matters if the others aren't.
        return sorted(
            f"{column}={treatment}"
            for column, treatment in self.treatments.items()
            if treatment != Treatment.KEEP or (others != Treatment.KEEP and column != EVERY_OTHER)
        )

    def _fingerprint_of_0_1(self) -> str:
        text = "ayla-export-policy " + " ".join(self._ruled())
        return hmac.new(b"ayla", text.encode(), hashlib.sha256).hexdigest()[:8]


def policy_of(version: str) -> str:
    """
    Return the id of the policy, and of its key, that an hour was made under; ``none`` if it was made without one.

    :param version: see :func:`~ayla_provider.domain.typed_manifest.version_of`
    """
    parts = version.partition("-")[2].split("-")
    return next((part for part in parts if _POLICY_ID.fullmatch(part)), NO_POLICY)


def drops_from(event_type: str, treatments: Mapping[str, str]) -> bool:
    """
    Return whether a policy drops a column of an event type's rows.

    A column that no canonical table has can be in the files of any event type.

    :param treatments: column to its treatment
    """
    dropped = {column for column, treatment in treatments.items() if treatment == Treatment.DROP}
    if EVERY_OTHER in dropped and event_type in STREAM_TABLES:
        # A column that the canonical table doesn't have adds to an event. It doesn't tell two events apart.
        names = {column.part_of or column.name for column in STREAM_TABLES[event_type].columns}
        return any(treatments.get(name, Treatment.DROP) == Treatment.DROP for name in names - _FIXED)
    if event_type not in STREAM_TABLES:
        return bool(dropped)
    elsewhere = {name for table in STREAM_TABLES.values() for name in table.names} - set(
        STREAM_TABLES[event_type].names
    )
    return bool(dropped - elsewhere)


_POLICY_ID = re.compile(r"p[0-9a-f]{8}", re.ASCII)
_BY_PLACE = re.compile(r"column_\d+")
_FIXED = {*(column.name for column in PROVENANCE), "time_uuid", "updated_at"}
_PART_OF = {
    column.name: column.part_of
    for table in STREAM_TABLES.values()
    for column in table.columns
    if column.part_of is not None
}

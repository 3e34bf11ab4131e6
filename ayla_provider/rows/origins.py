"""Which columns of the files the columns of the typed rows come from, as the SQL that makes them says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ayla_provider.domain.csv.columns import RESOURCE_TAGS, ColumnLayout
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.privacy import PrivacyPolicy, Treatment
from ayla_provider.domain.stream_layout import STREAM_LAYOUTS
from ayla_provider.domain.tables import Column, Table
from ayla_provider.domain.typed_manifest import TypedFile, TypedManifest
from ayla_provider.rows.expressions import Origin, expressions_of
from ayla_provider.rows.parquet import table_of_hour


@dataclass(slots=True)
class Origins:
    """
    Where the columns of some hours of one event type come from.

    :param layouts: those that files may have
    :param policy: the privacy policy of the rows
    """

    layouts: Sequence[ColumnLayout]
    policy: PrivacyPolicy
    columns: dict[str, Column] = field(default_factory=dict)
    """The columns of the typed rows."""
    file_columns: dict[str, None] = field(default_factory=dict)
    """The columns of the files, in their order."""
    by_column: dict[str, dict[str, Origin]] = field(default_factory=dict)
    """
    Column of the typed rows to the files' columns that it comes from. Columns that come from no cell are left
    out.
    """
    hashed: set[str] = field(default_factory=set)
    """The columns of the typed rows that are hashed."""
    _seen: set[tuple[str, tuple[str, ...], bool]] = field(default_factory=set)

    def add(self, receipt: TypedManifest, *, is_stream: bool) -> None:
        """Add an hour. What a file of a layout that isn't known any more has is left out."""
        self.columns |= {column.name: column for column in receipt.columns}
        recognised = list(self._recognised(receipt, is_stream))
        if not recognised:
            return
        whole = table_of_hour(receipt.hour.event_type, recognised)
        kept = set(receipt.table.names)
        for each in recognised:
            self._add_file(each, whole, kept)

    def unseen(self) -> dict[str, Treatment]:
        """Return the files' columns whose values the typed rows don't show: hashed, or dropped."""
        shown: set[str] = set()
        hashed: set[str] = set()
        for column, origins in self.by_column.items():
            of_values = {name for name, origin in origins.items() if origin is not Origin.CONDITION}
            (hashed if column in self.hashed else shown).update(of_values)
        return {
            name: Treatment.HASH if name in hashed else Treatment.DROP
            for name in self.file_columns
            # The event type is the table's.
            if name not in shown and name != "event_type"
        }

    def _add_file(self, recognised: Recognised, whole: Table, kept: set[str]) -> None:
        self.file_columns |= dict.fromkeys(recognised.columns)
        origins = expressions_of(recognised.layout.event_type, recognised, whole).origins
        for column in whole.columns:
            if column.name not in kept or column.name not in origins:
                continue
            self.by_column.setdefault(column.name, {}).update(origins[column.name])
            if self.policy.of(column) is Treatment.HASH:
                self.hashed.add(column.name)

    def _recognised(self, receipt: TypedManifest, is_stream: bool) -> Iterable[Recognised]:
        """Yield what the columns of each kind of file are that the earlier hours don't have."""
        for file in receipt.files:
            kind = (file.layout, file.columns, file.header)
            layout = self._layout_of(receipt.hour.event_type, file, is_stream)
            if layout is None or kind in self._seen:
                continue
            self._seen.add(kind)
            new = tuple(name for name in file.columns if name not in layout.columns)
            yield Recognised(layout, file.columns, file.header, new)

    def _layout_of(self, event_type: str, file: TypedFile, is_stream: bool) -> ColumnLayout | None:
        of_type = [layout for layout in self.layouts if layout.event_type == event_type]
        if not is_stream:
            return next((layout for layout in of_type if layout.name == file.layout), None)
        layout = STREAM_LAYOUTS.get(event_type)
        if layout is None or not file.layout:
            return None
        # Declared layouts give the new columns of a stream their types.
        declared = {column.name: column for each in of_type for column in each.own}
        typed = tuple(declared[name] for name in file.columns if name in declared and name not in layout.columns)
        return replace(layout, own=(RESOURCE_TAGS, *typed))

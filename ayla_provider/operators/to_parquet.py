"""The operator that makes Parquet files of the archive's hours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ayla_provider._airflow.errors import airflow_errors
from ayla_provider.operators.typed_rows import AylaTypedRowsOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from ayla_provider.rows.typed_archive import TypedHourReport


class AylaExportToParquetOperator(AylaTypedRowsOperator):
    """
    Makes typed, decoded, and deduplicated rows of the archive's hours: a Parquet file for each event type and hour.

    Every warehouse is loaded from these files, and any program that reads Parquet can use them. An hour whose rows
    exist already, made from the same files under the same policy, is left unchanged.

    A line that can't be read goes into a quarantine in the archive. If there are more of them than ``max_malformed``,
    the task fails. A layout or a column that is new in the event type's files leads to a warning, and to an event of
    the asset :func:`~ayla_provider.assets.layout_asset`.

    Its XCom: ``{"event_type", "start", "end", "hours", "unchanged", "lost", "lines", "rows", "duplicates",
    "quarantined", "bytes"}``. The counts are of the hours that were made by this task; ``lost`` counts the hours with
    lost files.

    :param event_type: in any spelling (templated)
    :param archive: the URL that is the copy's destination (templated)
    :param start: the first hour, ISO 8601 with an offset; by default the run's data interval or partition (templated)
    :param end: the end of the last hour; by default that of the run's data interval, or an hour after ``start``
        (templated)
    :param archive_conn_id: the copy's ``destination_conn_id`` (templated)
    :param parquet: where the rows go, a URL of the same kind as the archive's; by default the folder ``parquet`` in the
        archive (templated)
    :param layouts: layouts of your own, see :func:`~ayla_provider.domain.csv.declaration.declared`
    :param privacy: column to ``keep``, ``hash`` or ``drop``; ``*`` is for all columns that aren't named, which are kept
        without it
    :param privacy_conn_id: a connection whose password is the key of the hashes; required if a column is hashed
    :param memory: DuckDB's limit, as DuckDB writes sizes; beyond it, DuckDB works on disk
    :param max_malformed: the share of an hour's lines, 0 to 1, that may be malformed
    :param ignored_files: names or patterns, without folders, of files that aren't export data and have no rows, such as
        ``["README*"]``; a name that ends with ``.csv`` is always read
    :param on_new_column: what becomes of a column that no table and no layout has: ``evolve`` loads it, ``drop`` leaves
        it out, ``quarantine`` leaves it out and keeps the rows that have a value in it in the quarantine, ``fail``
        fails the task. One word, or event type to word, where ``*`` means all others
    :param max_bytes_per_task: an hour with more bytes of files is typed in parts, and has a Parquet file for each, see
        :class:`~ayla_provider.operators.parts.AylaExportPartsOperator`
    :param erasure_conn_id: a connection whose password has the keys of the erasure ledger. It is looked up only if an
        erasure touches an hour (templated)
    :param reason: why the hours are loaded: for the log, and for a ``map_index_template``
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the rows of each hour that doesn't have them."""
        with airflow_errors():
            return self._each_hour(context, self.rows_url, self._made)

    def _made(self, reports: Iterator[TypedHourReport]) -> Iterator[TypedHourReport]:
        """Yield the hours whose rows were made now."""
        for report in reports:
            if report.made:
                yield report
            else:
                self._say_unchanged(report.manifest.hour, self.rows_url)

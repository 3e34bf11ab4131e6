"""The operators for an hour that is too large for one task: its files are divided over several."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import count
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.interval import END, START, interval
from ayla_provider._airflow.mapping import hours_item, that_fit
from ayla_provider.domain.parts import MAX_BYTES_PER_TASK, divide
from ayla_provider.domain.units import files_text, size_text
from ayla_provider.errors import AylaConfigError
from ayla_provider.hooks import AylaHook
from ayla_provider.operators.to_bucket import AylaExportToBucketOperator
from ayla_provider.operators.typed_rows import AylaTypedRowsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.domain.hour import ExportHour


class AylaExportPartsOperator(BaseOperator):
    """
    Divides hours by their files into parts, each for a mapped task.

    The files of an hour are taken in the order of their names. A part has files of ``max_bytes_per_task`` bytes at
    most, unless it is a single file.

    Its XCom is a list to expand :class:`AylaExportPartToBucketOperator` and :class:`AylaExportPartToParquetOperator`
    over, ``[{"event_type", "start", "end", "reason", "part"}, ...]``. Each hour has one item at least. After the parts
    come the operators for whole hours: the copy, and then a load. They do what the parts haven't done.

    :param event_type: in any spelling (templated)
    :param start: the first hour, ISO 8601 with an offset; by default the run's data interval or partition (templated)
    :param end: the end of the last hour; by default that of the run's data interval, or an hour after ``start``
        (templated)
    :param ayla_conn_id: the id of an Airflow connection of type ``ayla`` (templated)
    :param max_bytes_per_task: give the operators after it the same
    """

    template_fields: Sequence[str] = ("event_type", "start", "end", "ayla_conn_id")
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        event_type: str,
        start: str | datetime = START,
        end: str | datetime = END,
        ayla_conn_id: str = AylaHook.default_conn_name,
        max_bytes_per_task: int = MAX_BYTES_PER_TASK,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_type = event_type
        self.start = start
        self.end = end
        self.ayla_conn_id = ayla_conn_id
        self.max_bytes_per_task = count(max_bytes_per_task, "max_bytes_per_task")

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """List the hours, and return the list to expand tasks over."""
        with airflow_errors():
            hours = interval(self.event_type, self.start, self.end)
            export = AylaHook(self.ayla_conn_id).export
            items: list[dict[str, Any]] = []
            for status in export.status(hours, export.rule):
                files = sorted(status.files, key=lambda file: file.name)
                # The commit of an hour without files is a task like any other.
                parts = len(divide(files, self.max_bytes_per_task)) or 1
                self.log.info(
                    "%s has %s, %s. Parts: %d.", status.hour, files_text(len(files)), size_text(status.size), parts
                )
                for number in range(1, parts + 1):
                    reason = f"{status.hour}, part {number} of {parts}"
                    item = hours_item(status.hour.event_type, status.hour.start, status.hour.end, reason)
                    items.append(item | {"part": number})
        fitting = that_fit(items)
        if len(fitting) < len(items):
            self.log.warning(
                "%d parts don't fit into the list. The tasks for whole hours do them. Raise max_bytes_per_task.",
                len(items) - len(fitting),
            )
        return fitting


class AylaExportPartToBucketOperator(AylaExportToBucketOperator):
    """
    Copies a part of an hour into the customer's own bucket or folder, and commits nothing.

    :class:`~ayla_provider.operators.to_bucket.AylaExportToBucketOperator` comes after it, and commits the hour. It
    doesn't copy the files again that a part has copied, and decides whether the hour is complete.

    Its XCom: ``{"event_type", "start", "end", "part", "files", "copied_files", "copied_bytes"}``. It takes the
    arguments of the copy except for ``dry_run`` and ``untrusted``, and:

    :param part: the number of the part, from 1, see :class:`AylaExportPartsOperator`
    :param max_bytes_per_task: as the list of parts was made with
    """

    operator_extra_links = ()

    def __init__(self, *, part: int, max_bytes_per_task: int = MAX_BYTES_PER_TASK, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A part emits no event.
        self.outlets = list(kwargs.get("outlets") or [])
        self.part = count(part, "part")
        self.max_bytes_per_task = count(max_bytes_per_task, "max_bytes_per_task")

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy what is missing of the part."""
        if self.reason:
            self.log.info("%s", self.reason)
        with airflow_errors(), self._failures_counted():
            hour = _one_hour(self.event_type, self.start, self.end)
            export = self.hook.export
            rule = export.rule.override(self.quiet_period, self.patience)
            report, files = self.archive.copy_part(export, hour, rule, self.part, self.max_bytes_per_task)
        self.log.info(
            "%s, part %d: copied %d of %s, %s, in %.1f s.",
            hour,
            self.part,
            report.copied_files,
            files_text(files),
            size_text(report.copied_bytes),
            report.seconds,
        )
        return _item(hour, self.part) | {
            "files": files,
            "copied_files": report.copied_files,
            "copied_bytes": report.copied_bytes,
        }


class AylaExportPartToParquetOperator(AylaTypedRowsOperator):
    """
    Types a part of an hour of the archive. No reader of the Parquet files sees it.

    :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`, or the load of a warehouse, comes after
    it. It compares the parts' rows, and makes the hour's Parquet files of them.

    Its XCom: ``{"event_type", "start", "end", "part", "lines", "rows"}``. The counts are 0 if there is nothing to do:
    the hour's rows exist, or it fits one task. It takes the arguments of
    :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`, and:

    :param part: the number of the part, from 1, see :class:`AylaExportPartsOperator`
    """

    operator_extra_links = ()

    def __init__(self, *, part: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A part emits no event.
        self.outlets = list(kwargs.get("outlets") or [])
        self.part = count(part, "part")

    def execute(self, context: Context) -> dict[str, Any]:
        """Type the part, unless it is typed already."""
        if self.reason:
            self.log.info("%s", self.reason)
        with airflow_errors():
            hour = _one_hour(self.event_type, self.start, self.end)
            report = self.typed.ensure_part(hour, self.part)
        if report is None:
            self.log.info("%s, part %d: nothing to do. Its rows exist, or it fits one task.", hour, self.part)
        else:
            self.log.info(
                "%s, part %d: %s lines, %s rows; %s.",
                hour,
                self.part,
                f"{report.lines:,}",
                f"{report.rows:,}",
                "typed now" if report.made else "typed already",
            )
        return _item(hour, self.part) | {
            "lines": report.lines if report else 0,
            "rows": report.rows if report else 0,
        }


def _one_hour(event_type: str, start: str | datetime, end: str | datetime) -> ExportHour:
    hours = interval(event_type, start, end)
    if len(hours) != 1:
        raise AylaConfigError(f"a part is one of an hour, and {len(hours)} hours are given")
    return hours[0]


def _item(hour: ExportHour, part: int) -> dict[str, Any]:
    return {
        "event_type": hour.event_type,
        "start": hour.start.isoformat(),
        "end": hour.end.isoformat(),
        "part": part,
    }

"""
What the archive has of the export, hour by hour, for people and for programs.

It changes nothing, and reads only small records. The command line is in :mod:`ayla_provider.cli.main`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ayla_provider.cli.report_table import Row, Summary
from ayla_provider.domain.events import EVENT_TYPES, EventType, parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, describe_hour, hour_of
from ayla_provider.errors import AylaConfigError, AylaError

if TYPE_CHECKING:
    from ayla_provider.archive.records import Records
    from ayla_provider.hooks import AylaHook
    from ayla_provider.source.export import Export

VARIABLE = "ayla_export_destination"
"""The Airflow Variable from which the sample DAGs take the destination."""

_SPAN = re.compile(r"(\d+)([hd])", re.ASCII)


class Report:
    """
    One comparison of an archive with its export.

    :param conn_id: the id of an Airflow connection of type ``ayla``
    :param destination: the archive's URL; by default what the Variable ``ayla_export_destination`` holds
    :param destination_conn_id: as the copying tasks have it
    :param event_types: in any spelling; by default the documented ones, and others that the bucket has
    :param since: the first hour, aware
    :param until: the end of the last hour, aware; hours that aren't over are ignored
    """

    def __init__(
        self,
        *,
        conn_id: str,
        destination: str | None,
        destination_conn_id: str | None,
        event_types: Sequence[str] | None,
        since: datetime,
        until: datetime,
    ) -> None:
        self.conn_id = conn_id
        self.destination = destination or ""
        self.destination_conn_id = destination_conn_id
        self._event_types = event_types
        self.since = since
        self.until = until
        self.summary = Summary([])
        self._hook: AylaHook | None = None
        self._export: Export
        self._records: Records

    def open(self) -> None:
        """
        Read the connections, sign in if necessary, and find the event types.

        :raises AylaError: if that fails, or there is no hour to compare
        """
        from ayla_provider.archive.records import Records
        from ayla_provider.destinations import open_destination
        from ayla_provider.hooks import AylaHook

        self._hook = AylaHook(self.conn_id)
        self._export = self._hook.export
        self.until = min(self.until, hour_of(self._export.now()))
        if self.since >= self.until:
            raise AylaConfigError(
                f"no hour is between {describe_hour(self.since)} and {describe_hour(self.until)}. Only hours that are "
                "over are compared."
            )
        self.destination = self.destination or _variable()
        self._records = Records(open_destination(self.destination, self.destination_conn_id))
        names = self._event_types or [*EVENT_TYPES, *sorted(self._hook.list_event_types())]
        self.summary = Summary(list(dict.fromkeys(map(parse_event_type, names))))

    @property
    def event_types(self) -> list[EventType]:
        """The event types to compare."""
        return list(self.summary.newest)

    @property
    def total(self) -> int:
        """The number of rows."""
        return (self.until - self.since) // ONE_HOUR * len(self.event_types)

    @property
    def width(self) -> int:
        """The width of the column of event types, in characters."""
        return max(map(len, ["event type", *self.event_types]))

    @property
    def name(self) -> str:
        """The connection and the archive, for people: with several OEMs, each has its own report."""
        return " and ".join(filter(None, [self.conn_id, self.destination]))

    @property
    def title(self) -> str:
        """The comparison's name and interval, for people."""
        return f"{self.name}, {describe_hour(self.since)} to {describe_hour(self.until)}"

    def rows(self) -> Iterator[Row]:
        """
        Yield each hour of each event type, the oldest first, and count it.

        :raises AylaError: if source or destination can't be read
        """
        for row in compare(self._export, self._records, self.event_types, self.since, self.until):
            self.summary.add(row)
            yield row

    def document(self, rows: Iterable[Row]) -> dict[str, Any]:
        """
        Return the whole report, for JSON.

        :param rows: all of :meth:`rows`
        """
        return {
            "conn": self.conn_id,
            "destination": self.destination,
            "destination_conn": self.destination_conn_id,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "hours": [row.document() for row in rows],
            "summary": self.summary.document(),
        }

    def error_text(self, error: Exception) -> str:
        """Return the text of an error for a person, without secrets and without parts that may contain one."""
        if isinstance(error, AylaError) or type(error).__name__ == "AirflowNotFoundException":
            text = str(error)
        else:
            text = f"unexpected: {type(error).__name__}. Check the connection of the destination."
        for secret in self._hook.secrets if self._hook else ():
            text = text.replace(secret, "***")
        return " ".join(text.split())


def _variable() -> str:
    from airflow.models.variable import Variable

    destination = Variable.get(VARIABLE, default_var=None)
    if not destination:
        raise AylaConfigError(f"no destination: give --destination, or set the Airflow Variable {VARIABLE}")
    return str(destination)


def moment(text: str, now: datetime) -> datetime:
    """
    Return the start of the hour that a text names.

    :param text: an ISO 8601 time or date, in UTC if it has no time zone; or a span before now, ``48h`` or ``7d``
    :param now: aware
    :raises AylaConfigError: if it is neither
    """
    span = _SPAN.fullmatch(text)
    try:
        if span:
            return hour_of(now - int(span[1]) * (ONE_HOUR if span[2] == "h" else timedelta(days=1)))
        time = datetime.fromisoformat(text)
        return hour_of(time if time.tzinfo else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise AylaConfigError(
            f"{text!r} isn't a time: write 2026-11-01 or 2026-11-01T07:00 (UTC), or a span before now, 48h or 7d"
        ) from None


def compare(
    export: Export, records: Records, event_types: Sequence[EventType], start: datetime, end: datetime
) -> Iterator[Row]:
    """
    Yield each hour of each event type, the oldest first, as soon as its month is compared.

    :param start: aware, on the hour
    :param end: aware, on the hour, exclusive
    :raises AylaError: if source or destination can't be read
    """
    from ayla_provider.archive.compare import WINDOW, survey

    while start < end:
        until = min(end, start + WINDOW)
        rows: list[Row] = []
        for covered in survey(export, records, event_types, start, until):
            rows.extend(map(Row.of, covered))
        yield from sorted(rows, key=lambda row: (row.hour.start, row.hour.event_type))
        start = until

"""Compares the archive with the export, hour by hour. Changes nothing, and reads only small records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ayla_provider.cli.report_table import Row, Summary
from ayla_provider.domain.events import EVENT_TYPES, EventType, parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, describe_hour, hour_of
from ayla_provider.errors import AylaConfigError

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.archive.records import Records
    from ayla_provider.cli.connections import Connections
    from ayla_provider.source.export import Export

_SPAN = re.compile(r"(\d+)([hd])", re.ASCII)


class Report:
    """
    One comparison of an archive with its export.

    :param export: the export
    :param records: of the archive
    :param conn_id: the id of the connection to Ayla
    :param destination: the archive's URL
    :param destination_conn_id: as the copying tasks have it
    :param event_types: those to compare
    :param since: the first hour, aware
    :param until: the end of the last hour, aware
    :param expiring: also count the hours that expire at Ayla within this time and aren't safe yet; None to leave it out
    :param not_before: the first hour that the archive should have, aware; None for no such bound
    :param archive: what the records are of, to tell which hours are unusual; None to leave that out
    """

    def __init__(
        self,
        export: Export,
        records: Records,
        *,
        conn_id: str,
        destination: str,
        destination_conn_id: str | None,
        event_types: Sequence[EventType],
        since: datetime,
        until: datetime,
        expiring: timedelta | None = None,
        not_before: datetime | None = None,
        archive: Destination | None = None,
    ) -> None:
        self._archive = archive
        self._export = export
        self._records = records
        self.conn_id = conn_id
        self.destination = destination
        self.destination_conn_id = destination_conn_id
        self.since = since
        self.until = until
        self._expiring = expiring
        self._not_before = not_before
        self.summary = Summary(event_types)

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
        """Which archive is compared with what, for people."""
        return report_name(self.conn_id, self.destination)

    @property
    def title(self) -> str:
        """The comparison's name and interval, for people."""
        return f"{self.name}, {describe_hour(self.since)} to {describe_hour(self.until)}"

    def rows(self) -> Iterator[Row]:
        """
        Yield each hour of each event type, the oldest first, and count it.

        Then count the hours that expire soon, and find the unusual ones.

        :raises AylaError: if source or destination can't be read
        """
        for row in compare(self._export, self._records, self.event_types, self.since, self.until):
            self.summary.add(row)
            yield row
        if self._expiring:
            from ayla_provider.archive.countdown import count_down

            self.summary.countdown = count_down(
                self._export, self._records, self.event_types, self._expiring, self._not_before
            )
        if self._archive:
            from ayla_provider.archive.volumes import anomalies_between

            self.summary.anomalies = anomalies_between(self._archive, self.event_types, self.since, self.until)

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


def open_report(
    connections: Connections,
    *,
    conn_id: str,
    destination: str,
    destination_conn_id: str | None,
    event_types: Sequence[str] | None,
    since: datetime,
    until: datetime,
    expiring: timedelta | None = None,
    not_before: datetime | None = None,
) -> Report:
    """
    Open export and archive, sign in if need be, and list the event types.

    :param conn_id: the id of an Airflow connection of type ``ayla``
    :param destination: the archive's URL
    :param destination_conn_id: as the copying tasks have it
    :param event_types: in any spelling; by default the documented ones, and what else the bucket shows
    :param since: the first hour, aware
    :param until: the end of the last hour, aware; hours that aren't over are left out
    :param expiring: see :class:`Report`
    :param not_before: see :class:`Report`
    :raises AylaError: if that fails, or there is no hour to compare
    """
    from ayla_provider.archive.records import Records

    export = connections.export(conn_id)
    until = min(until, hour_of(export.now()))
    if since >= until:
        raise AylaConfigError(
            f"no hour is between {describe_hour(since)} and {describe_hour(until)}. Only hours that are over are "
            "compared."
        )
    archive = connections.destination(destination, destination_conn_id)
    names = event_types or [*EVENT_TYPES, *sorted(export.event_folders())]
    return Report(
        export,
        Records(archive),
        conn_id=conn_id,
        destination=destination,
        destination_conn_id=destination_conn_id,
        event_types=list(dict.fromkeys(map(parse_event_type, names))),
        since=since,
        until=until,
        expiring=expiring,
        not_before=not_before,
        archive=archive,
    )


def report_name(conn_id: str, destination: str) -> str:
    """Return which archive is compared with what, for people. Each of several OEMs has a report of its own."""
    return f"{conn_id} and {destination}" if destination else conn_id


def is_span(text: str) -> bool:
    """Return whether a text is a span before now, such as ``48h``, rather than a time."""
    return _SPAN.fullmatch(text) is not None


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

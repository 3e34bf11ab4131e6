"""Compares what the export brought with what the stream had, for a person, for cron, and for Ayla support."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ayla_provider.archive.stream_coverage import read_coverage
from ayla_provider.domain.completeness import Completeness, CompletenessSummary, HourCompleteness, by_event_type
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.hour import describe_hour
from ayla_provider.domain.units import counted
from ayla_provider.errors import AylaConfigError
from ayla_provider.rows.completeness import CompletenessComparison, Side

_IDS_SHOWN = 10
"""How many ids of an hour the report for Ayla names."""

_HOURS_SHOWN = 50
"""How many hours the report for Ayla names."""

_COLUMNS = ("both", "only_export", "only_stream", "other_hour", "differing")
_WIDTHS = [22, 15, 19, *(max(len(name) + 1, 12) for name in _COLUMNS)]


class CompletenessReport:
    """
    One comparison.

    :param event_types: in any spelling; None for the documented ones
    :param since: the first hour, aware
    :param until: the end of the last hour, aware
    :raises AylaConfigError: if there is no hour to compare
    """

    def __init__(
        self, export: Side, stream: Side, *, event_types: Sequence[str] | None, since: datetime, until: datetime
    ) -> None:
        if since >= until:
            raise AylaConfigError(f"no hour is between {describe_hour(since)} and {describe_hour(until)}")
        self._export = export
        self._stream = stream
        self._event_types = list(dict.fromkeys(map(parse_event_type, event_types or EVENT_TYPES)))
        self._since = since
        self._until = until
        self._hours: list[HourCompleteness] = []
        self.summary = CompletenessSummary()

    def compare(self) -> None:
        """
        Compare, and keep the results in the stream's archive.

        :raises AylaError: if a side can't be read, or the results can't be written
        """
        coverage = read_coverage(self._stream.archive)
        with CompletenessComparison(self._export, self._stream, coverage, now=datetime.now(UTC)) as comparison:
            for event_type in self._event_types:
                self._hours += comparison.compare(event_type, self._since, self._until)
        self._hours.sort(key=lambda hour: (hour.hour.start, hour.hour.event_type))
        for hour in self._hours:
            self.summary.add(hour)

    @property
    def status(self) -> int:
        """The exit status: 0 complete, 1 a side lacks events, 2 nobody can say."""
        if self.summary.is_incomplete:
            return 1
        return 2 if not self.summary.compared or self.summary.states[Completeness.IDENTITIES_DIFFER] else 0

    @property
    def verdict(self) -> str:
        """The result, for people."""
        states = self.summary.states
        sentences = []
        if self.summary.lacking_in_export:
            hours = counted(self.summary.lacking_in_export, "hour", "hours")
            sentences.append(
                f"The export lacks events of {hours}. For a text that you can send to Ayla, add --support."
            )
        in_stream = states[Completeness.MISSING_IN_STREAM] + states[Completeness.BOTH_MISSING]
        if in_stream:
            sentences.append(f"The stream lacks events of {counted(in_stream, 'hour', 'hours')}.")
        if states[Completeness.IDENTITIES_DIFFER]:
            sentences.append(
                "Of some event types, less than 1 % of the events match: the two sides identify them differently, so "
                "nobody can say what is missing."
            )
        if not self.summary.compared and not states[Completeness.IDENTITIES_DIFFER]:
            sentences.append("No hour can be compared yet. Each line says why.")
        return " ".join(sentences) or "Each side has all events of the other, as far as the hours were compared."

    def text(self) -> Iterator[str]:
        """Yield the lines for people."""
        yield f"{self._title}\n"
        yield _line(["hour", "event type", "state", *(name.replace("_", " ") for name in _COLUMNS)])
        for hour in self._hours:
            counts = [f"{getattr(hour, name):,}" if hour.state.is_compared else "-" for name in _COLUMNS]
            cells = [describe_hour(hour.hour.start), hour.hour.event_type, hour.state.value, *counts]
            yield _line(cells, hour.reason)
        yield f"\n{self.summary.text()}\n\n{self.verdict}"

    def document(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "archive": self._export.archive.url,
            "stream_archive": self._stream.archive.url,
            "since": self._since.isoformat(),
            "until": self._until.isoformat(),
            "hours": [hour.document() for hour in self._hours],
            "summary": {"verdict": self.verdict, **self.summary.document()},
        }

    def for_support(self) -> Iterator[str]:
        """Yield the lines of a text for Ayla support. It names event types, hours and ids, and no device or person."""
        yield "Ayla data export: events that the DataStream Service delivered and the export lacks"
        yield ""
        yield f"Compared: {describe_hour(self._since)} to {describe_hour(self._until)}, times in UTC"
        for event_type, counts in by_event_type(self._hours).items():
            totals = counts.totals
            yield (
                f"{event_type}: {counted(counts.compared, 'hour', 'hours')} compared, "
                f"{counted(totals['stream'], 'event', 'events')} in the stream, {totals['export']:,} in the export, "
                f"{totals['only_stream']:,} only in the stream, {totals['only_export']:,} only in the export"
            )
        lacking = [hour for hour in self._hours if hour.state.lacks_in_export]
        if not lacking:
            yield ""
            yield "No event is missing in the export."
            return
        for hour in lacking[:_HOURS_SHOWN]:
            yield ""
            yield f"{hour.hour}: the export lacks {counted(hour.only_stream, 'event', 'events')}"
            events = [event for event in hour.missing if event.only_in == "stream"]
            for event in events[:_IDS_SHOWN]:
                yield f"  {event.id or 'an event'}, {event.time or 'without a time'}"
            if hour.only_stream > len(events[:_IDS_SHOWN]):
                yield f"  and {hour.only_stream - len(events[:_IDS_SHOWN]):,} more"
        if len(lacking) > _HOURS_SHOWN:
            yield ""
            yield f"and {counted(len(lacking) - _HOURS_SHOWN, 'more hour', 'more hours')}"
        yield ""
        yield (
            "Each of these hours was compared when it was at least 27 hours old, after all files of the export and all "
            "records of the stream had been read. Please check why the export lacks these events, and deliver them."
        )

    @property
    def _title(self) -> str:
        span = f"{describe_hour(self._since)} to {describe_hour(self._until)}"
        return f"{self._export.archive.url} and {self._stream.archive.url}, {span}"


def _line(cells: Sequence[str], remark: str = "") -> str:
    texts = [cell.ljust(width) for cell, width in zip(cells[:3], _WIDTHS[:3], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[3:], _WIDTHS[3:], strict=True)]
    return f"{''.join([*texts, *numbers])}  {remark}".rstrip()

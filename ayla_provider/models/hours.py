"""Which hours and days there are."""

from __future__ import annotations

from ayla_provider.domain.tables import INTEGER, TEXT
from ayla_provider.models.parts import HOUR, MINUTE, Parts

_MARGIN = 2 * MINUTE


class Hours(Parts):
    """The selects of hours and days."""

    def days_of_rows(self, event_type: str) -> str:
        """Return the devices and days of the rows of each hour in the relation ``fleet_diff``."""
        dsn, hour = f"t.{self.quote('dsn')}", f"t.{self.quote('folder_hour')}"
        changed = (
            f"select folder_hour from {self.name('fleet_diff')} where event_type = '{event_type}' and rows_changed = 1"
        )

        def read(time: str, uuid: str) -> str:
            """Return a time of each row, with the time in the id that belongs to it."""
            bits = self._uuid_micros(self._column(event_type, uuid)) if uuid else self._null(INTEGER)
            return (
                f"select {hour} as folder_hour, {dsn} as dsn, {self._micros(time)} as second_at, {bits} as uuid_at "
                f"from {self.name(event_type)} as t where {dsn} is not null and {hour} in ({changed}) "
                f"and {self._counts(event_type)}"
            )

        times = [read(time, uuid) for time, uuid in self._times(event_type)]
        each = (
            f"select folder_hour, dsn, {self._event_time('second_at', 'uuid_at')} as happened "
            f"from ({' union all '.join(times)}) as each_time where second_at is not null"
        )
        # Another version of a row can be seconds apart, and so on another day.
        margin = _MARGIN if event_type in ("datapoint", "datapoint_ack") else 0
        first, last = self._day(f"happened - {margin}"), self._day(f"happened + {margin}")
        pairs = (
            f"select distinct folder_hour, dsn, {first} as first_day, {last} as last_day from ({each}) as each_event"
        )
        of_rows = f"select '{event_type}' as event_type, folder_hour, dsn"
        first_days, last_days = (f"{of_rows}, {day} as day from pairs" for day in ("first_day", "last_day"))
        return f"with pairs as ({pairs}) {first_days} union distinct {last_days}"

    def known_hours(self) -> str:
        """Return the hours that are there as a whole, or certainly empty."""
        hours = self.name("fleet_hours") if self.has_seen else f"({self.hours_now()}) as hours_now"
        return f"select event_type, {self._micros('folder_hour')} as starts from {hours} where known = 1"

    def hours_now(self) -> str:
        """Return the hours of ledger and manifests: what is in the tables, and whether it is all."""
        text = self.macros.types[TEXT]
        name = self.quote
        version, rows = name("version"), name("rows")
        key = (
            f"loads.{name('event_type')} = hours.{name('event_type')} and loads.{name('folder_hour')} = "
            f"hours.{name('folder_hour')}"
        )
        loads, hours = self.name("loads"), self.name("hours")
        return (
            f"select loads.{name('event_type')} as event_type, loads.{name('folder_hour')} as folder_hour, "
            f"loads.{version} || '|' || cast(loads.{rows} as {text}) as signature, "
            f"case when loads.{version} <> 'removed' and coalesce(hours.{name('state')}, 'landed') in "
            "('landed', 'empty') "
            f"then 1 else 0 end as known "
            f"from {loads} as loads left join {hours} as hours on {key} "
            f"union all select hours.{name('event_type')}, hours.{name('folder_hour')}, 'empty', 1 "
            f"from {hours} as hours left join {loads} as loads on {key} "
            f"where loads.{name('event_type')} is null and hours.{name('state')} = 'empty'"
        )

    def runs(self) -> str:
        """Return the spans of known hours that follow each other."""
        numbered = (
            "select event_type, starts, starts - "
            f"row_number() over (partition by event_type order by starts) * {HOUR} as island "
            f"from ({self.known_hours()}) as known"
        )
        spans = (
            f"select event_type, min(starts) as starts, max(starts) + {HOUR} as ends "
            f"from ({numbered}) as numbered group by event_type, island"
        )
        return f"select *, max(ends) over (partition by event_type) as horizon from ({spans}) as spans"

    def days(self) -> str:
        """Return the day of the window, or all days, with their bounds: days can have 23 or 25 hours."""
        if self.window is not None:
            return f"select {self.window.day} as day, {self.window.starts} as starts, {self.window.ends} as ends"
        sources = [
            f"select min(day) as day from {self.name('activity')}",
            f"select max(day) as day from {self.name('activity')}",
            f"select max({self._day('ends - 1')}) as day from {self.name('runs')}",
        ]
        bounds = f"select min(day) as day, max(day) as last_day from ({' union all '.join(sources)}) as bounds"
        start = self._micros(self.macros.day_start("day", self.zone))
        end = self._micros(self.macros.day_start(self.macros.next_day("day"), self.zone))
        return (
            f"with recursive each_day as ({bounds} union all "
            f"select {self.macros.next_day('day')}, last_day from each_day where day < last_day) "
            f"select day, {start} as starts, {end} as ends from each_day where day is not null"
        )

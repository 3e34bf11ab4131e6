"""The models of what properties are."""

from __future__ import annotations

from ayla_provider.domain.tables import BOOLEAN, NUMBER
from ayla_provider.models.parts import HOUR, SECOND, Parts

STATE_TYPES = "('boolean', 'integer', 'string')"
"""The types of values, as an SQL list, that are states: a row of the model for each day on which they go on."""


class Values(Parts):
    """The selects of values, their hours, and how long they last."""

    def values_(self) -> str:
        """Return the values of properties, with the time in which each was valid, as integers."""
        names = "dsn, property_name, time_uuid, value, value_text, base_type, direction, oem_model, echo"
        rows = (
            f"select {names}, happened, 0 as carried, {self._null(BOOLEAN)} as was_change "
            f"from {self.name('datapoints')} where is_value = 1"
        )
        if self.window is not None:
            # The values that were still valid when the window begins.
            stored = ", ".join(f"t.{name}" for name in names.split(", "))
            reads = self._moment(self.window.reads)
            rows += (
                f" union all select {stored}, {self._micros('t.valid_from')}, 1, t.is_change "
                f"from {self.name('property_value')} as t{self._of_scope('t')} "
                f"where t.valid_from < {reads} and (t.valid_to is null or t.valid_to >= {reads})"
            )
        timed = (
            f"select every_value.*, runs.horizon, runs.ends as run_ends from ({rows}) as every_value "
            f"left join {self.name('runs')} as runs on runs.event_type = 'datapoint' "
            "and every_value.happened >= runs.starts and every_value.happened < runs.ends"
        )
        # Engines order UUIDs as their texts.
        order = "partition by dsn, property_name order by happened, time_uuid"
        next_at = f"lead(happened) over ({order})"
        if self.window is not None:
            # The value after the last one of the window is stored, if there is one.
            ahead = (
                f"select t.dsn as ahead_dsn, t.property_name as ahead_property, "
                f"min({self._micros('t.valid_from')}) as ahead_at "
                f"from {self.name('property_value')} as t{self._of_scope('t')} "
                f"where t.valid_from >= {self._moment(self.window.reads_to)} group by t.dsn, t.property_name"
            )
            timed = (
                f"select * from ({timed}) as timed left join ({ahead}) as ahead "
                "on ahead_dsn = dsn and ahead_property = property_name"
            )
            next_at = f"coalesce({next_at}, ahead_at)"
        ordered = (
            f"select *, {next_at} as next_at, lag(happened) over ({order}) as at_before, "
            f"lag(run_ends) over ({order}) as run_ends_before, lag(value) over ({order}) as value_before, "
            f"lag(value_text) over ({order}) as text_before from ({timed}) as timed"
        )
        hour = self._floor("happened", HOUR)
        ends = (
            "select *, case when run_ends is null then happened "
            "when next_at is null or next_at > run_ends then run_ends else next_at end as ends, "
            "case when at_before is null or run_ends_before is null then at_before "
            "when happened > run_ends_before then run_ends_before else happened end as ends_before, "
            f"{hour} as hour, {self._day('happened')} as day from ({ordered}) as ordered"
        )
        changed = (
            "ends_before is null or ends_before <> happened or value is distinct from value_before "
            "or value_text is distinct from text_before"
        )
        return (
            f"select *, case when next_at is null and run_ends = horizon then 1 else 0 end as is_open, "
            f"case when carried = 1 then was_change else {changed} end as is_change from ({ends}) as ends"
        )

    def property_value(self) -> str:
        """Return :data:`~ayla_provider.models.tables.PROPERTY_VALUE`."""
        moment = self.macros.moment
        return (
            f"select dsn, property_name, time_uuid, {moment('happened')} as valid_from, "
            f"{moment('case when is_open = 0 then ends end')} as valid_to, value, value_text, base_type, direction, "
            f"oem_model, echo, is_change from {self.name('values_')}"
        )

    def property_hour(self) -> str:
        """Return :data:`~ayla_provider.models.tables.PROPERTY_HOUR`."""
        uuid = "time_uuid"
        number = self.macros.types[NUMBER]
        hour_end = f"hour + {HOUR}"
        placed = (
            "select *, case when at_before is null or at_before < hour then 1 else 0 end as is_first, "
            f"case when next_at is null or next_at >= {hour_end} then 1 else 0 end as is_last "
            f"from {self.name('values_')} where carried = 0"
        )
        # The value before the first one, if it lasts into an hour that is known.
        is_carried = "is_first = 1 and ends_before >= hour and at_before < hour and run_ends is not null"
        measured = (
            f"select *, case when ends < {hour_end} then ends else {hour_end} end - happened as lasts, "
            f"case when {is_carried} then 1 else 0 end as carries, "
            f"case when {is_carried} then ends_before - hour else 0 end as carried_lasts from ({placed}) as placed"
        )

        def seconds(micros: str) -> str:
            return f"cast({micros} as {number}) / {SECOND}"

        def first(what: str) -> str:
            return f"max(case when is_first = 1 then {what} end)"

        def last(what: str) -> str:
            return f"max(case when is_last = 1 then {what} end)"

        own = f"coalesce(value * ({seconds('lasts')}), 0)"
        carried = f"coalesce(value_before * ({seconds('carried_lasts')}), 0)"
        weight = (
            "case when value is null then 0 else lasts end + case when value_before is null then 0 "
            "else carried_lasts end"
        )
        total = self.macros.total
        numbers = "count(value)"
        moment = self.macros.moment
        grouped = (
            f"select dsn, property_name, hour, {last('oem_model')} as oem_model, {last('base_type')} as base_type, "
            f"{last('direction')} as direction, count(*) as observations, "
            f"sum(case when echo then 1 else 0 end) as echoes, {numbers} as numbers, "
            f"{first('value')} as first_value, {last('value')} as last_value, "
            f"{first('value_text')} as first_text, {last('value_text')} as last_text, "
            "min(happened) as first_at, max(happened) as last_at, min(value) as min_value, max(value) as max_value, "
            f"{total('value', f'happened, {uuid}')} as sum_value, "
            "max(case when carries = 1 then value_before end) as carried_value, "
            "max(case when carries = 1 then text_before end) as carried_text, max(carries) as carries, "
            f"sum({weight}) as weight, {total(f'{own} + {carried}', f'happened, {uuid}')} as weighted "
            f"from ({measured}) as measured group by dsn, property_name, hour"
        )
        weighted_seconds = seconds("weight")
        return (
            f"select dsn, property_name, {moment('hour')} as hour, oem_model, base_type, direction, "
            f"{self._integer('observations')}, {self._integer('echoes')}, {self._integer('numbers')}, "
            f"first_value, last_value, first_text, last_text, {moment('first_at')} as first_at, "
            f"{moment('last_at')} as last_at, min_value, max_value, sum_value, "
            "case when numbers > 0 then sum_value / numbers end as mean_value, carried_value, carried_text, "
            f"carries = 1 as is_carried, {weighted_seconds} as weighted_seconds, "
            "case when weight > 0 then weighted end as weighted_sum, "
            f"case when weight > 0 then weighted / ({weighted_seconds}) end as weighted_mean from "
            f"({grouped}) as grouped"
        )

    def state_duration(self) -> str:
        """Return :data:`~ayla_provider.models.tables.STATE_DURATION`."""
        days = self.name("days")
        # A value is valid on the day on which it begins, and perhaps on further ones.
        begun = (
            "select v.dsn, v.property_name, v.value, v.value_text, days.day, "
            "case when v.ends < days.ends then v.ends else days.ends end - v.happened as lasts, "
            "case when v.is_change then 1 else 0 end as entries "
            f"from {self.name('values_')} as v join {days} as days on days.day = v.day "
            f"where v.base_type in {STATE_TYPES}"
        )
        went_on = (
            "select v.dsn, v.property_name, v.value, v.value_text, days.day, "
            "case when v.ends < days.ends then v.ends else days.ends end - days.starts, 0 "
            f"from {self.name('values_')} as v join {days} as days on days.starts > v.happened and "
            "days.starts < v.ends "
            f"where v.base_type in {STATE_TYPES}"
        )
        both = f"{begun} union all {went_on}"
        number = self.macros.types[NUMBER]
        return (
            "select dsn, property_name, day, value, value_text, "
            f"cast(sum(lasts) as {number}) / {SECOND} as seconds, {self._integer('sum(entries)', 'entries')} "
            f"from ({both}) as pieces group by dsn, property_name, day, value, value_text "
            "having sum(lasts) > 0 or sum(entries) > 0"
        )

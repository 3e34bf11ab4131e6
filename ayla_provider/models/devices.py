"""The models of devices and their days."""

from __future__ import annotations

from ayla_provider.domain.tables import INTEGER, NUMBER, TEXT
from ayla_provider.models import tables
from ayla_provider.models.parts import MINUTE, SECOND, Parts


class Devices(Parts):
    """The selects of devices, their owners, and their days."""

    def activity(self) -> str:
        """Return :data:`~ayla_provider.models.tables.ACTIVITY`, with times as integers."""
        zero = "0 as datapoints, 0 as discarded, 0 as registered, 0 as unregistered"
        never = f"{self._null(INTEGER)} as heard"
        parts = []
        event = "select dsn, day, oem_id, oem_model, happened"
        heard = "case when direction = 'output' or echo then happened end as heard"
        parts += [
            f"{event}, {heard}, 1 as datapoints, case when discarded then 1 else 0 end as discarded, 0 as registered, "
            f"0 as unregistered from {self.name('datapoints')}",
            f"{event}, happened as heard, {zero} from {self.name('acks')}",
            f"{event}, case when state = 'online' then happened end as heard, {zero} from {self.name('connections')}",
            f"{event}, {never}, 0 as datapoints, 0 as discarded, case when registered then 1 else 0 end as registered, "
            f"case when registered then 0 else 1 end as unregistered from {self.name('registrations')}",
        ]
        for kind, column in (("location", "created_at"), ("activation", "event_time")):
            if kind in self.columns and column in self.columns[kind]:
                happened = self._micros(f"t.{column}")
                parts.append(
                    f"select t.dsn, {self._day(happened)} as day, {self._plain(kind, 'oem_id')}, "
                    f"{self._plain(kind, 'oem_model')}, {happened} as happened, {never}, {zero} "
                    f"from {self._source(kind)} where t.dsn is not null and t.{column} is not null "
                    f"and {self._counts(kind)}"
                )
        events = " union all ".join(parts)
        if self.window is not None:
            events = f"select * from ({events}) as every_event where day = {self.window.day}"
        return (
            "select dsn, day, oem_id, oem_model, min(happened) as first_at, max(happened) as last_at, "
            "max(heard) as heard_at, "
            "sum(datapoints) as datapoints, sum(discarded) as discarded, sum(registered) as registered, "
            f"sum(unregistered) as unregistered from ({events}) as events group by dsn, day, oem_id, oem_model"
        )

    def device_activity(self) -> str:
        """Return :data:`~ayla_provider.models.tables.ACTIVITY`."""
        times = ("first_at", "last_at", "heard_at")
        columns = [
            f"{self.macros.moment(name)} as {name}"
            if name in times
            else self._integer(name)
            if name not in ("dsn", "day", "oem_id", "oem_model")
            else name
            for name in tables.ACTIVITY.names
        ]
        return f"select {', '.join(columns)} from {self.name('activity')}"

    def device_owner(self) -> str:
        """Return :data:`~ayla_provider.models.tables.DEVICE_OWNER`."""
        order = (
            "partition by dsn order by happened, case when registered then 1 else 0 end, "
            f"case when row_user is null then 0 else 1 end, cast(row_user as {self.macros.types[TEXT]}), "
            "registration_type"
        )
        events = (
            f"select *, lag(registered) over ({order}) as was_registered, lag(user_uuid) over ({order}) as was_user, "
            f"row_number() over ({order}) as place from {self.name('registrations')}"
        )
        changes = (
            f"select * from ({events}) as events where case when registered "
            "then was_registered is null or not was_registered or user_uuid is distinct from was_user "
            "else coalesce(was_registered, false) end"
        )
        spans = f"select *, lead(happened) over (partition by dsn order by place) as ends from ({changes}) as changes"
        moment = self.macros.moment
        return (
            f"select dsn, {moment('happened')} as owned_from, {moment('ends')} as owned_to, user_uuid, "
            "registration_type "
            f"from ({spans}) as spans where registered and (ends is null or ends > happened)"
        )

    def device(self) -> str:
        """Return :data:`~ayla_provider.models.tables.DEVICE`, from what is stored of activity and owners."""
        activity, scope = self.name("device_activity"), self._of_scope
        seen = (
            "select t.dsn, min(first_at) as first_seen, max(last_at) as last_seen, max(heard_at) as last_heard "
            f"from {activity} as t{scope('t')} group by t.dsn"
        )
        owners = (
            f"select t.dsn, t.owned_from, t.owned_to, t.user_uuid, row_number() over (partition by t.dsn "
            f"order by t.owned_from desc) as newest from {self.name('device_owner')} as t{scope('t')}"
        )
        counts = (
            "select dsn, count(*) as registrations, count(distinct user_uuid) as owner_count "
            f"from ({owners}) as owners group by dsn"
        )
        registered = (
            "select dsn, min(case when registered then happened end) as first_at "
            f"from {self.name('registrations')} group by dsn"
        )
        # Only streams have activations.
        activated = f"select dsn, {self._null(INTEGER)} as happened from {self.name('registrations')} where 1 = 0"
        if "activation" in self.columns:
            activated = (
                f"select t.dsn, min({self._micros('t.event_time')}) as happened from {self.name('activation')} as t "
                f"where t.dsn is not null and {self._counts('activation')} group by t.dsn"
            )
        latest = {
            name: (
                f"select t.dsn, t.{name}, row_number() over (partition by t.dsn order by t.last_at desc, "
                f"t.{name} desc) "
                f"as standing from {activity} as t{scope('t')} where t.{name} is not null"
            )
            for name in ("oem_id", "oem_model")
        }
        moment = self.macros.moment
        return (
            "select seen.dsn as dsn, oems.oem_id as oem_id, models.oem_model as oem_model, seen.first_seen, "
            f"seen.last_seen, seen.last_heard, {moment('activated.happened')} as activated_at, "
            f"{moment('registered.first_at')} as first_registered_at, owner.owned_from as registered_at, "
            "owner.owned_to as unregistered_at, "
            "case when registered.dsn is null then null else owner.dsn is not null and owner.owned_to is null end "
            "as registered, case when owner.owned_to is null then owner.user_uuid end as user_uuid, "
            f"{self._integer('coalesce(counts.owner_count, 0)', 'owner_count')}, "
            f"{self._integer('coalesce(counts.registrations, 0)', 'registrations')} "
            f"from ({seen}) as seen "
            f"left join ({latest['oem_id']}) as oems on oems.dsn = seen.dsn and oems.standing = 1 "
            f"left join ({latest['oem_model']}) as models on models.dsn = seen.dsn and models.standing = 1 "
            f"left join ({activated}) as activated on activated.dsn = seen.dsn "
            f"left join ({registered}) as registered on registered.dsn = seen.dsn "
            f"left join ({owners}) as owner on owner.dsn = seen.dsn and owner.newest = 1 "
            f"left join ({counts}) as counts on counts.dsn = seen.dsn"
        )

    def connection_spans(self) -> str:
        """Return each state that a device took: from when, until when, what was before it, and since when it is so."""
        seconds = (
            "select dsn, happened, count(distinct state) as states, max(state) as state "
            f"from {self.name('connections')} where state in ('online', 'offline') group by dsn, happened"
        )
        events = (
            f"select dsn, happened, state, happened as since, 0 as carried from ({seconds}) as seconds where states = 1"
        )
        if self.window is not None:
            # What the device was in at the end of the day before.
            events += (
                f" union all select t.dsn, {self.window.starts}, t.state_at_end, {self._micros('t.state_since')}, 1 "
                f"from {self.name('device_day')} as t{self._of_scope('t')} "
                f"where t.day = {self.window.day_before} and t.state_at_end <> 'unknown'"
            )
        order = "partition by dsn order by happened, carried desc"
        nexts = f"select *, lead(happened) over ({order}) as next_at from ({events}) as events"
        ends = (
            "select nexts.*, case when runs.ends is null then nexts.happened "
            "when nexts.next_at is null or nexts.next_at > runs.ends then runs.ends else nexts.next_at end as ends "
            f"from ({nexts}) as nexts left join {self.name('runs')} as runs on runs.event_type = 'connection' "
            "and nexts.happened >= runs.starts and nexts.happened < runs.ends"
        )
        befores = (
            f"select *, case when carried = 1 then null when lag(ends) over ({order}) = happened or "
            f"lag(carried) over ({order}) "
            f"= 1 and lag(happened) over ({order}) = happened then lag(state) over ({order}) end as "
            f"state_before from ({ends}) as ends"
        )
        begins = (
            "select *, case when carried = 1 or state_before is null or state_before <> state then since end as begun "
            f"from ({befores}) as befores"
        )
        groups = f"select *, count(begun) over ({order} rows unbounded preceding) as stretch from ({begins}) as begins"
        whole = f"select *, max(begun) over (partition by dsn, stretch) as state_since from ({groups}) as stretches"
        return (
            "select dsn, happened, state, ends, carried, state_before, state_since, "
            f"lag(state_since) over ({order}) as since_before from ({whole}) as whole"
        )

    def device_day(self) -> str:
        """Return :data:`~ayla_provider.models.tables.DEVICE_DAY`."""
        spans, days, runs = self.name("connection_spans"), self.name("days"), self.name("runs")
        # The days on which each device existed.
        horizon = f"select max(horizon) - 1 from {runs} where event_type = 'connection'"
        first = f"select dsn, min(day) as first_day from {self.name('activity')} group by dsn"
        if self.window is not None:
            # A device that has the day before has this one, too.
            first += (
                f" union distinct select t.dsn, {self.window.day} "
                f"from {self.name('device_day')} as t{self._of_scope('t')} "
                f"where t.day = {self.window.day_before}"
            )
        frame = (
            f"select firsts.dsn, days.day, days.starts, days.ends from ({first}) as firsts join {days} as days "
            f"on days.day >= firsts.first_day and days.starts <= ({horizon})"
        )
        # How long each state lasted on each day.
        cut = (
            "case when spans.ends < days.ends then spans.ends else days.ends end - "
            "case when spans.happened > days.starts then spans.happened else days.starts end"
        )
        lasted = (
            f"select spans.dsn, days.day, sum(case when spans.state = 'online' then {cut} else 0 end) as online, "
            f"sum(case when spans.state = 'offline' then {cut} else 0 end) as offline, "
            "max(case when spans.ends >= days.ends then spans.state end) as state_at_end, "
            "max(case when spans.ends >= days.ends then spans.state_since end) as state_since "
            f"from {spans} as spans join {days} as days on spans.happened < days.ends and spans.ends > days.starts "
            "group by spans.dsn, days.day"
        )
        begun = (
            f"select dsn, {self._day('happened')} as day, count(*) as sessions, sum(case when state_before = 'offline' "
            f"and happened - since_before < {MINUTE} then 1 else 0 end) as flaps from {spans} "
            "where state = 'online' and carried = 0 and (state_before is null or state_before = 'offline') "
            f"group by dsn, {self._day('happened')}"
        )
        seconds = (
            "select dsn, day, happened, count(distinct state) as states "
            f"from {self.name('connections')} where state in ('online', 'offline') group by dsn, day, happened"
        )
        messages = (
            "select dsn, day, sum(states) as messages, sum(case when states = 2 then 1 else 0 end) as flap_seconds "
            f"from ({seconds}) as seconds group by dsn, day"
        )
        owner = (
            f"select t.dsn, days.day, t.user_uuid from {self.name('device_owner')} as t{self._of_scope('t')} "
            f"join {days} as days on {self._micros('t.owned_from')} < days.ends "
            f"and (t.owned_to is null or {self._micros('t.owned_to')} >= days.ends)"
        )
        models = self._models_by_day(frame)

        def seconds_of(micros: str) -> str:
            return self.macros.quotient(micros, str(SECOND))

        online, offline = (f"coalesce(lasted.{state}, 0)" for state in ("online", "offline"))
        length = "frame.ends - frame.starts"
        number = self.macros.types[NUMBER]
        unknown = f"({length}) - {online} - {offline}"
        return (
            "select frame.dsn, frame.day, models.oem_model, owner.user_uuid, "
            f"{self._integer(seconds_of(length), 'day_seconds')}, "
            f"{self._integer(seconds_of(online), 'online_seconds')}, "
            f"{self._integer(seconds_of(offline), 'offline_seconds')}, "
            f"{self._integer(seconds_of(unknown), 'unknown_seconds')}, "
            f"{self._integer('coalesce(begun.sessions, 0)', 'sessions')}, "
            f"{self._integer('coalesce(begun.flaps, 0) + coalesce(messages.flap_seconds, 0)', 'flaps')}, "
            f"{self._integer('coalesce(messages.messages, 0)', 'connection_events')}, "
            f"case when {online} + {offline} > 0 then cast({online} as {number}) / ({online} + {offline}) end "
            "as uptime_share, "
            f"cast({unknown} as {number}) / ({length}) as unknown_share, "
            "coalesce(lasted.state_at_end, 'unknown') as state_at_end, "
            f"{self.macros.moment('lasted.state_since')} as state_since "
            f"from ({frame}) as frame "
            f"left join ({models}) as models on models.dsn = frame.dsn and models.day = frame.day "
            f"left join ({owner}) as owner on owner.dsn = frame.dsn and owner.day = frame.day "
            f"left join ({lasted}) as lasted on lasted.dsn = frame.dsn and lasted.day = frame.day "
            f"left join ({begun}) as begun on begun.dsn = frame.dsn and begun.day = frame.day "
            f"left join ({messages}) as messages on messages.dsn = frame.dsn and messages.day = frame.day"
        )

    def _models_by_day(self, frame: str) -> str:
        """Return the model of each device at the end of each day: that of the latest event with one."""
        ranked = (
            "select dsn, day, oem_model, row_number() over (partition by dsn, day order by last_at desc, "
            "oem_model desc) "
            f"as standing from {self.name('activity')} where oem_model is not null"
        )
        seen = f"select dsn, day, oem_model from ({ranked}) as ranked where standing = 1"
        if self.window is not None:
            seen += (
                f" union all select t.dsn, t.day, t.oem_model from {self.name('device_day')} as t{self._of_scope('t')} "
                f"where t.day = {self.window.day_before} and t.oem_model is not null"
            )
        # Each day takes over the model of the last day that has one.
        both = (
            f"select dsn, day, oem_model from ({seen}) as seen union all "
            f"select dsn, day, {self._null(TEXT)} from ({frame}) as frame"
        )
        daily = f"select dsn, day, max(oem_model) as oem_model from ({both}) as either group by dsn, day"
        groups = (
            "select *, count(oem_model) over (partition by dsn order by day rows unbounded preceding) as stretch "
            f"from ({daily}) as daily"
        )
        return (
            "select dsn, day, max(oem_model) over (partition by dsn, stretch) as oem_model from "
            f"({groups}) as stretches"
        )

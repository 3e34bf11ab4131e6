"""
The SQL of the fleet models: the one source for the operators and for dbt.

Each method returns the select of one relation. Times are integers inside, microseconds since 1970, and become
timestamps at the end. Only :class:`~ayla_provider.models.macros.Macros` differ between engines.

With a window, a select returns the rows of one day, for the devices of a scope, and takes over from the stored tables
what was before it. Without one, it returns everything. Both give the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping

from ayla_provider.domain.tables import NUMBER
from ayla_provider.models import tables
from ayla_provider.models.commands import Commands
from ayla_provider.models.devices import Devices
from ayla_provider.models.events import Events
from ayla_provider.models.hours import Hours
from ayla_provider.models.values import Values

MAKE = "2"
"""Changes whenever the SQL here changes its results: the operators then make all models again."""


class FleetSql(Events, Hours, Devices, Values, Commands):
    """The selects of the models, in the SQL of one engine."""

    def model_day(self) -> str:
        """Return :data:`~ayla_provider.models.tables.MODEL_DAY`."""
        zeros = {
            name: f"0 as {name}"
            for name in (
                "devices",
                "devices_online",
                "day_seconds",
                "online_seconds",
                "offline_seconds",
                "unknown_seconds",
                "sessions",
                "flaps",
                "datapoints",
                "discarded",
                "commands",
                "acknowledged",
                "refused",
                "unanswered",
                "latency_seconds",
                "registered",
                "unregistered",
            )
        }

        def part(day: str, relation: str, sums: Mapping[str, str], where: str = "") -> str:
            columns = [f"{sums[name]} as {name}" if name in sums else zero for name, zero in zeros.items()]
            return (
                f"select oem_model, {day} as day, {', '.join(columns)} from {relation} as t{where} "
                f"group by oem_model, {day}"
            )

        lasting = ("day_seconds", "online_seconds", "offline_seconds", "unknown_seconds", "sessions", "flaps")
        devices = {name: f"sum({name})" for name in lasting} | {
            "devices": "count(*)",
            "devices_online": "sum(case when online_seconds > 0 then 1 else 0 end)",
        }
        counted = ("datapoints", "discarded", "registered", "unregistered")
        commands = {
            "commands": "count(*)",
            "latency_seconds": self.macros.total("latency_seconds", "commanded_at, time_uuid"),
        } | {
            outcome: f"sum(case when outcome = '{outcome}' then 1 else 0 end)"
            for outcome in ("acknowledged", "refused", "unanswered")
        }
        commands["latency_seconds"] = f"coalesce({commands['latency_seconds']}, 0)"
        day = self.macros.local_day("commanded_at", self.zone)
        of_day = of_time = ""
        if self.window is not None:
            of_day = f" where t.day = {self.window.day}"
            starts, ends = self._moment(self.window.starts), self._moment(self.window.ends)
            of_time = f" where t.commanded_at >= {starts} and t.commanded_at < {ends}"
        parts = [
            part("day", self.name("device_day"), devices, of_day),
            part("day", self.name("device_activity"), {name: f"sum({name})" for name in counted}, of_day),
            part(day, self.name("command"), commands, of_time),
        ]
        sums = ", ".join(f"sum({name}) as {name}" for name in zeros)
        total = f"select oem_model, day, {sums} from ({' union all '.join(parts)}) as parts group by oem_model, day"
        # A day without anything of a model has no row.
        number = self.macros.types[NUMBER]
        known, answered = "online_seconds + offline_seconds", "acknowledged + refused"
        integers = {name: self._integer(name) for name in zeros if name != "latency_seconds"}
        shares = {
            "uptime_share": f"case when {known} > 0 then cast(online_seconds as {number}) / ({known}) end "
            "as uptime_share",
            "unknown_share": "case when day_seconds > 0 then "
            f"cast(unknown_seconds as {number}) / day_seconds end as unknown_share",
            "latency_seconds": f"cast(latency_seconds as {number}) as latency_seconds",
            "mean_latency_seconds": f"case when {answered} > 0 then latency_seconds / ({answered}) end "
            "as mean_latency_seconds",
        }
        columns = ", ".join((integers | shares).get(name, name) for name in tables.MODEL_DAY.names)
        sources = ("devices", "datapoints", "commands", "registered", "unregistered")
        some = " or ".join(f"{name} > 0" for name in sources)
        return f"select {columns} from ({total}) as total where {some}"

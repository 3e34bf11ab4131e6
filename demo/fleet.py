"""The fleet models of the demo: made by their sample DAG, and one figure of each."""

from __future__ import annotations

from pathlib import Path

import duckdb

from demo.run import run_once
from harness.standalone import Standalone

DAG = "ayla_fleet_models"

FIGURES = {
    "device": "select format('{:d} devices, of which {:d} have an owner', count(*), "
    "count(*) filter (registered)) from %s",
    "device_owner": "select format('{:d} ownerships of {:d} devices', count(*), count(distinct dsn)) from %s",
    "device_day": "select format('{} was online for {:.1f} h on {}', dsn, online_seconds / 3600, day::varchar) from %s "
    "order by online_seconds desc, dsn limit 1",
    "property_value": "select format('{} of {} became {}', property_name, dsn, coalesce(value::varchar, value_text)) "
    "from %s where is_change order by valid_from desc, dsn, property_name limit 1",
    "property_hour": "select format('the time-weighted mean of {} is {:.2f}, of {:d} values', property_name, "
    "sum(weighted_sum) / sum(weighted_seconds), sum(observations)::bigint) from %s "
    "where base_type = 'decimal' group by property_name having sum(weighted_seconds) > 0 "
    "order by sum(observations) desc, property_name limit 1",
    "state_duration": "select format('{} was {} for {:.1f} h in all', property_name, "
    "coalesce(value::varchar, value_text), sum(seconds) / 3600) from %s "
    "where value is not null or value_text is not null group by property_name, value, value_text "
    "order by sum(seconds) desc, property_name limit 1",
    "command": "select format('{:d} commands, of which {:d} were acknowledged', count(*), "
    "count(*) filter (outcome = 'acknowledged')) from %s",
    "model_day": "select format('of {:d} devices of {}, {:d} were online on {}', devices, oem_model, devices_online, "
    "day::varchar) from %s where devices > 0 and oem_model is not null "
    "order by devices desc, oem_model, day desc limit 1",
}
"""Model to the query for a sentence about it. Every query has at most one row."""


def make(airflow: Standalone) -> bool:
    """Let the sample DAG make the models, and return whether it succeeded."""
    print("Making the fleet models ...", flush=True)
    return run_once(airflow, DAG)


def figures(warehouse: Path) -> str:
    """Return one figure of each model, as lines."""
    lines = ["One figure of each fleet model:"]
    with duckdb.connect(str(warehouse), read_only=True) as duck:
        for model, query in FIGURES.items():
            found = duck.execute(query % f"ayla_{model}").fetchone()
            lines.append(f"  ayla_{model:<16}{found[0] if found else 'nothing in these hours'}")
    return "\n".join(lines)

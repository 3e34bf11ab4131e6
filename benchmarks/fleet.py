"""
What the fleet models and the views take in DuckDB: ``python -m benchmarks.fleet --days 30 --memory 1GB``.

It makes a file with ``--days`` of ``--devices`` and 242 datapoints of each a day, 14.5 million rows by default, and
then the models. It asks for one hour and for one device of ``ayla_datapoint_unique``. Then it loads one more hour, and
one of the middle again, and makes the models of each. It prints seconds of wall and of the processor, and peak memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.base import LEDGER
from ayla_provider.warehouse.duckdb import DuckDBWarehouse

START = datetime(2026, 5, 1, tzinfo=UTC)
_A_DAY = 242
"""Datapoints of a device."""

_ID = (
    "printf('%08x-%04x-1%03x-0261-%012x', "
    "ticks & 4294967295, (ticks >> 32) & 65535, (ticks >> 48) & 4095, device)::uuid"
)
_DEVICE = "'1a2b3c4d' as oem_id, 'M' || device % 5 as oem_model, 'LC' || lpad(device::varchar, 12, '0') as dsn"


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print what something takes."""
    wall, cpu = time.monotonic(), time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    taken, spent = time.monotonic() - wall, time.process_time() - cpu
    print(f"{what}: {taken:.2f} s, {spent:.2f} s of CPU; peak so far {peak:,.0f} MiB", flush=True)


def datapoints(first: int, hours: int, devices: int, version: int = 0) -> str:
    """Return the query for the datapoints of some hours. One in a hundred is updated an hour later."""
    each = f"""
        select hour, device, number, hash(hour, device, number, {version}) as dice,
            make_timestamptz({_micros(START)} + hour * 3600000000
                + (hash(device, number, hour) % 3600000000)::bigint) as made_at
        from range({first}, {first + hours}) as h(hour), range({devices}) as d(device), range(11) as n(number)
        where hash(hour, device, number) % 264 < {_A_DAY}
    """
    named = f"""
        select *, (epoch_us(made_at) + 12219292800000000) * 10 as ticks, dice % 8 as property from ({each})
    """
    kinds = "case when property < 3 then 'integer' when property < 6 then 'decimal' when property = 6 then 'boolean' "
    columns = f"""
        {_DEVICE}, 'p' || property as property_name, {kinds} else 'string' end as base_type, {_ID} as time_uuid,
        date_trunc('second', made_at) as created_at, false as echo, false as discarded,
        case when property < 3 then (dice >> 8) % 4 end as val_int,
        case when property between 3 and 5 then (dice >> 8) % 100 / 4 end as val_decimal,
        case when property = 6 then (dice >> 8) % 2 = 0 end as val_boolean,
        case when property = 7 then 's' || (dice >> 8) % 5 end as val_string,
        case when property = 0 then 'input' else 'output' end as direction
    """
    hour = f"make_timestamptz({_micros(START)} + hour * 3600000000)"
    return f"""
        select {columns}, date_trunc('second', made_at) as updated_at, {hour} as folder_hour, 'a.csv' as source_object
        from ({named})
        union all select {columns}, date_trunc('second', made_at) + interval 1 hour, {hour} + interval 1 hour, 'b.csv'
        from ({named}) where dice % 100 = 0 and hour < {first + hours - 1}
    """


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def fill(warehouse: DuckDBWarehouse, first: int, hours: int, devices: int, version: int = 0) -> None:
    """Load hours, as loads leave them."""
    run, relation = warehouse._run, warehouse._relation
    of_hours = f"between {_stamp(first)} and {_stamp(first + hours - 1)}"
    for number in range(first, first + hours, 24):
        many = min(24, first + hours - number)
        run(f"insert into {relation('datapoint')} by name {datapoints(number, many, devices, version)}")
        run(
            f"""insert into {relation("connection")} by name select {_DEVICE},
            case when number = 0 then 'Online' else 'Offline' end as status,
            date_trunc('second', make_timestamptz({_micros(START)} + hour * 3600000000
                + (hash(device, hour, number) % 3600000000)::bigint)) as event_time,
            make_timestamptz({_micros(START)} + hour * 3600000000) as folder_hour, 'a.csv' as source_object
            from range({number}, {number + many}) as h(hour), range({devices}) as d(device), range(2) as n(number)
            where (hour + device) % 8 = 0"""
        )
    run(
        f"""insert into {relation("datapoint_ack")} by name select oem_id, oem_model, dsn, property_name, base_type,
        time_uuid, created_at, updated_at, val_int, 200 as ack_status, created_at + interval 2 second as acked_at,
        folder_hour, source_object from {relation("datapoint")}
        where property_name = 'p0' and source_object = 'a.csv' and folder_hour {of_hours}"""
    )
    for event_type in ("datapoint", "datapoint_ack", "connection"):
        run(
            f"""insert into {relation(LEDGER.event_type)} by name
            select '{event_type}' as event_type, folder_hour, 'v{version}' as version, count(*) as rows,
            count(*) as lines, 0 as duplicates, 0 as quarantined, now() as loaded_at, 'bench' as loaded_by
            from {relation(event_type)} where folder_hour {of_hours} group by folder_hour"""
        )


def _stamp(number: int) -> str:
    return f"timestamptz '{(START + number * ONE_HOUR).isoformat()}'"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--keep", default="", help="a folder whose file is used again, without the first build")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(given.keep or name) / "a.duckdb"
        is_made = path.exists()
        hours = given.days * 24
        with DuckDBWarehouse(path, memory=given.memory) as warehouse:
            if not is_made:
                measure_build(warehouse, hours, given.devices)
            measure(warehouse, hours, given.devices)


def measure_build(warehouse: DuckDBWarehouse, hours: int, devices: int) -> None:
    """Make the file, and the models for the first time."""
    warehouse.prepare_missing(TABLES.values())
    with timed("Rows made up"):
        fill(warehouse, 0, hours, devices)
    ((rows,),) = warehouse._fetch(f"select count(*) from {warehouse._relation('datapoint')}")
    print(f"{rows:,} datapoints of {devices:,} devices in {hours} hours")
    with timed("First build of the models"):
        print(warehouse.update_models("UTC", "first", START).document())


def measure(warehouse: DuckDBWarehouse, hours: int, devices: int) -> None:
    """Ask for an hour and a device, and make the models of a new hour and of a late one."""
    unique = warehouse._relation("datapoint_unique")
    for what, condition in (
        ("One hour of the unique view", f"folder_hour = {_stamp(hours // 2)}"),
        ("One device of the unique view", "dsn = 'LC000000000007'"),
    ):
        for _ in range(2):
            with timed(what):
                figures = "count(*), max(updated_at), max(val_int), max(property_name)"
                warehouse._fetch(f"select {figures} from {unique} where {condition}")
    fill(warehouse, hours, 1, devices)
    with timed("Models of one new hour"):
        print(warehouse.update_models("UTC", "new", START).document())
    late = hours // 2
    for event_type in ("datapoint", LEDGER.event_type):
        warehouse._run(
            f"delete from {warehouse._relation(event_type)} where folder_hour = {_stamp(late)}"
            + (" and event_type = 'datapoint'" if event_type == LEDGER.event_type else "")
        )
    warehouse._run(f"insert into {warehouse._relation('datapoint')} by name {datapoints(late, 1, devices, 1)}")
    warehouse._run(
        f"insert into {warehouse._relation(LEDGER.event_type)} by name select 'datapoint' as event_type, "
        f"{_stamp(late)} as folder_hour, 'v1' as version, 0 as rows, 0 as lines, 0 as duplicates, 0 as quarantined, "
        "now() as loaded_at, 'bench' as loaded_by"
    )
    with timed("Models of one replaced hour"):
        print(warehouse.update_models("UTC", "late", START + timedelta(days=1)).document())


if __name__ == "__main__":
    main()

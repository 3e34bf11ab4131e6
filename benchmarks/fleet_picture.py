"""
``python -m benchmarks.fleet_picture``: a month of the local cloud's fleet, as the fleet models tell it.

It puts a month of the export's rows into a DuckDB file, without some hours of connections, makes the models, and draws
``docs/images/fleet-month.svg`` from ``device_day`` and ``model_day``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa

from ayla_provider.domain.hour import hours_between
from ayla_provider.domain.tables import TABLES, ColumnType
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.rows import parse_file_time
from ayla_provider.warehouse.base import LEDGER, FoundHour
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.support.fleet_oracle import rows_of_export

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "fleet-month.svg"
START = datetime(2026, 5, 1, tzinfo=UTC)
DAYS = 31
MISSING = (START + timedelta(days=17, hours=6), START + timedelta(days=18, hours=20))
"""From when to when the hours of connections are missing."""
COLUMNS = {
    "connection": ("dsn", "oem_model", "event_time", "status"),
    "registration": ("dsn", "oem_model", "user_uuid", "registered", "registered_at", "unregistered_at"),
    "datapoint": (
        "dsn",
        "oem_model",
        "property_name",
        "base_type",
        "time_uuid",
        "created_at",
        "updated_at",
        "direction",
    ),
}
"""Event type to the columns that the picture needs."""

_CELL, _ROW, _LEFT, _TOP = 18, 13, 128, 46
_TEXT, _PALE = "#222", "#e8eef4"


def fill(warehouse: DuckDBWarehouse, fleet: Fleet, hours: Sequence[datetime]) -> None:
    """Load hours of a fleet, without those of connections that are missing."""
    warehouse.prepare_missing(TABLES.values())
    found: list[FoundHour] = []
    for event_type, columns in COLUMNS.items():
        rows: list[dict[str, Any]] = []
        for hour in hours:
            if event_type == "connection" and MISSING[0] <= hour < MISSING[1]:
                continue
            of_hour = rows_of_export(fleet, event_type, [hour])
            rows += [typed(event_type, row, columns) | {"folder_hour": hour} for row in of_hour]
            found.append(FoundHour(event_type, hour, "landed" if of_hour else "empty"))
        insert(warehouse, event_type, rows)
        print(f"{event_type}: {len(rows):,} rows", flush=True)
    warehouse.record_hours(found, hours[-1])


def typed(event_type: str, row: Mapping[str, str], columns: Sequence[str]) -> dict[str, Any]:
    """Return some columns of a row of a file as values."""
    made: dict[str, Any] = {}
    for name in columns:
        text, kind = row[name], TABLES[event_type].column(name).type
        if text in ("", "null"):
            made[name] = None
        elif kind is ColumnType.TIMESTAMP:
            made[name] = parse_file_time(text)
        elif kind is ColumnType.BOOLEAN:
            made[name] = text == "true"
        else:
            made[name] = text
    return made


def insert(warehouse: DuckDBWarehouse, event_type: str, rows: Sequence[dict[str, Any]]) -> None:
    """Put rows into a table, and their hours into the ledger."""
    warehouse._duck.register("picture", pa.Table.from_pylist(rows))
    table, ledger = warehouse._relation(event_type), warehouse._relation(LEDGER.event_type)
    warehouse._run(f"insert into {table} by name select * from picture")
    warehouse._run(
        f"insert into {ledger} by name select '{event_type}' as event_type, folder_hour, 'v' as version, "
        f"count(*) as rows, count(*) as lines, 0 as duplicates, 0 as quarantined from {table} group by folder_hour"
    )
    warehouse._duck.unregister("picture")


def draw(days: Sequence[tuple[Any, ...]], datapoints: Mapping[date, int]) -> Iterator[str]:
    """
    Yield the lines of the picture.

    :param days: dsn, model, day, online, offline, and unknown seconds of each device and day
    :param datapoints: day to the datapoints of the whole fleet
    """
    dates = sorted({row[2] for row in days})
    devices = sorted({(row[1] or "", row[0]) for row in days})
    column = {day: number for number, day in enumerate(dates)}
    row_of = {dsn: number for number, (_, dsn) in enumerate(devices)}
    height, width = _TOP + len(devices) * _ROW, _LEFT + len(dates) * _CELL + 20
    chart = height + 44
    label = "A month of a fleet: each device's uptime on each day, the unknown hours, and the fleet's sums below"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {chart + 120}" font-family="sans-serif" '
        f'font-size="10" fill="{_TEXT}" role="img" aria-label="{escape(label)}">'
    )
    yield f'<rect width="{width}" height="{chart + 120}" rx="6" fill="white"/>'
    yield '<text x="12" y="18" font-size="13">Each device and day. Blue: online, grey: offline, white: unknown</text>'
    for number, day in enumerate(dates):
        if number % 5 == 0:
            yield f'<text x="{_LEFT + number * _CELL}" y="{_TOP - 6}">{day:%d %b}</text>'
    for model, dsn in devices:
        name = escape(f"{model[:12]} {dsn[-6:]}")
        yield f'<text x="12" y="{_TOP + row_of[dsn] * _ROW + 9}" font-size="9">{name}</text>'
    for dsn, _, day, online, offline, unknown in days:
        x, y = _LEFT + column[day] * _CELL, _TOP + row_of[dsn] * _ROW
        total = online + offline + unknown
        yield f'<rect x="{x}" y="{y}" width="{_CELL - 1}" height="{_ROW - 1}" fill="{_PALE}"/>'
        # The known part is as high as its share of the day. The rest stays white.
        hidden = (_ROW - 1) * unknown / total
        if hidden >= 0.5:
            yield (
                f'<rect x="{x}" y="{y}" width="{_CELL - 1}" height="{hidden:.1f}" fill="white" '
                'stroke="#ccc" stroke-width="0.5"/>'
            )
        if online:
            share = online / (online + offline)
            yield (
                f'<rect x="{x}" y="{y + hidden:.1f}" width="{(_CELL - 1) * share:.1f}" '
                f'height="{_ROW - 1 - hidden:.1f}" fill="#1f77b4"/>'
            )
    yield from _sums(days, datapoints, chart)
    yield "</svg>"


def _sums(days: Sequence[tuple[Any, ...]], datapoints: Mapping[date, int], top: int) -> Iterator[str]:
    """Yield the two rows of bars below: the share of the known time that these devices were online, and datapoints."""
    yield f'<text x="12" y="{top - 10}" font-size="13">These devices: time online. The fleet: datapoints</text>'
    online: dict[date, int] = defaultdict(int)
    known: dict[date, int] = defaultdict(int)
    for _, _, day, seconds_online, seconds_offline, _ in days:
        online[day] += seconds_online
        known[day] += seconds_online + seconds_offline
    shares = {day: online[day] / known[day] for day in online if known[day]}
    most = max(datapoints.values())
    counts = {day: datapoints[day] / most for day in online}
    yield from _bars("time online", "#1f77b4", top + 10, shares, {day: f"{share:.0%}" for day, share in shares.items()})
    yield from _bars("datapoints", "#d62728", top + 62, counts, {day: f"{datapoints[day]:,}" for day in counts})


def _bars(name: str, colour: str, y: int, shares: Mapping[date, float], texts: Mapping[date, str]) -> Iterator[str]:
    """Yield a bar for each day, and its text above each fifth."""
    yield f'<text x="12" y="{y + 36}" fill="{colour}">{name}</text>'
    first = min(shares)
    for day, share in shares.items():
        number = (day - first).days
        x, tall = _LEFT + number * _CELL, 40 * share
        yield (
            f'<rect x="{x}" y="{y + 40 - tall:.1f}" width="{_CELL - 1}" height="{tall:.1f}" fill="{colour}" '
            'opacity="0.75"/>'
        )
        if number % 5 == 0:
            yield f'<text x="{x}" y="{y + 37 - tall:.1f}" font-size="8">{texts[day]}</text>'


def main(argv: Sequence[str]) -> None:
    """Make the picture."""
    days = int(argv[0]) if argv else DAYS
    hours = list(hours_between(START, START + timedelta(days=days)))
    with TemporaryDirectory() as name:
        folder = Path(name)
        with DuckDBWarehouse(folder / "a.duckdb") as warehouse:
            fill(warehouse, Fleet(devices=24, rows=40), hours)
            print(warehouse.update_models("UTC", "picture", hours[-1]).document(), flush=True)
        with duckdb.connect(str(folder / "a.duckdb"), read_only=True) as duck:
            of_devices = duck.execute(
                "select dsn, oem_model, day, online_seconds, offline_seconds, unknown_seconds from ayla_device_day "
                # The fleet also has many devices that are there for an hour alone.
                "qualify sum(case when connection_events > 0 then 1 else 0 end) over (partition by dsn) > 5"
            ).fetchall()
            of_fleet = dict(duck.execute("select day, sum(datapoints) from ayla_model_day group by day").fetchall())
    PICTURE.write_text("\n".join(draw(of_devices, of_fleet)) + "\n", encoding="utf-8")
    print(f"Wrote {PICTURE}.")


if __name__ == "__main__":
    main(sys.argv[1:])

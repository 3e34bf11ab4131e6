"""What the pages about streams promise."""

from __future__ import annotations

import inspect
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.domain.stream import MOST_BYTES, MOST_RECORDS
from ayla_provider.local_cloud import StreamFaults
from ayla_provider.stream.check import ENOUGH_RETENTION
from tests.support import postgres_server
from tests.support.tools import POSTGRESQL

ROOT = Path(__file__).parents[1]

TABLES = """
create table ayla_loads (event_type text, folder_hour timestamptz);
create table ayla_datapoint (folder_hour timestamptz, dsn text, property_name text, created_at timestamptz,
  val_int bigint, val_decimal double precision, val_boolean boolean, val_string text);
create table ayla_stream_datapoint (folder_hour timestamptz, dsn text, property_name text, created_at timestamptz,
  val_int bigint, val_decimal double precision, val_boolean boolean, val_string text, other_key text);
insert into ayla_loads values ('datapoint', '2026-11-01 07:00+00'), ('connection', '2026-11-01 08:00+00');
insert into ayla_datapoint (folder_hour, dsn) values ('2026-11-01 07:00+00', 'a'), ('2026-11-01 07:00+00', 'b');
insert into ayla_stream_datapoint (folder_hour, dsn) values
  ('2026-11-01 07:00+00', 'a'), ('2026-11-01 07:00+00', 'b'), ('2026-11-01 08:00+00', 'c');
"""
ROWS = "select source, dsn from ayla_freshest_datapoint order by dsn"
NEXT_HOUR = """
insert into ayla_datapoint (folder_hour, dsn) values ('2026-11-01 08:00+00', 'd');
insert into ayla_loads values ('datapoint', '2026-11-01 08:00+00');
"""


def page(name: str) -> str:
    return (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")


def the_view() -> str:
    (statement,) = re.findall(r"```sql\n(.*?)```", page("stream"), re.DOTALL)
    assert isinstance(statement, str)
    return statement


def the_view_without(hour: str) -> str:
    """The documented view, changed as the page says: it takes an hour of the export from the stream."""
    text = " ".join(page("stream").split())
    (where,) = re.findall(r"`(where folder_hour not in \([^`]*\))`", text)
    (condition,) = re.findall(r"`(and ayla_loads\.folder_hour not in \([^`]*\))`", text)
    first, union, second = the_view().partition("union all")
    changed = f"{first}{where}\n{union}{second}".replace("\n);", f" {condition}\n);")
    assert changed.count("2026-11-01 07:00+00") == 2
    return changed.replace("2026-11-01 07:00+00", hour)


def look(connection: Any) -> list[list[tuple[str, str]]]:
    """The rows of the documented view, before and after the export's next hour is loaded."""
    connection.execute(TABLES)
    connection.execute(the_view())
    found = [connection.execute(ROWS).fetchall()]
    connection.execute(NEXT_HOUR)
    return [*found, connection.execute(ROWS).fetchall()]


EXPECTED = [
    [("export", "a"), ("export", "b"), ("stream", "c")],
    [("export", "a"), ("export", "b"), ("export", "d")],
]


def test_the_view_takes_each_hour_from_one_side_in_duckdb() -> None:
    with duckdb.connect() as duck:
        assert look(duck) == EXPECTED


@pytest.mark.parametrize(("hour", "sources"), [("2026-11-01 07:00+00", "sss"), ("2026-11-01 08:00+00", "ees")])
def test_an_hour_that_the_export_lacks_events_of_can_be_taken_from_the_stream(hour: str, sources: str) -> None:
    with duckdb.connect() as duck:
        duck.execute(TABLES)
        duck.execute(the_view_without(hour))
        rows = duck.execute(ROWS).fetchall()
    assert [(source[0], dsn) for source, dsn in rows] == list(zip(sources, "abc", strict=True))


def test_the_view_takes_each_hour_from_one_side_in_postgresql() -> None:
    POSTGRESQL.require()
    import psycopg

    with (
        postgres_server.running() as host,
        psycopg.connect(host=host, user=postgres_server.USER, dbname="postgres", autocommit=True) as postgres,
    ):
        assert look(postgres) == EXPECTED


def test_each_argument_of_the_drain_is_described_with_its_default() -> None:
    from ayla_provider.operators import AylaStreamToBucketOperator

    cells = re.findall(r"^\| `(\w+)` \|([^|]*)\|[^|]+\|$", page("stream"), re.MULTILINE)
    rows = {name: default.strip() for name, default in cells}
    parameters = inspect.signature(AylaStreamToBucketOperator).parameters.values()
    assert list(rows) == [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    assert rows["max_records"] == f"{MOST_RECORDS:,}"
    assert rows["max_bytes"] == f"{MOST_BYTES // 2**20} MiB"


@pytest.mark.parametrize("name", inspect.signature(StreamFaults).parameters)
def test_each_fault_of_the_fleets_stream_is_described(name: str) -> None:
    assert f"| `{name}` |" in page("local-cloud")


def test_the_retention_is_what_the_check_wants() -> None:
    assert timedelta(hours=48) == ENOUGH_RETENTION
    for name in ("stream", "kinesis", "eventhubs"):
        assert "48 hours" in page(name)


def test_the_rights_are_the_least_ones() -> None:
    (policy,) = re.findall(r"```json\n(.*?)```", page("kinesis"), re.DOTALL)
    (statement,) = json.loads(policy)["Statement"]
    assert statement["Action"] == [
        "kinesis:DescribeStreamSummary",
        "kinesis:ListShards",
        "kinesis:GetShardIterator",
        "kinesis:GetRecords",
    ]
    assert statement["Resource"].endswith(":stream/your-stream")
    assert "`kms:Decrypt`" in page("kinesis")
    assert "**Azure Event Hubs Data Receiver**" in page("eventhubs")


def test_the_arithmetic_of_the_costs_is_right() -> None:
    a_second = round(10_000 / 60)
    in_30_days = a_second * 86_400 * 30
    arrears = a_second * 48 * 3600
    writes = 144 * 30 * (6 * 2 * 2 + 2)
    facts = [
        f"10,000 / 60 = **{a_second}**",
        f"= **{a_second * 600 / 1000:.0f} kB**",
        f"x 86,400 x 30 = **{in_30_days / 1e6:.0f} million**",
        f"433 million x 600 = **{in_30_days * 600 / 1e9:.0f} GB**",
        f"167 x 5 = {a_second * 5} records a second",
        f"{arrears / 1e6:.0f} million records, or {arrears * 600 / 1e9:.0f} GB",
        f"one shard takes {arrears * 600 / 2e6 / 3600:.1f} hours to read",
        f"= **{arrears * 600 / 2e6 / 3600:.1f} hours** to read",
        f"4,320 x 26 = {writes:,} writes",
        f"that is {writes / 1000 * 0.005:.2f} USD",
    ]
    text = " ".join(page("stream-costs").split())
    assert [fact for fact in facts if fact not in text] == []

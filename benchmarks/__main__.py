"""``make bench``: how fast hours become tables, beside what a user would pick instead, in one run on one machine."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ayla_provider.domain.tables import TABLES
from benchmarks import postgres
from benchmarks.rows import make_file
from tests.warehouse.postgres_server import USER, binaries, running

RESULTS = Path(__file__).parent / "results.json"
MEMORY = "512MB"
_POSTGRES_ROWS = 1_000_000

Result = dict[str, Any]


def main() -> None:
    """Measure, print a table, and write it to ``results.json``."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the hour of datapoints (5000000)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        folder = Path(name)
        results = typed_rows(folder, given.rows, given.rounds) + into_postgres(folder)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


def typed_rows(folder: Path, rows: int, rounds: int) -> list[Result]:
    """Type an hour of datapoints with each engine in turn."""
    file = folder / "hour.csv"
    lines = make_file(file, rows)
    print(f"an hour of {lines:,} lines, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
    engines = ["ours", "duckdb_scan", "pandas", "dlt"]
    taken: dict[str, list[Result]] = {engine: [] for engine in engines}
    for number in range(rounds):
        # The slow peers once: their ratios are far from any limit.
        for engine in engines if number == 0 else engines[:2]:
            taken[engine].append(_run(engine, file))
    speed = {engine: statistics.median(lines / one["seconds"] for one in runs) for engine, runs in taken.items()}
    peak = {engine: max(one["peak"] for one in runs) for engine, runs in taken.items()}
    peers = {
        "duckdb_scan": "DuckDB's typed scan alone",
        "pandas": "pandas: typed, decoded, deduplicated",
        "dlt": "dlt: text into DuckDB, not typed",
    }
    what = f"an hour of {lines:,} lines to typed, deduplicated Parquet"
    return [
        *(_result(what, speed["ours"], "lines/s", told, speed[peer]) for peer, told in peers.items()),
        *(
            _result(f"peak memory of it, memory={MEMORY}", peak["ours"], "MB", told, peak[peer])
            for peer, told in peers.items()
        ),
    ]


def into_postgres(folder: Path) -> list[Result]:
    """Load an hour into PostgreSQL, if it is installed."""
    programs = binaries()
    if programs is None:
        print("PostgreSQL isn't installed, and isn't measured (Debian: postgresql)")
        return []
    parquet = folder / "rows.parquet"
    postgres.made_up(parquet, TABLES["datapoint"], _POSTGRES_ROWS)
    with running(programs) as socket:
        return postgres.measure(parquet, TABLES["datapoint"], f"host={socket} dbname=postgres user={USER}")


def table(results: list[Result]) -> str:
    """Return the results for people."""
    return "\n".join(
        f"{one['name']}: {one['value']:,} {one['unit']}; {one['peer']}: {one['peer_value']:,}; ratio {one['ratio']}"
        for one in results
    )


def _run(engine: str, file: Path) -> Result:
    """Measure an engine in a process of its own, so that its memory is known."""
    command = [sys.executable, "-m", "benchmarks.typed", engine, str(file), MEMORY]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    print(f"  {engine}: {result['rows']:,} rows in {result['seconds']:.1f} s, {result['peak']:,.0f} MB", flush=True)
    return result


def _result(name: str, value: float, unit: str, peer: str, peer_value: float) -> Result:
    return {
        "name": name,
        "value": round(value),
        "unit": unit,
        "peer": peer,
        "peer_value": round(peer_value),
        "ratio": round(value / peer_value, 3),
    }


if __name__ == "__main__":
    main()

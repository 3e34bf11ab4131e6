"""``make bench``: compare this package with the tools that a user could choose instead, in one run on one machine."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from ayla_provider.domain.tables import TABLES
from benchmarks import (
    backfill,
    copying,
    detection,
    draining,
    growth,
    history,
    lakes,
    parsing,
    postgres,
    results,
    scaling,
    stores,
    sweep,
    typed,
    typed_stream,
)
from benchmarks.results import Result
from tests.support.postgres_server import USER, binaries, running

_MODULES = (copying, stores, backfill, history, detection, parsing, typed, postgres, lakes, draining, typed_stream)
PARTS = {part.__name__.rpartition(".")[2]: part for part in _MODULES}

SWEEPS: dict[str, Callable[[], object]] = {"sweep": sweep.measure, "scaling": scaling.measure, "growth": growth.measure}
"""Each writes files of its own."""

_POSTGRES_ROWS = 1_000_000


def main() -> None:
    """Measure, print the results, and write them to ``results.md`` and ``results.json``, and those of the sweeps."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the hour of datapoints (5000000)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these rounds counts (3)")
    parser.add_argument(
        "--days", type=int, default=history.DAYS, help=f"of the history, 365 for a year ({history.DAYS})"
    )
    parser.add_argument(
        "--only", choices=[*PARTS, *SWEEPS], help="the part to measure; the figures of the others stay as they are"
    )
    given = parser.parse_args()
    parts: dict[str, Callable[[], list[Result]]] = {
        "copying": lambda: copying.measure(given.rounds),
        "stores": lambda: stores.measure(given.rounds),
        "backfill": backfill.measure,
        "history": lambda: history.measure(given.days),
        "detection": lambda: detection.measure(given.rounds),
        "parsing": lambda: parsing.measure(given.rounds),
        "typed": lambda: typed.measure(given.rows, given.rounds),
        "postgres": into_postgres,
        "lakes": lambda: lakes.measure(given.rounds),
        "draining": lambda: draining.measure(given.rounds),
        "typed_stream": lambda: typed_stream.measure(given.rounds),
    }
    for name, sweep_over in SWEEPS.items():
        if given.only in (None, name):
            print(f"{name} ...", flush=True)
            sweep_over()
    if given.only in SWEEPS:
        return
    measured = []
    for name, measure in parts.items():
        if given.only in (None, name):
            print(f"{name} ...", flush=True)
            measured += measure()
    print(results.as_text(measured))
    how = {peer: description for part in PARTS.values() for peer, description in part.HOW.items()}
    command = f"python -m benchmarks --rows {given.rows} --rounds {given.rounds}"
    if given.days != history.DAYS:
        command += f" --days {given.days}"
    if given.only:
        measured = results.merged(results.read(), measured)
    results.write(measured, how, ["make bench", command])


def into_postgres() -> list[Result]:
    """Load an hour into PostgreSQL, if it is installed."""
    if binaries() is None:
        print("PostgreSQL isn't installed, and isn't measured (Debian: postgresql)")
        return []
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name:
        parquet = Path(name) / "rows.parquet"
        postgres.made_up(parquet, TABLES["datapoint"], _POSTGRES_ROWS)
        with running() as socket:
            return postgres.measure(parquet, TABLES["datapoint"], f"host={socket} dbname=postgres user={USER}")


if __name__ == "__main__":
    main()

"""``make simulate``: simulate days of an export, and compare archive, manifests, and tables with the answer key."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path

from ayla_provider.domain.events import EVENT_TYPES
from simulation.run import Simulation

_SHOWN = 20
"""The number of differences to print."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a simulation, or one for each of many seeds.

    :return: the exit status: 0, or 1 if anything differs
    """
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--days", type=int, default=30, help="number of days to simulate (30)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the export and of its faults (1)")
    parser.add_argument("--seeds", type=int, help="instead of one seed: all from 1 to this one, one after another")
    parser.add_argument("--shard", default="1/1", help="which part of the seeds, such as 2/4 for the second of four")
    parser.add_argument(
        "--loads",
        choices=("one", "all"),
        default="one",
        help="what to load into tables: one event type, and of more than a month one week in each; or everything (one)",
    )
    arguments = parser.parse_args(argv)
    if arguments.days < 1:
        parser.error("--days: at least 1")
    loads = EVENT_TYPES if arguments.loads == "all" else None
    if arguments.seeds is None:
        return 0 if _is_right(arguments.days, arguments.seed, loads, _say) else 1
    shard = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
    if not shard or not 1 <= int(shard[1]) <= int(shard[2]):
        parser.error("--shard: expected a number of a shard and how many there are, such as 2/4")
    seeds = range(int(shard[1]), arguments.seeds + 1, int(shard[2]))
    wrong = [seed for seed in seeds if not _is_right(arguments.days, seed, loads, lambda line: None)]
    if wrong:
        print(f"FAILED: {len(wrong)} of {len(seeds)} seeds: {', '.join(map(str, wrong))}")
    else:
        print(f"OK: {len(seeds)} seeds of {arguments.days} days each")
    return 1 if wrong else 0


def _is_right(days: int, seed: int, loads: Collection[str] | None, say: Callable[[str], None]) -> bool:
    """Run a simulation, report its result, and return whether everything equals the answer key."""
    home = Path(tempfile.mkdtemp(prefix="ayla-simulation-"))
    with closing(Simulation(days, seed, home, say=say, loads=loads)) as simulation:
        simulation.run()
        status = report(simulation)
    if status == 0:
        shutil.rmtree(home)
    else:
        print(f"All data is in {home}", flush=True)
    return status == 0


def report(simulation: Simulation) -> int:
    """Compare the archive with the answer key, print the result, and return the exit status."""
    differences = simulation.differences()
    print("\n".join(simulation.summary()))
    if not differences:
        print("OK: archive, manifests, and tables equal the answer key, and no file or row is there twice.", flush=True)
        return 0
    print("\n".join(differences[:_SHOWN]))
    print(f"FAILED: seed {simulation.seed}, {len(differences)} differences.", flush=True)
    return 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

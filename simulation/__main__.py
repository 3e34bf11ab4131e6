"""``make simulate``: simulate days of an export, and compare archive, manifests, and tables with the answer key."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ayla_provider.domain.events import EVENT_TYPES
from simulation.run import Simulation

_SHOWN = 20
"""The number of differences to print."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a simulation.

    :return: the exit status: 0, or 1 if anything differs
    """
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--days", type=int, default=30, help="number of days to simulate (30)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the export and of its faults (1)")
    parser.add_argument(
        "--loads", choices=("one", "all"), default="one", help="the event types to load into tables (one)"
    )
    arguments = parser.parse_args(argv)
    if arguments.days < 1:
        parser.error("--days: at least 1")
    home = Path(tempfile.mkdtemp(prefix="ayla-simulation-"))
    loads = EVENT_TYPES if arguments.loads == "all" else None
    with closing(Simulation(arguments.days, arguments.seed, home, say=_say, loads=loads)) as simulation:
        simulation.run()
        status = report(simulation)
    if status == 0:
        shutil.rmtree(home)
    else:
        print(f"All data is in {home}")
    return status


def report(simulation: Simulation) -> int:
    """Compare the archive with the answer key, print the result, and return the exit status."""
    differences = simulation.differences()
    print("\n".join(simulation.summary()))
    if not differences:
        print("OK: archive, manifests, and tables equal the answer key, and no file or row is there twice.")
        return 0
    print("\n".join(differences[:_SHOWN]))
    print(f"FAILED: seed {simulation.seed}, {len(differences)} differences.")
    return 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

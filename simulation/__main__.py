"""``make simulate``: live through days of an export, and compare archive and manifests with the answer key."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from simulation.run import Simulation

_SHOWN = 20
"""How many differences are told."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a simulation.

    :return: the exit status: 0, or 1 if anything differs
    """
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--days", type=int, default=30, help="how many days to live through (30)")
    parser.add_argument("--seed", type=int, default=1, help="of the export and of all that befalls it (1)")
    arguments = parser.parse_args(argv)
    if arguments.days < 1:
        parser.error("--days: at least 1")
    home = Path(tempfile.mkdtemp(prefix="ayla-simulation-"))
    with closing(Simulation(arguments.days, arguments.seed, home, say=_say)) as simulation:
        simulation.run()
        status = report(simulation)
    if status == 0:
        shutil.rmtree(home)
    else:
        print(f"Everything is left in {home}")
    return status


def report(simulation: Simulation) -> int:
    """Compare, say what came of it, and return the exit status."""
    differences = simulation.differences()
    print("\n".join(simulation.summary()))
    if not differences:
        print("OK: archive and manifests equal the answer key, every byte, no file twice.")
        return 0
    print("\n".join(differences[:_SHOWN]))
    print(f"FAILED: seed {simulation.seed}, {len(differences)} differences.")
    return 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

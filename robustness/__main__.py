"""Prints the robustness score: ``python -m robustness --files 2000 --seed 1``."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from robustness.judge import Verdict, judge
from robustness.pollution import files

LEAST = 0.99
"""The share of files with the right outcome that is enough."""


def verdicts(count: int, seed: int) -> list[Verdict]:
    """Return what becomes of polluted files."""
    # Each file has lines that are worth a warning.
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory(prefix="ayla-robustness-") as folder:
            return [judge(file, Path(folder) / "one") for file in files(count, seed)]
    finally:
        logging.disable(logging.NOTSET)


def main() -> int:
    """Print both scores, and return 1 if one isn't good enough."""
    parser = argparse.ArgumentParser(prog="python -m robustness", description=__doc__)
    parser.add_argument("--files", type=int, default=2000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    arguments = parser.parse_args()
    found = verdicts(arguments.files, arguments.seed)
    wrong = [verdict for verdict in found if verdict.problem]
    for verdict in wrong[:50]:
        print(f"{verdict.file.name}, {len(verdict.file.layout.columns)} columns of "
              f"{verdict.file.layout.event_type}: {verdict.problem}")  # fmt: skip
    for name, count in sorted(Counter(verdict.file.name for verdict in wrong).items()):
        print(f"{name}: {count} of {sum(verdict.file.name == name for verdict in found)}")
    score = 1 - len(wrong) / len(found)
    values = sum(verdict.wrong_values for verdict in found)
    print(f"files in which every line has its right outcome: {score:.2%} of {len(found):,} (at least {LEAST:.0%})")
    print(f"lines that were loaded with a wrong value: {values} (0)")
    return 0 if score >= LEAST and not values else 1


if __name__ == "__main__":
    sys.exit(main())

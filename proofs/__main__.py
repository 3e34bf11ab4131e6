"""``make prove``: run the tests with the mark ``proof`` at full scale, and write their results beside this file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ayla_provider import __version__
from tests.support.proofs import VARIABLE

JSON = Path(__file__).parent / "results.json"
MARKDOWN = Path(__file__).parent / "results.md"


@dataclass
class Proof:
    """
    What came of one test function.

    :ivar test: its file and name
    :ivar scale: what was run, in words
    :ivar cases: how many sets of parameters it ran with
    :ivar failed: how many of them failed
    :ivar seconds: how long all of them took
    """

    test: str
    scale: str
    cases: int = 0
    failed: int = 0
    seconds: float = 0


class Recorder:
    """A plugin of pytest that collects the results of proofs."""

    def __init__(self) -> None:
        self.proofs: dict[str, Proof] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of one test to its proof."""
        name = report.nodeid.partition("[")[0]
        scale = dict(report.user_properties).get("proof", "")
        proof = self.proofs.setdefault(name, Proof(name, str(scale)))
        proof.seconds += report.duration
        proof.failed += report.failed
        if report.when == "call":
            proof.cases += 1


def write(proofs: Sequence[Proof]) -> None:
    """Write the results for programs and for people."""
    rounded = [asdict(proof) | {"seconds": round(proof.seconds)} for proof in proofs]
    date = datetime.now(UTC)
    JSON.write_text(
        json.dumps({"date": f"{date:%Y-%m-%d}", "version": __version__, "proofs": rounded}, indent=1) + "\n"
    )
    rows = [
        f"| `{proof.test.rpartition('::')[2]}` | {proof.scale} | {proof.cases} | {proof.failed} | {proof.seconds:.0f} |"
        for proof in proofs
    ]
    head = f"""# Proofs

These tests ran at full scale with version {__version__} on {date:%-d %B %Y}: Python {platform.python_version()},
{os.cpu_count()} cores. `make test` runs a small slice of each. To run them again: `make prove`.

| Test | Scale | Cases | Failed | Seconds |
|---|---|---:|---:|---:|
"""
    MARKDOWN.write_text(head + "\n".join(rows) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the proofs.

    :returns: the exit status of pytest
    """
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("tests", nargs="*", help="some of them, as pytest takes them; then nothing is written")
    tests = parser.parse_args(argv).tests
    os.environ[VARIABLE] = "1"
    recorder = Recorder()
    status = pytest.main(["-m", "proof", "-n", "2", *tests], plugins=[recorder])
    if not tests:
        write(sorted(recorder.proofs.values(), key=lambda proof: proof.test))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())

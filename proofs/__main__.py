"""``make prove``: run the tests with the mark ``proof`` at full scale, and write their results beside this file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
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
    :ivar date: when it ran, as ``2026-11-28``
    :ivar version: of the provider
    :ivar measured: what a test noted with ``record_property("measured", ...)``, in words
    """

    test: str
    scale: str
    cases: int = 0
    failed: int = 0
    seconds: float = 0
    date: str = f"{datetime.now(UTC):%Y-%m-%d}"
    version: str = __version__
    measured: str = ""


class Recorder:
    """A plugin of pytest that collects the results of proofs."""

    def __init__(self) -> None:
        self.proofs: dict[str, Proof] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of one test to its proof."""
        name = report.nodeid.partition("[")[0]
        noted = dict(report.user_properties)
        proof = self.proofs.setdefault(name, Proof(name, str(noted.get("proof", ""))))
        proof.measured = str(noted.get("measured", proof.measured))
        proof.seconds += report.duration
        proof.failed += report.failed
        if report.when == "call":
            proof.cases += 1


def write(ran: Mapping[str, Proof]) -> None:
    """Write the results for programs and for people. A proof that didn't run keeps its last result."""
    known = json.loads(JSON.read_text())["proofs"] if JSON.exists() else []
    proofs = {proof["test"]: Proof(**proof) for proof in known} | dict(ran)
    ordered = [proofs[test] for test in sorted(proofs)]
    rounded = [asdict(proof) | {"seconds": round(proof.seconds)} for proof in ordered]
    for proof in rounded:
        if not proof["measured"]:
            del proof["measured"]
    JSON.write_text(json.dumps({"proofs": rounded}, indent=1) + "\n")
    rows = [
        f"| `{proof.test.rpartition('::')[2]}` | {_scale(proof)} | {proof.cases} | {proof.failed} "
        f"| {proof.seconds:.0f} | {proof.date}, {proof.version} |"
        for proof in ordered
    ]
    head = f"""# Proofs

These tests ran at full scale, with Python {platform.python_version()} on {os.cpu_count()} cores. `make test` runs a
small slice of each. To run them again: `make prove`, or some of them: `make prove TESTS=tests/rows/test_memory.py`.

| Test | Scale | Cases | Failed | Seconds | Date, version |
|---|---|---:|---:|---:|---|
"""
    MARKDOWN.write_text(head + "\n".join(rows) + "\n")


def _scale(proof: Proof) -> str:
    """Return what was run, and what was measured."""
    return f"{proof.scale}: {proof.measured}" if proof.measured else proof.scale


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the proofs.

    :returns: the exit status of pytest
    """
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("tests", nargs="*", help="some of them, as pytest takes them")
    tests = parser.parse_args(argv).tests
    os.environ[VARIABLE] = "1"
    recorder = Recorder()
    status = pytest.main(["-m", "proof", "-n", "2", *tests], plugins=[recorder])
    write(recorder.proofs)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())

"""
``make prove``: run the tests with the mark ``proof`` at full scale, and write their results beside this file.

Some tests take hours. They note with ``record_property("part", ...)`` which of their cases they run, and each part has
a result of its own. So several runs, each with another ``SHARD``, prove all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ayla_provider import __version__
from tests.support.proofs import SHARD, VARIABLE

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
    :ivar part: what a test noted with ``record_property("part", ...)``: which of its cases ran, in words
    """

    test: str
    scale: str
    cases: int = 0
    failed: int = 0
    seconds: float = 0
    date: str = f"{datetime.now(UTC):%Y-%m-%d}"
    version: str = __version__
    measured: str = ""
    part: str = ""

    @property
    def key(self) -> tuple[str, tuple[int, ...], str]:
        """What distinguishes the proof from others. Parts are in the order of their numbers."""
        numbers = tuple(int(number) for number in re.findall(r"\d+", self.part))
        return self.test, numbers, self.part


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
        proof.part = str(noted.get("part", proof.part))
        proof.seconds += report.duration
        proof.failed += report.failed
        if report.when == "call":
            proof.cases += 1


def write(ran: Mapping[str, Proof]) -> None:
    """Write the results for programs and for people. A proof or a part that didn't run keeps its last result."""
    known = [Proof(**proof) for proof in json.loads(JSON.read_text())["proofs"]] if JSON.exists() else []
    keys = {proof.key for proof in ran.values()}
    ordered = [proof for proof in known if proof.key not in keys] + list(ran.values())
    ordered.sort(key=lambda proof: proof.key)
    rounded = [asdict(proof) | {"seconds": round(proof.seconds)} for proof in ordered]
    for proof in rounded:
        for optional in ("measured", "part"):
            if not proof[optional]:
                del proof[optional]
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
    scale = f"{proof.scale}, {proof.part}" if proof.part else proof.scale
    return f"{scale}: {proof.measured}" if proof.measured else scale


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the proofs.

    :returns: the exit status of pytest
    """
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("tests", nargs="*", help="some of them, as pytest takes them")
    parser.add_argument(
        "--shard", default="1/1", help="of proofs in parts: which part, such as 2/40 for the second of 40"
    )
    arguments = parser.parse_args(argv)
    shard = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
    if not shard or not 1 <= int(shard[1]) <= int(shard[2]):
        parser.error("--shard: expected a number of a shard and how many there are, such as 2/40")
    os.environ[VARIABLE] = "1"
    os.environ[SHARD] = arguments.shard
    recorder = Recorder()
    status = pytest.main(["-m", "proof", "-n", "2", *arguments.tests], plugins=[recorder])
    write(recorder.proofs)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())

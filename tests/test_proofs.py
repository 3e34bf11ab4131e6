"""What ``make prove`` writes down, of proofs that run in parts, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proofs import __main__ as proofs
from proofs.__main__ import Proof
from tests.support.proofs import SHARD, of_shard

WHOLE = "tests/test_a.py::test_a"
IN_PARTS = "tests/test_b.py::test_b"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "JSON", tmp_path / "results.json")
    monkeypatch.setattr(proofs, "MARKDOWN", tmp_path / "results.md")


def written() -> list[tuple[str, str, int, int]]:
    found = json.loads(proofs.JSON.read_text())["proofs"]
    return [(proof["test"], proof.get("part", ""), proof["cases"], proof["failed"]) for proof in found]


def run(*ran: Proof) -> None:
    proofs.write({proof.test: proof for proof in ran})


def test_each_part_keeps_its_result_in_the_order_of_their_numbers() -> None:
    run(Proof(IN_PARTS, "5 days", cases=5, part="seeds 6 to 10"))
    run(Proof(IN_PARTS, "5 days", cases=5, part="seeds 11 to 15"))
    run(Proof(WHOLE, "a year", cases=1), Proof(IN_PARTS, "5 days", cases=5, failed=2, part="seeds 1 to 5"))
    run(Proof(WHOLE, "a year", cases=1, failed=1))
    run(Proof(IN_PARTS, "5 days", cases=5, failed=1, part="seeds 6 to 10"))
    assert written() == [
        (WHOLE, "", 1, 1),
        (IN_PARTS, "seeds 1 to 5", 5, 2),
        (IN_PARTS, "seeds 6 to 10", 5, 1),
        (IN_PARTS, "seeds 11 to 15", 5, 0),
    ]
    assert "| `test_b` | 5 days, seeds 6 to 10 | 5 | 1 |" in proofs.MARKDOWN.read_text()


@pytest.mark.parametrize("shards", [1, 3, 40, 200])
def test_the_shards_have_each_case_once(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    for number in range(1, shards + 1):
        monkeypatch.setenv(SHARD, f"{number}/{shards}")
        found += of_shard(range(1, 201))
    assert found == list(range(1, 201))

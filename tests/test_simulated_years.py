"""A year of one seed, and five days of many: in make prove alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.__main__ import main
from tests.support.proofs import of_shard, scale

SEEDS = of_shard(range(1, scale(2, 201)))


@pytest.mark.proof("a year, seed 1", alone=True)
def test_a_year_of_every_fault_ends_with_the_answer_key(
    capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    is_right = main(["--days", str(scale(1, 365)), "--seed", "1"]) == 0
    output = capsys.readouterr().out
    assert is_right, output
    lines = output.splitlines()
    wanted = ("365 days", "erasures: ", "CPU time: ", "wall time: ")
    record_property("measured", "; ".join(line for line in lines if line.startswith(wanted)))


@pytest.mark.proof("5 days of every fault", alone=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_five_days_of_every_fault_end_with_the_answer_key(
    seed: int, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    record_property("part", f"seeds {SEEDS[0]} to {SEEDS[-1]}")
    is_right = main(["--days", str(scale(1, 5)), "--seed", str(seed)]) == 0
    assert is_right, capsys.readouterr().out

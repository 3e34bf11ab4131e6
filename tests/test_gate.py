"""The gate of costs finds what costs more than recorded."""

from __future__ import annotations

import json

import pytest

from benchmarks import gate

RECORDED = {"requests": {"a poke": 2.0, "each further file": 2.0}, "cpu": {"1,000 files": 6.0}}


def measured(**changes: gate.Figures) -> dict[str, gate.Figures]:
    return {kind: figures | changes.get(kind, {}) for kind, figures in RECORDED.items()}


@pytest.mark.parametrize("multiple", [0.1, 6.0, 8.9])
def test_what_costs_as_much_as_recorded_or_less_cpu_time_passes(multiple: float) -> None:
    assert gate.problems(RECORDED, measured(cpu={"1,000 files": multiple})) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cpu": {"1,000 files": 9.1}}, "1,000 files: 9.1 times the CPU time of the reference loop, 6 recorded"),
        ({"requests": {"a poke": 3.0}}, "a poke: 3 requests, 2 recorded"),
        ({"requests": {"a poke": 1.0}}, "a poke: 1 requests, 2 recorded"),
        ({"requests": {"each further file": 2.01}}, "each further file: 2.01 requests, 2 recorded"),
        ({"requests": {"a new step": 1.0}}, "a new step: 1 requests, none recorded"),
        ({"cpu": {"a new step": 1.0}}, "a new step: 1 times the CPU time of the reference loop, none recorded"),
    ],
)
def test_what_costs_more_is_named(changes: dict[str, gate.Figures], named: str) -> None:
    assert gate.problems(RECORDED, measured(**changes)) == [named]


@pytest.mark.parametrize(("name", "units"), [("copy", gate._FILES), ("poke", gate._POKES), ("typed rows", gate._ROWS)])
def test_a_step_can_be_run_again_and_counts_its_requests(name: str, units: int) -> None:
    _, prepare = gate.STEPS[name]
    with prepare() as step:
        step.run(0)
        step.run(1)
        assert step.units == units
        assert all(number >= 1 for number in step.requests.values())


def test_every_step_has_a_record() -> None:
    recorded = json.loads(gate.RECORD.read_text())
    assert list(recorded["cpu"]) == [title for title, _ in gate.STEPS.values()]

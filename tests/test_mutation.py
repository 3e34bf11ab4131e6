"""What ``make mutation`` says of its results, and that it mutates and runs what exists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mutation.__main__ import JSON, MARKDOWN
from mutation.areas import AREAS, Area
from mutation.results import Mutant, Score, interval, markdown, place_of

ROOT = Path(__file__).parents[1]


def mutant(number: int, result: str = "killed", change: list[str] | None = None) -> Mutant:
    name = f"ayla_provider.domain.hour.xǁExportHourǁparse__mutmut_{number}"
    return Mutant(name, "ayla_provider/domain/hour.py", result, change or [])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("xǁExportHourǁparse__mutmut_3", "- `domain.hour.ExportHour.parse`: - `` return 1 `` + `` return 2 ``"),
        ("x_describe__mutmut_1", "- `domain.hour.describe`: - `` return 1 `` + `` return 2 ``"),
    ],
)
def test_a_survivor_is_a_line_with_its_function_and_its_change(name: str, line: str) -> None:
    survivor = Mutant(f"ayla_provider.domain.hour.{name}", "ayla_provider/domain/hour.py", "survived")
    survivor.change = ["-    return 1", "+    return 2"]
    assert survivor.line == line


def test_mutants_have_a_random_order_that_stays() -> None:
    mutants = [mutant(number) for number in range(2000)]
    places = [place_of(one) for one in mutants]
    assert 150 <= sum(place < 0.1 for place in places) <= 250
    assert all(0 <= place < 1 for place in places)
    assert sorted(places) != places
    assert places[0] == place_of(mutant(0, "survived"))


def test_the_interval_is_wilsons() -> None:
    # From the table in E. B. Wilson's formula: 90 of 100 with z = 1.96.
    assert interval(90, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    low, high = interval(10, 10)
    assert (low, high) == pytest.approx((0.7225, 1), abs=1e-4)


def test_timeouts_count_as_killed_and_mutants_without_tests_do_not() -> None:
    tested = [mutant(1), mutant(2, "timeout"), mutant(3, "untested"), mutant(4, "survived", ["-a", "+b"])]
    score = Score.of("domain", 40, tested, "2026-11-28", "0.2.0")
    assert (score.tested, score.killed, score.score, score.is_enough) == (4, 2, 0.5, False)
    assert score.survivors == sorted([tested[2].line, tested[3].line])
    low, high = interval(2, 4)
    assert score.row == f"| domain | 40 | 4 | 2 | 50.0% | {low:.1%} to {high:.1%} | 2026-11-28, 0.2.0 |"


@pytest.mark.skipif(not JSON.exists(), reason="make mutation writes the results")
def test_the_page_of_results_is_made_of_the_results() -> None:
    scores = [Score(**score) for score in json.loads(JSON.read_text())["scores"]]
    assert MARKDOWN.read_text() == markdown(scores)
    assert [score.area for score in scores if not score.is_enough] == []


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_an_area_has_modules_and_tests(area: Area) -> None:
    for pattern in area.modules:
        assert list(ROOT.glob(pattern)), pattern
    for test in area.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_dir() or f"def {name}" in (ROOT / path).read_text(), test

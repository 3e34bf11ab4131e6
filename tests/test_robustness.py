"""The robustness score: a small share of its files, and that its judge finds what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from harness.reference import LAYOUTS
from robustness.__main__ import main
from robustness.judge import judge
from robustness.pollution import POLLUTIONS, Line, Maker, Polluted, files


def polluted(name: str, layout: str = "connection-6", seed: int = 1) -> Polluted:
    make = Maker(LAYOUTS[layout], Random(seed))
    make.rows(20)
    return POLLUTIONS[name](make)


@pytest.mark.parametrize("name", POLLUTIONS)
def test_each_line_of_a_polluted_file_gets_its_right_outcome(name: str, tmp_path: Path) -> None:
    verdict = judge(polluted(name), tmp_path)
    assert (verdict.problem, verdict.wrong_values) == ("", 0)


@pytest.mark.ci
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_clean_file_of_each_layout_is_loaded_whole(layout: str, tmp_path: Path) -> None:
    assert judge(polluted("clean", layout), tmp_path).problem == ""


def test_a_wrong_value_is_found(tmp_path: Path) -> None:
    file = polluted("clean")
    first = file.lines[0]
    other = replace(first, text=first.text.replace(b"Online", b"Offline"))
    verdict = judge(replace(file, lines=(other, *file.lines[1:])), tmp_path)
    assert verdict.wrong_values == 1
    assert "Online" in verdict.problem


def test_a_wrong_outcome_is_found(tmp_path: Path) -> None:
    file = polluted("clean")
    missing = replace(file.lines[0], text=file.lines[0].text.replace(b"LC000X", b"LC999X"))
    assert judge(replace(file, lines=(missing, *file.lines)), tmp_path / "a").problem == "1 lines are not loaded"
    short = Line(b"a,b", "^2 columns instead of 6$")
    assert (
        "malformed are lines [], not [21]" in judge(replace(file, lines=(*file.lines, short)), tmp_path / "b").problem
    )
    assert judge(replace(file, refused="any reason"), tmp_path / "c").problem == "read, and not refused"
    refused = polluted("other_format")
    assert judge(replace(refused, refused="another reason"), tmp_path / "d").problem.startswith("refused: ")
    footer = polluted("footer")
    other = (*footer.lines[:-1], replace(footer.lines[-1], reason="not UTF-8"))
    assert "because of" in judge(replace(footer, lines=other), tmp_path / "e").problem


@pytest.mark.proof("2,000 polluted files", alone=True)
def test_of_two_thousand_files_nearly_all_have_the_right_outcome_and_no_value_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setattr(sys, "argv", ["robustness"])
    status = main()
    score, values = capsys.readouterr().out.splitlines()[-2:]
    record_property("measured", f"{score}; {values}")
    assert status == 0
    assert values == "lines that were loaded with a wrong value: 0 (0)"


def test_the_files_are_of_all_layouts_and_pollutions_and_the_same_for_a_seed() -> None:
    made = files(len(POLLUTIONS) * len(LAYOUTS), 3)
    assert len({(file.layout.event_type, len(file.layout.columns), file.name) for file in made}) > 300
    assert {file.name for file in made} == set(POLLUTIONS)
    again = files(40, 3)
    assert [file.content for file in again] != [file.content for file in files(40, 4)]
    # The time is in a gzip file.
    assert [file.lines for file in again] == [file.lines for file in files(40, 3)]

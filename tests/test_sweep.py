"""The sweep of the benchmarks measures the hours that it says it does."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import sweep, sweep_report
from benchmarks.sweep import Plan, hours_of, make_archive
from benchmarks.sweep_report import Point

LINES = 320


@pytest.mark.parametrize(
    "plan", [Plan(files=16), Plan(files=2, repeated=1), Plan(malformed=0.2), Plan(files=16, layouts=4), Plan(hours=4)]
)
def test_an_archive_is_what_its_plan_says(tmp_path: Path, plan: Plan) -> None:
    make_archive(tmp_path / "archive", plan, LINES)
    archive = sweep._typed_archive(tmp_path)
    hours = [archive.ensure(hour, {}).manifest for hour in hours_of(plan.hours)]
    assert sum(hour.lines for hour in hours) == LINES
    assert sum(hour.duplicates for hour in hours) == LINES * plan.repeated / 2
    assert sum(hour.quarantined for hour in hours) == LINES * plan.malformed
    assert {len(hour.files) for hour in hours} == {plan.files}
    assert len({file.columns for file in hours[0].files}) == plan.layouts


def test_the_picture_is_xml_and_the_tables_have_every_point(tmp_path: Path) -> None:
    points = [Point("files & hours", value, "typing", 3.5, 200) for value in ("1", "10")]
    sweep_report.write(points, LINES, tmp_path)
    ET.parse(tmp_path / "sweep.svg")
    assert "| typing | 3.5 µs, 200 MB | 3.5 µs, 200 MB |" in (tmp_path / "sweep.md").read_text()

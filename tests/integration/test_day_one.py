"""From an empty Airflow to the first verified hour: ``init``, and the commands of the README that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.day_one import day_one

pytestmark = [pytest.mark.ci, pytest.mark.integration]


def test_init_and_the_commands_of_its_readme_bring_a_verified_hour_with_eight_inputs(tmp_path: Path) -> None:
    took = day_one(tmp_path)
    assert took.inputs == 8
    assert took.rows > 100

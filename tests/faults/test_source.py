"""Each fault at each step from the sign-in to the download, at the wire."""

from __future__ import annotations

import pytest

from tests.faults import table
from tests.faults.run_cell import run_cell
from tests.faults.scene import Scene
from tests.faults.table import Cell

CELLS = [cell for cell in table.WIRE if not cell.step.startswith(("upload", "manifest"))]


@pytest.mark.parametrize("cell", table.parameters(CELLS))
def test_a_fault_before_the_upload(cell: Cell, scene: Scene) -> None:
    run_cell(cell, scene)


def test_each_cell_that_cant_be_has_a_reason() -> None:
    for cell in table.ALL:
        assert cell.expected in "rtx."
        if cell.expected == ".":
            assert table.NONE[cell.fault]

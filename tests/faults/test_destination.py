"""Each fault at each step from the upload to the manifest, at the wire."""

from __future__ import annotations

import pytest

from tests.faults import table
from tests.faults.run_cell import run_cell
from tests.faults.scene import Scene
from tests.faults.table import Cell

CELLS = [cell for cell in table.WIRE if cell.step.startswith(("upload", "manifest"))]


@pytest.mark.parametrize("cell", table.parameters(CELLS))
def test_a_fault_at_the_destination(cell: Cell, scene: Scene) -> None:
    run_cell(cell, scene)

"""What a cell looks like."""

from __future__ import annotations

import pytest

from ayla_provider.domain.csv.cells import CellKind, guess


@pytest.mark.parametrize(
    ("kind", "yes", "no"),
    [
        (CellKind.BASE64, ["e30=", "aGFsbG8="], ["e30", "e3 0=", "e30=\n", "e30==", "{}", "é"]),
        (CellKind.INTEGER, ["7", "-7", "+7", " 7 "], ["7.0", "", "x"]),
        (CellKind.NUMBER, ["7", "7.", ".5", "-1e9", " 1.5"], [".", "1e", "x"]),
        (
            CellKind.DATE,
            ["Wed Feb 05 12:08:26 UTC 2020", "2020-02-05T12:08:26Z", "2020-02-05 12:08"],
            ["2020-02-05", "12:08"],
        ),
        (CellKind.UUID, ["3fa85f64-5717-4562-b3fc-2c963f66afa6"], ["3fa85f64-5717-4562-b3fc", "x"]),
    ],
)
def test_a_kind_matches_its_cells_alone(kind: CellKind, yes: list[str], no: list[str]) -> None:
    assert [cell for cell in yes if not kind.matches(cell)] == []
    assert [cell for cell in no if kind.matches(cell)] == []


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([], CellKind.EMPTY),
        (["", "null"], CellKind.EMPTY),
        (["7", ""], CellKind.INTEGER),
        (["7", "1.5"], CellKind.NUMBER),
        (["true", "false"], CellKind.FLAG),
        (["a b"], CellKind.TEXT),
    ],
)
def test_the_kind_of_a_column_is_that_of_its_filled_cells(cells: list[str], kind: CellKind) -> None:
    assert guess(cells) is kind

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from ayla_provider.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "cost.md"
ARGUMENTS = ["estimate", "--devices", "10000", "--events", "1440"]


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*ARGUMENTS, *arguments]) == 0
    return capsys.readouterr().out


def test_the_figures_of_the_page_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    ((command, shown),) = re.findall(
        r"```bash\npython -m ayla_provider (estimate .*)\n```\n\n```\n(.*?)```", text, re.DOTALL
    )
    assert main(command.split()) == 0
    assert capsys.readouterr().out == shown


def test_json_has_the_sizes_that_were_given_and_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(output(capsys, "--json", "--months", "24"))
    assert (document["days"], document["size"]["devices"], document["size"]["months"]) == (30, 10_000, 24)
    assert document["size"]["line"] > 0
    events = document["quantities"][0]
    assert events == {"group": "Events", "name": "in 30 days", "amount": 432_000_000, "unit": "events"}


def test_a_sheet_has_a_column_for_prices_and_multiplies_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.reader(io.StringIO(output(capsys, "--csv"))))
    header, *lines = rows
    assert header == ["group", "quantity", "amount", "unit", "price of a unit", "cost"]
    for number, line in enumerate(lines, start=2):
        assert line[4:] == ["", f"=C{number}*E{number}"]
    (archive,) = [line for line in lines if line[:2] == ["Storage", "archive"]]
    assert archive[3] == "GB kept"


@pytest.mark.parametrize("wrong", [["--devices", "0"], ["--devices", "1e3"], ["--events", "nan"], ["--loads", "-1"]])
def test_numbers_that_make_no_sense_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*ARGUMENTS, *wrong])
    assert ended.value.code == 2
    assert f"argument {wrong[0]}: {wrong[1]!r} isn't a" in capsys.readouterr().err

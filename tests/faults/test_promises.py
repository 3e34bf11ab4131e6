"""The page of promises names a test for each, and the tests are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")


def promises() -> list[list[str]]:
    """Return the cells of each line of a table, but for its heads."""
    rows = [re.split(r" *\| *", line.strip("| ")) for line in PAGE.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[-1] != "Test"]


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_promise_names_tests_that_are_there() -> None:
    assert len(promises()) > 25
    for *promise, tests in promises():
        named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", tests)
        assert named, promise
        assert len(named) == tests.count("`") / 2, tests
        for path, name in named:
            assert name in functions(ROOT / path), f"{path}::{name}"

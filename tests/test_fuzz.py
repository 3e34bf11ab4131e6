"""The fuzz targets: a small share of what a fuzzer does, and that they find what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain import manifest
from fuzz import targets
from fuzz.mutations import inputs
from fuzz.targets import EXAMPLES, TARGETS

NAMES_COMPARED = [
    "manifests",
    "receipts",
    "positions",
    "erasures",
    "holds",
    "failure_notes",
    "oldest_hours",
    "verify_positions",
    "freshness_records",
    "volume_books",
    "evidence_documents",
]

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_a_parser_takes_any_bytes_or_refuses_them_as_documented(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(inputs(EXAMPLES[name])))


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_has_examples(name: str) -> None:
    assert EXAMPLES[name]
    for example in EXAMPLES[name]:
        TARGETS[name](example)


@pytest.mark.parametrize("name", NAMES_COMPARED)
def test_an_example_is_one_that_the_parser_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    monkeypatch.setattr(targets, "same", lambda one, other: compared.append(one))
    TARGETS[name](EXAMPLES[name][0])
    assert len(compared) == 1


def test_an_error_that_is_not_documented_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "UNREADABLE", (KeyError,))
    with pytest.raises(ValueError, match="Expecting value"):
        TARGETS["manifests"](b"no JSON")


def test_the_command_says_how_many_inputs_it_tried() -> None:
    command = [sys.executable, "-m", "fuzz", "times", "--seconds", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.startswith("times: ")
    assert ran.stdout.endswith("no finding\n")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        # A lone surrogate in a name could be read, and not written again.
        ("volume_books", EXAMPLES["volume_books"][0].replace(b"LC-THERMO-2", b"\\ud800")),
        # A key that is no hour failed without saying where it is.
        ("iceberg_ledgers", b'{"hours": {"2026110107x": "[]"}}'),
        ("iceberg_ledgers", b'{"hours": ["2026110107"]}'),
    ],
)
def test_what_was_found_once_is_taken_or_refused(name: str, found: bytes) -> None:
    TARGETS[name](found)

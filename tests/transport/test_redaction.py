"""Text from outside: without secrets, on one line, printable, and short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.transport import redaction
from ayla_provider.transport.redaction import LONGEST, from_outside, know_secret, redacted


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})


def test_a_redacted_text_is_one_line_without_any_of_the_secrets() -> None:
    assert redacted("no:\n  s3cret, and  t0ken; s3cret", ["s3cret", "t0ken"]) == "no: ***, and ***; ***"


def test_a_secret_that_contains_another_leaves_no_rest() -> None:
    assert redacted("got pass-word", ["pass", "pass-word", ""]) == "got ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Kok", "\\x1b[2Kok"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("a\u202ecsv.exe", "a\\u202ecsv.exe"),
        ("x\r\n2026-11-28 ERROR FAKE LINE", "x 2026-11-28 ERROR FAKE LINE"),
        ("\ud800", "\\ud800"),
        ("Größe 5 µm, 大", "Größe 5 µm, 大"),
    ],
)
def test_what_changes_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert from_outside(text) == shown


@given(before=st.text(max_size=300), after=st.text())
def test_any_text_from_outside_is_short_printable_and_without_a_known_secret(before: str, after: str) -> None:
    know_secret("ya29.dr.5ecret")
    shown = from_outside(f"{before}ya29.dr.5ecret{after}")
    assert len(shown) <= LONGEST
    assert shown.isprintable()
    assert "5ecret" not in shown


def test_the_newest_secrets_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_MOST_KNOWN", 2)
    for secret in ("first", "second", "first", "third"):
        know_secret(secret)
    assert redacted("first second third") == "*** second ***"

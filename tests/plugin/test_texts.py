"""The page's texts in each language."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ayla_provider
from ayla_provider.domain.completeness import Completeness
from ayla_provider.domain.digest import Activity, Layer
from tests.plugin.test_constants import SOURCES

Page = Callable[..., Any]
STATIC = Path(ayla_provider.__file__).parent / "plugin" / "static"
OTHERS = ["de", "es", "zh-CN"]
PLACEHOLDER = re.compile(r"\{(\w+)\}")
LETTERS = re.compile(r"[^\W\d_]")

SAME: dict[str, set[str]] = {
    "de": {
        "activity.task",
        "measure.bytes",
        "panel.manifest",
        "subject.dags",
        "welcome.pool",
        "welcome.variable",
    },
    "es": {"subject.assets", "subject.dags", "welcome.pool", "welcome.variable"},
    "zh-CN": set(),
}
"""Texts that are the same in English: names, and words that both languages have."""

EVERYWHERE = {"span.minutes", "span.hours"}
"""Texts that are units in every language."""


@pytest.fixture(scope="module")
def texts(page: Page) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = page("return page.LOCALES")
    return found


def forms(text: str | dict[str, str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text.values())


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_has_each_text_with_its_placeholders(texts: dict[str, Any], language: str) -> None:
    english, other = texts["en"], texts[language]
    assert other.keys() == english.keys()
    for key, text in english.items():
        assert isinstance(other[key], type(text)), key
        wanted = {name for form in forms(text) for name in PLACEHOLDER.findall(form)}
        for form in forms(other[key]):
            assert set(PLACEHOLDER.findall(form)) == wanted, key


@pytest.mark.parametrize("language", OTHERS)
def test_each_text_has_a_form_for_each_plural_of_its_language(page: Page, texts: dict[str, Any], language: str) -> None:
    # The forms of numbers up to a thousand: no count of the page needs "many", which begins at a million in Spanish.
    code = """
        const rules = new Intl.PluralRules(args[0]);
        return [...Array(1000).keys()].map((number) => rules.select(number));
    """
    wanted = set(page(code, language))
    for key, text in texts[language].items():
        if not isinstance(text, str):
            assert set(text) == wanted, key


@pytest.mark.parametrize("language", OTHERS)
def test_no_text_is_left_in_english(texts: dict[str, Any], language: str) -> None:
    same = {
        key
        for key, text in texts["en"].items()
        if any(LETTERS.search(PLACEHOLDER.sub("", form)) for form in forms(text)) and texts[language][key] == text
    }
    assert same <= SAME[language] | EVERYWHERE


def test_each_text_that_the_page_asks_for_exists_and_is_asked_for(texts: dict[str, Any]) -> None:
    source = "".join(SOURCES.values())
    literal = set(re.findall(r'"([a-z][\w-]*(?:\.[\w-]+)*)"', source))
    families = set(re.findall(r"`([a-z][\w.]*\.)\$\{", source))
    for key in texts["en"]:
        assert key in literal or any(key.startswith(family) for family in families), key
    asked = set(re.findall(r'\b(?:t|parts)\("([^"]+)"', source))
    assert asked <= texts["en"].keys()


def test_each_word_of_a_digest_has_a_text(texts: dict[str, Any]) -> None:
    keys = texts["en"].keys()
    assert {f"layer.{layer}" for layer in Layer} <= keys
    assert {f"activity.{activity}" for activity in Activity} <= keys
    assert {f"layer.compared.{state}" for state in Completeness} <= keys


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"),
        ("en-US", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("es-MX", "es"),
        ("zh-CN", "zh-CN"),
        ("zh-Hans", "zh-CN"),
        ("zh-TW", "en"),
        ("fr", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_that_of_airflow_if_the_page_has_it(page: Page, tag: str, language: str) -> None:
    assert page("return page.languageOf(args[0])", tag) == language

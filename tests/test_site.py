"""The colors of the documents' site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STYLE = (Path(__file__).parents[1] / "mkdocs_hooks.py").read_text().partition('STYLE = """')[2].partition('"""')[0]

BACKGROUNDS = {"default": ("#ffffff", "#f5f5f5", "#ededed"), "slate": ("#1e2129", "#272a35", "#363840")}
"""The theme's backgrounds of the page, of code, and of the number of search results, as a browser computes them."""


def luminance(color: str) -> float:
    """Return the relative luminance, 0 to 1, as WCAG 2.2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(text: str, background: str) -> float:
    """Return the contrast, 1 to 21, as WCAG 2.2 defines it."""
    lighter, darker = sorted((luminance(text), luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", BACKGROUNDS)
def test_text_can_be_read_on_each_background(scheme: str) -> None:
    (block,) = re.findall(rf"\[data-md-color-scheme={scheme}\][^{{]*{{([^}}]*)}}", STYLE)
    colors = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", block))
    assert len(colors) == block.count(":") >= 2
    low = [
        f"{name} on {background}: {contrast(color, background):.2f}"
        for name, color in colors.items()
        for background in BACKGROUNDS[scheme]
        if contrast(color, background) < 4.5
    ]
    assert low == []


def test_the_contrast_is_that_of_wcag() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)

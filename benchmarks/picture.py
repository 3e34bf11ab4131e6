"""Pictures of measurements: panels with axes, units and lines, as SVG with text. White, so that pages can show it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#8c6d31", "#9467bd", "#555555")
_WIDTH, _HEIGHT = 380, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 32, 30, 48
_LEGEND = 26
_IN_A_ROW = 2
_TEXT = "#222"
_GRID = "#ddd"


@dataclass(frozen=True)
class Panel:
    """
    Some lines over the same values.

    :param across: what the values are, with the unit
    :param up: what the figures are, with the unit
    :param values: the names of the values, in order, one step of the axis each
    :param lines: name to its figures, one for each value; None where there is none
    :param logarithmic: whether each line of the grid is ten times the one below it. Otherwise the axis begins at 0
    """

    title: str
    across: str
    up: str
    values: Sequence[str]
    lines: Mapping[str, Sequence[float | None]]
    logarithmic: bool = False


def write(path: Path, panels: Sequence[Panel], label: str) -> None:
    """
    Write the panels as one picture. Lines of the same name have the same colour.

    :param label: what the picture shows, for people who can't see it
    """
    path.write_text("\n".join(_picture(panels, label)) + "\n")


def _picture(panels: Sequence[Panel], label: str) -> Iterator[str]:
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    width = min(len(panels), _IN_A_ROW) * _WIDTH
    height = math.ceil(len(panels) / _IN_A_ROW) * _HEIGHT + _LEGEND
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11" fill="{_TEXT}" role="img" aria-label="{escape(label)}">'
    )
    yield f'<rect width="{width}" height="{height}" rx="6" fill="white"/>'
    for number, panel in enumerate(panels):
        x, y = number % _IN_A_ROW * _WIDTH, number // _IN_A_ROW * _HEIGHT
        yield f'<g transform="translate({x} {y})">'
        yield from _panel(panel, colours)
        yield "</g>"
    # One text, so that the names follow each other, however wide a font is.
    spans = [f'<tspan fill="{colour}" dx="14">■</tspan> {escape(name)}' for name, colour in colours.items()]
    yield f'<text x="{_LEFT - 14}" y="{height - 10}">{"".join(spans)}</text>'
    yield "</svg>"


def _panel(panel: Panel, colours: Mapping[str, str]) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    steps = _steps(panel)
    least, most = steps[0], steps[-1]

    def height_of(figure: float) -> float:
        if panel.logarithmic:
            share = math.log(figure / least) / math.log(most / least)
        else:
            share = (figure - least) / (most - least)
        return round(bottom - share * (bottom - _TOP), 1)

    apart = (right - _LEFT) / max(1, len(panel.values) - 1)
    places = [round(_LEFT + apart * number, 1) for number in range(len(panel.values))]
    yield f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(panel.title)}</text>'
    for step in steps:
        y = height_of(step)
        yield f'<path d="M{_LEFT} {y}H{right}" stroke="{_GRID}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{_number(step)}</text>'
    for value, x in zip(panel.values, places, strict=True):
        yield f'<path d="M{x} {bottom}v4" stroke="{_TEXT}"/>'
        yield f'<text x="{x}" y="{bottom + 17}" text-anchor="middle">{escape(value)}</text>'
    yield f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="{_TEXT}"/>'
    yield f'<text x="{(_LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">{escape(panel.across)}</text>'
    middle = (_TOP + bottom) / 2
    yield f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(panel.up)}</text>'
    for name, figures in panel.lines.items():
        corners = [(x, height_of(figure)) for x, figure in zip(places, figures, strict=True) if figure is not None]
        points = " ".join(f"{x},{y}" for x, y in corners)
        yield f'<polyline points="{points}" fill="none" stroke="{colours[name]}" stroke-width="2"/>'
        for x, y in corners:
            yield f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colours[name]}"/>'


def _steps(panel: Panel) -> list[float]:
    """Return the figures at which the grid has a line, the first one at the bottom and the last one at the top."""
    figures = [figure for line in panel.lines.values() for figure in line if figure is not None]
    least, most = min(figures), max(figures)
    if panel.logarithmic:
        first = math.floor(math.log10(least))
        last = max(first + 1, math.ceil(math.log10(most)))
        return [10.0**power for power in range(first, last + 1)]
    apart = 10 ** math.floor(math.log10(most)) if most > 0 else 1
    # At most five lines above 0.
    apart = next(apart * part for part in (0.2, 0.5, 1, 2) if most <= 5 * apart * part)
    return [number * apart for number in range(math.ceil(most / apart) + 1)] if most else [0, 1]


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 10 or figure == round(figure) else f"{figure:g}"

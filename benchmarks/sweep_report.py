"""What the sweep found: as JSON, as tables, and as one picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from ayla_provider import __version__

_HERE = Path(__file__).parent
_COLOURS = {"copy": "#8c6d31", "typing": "#1f77b4", "DuckDB": "#d62728", "PostgreSQL": "#2ca02c"}
_WIDTH, _HEIGHT, _MARGIN = 300, 190, 46
_IN_A_ROW = 3
# From half of the first value's time a line to 64 times that.
_LEAST, _MOST = -1.0, 6.0


@dataclass(frozen=True, slots=True)
class Point:
    """
    What one step took for one value of a dimension.

    :param microseconds: a line
    :param peak: memory, in MB
    """

    dimension: str
    value: str
    step: str
    microseconds: float
    peak: int


def write(points: Sequence[Point], lines: int, folder: Path = _HERE) -> None:
    """Write ``sweep.json``, ``sweep.md`` and ``sweep.svg``."""
    (folder / "sweep.json").write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")
    (folder / "sweep.md").write_text("\n".join(_markdown(points, lines)))
    (folder / "sweep.svg").write_text("\n".join(_picture(points)))


def _dimensions(points: Sequence[Point]) -> dict[str, list[Point]]:
    dimensions: dict[str, list[Point]] = {}
    for point in points:
        dimensions.setdefault(point.dimension, []).append(point)
    return dimensions


def _markdown(points: Sequence[Point], lines: int) -> Iterator[str]:
    yield "# What the cost of an hour depends on"
    yield ""
    yield f"With version {__version__}, last updated on {datetime.now(UTC):%-d %B %Y}. {lines:,} lines in all, and each"
    yield "dimension alone. Each cell is the time a line in microseconds, and the peak memory of the process. A copy"
    yield "doesn't look at the content, so it is measured over the number of files."
    yield ""
    yield "![The time a line over each dimension](sweep.svg)"
    for dimension, found in _dimensions(points).items():
        values = list(dict.fromkeys(point.value for point in found))
        cells = {(point.step, point.value): f"{point.microseconds:,} µs, {point.peak:,} MB" for point in found}
        yield ""
        yield f"| {dimension} | {' | '.join(values)} |"
        yield f"|---|{'---:|' * len(values)}"
        for step in dict.fromkeys(point.step for point in found):
            yield f"| {step} | {' | '.join(cells.get((step, value), '') for value in values)} |"
    yield ""
    yield "To measure again:"
    yield ""
    yield "```bash"
    yield f"python -m benchmarks.sweep --lines {lines}"
    yield "```"
    yield ""


def _picture(points: Sequence[Point]) -> Iterator[str]:
    dimensions = _dimensions(points)
    rows = math.ceil(len(dimensions) / _IN_A_ROW)
    width, height = _IN_A_ROW * _WIDTH, rows * _HEIGHT + 30
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="11" role="img" aria-label="The time a line over each dimension, compared with its first value">'
    )
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    for number, (dimension, found) in enumerate(dimensions.items()):
        x, y = number % _IN_A_ROW * _WIDTH, number // _IN_A_ROW * _HEIGHT
        yield f'<g transform="translate({x} {y})">'
        yield from _panel(dimension, found)
        yield "</g>"
    for number, (step, colour) in enumerate(_COLOURS.items()):
        yield f'<text x="{_MARGIN + 90 * number}" y="{height - 10}" fill="{colour}">■ {step}</text>'
    yield f'<text x="{width - 10}" y="{height - 10}" text-anchor="end">time a line, 1x: the first value</text>'
    yield "</svg>"
    yield ""


def _panel(dimension: str, found: Sequence[Point]) -> Iterator[str]:
    values = list(dict.fromkeys(point.value for point in found))
    apart = (_WIDTH - 2 * _MARGIN) / max(1, len(values) - 1)
    places = {value: round(_MARGIN + apart * number, 1) for number, value in enumerate(values)}
    yield f'<text x="{_WIDTH / 2}" y="18" text-anchor="middle" font-weight="bold">{escape(dimension)}</text>'
    for ratio in (1, 2, 8, 32):
        y = _height_of(ratio)
        yield f'<path d="M{_MARGIN} {y}H{_WIDTH - _MARGIN}" stroke="#ddd"/>'
        yield f'<text x="{_MARGIN - 6}" y="{y + 4}" text-anchor="end">{ratio}x</text>'
    for value, x in places.items():
        yield f'<text x="{x}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(value)}</text>'
    for step, colour in _COLOURS.items():
        line = [point for point in found if point.step == step]
        if line:
            first = line[0].microseconds
            corners = " ".join(f"{places[point.value]},{_height_of(point.microseconds / first)}" for point in line)
            yield f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _height_of(ratio: float) -> float:
    power = min(max(math.log2(ratio), _LEAST), _MOST)
    return round(_HEIGHT - 30 - (power - _LEAST) / (_MOST - _LEAST) * (_HEIGHT - 60), 1)

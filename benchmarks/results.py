"""The results, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ayla_provider import __version__

JSON = Path(__file__).parent / "results.json"
MARKDOWN = Path(__file__).parent / "results.md"


@dataclass(frozen=True, slots=True)
class Result:
    """A figure and the peer's figure, both from the same run."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float

    @property
    def ratio(self) -> float:
        """Our figure divided by the peer's."""
        return round(self.value / self.peer_value, 3)


def compared(
    name: str,
    unit: str,
    ours: Sequence[float],
    peers: Mapping[str, Sequence[float]],
    middle: Callable[[Sequence[float]], float] = statistics.median,
) -> list[Result]:
    """
    Return the medians of some rounds beside those of each peer.

    :param middle: what is taken of the rounds, where it isn't the median
    """
    value = _rounded(middle(ours))
    return [Result(name, value, unit, peer, _rounded(middle(figures))) for peer, figures in peers.items()]


def _rounded(value: float) -> float:
    return round(value) if value >= 100 else round(value, 2)


def merged(known: Sequence[Result], measured: Sequence[Result]) -> list[Result]:
    """Return results with the newly measured ones in place of earlier ones."""
    new = {(result.name, result.peer): result for result in measured}
    kept = [new.pop((result.name, result.peer), result) for result in known]
    return [*kept, *new.values()]


def read() -> list[Result]:
    """Return the results written last."""
    entries = json.loads(JSON.read_text())
    return [Result(**{name: value for name, value in entry.items() if name != "ratio"}) for entry in entries]


def as_text(results: Sequence[Result]) -> str:
    """Return the results as text for a terminal."""
    return "\n".join(
        f"{result.name}: {result.value:,} {result.unit}; {result.peer}: {result.peer_value:,}; ratio {result.ratio}"
        for result in results
    )


def write(results: Sequence[Result], how: Mapping[str, str], commands: Sequence[str]) -> None:
    """
    Write the results to files beside this one.

    :param how: how each peer was run, in Markdown, by peer
    :param commands: the commands that measure again
    """
    JSON.write_text(json.dumps([asdict(result) | {"ratio": result.ratio} for result in results], indent=1) + "\n")
    rows = [
        f"| {result.name} | {result.value:,} | {result.unit} | {result.peer} | {result.peer_value:,} | {result.ratio} |"
        for result in results
    ]
    when = f"{datetime.now(UTC):%-d %B %Y}"
    MARKDOWN.write_text(
        f"""# Benchmark results

With version {__version__}, last updated on {when}: Python {platform.python_version()}, {os.cpu_count()} cores.
Medians of several rounds, ours and the peer's alternately. Compare ratios: both figures of a ratio come from one run.

| | ours | | beside | | ratio |
|---|---:|---|---|---:|---:|
"""
        + "\n".join(rows)
        + "\n\nWhat it is compared with:\n\n"
        + "\n".join(
            f"- **{peer}**: {description}"
            for peer, description in how.items()
            if any(result.peer == peer for result in results)
        )
        + "\n\nTo measure again:\n\n```bash\n"
        + "\n".join(commands)
        + "\n```\n"
    )

"""What was measured, for people and for programs."""

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
    """A figure beside that of a peer, both of the same run."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float

    @property
    def ratio(self) -> float:
        """Our figure in parts of the peer's."""
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
    new = {(one.name, one.peer): one for one in measured}
    kept = [new.pop((one.name, one.peer), one) for one in known]
    return [*kept, *new.values()]


def read() -> list[Result]:
    """Return what was written last."""
    entries = json.loads(JSON.read_text())
    return [Result(**{name: value for name, value in entry.items() if name != "ratio"}) for entry in entries]


def as_text(results: Sequence[Result]) -> str:
    """Return results for a terminal."""
    return "\n".join(
        f"{one.name}: {one.value:,} {one.unit}; {one.peer}: {one.peer_value:,}; ratio {one.ratio}" for one in results
    )


def write(results: Sequence[Result], how: Mapping[str, str], commands: Sequence[str]) -> None:
    """
    Write all that was measured beside this file.

    :param how: peer to how it was run, in Markdown
    :param commands: what to type to measure it again
    """
    JSON.write_text(json.dumps([asdict(one) | {"ratio": one.ratio} for one in results], indent=1) + "\n")
    rows = [
        f"| {one.name} | {one.value:,} | {one.unit} | {one.peer} | {one.peer_value:,} | {one.ratio} |"
        for one in results
    ]
    when = f"{datetime.now(UTC):%-d %B %Y}"
    MARKDOWN.write_text(
        f"""# Benchmark results

With version {__version__}, last updated on {when}: Python {platform.python_version()}, {os.cpu_count()} cores.
Medians of several rounds, ours and the peer's in turn. Compare ratios: both figures of one were taken in the same run.

| | ours | | beside | | ratio |
|---|---:|---|---|---:|---:|
"""
        + "\n".join(rows)
        + "\n\nWhat it is compared with:\n\n"
        + "\n".join(
            f"- **{peer}**: {description}"
            for peer, description in how.items()
            if any(one.peer == peer for one in results)
        )
        + "\n\nTo measure again:\n\n```bash\n"
        + "\n".join(commands)
        + "\n```\n"
    )

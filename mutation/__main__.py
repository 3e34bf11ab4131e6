"""``make mutation``: score the tests of each area, and write the results beside this file."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ayla_provider import __version__
from mutation.areas import AREAS, Area
from mutation.results import Mutant, Score, markdown

ROOT = Path(__file__).parent.parent
JSON = Path(__file__).parent / "results.json"
MARKDOWN = Path(__file__).parent / "results.md"
SURVIVORS = Path(__file__).parent / "survivors.md"


def prepare(area: Area, folder: Path) -> None:
    """Put what mutmut reads into a folder: links to the files in git, and its settings."""
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {line.partition("/")[0] for line in listed.splitlines()} - {"pyproject.toml"}
    names = {name for name in names if not name.startswith(".")}
    for name in names:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    copied = sorted(names - {"ayla_provider"})
    settings = f"""
[tool.mutmut]
source_paths = ["ayla_provider"]
only_mutate = {json.dumps(area.modules)}
also_copy = {json.dumps(copied)}
# No program reads the words of a log.
do_not_mutate_patterns = ['^\\s*log\\.\\w+\\(']
"""
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)


def test(area: Area, share: int, *, again: bool) -> Score:
    """
    Test the mutants of an area in a process of its own, because mutmut can have one set of settings in each.

    :param share: of the mutants, in percent
    :param again: whether to test only those that weren't killed the last time
    """
    folder = ROOT / ".mutation" / area.name
    if not again:
        shutil.rmtree(folder, ignore_errors=True)
    prepare(area, folder)
    command = [sys.executable, "-m", "mutation.mutants", "--share", str(share), *(["--again"] if again else [])]
    subprocess.run([*command, "--", *area.pytest_arguments], cwd=folder, check=True)
    result = json.loads((folder / "results.json").read_text())
    mutants = [Mutant(**mutant) for mutant in result["mutants"]]
    return Score.of(area.name, result["made"], mutants, f"{datetime.now(UTC):%Y-%m-%d}", __version__)


def write(scores: Sequence[Score]) -> None:
    """Write the scores for programs and for people. An area that wasn't tested keeps its last score."""
    known = json.loads(JSON.read_text())["scores"] if JSON.exists() else []
    by_area = {score["area"]: Score(**score) for score in known} | {score.area: score for score in scores}
    ordered = [by_area[area.name] for area in AREAS if area.name in by_area]
    JSON.write_text(json.dumps({"scores": [score.as_dict() for score in ordered]}, indent=1) + "\n")
    MARKDOWN.write_text(markdown(ordered))


def unexplained(scores: Sequence[Score]) -> list[str]:
    """Return the survivors that the list of explained ones lacks."""
    explained = set(SURVIVORS.read_text().splitlines())
    return [line for score in scores for line in score.survivors if line not in explained]


def main() -> int:
    """Test areas, and return 1 if the score of one isn't good enough."""
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument(
        "areas", nargs="*", metavar="AREA", help=f"of {', '.join(a.name for a in AREAS)} (default: all)"
    )
    parser.add_argument("--share", type=int, help="percentage of the mutants (default: each area's own)")
    parser.add_argument("--again", action="store_true", help="only those that weren't killed the last time")
    arguments = parser.parse_args()
    if unknown := set(arguments.areas) - {area.name for area in AREAS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    chosen = [area for area in AREAS if area.name in arguments.areas or not arguments.areas]
    scores = []
    for area in chosen:
        scores.append(test(area, arguments.share or area.share, again=arguments.again))
        print(scores[-1].row, flush=True)
    write(scores)
    if lines := unexplained(scores):
        print(f"\n{len(lines)} survivors aren't in {SURVIVORS.name}:", *lines, sep="\n")
    return 0 if all(score.is_enough for score in scores) else 1


if __name__ == "__main__":
    sys.exit(main())

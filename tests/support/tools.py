"""Programs that some tests need. Without one of them, its tests are skipped."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.kinesis_double import KINESALITE, KINESIS_LOCAL
from tests.support import postgres_server

AZURITE = Path(__file__).parents[2] / ".azurite" / "node_modules" / ".bin" / "azurite-blob"
"""Azure's emulator, which ``make test`` installs with npm."""

AXE = Path(__file__).parents[2] / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
"""What finds violations of WCAG, which ``make test`` installs with npm."""


@dataclass(frozen=True)
class Tool:
    """
    A program that some tests need.

    :param name: its name in a sentence
    :param packages: the Debian packages that have it
    :param is_installed: returns whether this machine has it
    """

    name: str
    packages: str
    is_installed: Callable[[], bool]

    @property
    def skip_reason(self) -> str:
        """The reason that pytest shows for a skipped test."""
        return f"needs {self.name}"

    def needed(self) -> pytest.MarkDecorator:
        """Return a mark that skips a test on a machine without the program."""
        return pytest.mark.skipif(not self.is_installed(), reason=self.skip_reason)

    def require(self) -> None:
        """Skip the running test if the machine doesn't have the program."""
        if not self.is_installed():
            pytest.skip(self.skip_reason)


def _has(*programs: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(program) for program in programs)


CHROMIUM = Tool("Chromium and its driver", "chromium chromium-driver", _has("chromedriver"))
GIT = Tool("git", "git", _has("git"))
NPM = Tool("npm", "npm", AZURITE.exists)
KINESIS = Tool(NPM.name, NPM.packages, lambda: KINESALITE.exists() and KINESIS_LOCAL.exists())
"""Doubles of Kinesis, which ``make test`` also installs with npm."""
AXE_CORE = Tool(NPM.name, NPM.packages, AXE.exists)
POSTGRESQL = Tool("PostgreSQL", "postgresql", lambda: postgres_server.binaries() is not None)
PROMETHEUS = Tool("Prometheus", "prometheus", _has("promtool"))
REDIS = Tool("Redis", "redis-server", _has("redis-server"))

TOOLS = (CHROMIUM, GIT, NPM, POSTGRESQL, PROMETHEUS, REDIS)


def missing_tools_line(skip_reasons: Iterable[str]) -> str | None:
    """
    Return one line about the tests that were skipped because a program is missing, and how to get it.

    :param skip_reasons: the reasons of all skipped tests, as pytest reports them
    :returns: None if no test was skipped for this reason
    """
    skipped = Counter(re.sub(r"^Skipped: ", "", reason) for reason in skip_reasons)
    missing = [tool for tool in TOOLS if skipped[tool.skip_reason]]
    if not missing:
        return None
    count = sum(skipped[tool.skip_reason] for tool in missing)
    names = ", ".join(tool.name for tool in missing)
    packages = " ".join(tool.packages for tool in missing)
    return f"{count} skipped: this machine doesn't have {names}. To run them: apt install {packages}"

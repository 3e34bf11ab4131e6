"""Runs the steps of a check one after the other. Times them, and keeps secrets out of what they report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ayla_provider.errors import AylaError
from ayla_provider.transport.redaction import redacted

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """
    The result of one step.

    :param ok: None if the step wasn't reached, or there was nothing to look at
    :param advice: what to do; if the step is ok, a note
    """

    name: str
    ok: bool | None
    detail: str = ""
    advice: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding(Generic[T]):
    """
    What a step found.

    :param value: what later steps need; None if they can't run
    """

    ok: bool | None
    detail: str
    advice: str = ""
    value: T | None = None


class StepRunner:
    """
    Runs steps, and collects their results.

    :param on_step: called with each result at once
    """

    def __init__(self, on_step: Callable[[Step], None] = lambda step: None) -> None:
        self._on_step = on_step
        self.steps: list[Step] = []
        self.secrets: list[str] = []
        """What no result may show. Steps add to it as they learn secrets."""

    def run(self, name: str, look: Callable[[], Finding[T]], advise: Callable[[Exception], str]) -> T | None:
        """
        Run a step, and return what later steps need; None if it failed.

        :param look: the step itself
        :param advise: returns what to do about an error of the step
        """
        begun = time.monotonic()
        try:
            finding = look()
        except AylaError as error:
            finding = Finding(False, str(error), advise(error))
        except Exception as error:  # noqa: BLE001 - a person sees it; its text could quote a secret
            finding = Finding(False, f"unexpected: {type(error).__name__}", advise(error))
        detail, advice = redacted(finding.detail, self.secrets), redacted(finding.advice, self.secrets)
        self._add(Step(name, finding.ok, detail, advice, round(time.monotonic() - begun, 3)))
        return finding.value

    def skip(self, name: str, detail: str = "") -> None:
        """Add a step that isn't run."""
        self._add(Step(name, None, detail))

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        self._on_step(step)


def advise_trying_again(error: Exception) -> str:
    """Return what to do about an error, empty if its message says so for good."""
    if isinstance(error, AylaError) and not error.retryable:
        return ""  # The message itself says what to do.
    return "Try again. If it persists, see the log on stderr."

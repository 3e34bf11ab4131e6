"""Runs the steps of a check one after the other. Times them, and keeps secrets out of what they report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ayla_provider.domain.events import EventType
from ayla_provider.errors import AylaError
from ayla_provider.source.export import Export
from ayla_provider.source.settings import AylaSettings
from ayla_provider.transport.redaction import redacted

T = TypeVar("T")


def compare_with_dashboard(fields: str) -> str:
    """Return the advice to compare fields of the connection, without a full stop."""
    return f"Compare {fields} in the connection with the Ayla dashboard (OEM Profile, Data Export)"


class CheckedConnection(Protocol):
    """What a check needs of a connection to Ayla. Nothing is read before a member is used."""

    @property
    def conn_id(self) -> str:
        """The connection's id."""

    @property
    def conn_type(self) -> str:
        """
        The connection's type in Airflow.

        :raises AylaError: if the connection can't be read
        """

    @property
    def in_s3(self) -> bool:
        """
        Whether the export is in Amazon S3, where nobody signs in.

        :raises AylaError: if the connection can't be read
        """

    @property
    def settings(self) -> AylaSettings:
        """
        The settings of an export in Cloud Storage.

        :raises AylaError: naming the field that is missing or malformed
        """

    @property
    def secrets(self) -> list[str]:
        """All secrets that are known so far."""

    def fresh_export(self) -> Export:
        """
        Return the export, with a sign-in of its own that knows nothing of earlier ones.

        :raises AylaError: if a field is missing or malformed
        """

    def sign_in_record(self) -> str:
        """Return how a sentence names the record of the last sign-in: ``the Airflow Variable ayla_sign_in_...``."""


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


@dataclass(frozen=True, slots=True)
class ListedExport:
    """
    An export whose event folders could be listed.

    :param folders: event type to the name of its folder, at least one
    """

    export: Export
    folders: dict[EventType, str]


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

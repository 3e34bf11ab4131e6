"""
Spans of OpenTelemetry around the main steps, as children of the span of Airflow's task.

A process traces if something in it has set a tracer provider, as Airflow does with ``[traces] otel_on``. That needs
OpenTelemetry's API, so in a process that hasn't imported it, nothing is traced, and nothing is imported here.

A span has counts, event types and hours. It never has an error's message, which could quote a person or an answer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ayla_provider.domain.hour import ExportHour

Fact = str | int | float | bool
Noted = Callable[..., None]
"""Adds facts to a span, as named arguments. None for a fact that isn't known, which is left out."""


@contextmanager
def span(name: str, **facts: Fact | None) -> Iterator[Noted]:
    """
    Trace a step, and give a function that adds facts to its span.

    :param name: of the step, such as ``copy``; the span is ``ayla.copy``
    :param facts: what is known at the begin: no secret, and nothing about a person
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        yield _note_nothing
        return
    tracer = trace.get_tracer("ayla_provider")
    with tracer.start_as_current_span(f"ayla.{name}", record_exception=False, set_status_on_exception=False) as current:

        def note(**more: Fact | None) -> None:
            current.set_attributes({f"ayla.{key}": value for key, value in more.items() if value is not None})

        note(**facts)
        try:
            yield note
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(trace.StatusCode.ERROR)
            raise


def facts_of(hours: Sequence[ExportHour]) -> dict[str, Fact]:
    """Return the facts about some consecutive hours of one event type."""
    return {"event_type": hours[0].event_type, "hour": hours[0].start.isoformat(), "hours": len(hours)}


def _note_nothing(**facts: Fact | None) -> None:
    pass

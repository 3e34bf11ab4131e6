"""Checks of arguments: templated ones are read only when the task runs, all others when Airflow reads the DAG."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from ayla_provider.errors import AylaConfigError

_TEMPLATE_MARKS = ("{{", "{%", "{#")


def is_rendered(value: object) -> bool:
    """Return whether an argument is final text already when Airflow reads the DAG: not a template, nor an XCom."""
    return isinstance(value, str) and not any(mark in value for mark in _TEMPLATE_MARKS)


def duration(value: object, name: str) -> timedelta:
    """
    Return an argument that is a duration.

    :raises AylaConfigError: if it isn't a timedelta, or is negative
    """
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise AylaConfigError(
            f"{name} is {value!r}: expected a timedelta of zero or more, such as timedelta(minutes=15)"
        )
    return value


def optional_duration(value: object, name: str) -> timedelta | None:
    """Return an argument that is a duration or None: see :func:`duration`."""
    return None if value is None else duration(value, name)


def count(value: object, name: str) -> int:
    """
    Return an argument that is a whole number of at least 1.

    :raises AylaConfigError: if it isn't
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise AylaConfigError(f"{name} is {value!r}: expected a whole number of at least 1")
    return value


def names(value: object, name: str) -> list[str]:
    """
    Return an argument that is a list of names.

    :raises AylaConfigError: if it isn't; a single text would otherwise count as a list of its letters
    """
    if isinstance(value, str) or not isinstance(value, Collection):
        raise AylaConfigError(f"{name} is {value!r}: expected a list of names, such as ['datapoint']")
    return list(value)

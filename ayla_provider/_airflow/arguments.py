"""Checks of arguments: templated ones are read only when the task runs, all others when Airflow reads the DAG."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from ayla_provider._airflow.mapping import MAP_LIMIT
from ayla_provider.domain.hour import ONE_HOUR, hour_of, is_empty, parse_time
from ayla_provider.errors import AylaConfigError

_TEMPLATE_MARKS = ("{{", "{%", "{#")


def is_rendered(value: object) -> bool:
    """Return whether an argument is final text already when Airflow reads the DAG: not a template, nor an XCom."""
    return isinstance(value, str) and not any(mark in value for mark in _TEMPLATE_MARKS)


def duration(value: object, name: str, at_least: timedelta = timedelta(0)) -> timedelta:
    """
    Return an argument that is a duration.

    :param at_least: the shortest one: nothing, an hour, or a day
    :raises AylaConfigError: if it isn't a timedelta, or is negative or too short
    """
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise AylaConfigError(
            f"{name} is {value!r}: expected a timedelta of zero or more, such as timedelta(minutes=15)"
        )
    if value < at_least:
        shortest = "an hour" if at_least == ONE_HOUR else "a day"
        raise AylaConfigError(f"{name} is {value}: it has to be {shortest} at least")
    return value


def optional_duration(value: object, name: str, at_least: timedelta = timedelta(0)) -> timedelta | None:
    """Return an argument that is a duration or None: see :func:`duration`."""
    return None if value is None else duration(value, name, at_least)


def optional_hour(value: object, name: str) -> datetime | None:
    """
    Return the start of the hour that a rendered argument gives; None if it is empty.

    :raises AylaConfigError: if it isn't a time with an offset
    """
    return None if is_empty(value) else hour_of(parse_time(value, name))


def count(value: object, name: str) -> int:
    """
    Return an argument that is a whole number of at least 1.

    :raises AylaConfigError: if it isn't
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise AylaConfigError(f"{name} is {value!r}: expected a whole number of at least 1")
    return value


def flag(value: object, name: str) -> bool:
    """
    Return a rendered argument that is true or false: also as the text that a template makes of it.

    :raises AylaConfigError: if it is neither
    """
    text = str(value).strip().lower() if isinstance(value, (bool, str)) else ""
    if text not in ("true", "false"):
        raise AylaConfigError(f"{name} is {value!r}: expected True or False")
    return text == "true"


def map_length(value: object, name: str, items: str) -> int:
    """
    Return an argument that says over how many items Airflow maps a task at most.

    :param items: what they are, for the error
    :raises AylaConfigError: if it isn't a whole number of at least 1, or Airflow doesn't map over as many
    """
    length = count(value, name)
    if length > MAP_LIMIT:
        raise AylaConfigError(f"{name} is {length}: Airflow maps a task over 1 to {MAP_LIMIT:,} {items}")
    return length


def names(value: object, name: str) -> list[str]:
    """
    Return an argument that is a list of names.

    :raises AylaConfigError: if it isn't; a single text would otherwise count as a list of its letters
    """
    if isinstance(value, str) or not isinstance(value, Collection):
        raise AylaConfigError(f"{name} is {value!r}: expected a list of names, such as ['datapoint']")
    return list(value)


def names_or_text(value: object, name: str) -> list[str]:
    """
    Return a rendered argument that is a list of names, or a text with commas between them, as a DAG's parameter has it.

    :raises AylaConfigError: if it is neither
    """
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return names(value, name)


def file_patterns(value: object, name: str) -> list[str]:
    """
    Return an argument that is a list of patterns of files' names.

    :raises AylaConfigError: if it isn't, or if a pattern has a folder, or is of CSV files
    """
    values = list(value) if isinstance(value, Collection) and not isinstance(value, str) else [None]
    patterns = [each for each in values if isinstance(each, str) and each and "/" not in each]
    if len(patterns) < len(values) or any(pattern.lower().endswith(".csv") for pattern in patterns):
        raise AylaConfigError(
            f"{name} is {value!r}: expected a list of names or patterns without folders, such as ['README*']. A name "
            "that ends with .csv is always read"
        )
    return patterns

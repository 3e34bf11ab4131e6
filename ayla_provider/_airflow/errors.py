"""What this package's errors mean to Airflow, and one of Airflow's to this package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ayla_provider.errors import AylaConfigError, AylaError


@contextlib.contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn errors that aren't retryable into AirflowFailException, so that the task fails without retries."""
    from ayla_provider._airflow.compat import AirflowFailException

    try:
        yield
    except AylaError as error:
        if error.retryable:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def undefined_connection() -> Iterator[None]:
    """
    Turn Airflow's error about a connection that isn't defined into one of ours.

    :raises AylaConfigError: with Airflow's message
    """
    try:
        yield
    except Exception as error:
        # Airflow's versions define the class in different modules.
        if type(error).__name__ != "AirflowNotFoundException":
            raise
        raise AylaConfigError(str(error)) from error

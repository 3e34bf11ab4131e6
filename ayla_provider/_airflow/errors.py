"""What this package's errors mean to Airflow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ayla_provider.errors import AylaError


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

"""What an error of ours means to Airflow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ayla_provider.errors import AylaError


@contextlib.contextmanager
def airflow_errors() -> Iterator[None]:
    """Let a task fail for good, without retries, on an error that no retry can mend."""
    from ayla_provider._airflow.compat import AirflowFailException

    try:
        yield
    except AylaError as error:
        if error.retryable:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error

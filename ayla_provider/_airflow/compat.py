"""Names that stand elsewhere in other versions of Airflow."""

from __future__ import annotations

try:
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
except ImportError:  # Airflow 3.1
    from airflow.configuration import conf
    from airflow.exceptions import (  # type: ignore[no-redef]
        AirflowFailException,
        AirflowSkipException,
    )

try:
    # On 3.2 its functions stand in the class alone, not beside it.
    from airflow.sdk.observability.stats import Stats as stats  # noqa: N813 - used like a module
except ImportError:  # Airflow 3.1
    from airflow.stats import Stats as stats  # noqa: N813 - used like a module

__all__ = ["AirflowFailException", "AirflowSkipException", "conf", "stats"]

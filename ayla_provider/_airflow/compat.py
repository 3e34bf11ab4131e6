"""Names that other versions of Airflow have in other modules."""

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
    # In Airflow 3.2, the functions are methods of the class, and not also functions of the module.
    from airflow.sdk.observability.stats import Stats as stats  # noqa: N813 - used like a module
except ImportError:  # Airflow 3.1
    from airflow.stats import Stats as stats  # noqa: N813 - used like a module

__all__ = ["AirflowFailException", "AirflowSkipException", "conf", "stats"]

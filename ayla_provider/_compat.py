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
    from airflow.sdk.observability import stats
except ImportError:  # Airflow 3.1
    from airflow.stats import Stats as stats  # type: ignore[no-redef]  # noqa: N813 - a class there, a module here

__all__ = ["AirflowFailException", "AirflowSkipException", "conf", "stats"]

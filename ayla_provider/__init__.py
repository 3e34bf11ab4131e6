"""The Ayla Networks data export, in Apache Airflow."""

from __future__ import annotations

from ayla_provider.domain.events import EVENT_TYPES, STREAM_EVENT_TYPES

__all__ = ["EVENT_TYPES", "STREAM_EVENT_TYPES", "__version__"]

__version__ = "0.1.0"

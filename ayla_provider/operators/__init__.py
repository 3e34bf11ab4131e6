"""Operators that bring the export home, and keep it complete."""

from __future__ import annotations

from ayla_provider.operators.reconcile import AylaExportReconcileOperator
from ayla_provider.operators.to_bucket import AylaExportToBucketOperator

__all__ = ["AylaExportReconcileOperator", "AylaExportToBucketOperator"]

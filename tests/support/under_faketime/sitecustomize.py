"""
Lets Python sleep under faketime.

Every Python process loads this file where ``make test-dates`` puts its folder on PYTHONPATH. Python sleeps with
``clock_nanosleep`` until a time of the monotonic clock. libfaketime 0.9.10 shifts that time although it doesn't change
the clock, and the call fails.
"""

from __future__ import annotations

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep

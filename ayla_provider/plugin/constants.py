"""
The facts that the page shares with the provider, as a JavaScript module: the page has no copies of its own.

The patience is the default one. A browser can't read the settings of a connection, where a user may have set another.
"""

from __future__ import annotations

import json
from datetime import timedelta

from ayla_provider.domain.arrival import PATIENCE, HourState
from ayla_provider.domain.completeness import Completeness
from ayla_provider.domain.coverage import Coverage
from ayla_provider.domain.digest import FORMAT as DIGEST_FORMAT
from ayla_provider.domain.digest import Layer
from ayla_provider.domain.events import EVENT_TYPES, SEPARATOR, fold
from ayla_provider.domain.paths import DIGESTS, FRESHNESS, VOLUMES

FILE = "constants.js"
"""The name under which the page imports the module."""

STUCK_AFTER = timedelta(hours=6)
"""From this time after the hour's end on, the page shows an hour that a sensor still waits for as *stuck*."""

SHORTEST_WAIT = timedelta(hours=1)
"""A shorter wait that failed didn't time out: something refused it."""

LOADED_WITHIN = timedelta(hours=3)
"""From this time after its copy on, the page shows an hour that a warehouse lacks as *not loaded*."""

WAREHOUSE_FORGOTTEN = timedelta(days=3)
"""A warehouse that no plan looked at for this time says nothing about the hours since then."""


def constants() -> dict[str, object]:
    """
    Return the values by their names in JavaScript.

    Durations are in milliseconds, because JavaScript counts time in them.
    """
    return {
        "EVENT_TYPES": EVENT_TYPES,
        "EVENT_TYPE_SEPARATOR": SEPARATOR,
        "EVENT_TYPE_BY_FOLDED_NAME": {fold(event_type): event_type for event_type in EVENT_TYPES},
        "LANDED": HourState.LANDED,
        "EMPTY": HourState.EMPTY,
        "EXPIRED": HourState.EXPIRED,
        "OPEN": HourState.OPEN,
        "WAITING": Coverage.WAITING,
        "LATE": Coverage.LATE,
        "OVERDUE": Coverage.OVERDUE,
        "MISSING": Coverage.MISSING,
        "CHANGED": Coverage.CHANGED,
        "UNPROVEN": Coverage.UNPROVEN,
        "LOST": Coverage.LOST,
        "LAYERS": [layer.value for layer in Layer],
        "LACKING": [state.value for state in Completeness if state.lacks_in_export],
        "DIGESTS": DIGESTS,
        "DIGEST_FORMAT": DIGEST_FORMAT,
        "FRESHNESS": FRESHNESS,
        "VOLUMES": VOLUMES,
        "PATIENCE": _milliseconds(PATIENCE),
        "STUCK_AFTER": _milliseconds(STUCK_AFTER),
        "SHORTEST_WAIT": _milliseconds(SHORTEST_WAIT),
        "LOADED_WITHIN": _milliseconds(LOADED_WITHIN),
        "WAREHOUSE_FORGOTTEN": _milliseconds(WAREHOUSE_FORGOTTEN),
    }


def as_module() -> str:
    """Return the source of the JavaScript module that exports :func:`constants`."""
    lines = [f"export const {name} = {json.dumps(value)};" for name, value in constants().items()]
    return "\n".join(["// Generated from the provider's Python code.", *lines, ""])


def _milliseconds(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))

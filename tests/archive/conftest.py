"""The fixtures of a local Ayla cloud, and of the client's parts signed in to it."""

from __future__ import annotations

from tests.support.fixtures import (  # noqa: F401 - fixtures, found by their names
    _no_waiting,
    answering,
    cloud,
    customer,
    export,
    place,
    provider,
    stopping,
)

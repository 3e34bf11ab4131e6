"""
Proofs of scale and of many seeds.

``make test`` runs a small slice of each, ``make prove`` the whole, and writes down what came of it.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "AYLA_PROVE"
"""The environment variable that ``make prove`` sets."""

PROVING = VARIABLE in os.environ

IN_CI = bool(os.environ.get("CI"))
"""Whether the tests run that are slow and rarely wrong."""


def scale(test: T, proof: T) -> T:
    """Return how much to run: one argument for ``make test``, the other for ``make prove``."""
    return proof if PROVING else test

"""
Proofs of scale and of many seeds.

``make test`` runs a small slice of each, CI a larger one of some, and ``make prove`` the whole, and writes down what
came of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "AYLA_PROVE"
"""The environment variable that ``make prove`` sets."""

SHARD = "AYLA_PROVE_SHARD"
"""The environment variable that says which part of some proofs ``make prove`` runs, such as ``2/40``."""

PROVING = VARIABLE in os.environ

IN_CI = bool(os.environ.get("CI"))
"""Whether the tests run that are slow and rarely wrong."""


def scale(test: T, proof: T, ci: T | None = None) -> T:
    """Return how much to run: one argument for ``make test``, another for ``make prove``, and perhaps one for CI."""
    if PROVING:
        return proof
    return test if ci is None or not IN_CI else ci


def spread(count: int, most: int) -> list[int]:
    """Return some of the numbers from 1 to a count, the first and the last among them; all if they are not too many."""
    if count <= most:
        return list(range(1, count + 1))
    return [1 + place * (count - 1) // (most - 1) for place in range(most)]


def of_shard(cases: Sequence[T]) -> Sequence[T]:
    """Return the cases that this run proves: consecutive ones if there are shards, otherwise all."""
    number, shards = map(int, os.environ.get(SHARD, "1/1").split("/"))
    return cases[(number - 1) * len(cases) // shards : number * len(cases) // shards]

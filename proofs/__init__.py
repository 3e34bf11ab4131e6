"""Proofs of scale and of many seeds, too slow for ``make test``, and what came of them."""

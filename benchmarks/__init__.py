"""Benchmarks of this package and of the tools that a user could choose instead."""

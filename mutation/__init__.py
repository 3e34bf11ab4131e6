"""Mutation tests: whether the tests notice small faults in the code that must not have any."""

"""Polluted files, in the manner of the Pollock benchmark, and whether each line of them gets its right outcome."""

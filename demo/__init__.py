"""``make demo`` and ``make screenshots``."""

"""Keeps lines of urllib3 out of a user's log: they name its classes, and the errors say in words what happened."""

from __future__ import annotations

import logging

from urllib3.util.retry import Retry

_LOCATIONS = "/allowedLocations"
"""What google-auth asks Google's IAM for a service account's key. A network may block it, and nothing depends on it."""


class QuietRetry(Retry):
    """A retry that urllib3 doesn't log."""


class _RetryFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is another than that of a quiet retry."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        is_quiet = any(isinstance(argument, QuietRetry) for argument in arguments)
        of_locations = any(isinstance(argument, str) and argument.endswith(_LOCATIONS) for argument in arguments)
        return not is_quiet and not of_locations


_FILTER = _RetryFilter()


def keep_retries_out_of_the_log() -> None:
    """Leave out urllib3's lines about quiet retries, from now on in this process."""
    # A logger has each filter once, however often it is added.
    logging.getLogger("urllib3.connectionpool").addFilter(_FILTER)

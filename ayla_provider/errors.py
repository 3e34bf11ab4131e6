"""What can go wrong, told for the person who reads the task log."""

from __future__ import annotations

from typing import ClassVar

PASSES = "This usually passes: the task's retries will try later."
"""What there is to do about most of what a network or a service does."""

__all__ = [
    "AylaAccessDenied",
    "AylaConfigError",
    "AylaConflictError",
    "AylaDestinationError",
    "AylaError",
    "AylaLayoutError",
    "AylaNotSettledError",
    "AylaQuarantineError",
    "AylaSignInRefused",
    "AylaStalledError",
    "AylaTableError",
    "AylaTransferError",
    "AylaUnavailable",
    "AylaUnsafeNameError",
    "AylaWarehouseError",
]


class AylaError(Exception):
    """
    The root of every error of this package.

    The message says what failed, for which event type, hour and object, and what to do; it never holds a secret.
    """

    retryable: ClassVar[bool] = True
    """Whether trying again later can succeed without anybody changing something."""


class AylaConfigError(AylaError):
    """A connection's field or an argument is missing or wrong. Mostly noticed before any request."""

    retryable = False


class AylaSignInRefused(AylaError):
    """
    Ayla refused the sign-in, or refused it less than half an hour ago. Never retried, at any level.

    Five refusals in a row lock the account for everybody for 30 minutes.
    """

    retryable = False


class AylaAccessDenied(AylaError):
    """Signed in, but the account or its token may not do this: a wrong role, bucket or OEM id."""

    retryable = False


class AylaUnavailable(AylaError):
    """Ayla, Cloud Storage or the network did not answer as it should, after the retries of the client."""


class AylaTransferError(AylaError):
    """One or more files of an hour could not be copied: changed or vanished in flight, corrupted, or refused."""


class AylaUnsafeNameError(AylaError):
    """An object's name can't be given a place below the destination."""

    retryable = False


class AylaConflictError(AylaError):
    """Another run wrote the same object or manifest at the same time."""


class AylaNotSettledError(AylaError):
    """An hour isn't over, or still waited for: it can't be declared complete."""


class AylaStalledError(AylaError):
    """Ayla's exporter gives no sign of life. Looking again at once wouldn't change that."""

    retryable = False


class AylaDestinationError(AylaError):
    """The destination refused or broke off a read or a write."""


class AylaLayoutError(AylaError):
    """
    A file's columns match no known layout, or more than one.

    :param finding: what the file looks like, and why each layout doesn't fit
    :param advice: what to do
    """

    retryable = False

    def __init__(self, finding: str, advice: str = "") -> None:
        super().__init__(f"{finding} {advice}".rstrip())
        self.finding = finding
        self.advice = advice


class AylaQuarantineError(AylaError):
    """More lines of an hour can't be read than are put up with."""

    retryable = False


class AylaWarehouseError(AylaError):
    """The warehouse refused or broke off a load, or can't be reached; the hour there is as it was."""


class AylaTableError(AylaWarehouseError):
    """A table stands in the warehouse with a column of another type than the rows have."""

    retryable = False

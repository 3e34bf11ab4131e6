"""The errors of this package, written for the person who reads the task log."""

from __future__ import annotations

from typing import ClassVar

TEMPORARY = "This is usually temporary; Airflow retries the task."
"""The advice for most faults of a network or a service."""

__all__ = [
    "AylaAccessDenied",
    "AylaAlertError",
    "AylaConfigError",
    "AylaConflictError",
    "AylaDestinationError",
    "AylaError",
    "AylaExpiringError",
    "AylaIncompleteError",
    "AylaLayoutError",
    "AylaLostError",
    "AylaNewerFormatError",
    "AylaNotSettledError",
    "AylaQuarantineError",
    "AylaSignInRefused",
    "AylaStalledError",
    "AylaStreamLossError",
    "AylaStreamResetError",
    "AylaTableError",
    "AylaTransferError",
    "AylaUnavailable",
    "AylaUnprovenError",
    "AylaUnsafeNameError",
    "AylaWarehouseError",
]


class AylaError(Exception):
    """
    The root of every error of this package.

    The message says what failed, for which event type, hour and object, and what to do; it never holds a secret.
    """

    retryable: ClassVar[bool] = True
    """Whether a later try can succeed although nobody changes anything."""


class AylaConfigError(AylaError):
    """A field of a connection or an argument is missing or wrong. Mostly found before any request."""

    retryable = False


class AylaSignInRefused(AylaError):
    """
    Ayla refused the sign-in, now or less than half an hour ago. Never retried, at any level.

    Five refusals in a row lock the account for everyone for 30 minutes.
    """

    retryable = False


class AylaAccessDenied(AylaError):
    """The sign-in worked, but the account or its token isn't allowed to do this: wrong role, bucket or OEM id."""

    retryable = False


class AylaUnavailable(AylaError):
    """Ayla, Cloud Storage or the network gave no valid answer, also after the client's retries."""


class AylaTransferError(AylaError):
    """Files of an hour couldn't be copied: changed or removed during the copy, corrupted, or refused."""


class AylaLostError(AylaTransferError):
    """Neither the archive nor the source has a file, or a manifest, any more."""

    retryable = False


class AylaRemovedError(AylaError):
    """A rule of the customer's removed what is needed, because of its age. A retry can't help."""

    retryable = False


class AylaHeldError(AylaError):
    """A legal hold is on what is to be erased. A retry can't help."""

    retryable = False


class AylaUnsafeNameError(AylaError):
    """An object's name can't become a path below the destination."""

    retryable = False


class AylaConflictError(AylaError):
    """Another run wrote the same object or manifest at the same time."""


class AylaNotSettledError(AylaError):
    """An hour isn't over, or files may still come: it can't be committed."""


class AylaUnprovenError(AylaError):
    """
    The source has an object that can't be placed in time, and that can be a file of an hour: a person must decide.

    The message names the object and the ways out.
    """

    retryable = False


class AylaStalledError(AylaError):
    """Ayla's exporter gives no sign of life. A retry at once doesn't help."""

    retryable = False


class AylaStreamLossError(AylaError):
    """Records of a stream expired before they were read. What was still there is in the archive. A retry can't help."""

    retryable = False


class AylaStreamResetError(AylaError):
    """A stream isn't the one that was read before: it was created again, or it ends before the position."""

    retryable = False


class AylaExpiringError(AylaError):
    """Hours expire at Ayla soon, and the archive lacks something of them. A retry at once doesn't help."""

    retryable = False


class AylaAlertError(AylaError):
    """An alert couldn't be sent: a notifier that the user gave has failed. The next task tries it again."""


class AylaIncompleteError(AylaError):
    """The export lacks events that the stream had. A retry can't help."""

    retryable = False


class AylaDestinationError(AylaError):
    """The destination refused or interrupted a read or a write."""


class AylaNewerFormatError(AylaDestinationError):
    """A newer version of this package wrote a manifest or a receipt. It is valid, and must stay where it is."""

    retryable = False


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
    """An hour has more malformed lines than allowed."""

    retryable = False


class AylaWarehouseError(AylaError):
    """The warehouse refused or interrupted a load, or can't be reached; the hour there is unchanged."""


class AylaTableError(AylaWarehouseError):
    """A table in the warehouse has a column of another type than the rows."""

    retryable = False


class AylaPolicyError(AylaTableError):
    """A table in the warehouse has rows of another privacy policy, or with hashes of another key."""

"""Reads the fields of JSON documents, and refuses a field of another type: for manifests, receipts, and notes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from ayla_provider.errors import AylaNewerFormatError

T = TypeVar("T")

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
"""What reading a document raises if it isn't JSON, or not of the expected form."""


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""A control character, a line or paragraph separator, or a lone surrogate."""


def require(holds: bool, otherwise: str) -> None:
    """
    Check something about a document.

    :raises ValueError: with the given text, if it doesn't hold
    """
    if not holds:
        raise ValueError(otherwise)


def typed_field(document: Any, name: str, kind: type[T]) -> T:
    """
    Return a field of a document.

    :raises KeyError: if it is missing
    :raises ValueError: if it isn't exactly of this type, has more than 64 bits, or contains a control character
    """
    value = document[name]
    require(type(value) is kind, f"{name} is {type(value).__name__}, not {kind.__name__}")
    if isinstance(value, str):
        require(CONTROL.search(value) is None, f"{name} contains a control character")
    if isinstance(value, int):
        require(abs(value) < 2**63, f"{name} has more than 64 bits")
    return cast("T", value)


def time_field(document: Any, name: str) -> datetime:
    """
    Return a field that is an ISO 8601 time with an offset: aware, UTC.

    :raises KeyError: if it is missing
    :raises ValueError: if it isn't such a time
    """
    time = datetime.fromisoformat(typed_field(document, name, str))
    require(time.tzinfo is not None, f"{name} has no time zone")
    return time.astimezone(UTC)


def refuse_newer(stated: object, known: str, where: str) -> None:
    """
    Refuse a document of a newer format, which somebody could otherwise take for a damaged one.

    :param stated: the document's format
    :param known: the newest format that this version reads, such as ``ayla-export-manifest/1``
    :param where: the document's URL
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    """
    name, _, number = known.rpartition("/")
    stated_name, _, stated_number = str(stated).rpartition("/")
    if stated_name == name and stated_number.isdecimal() and int(stated_number) > int(number):
        raise AylaNewerFormatError(
            f"{where} has the format {stated}, and this version of the package reads {known} at most. A newer version "
            "wrote it: upgrade airflow-provider-ayla here. Don't move or remove the file."
        )


def require_format(stated: object, known: str, where: str) -> None:
    """
    Require a document to have the one format that this version reads.

    :param stated: the document's format
    :param known: such as ``ayla-export-position/1``
    :param where: the document's URL
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises ValueError: if it has another format
    """
    refuse_newer(stated, known, where)
    require(stated == known, f"its format is {stated!r}")

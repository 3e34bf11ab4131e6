"""Text without secrets."""

from __future__ import annotations

from collections.abc import Iterable


def redacted(text: str, secrets: Iterable[str]) -> str:
    """
    Return a text on one line, with ``***`` in place of each secret.

    :param secrets: none of them empty
    """
    for secret in secrets:
        text = text.replace(secret, "***")
    return " ".join(text.split())

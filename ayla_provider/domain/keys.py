"""Secret keys: what identifies one, and the hashes of values that it makes."""

from __future__ import annotations

import hashlib
import hmac

KEY_ID_LENGTH = 8
"""Hexadecimal digits of a key's short id."""


def key_id(key: str) -> str:
    """
    Return the short id of a key: the same for the same key. It shows which key made a hash, and not the key.

    :param key: the secret, as the password of a connection has it
    """
    digest = hmac.new(key.encode(), b"ayla-export-key-id", hashlib.sha256).hexdigest()
    # It is cut, so that it says little to anyone who guesses keys.
    return digest[:KEY_ID_LENGTH]


def subject_hash(key: str, column: str, value: str) -> str:
    """
    Return the hash of what identifies a person or a device: 64 hexadecimal digits.

    The column is part of it, so that a serial number and a user with the same text have different hashes.

    :param column: ``dsn`` or ``user_uuid``
    :param value: its text; letter case, spaces around it, and the hyphens of a UUID don't matter
    """
    plain = value.strip().casefold()
    if column == "user_uuid":
        plain = plain.replace("-", "")
    text = f"ayla-export-subject {column} {plain}"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()

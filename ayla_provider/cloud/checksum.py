"""The CRC32C of Cloud Storage."""

from __future__ import annotations

import base64

import google_crc32c


class Crc32c:
    """A running CRC32C, stated as Cloud Storage does: base64 of the big-endian value."""

    def __init__(self, data: bytes = b"") -> None:
        self._checksum = google_crc32c.Checksum(data)  # type: ignore[no-untyped-call]

    def update(self, data: bytes) -> None:
        """Add bytes."""
        self._checksum.update(data)  # type: ignore[no-untyped-call]

    @property
    def base64(self) -> str:
        """The checksum of all that was added."""
        return base64.b64encode(self._checksum.digest()).decode()  # type: ignore[no-untyped-call]

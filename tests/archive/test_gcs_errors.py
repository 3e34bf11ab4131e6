from __future__ import annotations

import pytest
from google.cloud.storage.exceptions import DataCorruption

from ayla_provider.archive.gcs import _translate_errors
from ayla_provider.errors import AylaDestinationError


def test_a_corrupted_read_is_an_error_of_ours() -> None:
    with pytest.raises(AylaDestinationError, match="Cloud Storage failed"), _translate_errors("gs://bucket/a"):
        raise DataCorruption(None, "checksum mismatch")  # type: ignore[no-untyped-call]

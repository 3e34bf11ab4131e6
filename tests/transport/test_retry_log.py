from __future__ import annotations

import logging

import pytest
import urllib3
from urllib3.util.retry import Retry

from ayla_provider.transport.retry_log import QuietRetry, keep_retries_out_of_the_log


@pytest.mark.parametrize(
    ("retries", "path", "logged"),
    [
        (QuietRetry(1), "/", 0),
        (Retry(1), "/v1/projects/-/serviceAccounts/a@b.example/allowedLocations", 0),
        # Those of other code in the process stay.
        (Retry(1), "/other", 1),
    ],
)
def test_only_the_lines_of_our_own_retries_are_left_out(
    caplog: pytest.LogCaptureFixture, retries: Retry, path: str, logged: int
) -> None:
    keep_retries_out_of_the_log()
    with caplog.at_level(logging.WARNING), pytest.raises(urllib3.exceptions.MaxRetryError):
        urllib3.PoolManager().request("GET", f"http://127.0.0.1:1{path}", retries=retries)
    assert len(caplog.records) == logged

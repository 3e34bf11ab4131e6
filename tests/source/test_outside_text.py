"""What a service says reaches messages without secrets, and can't control a terminal or a log."""

from __future__ import annotations

import json
import logging

import pytest

from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from ayla_provider.triggers import _failed
from tests.support.client import age


def quote(cloud: LocalCloud, step: str, text: str) -> None:
    status = 403 if step == "acs" else 400
    body = json.dumps({"error": {"code": status, "message": text}})
    cloud.faults.add(status, step=step, times=None, body=body, content_type="application/json")


@pytest.mark.parametrize("step", ["acs", "list"])
def test_a_token_that_a_service_quotes_is_in_no_message(
    cloud: LocalCloud, export: Export, provider: TokenProvider, step: str
) -> None:
    export.event_folders()
    assert provider._session
    assert provider._token
    tokens = (provider._session.access_token, provider._session.refresh_token, provider._token.value)
    age(provider)
    if step == "acs":
        cloud.revoke("storage")
    quote(cloud, step, f"{' '.join(tokens)} may not \x1b[2Khave this")
    with pytest.raises(AylaError, match=r"may not \\x1b\[2Khave this") as failed:
        export.event_folders()
    assert [token for token in tokens if token in str(failed.value)] == []
    event = str(_failed(AylaError(f"anything with {tokens[0]}")).payload)
    assert tokens[0] not in event


@pytest.mark.parametrize(
    "body", ["db password is hunter2", '{"secret": "hunter2"}', '{"error": "hunter2"}', "<p>hunter2</p>"]
)
@pytest.mark.parametrize("status", [400, 403, 404, 503])
def test_what_another_service_than_cloud_storage_says_is_in_no_message(
    cloud: LocalCloud, export: Export, body: str, status: int
) -> None:
    cloud.faults.add(status, step="list", times=None, body=body, content_type="application/json")
    with pytest.raises(AylaError) as failed:
        export.event_folders()
    assert "hunter2" not in str(failed.value)


def test_a_role_cannot_write_a_line_of_the_log(
    cloud: LocalCloud, provider: TokenProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    role = "x\r\n2026-11-28 ERROR \x1b[31mFAKE"
    cloud.faults.add(200, step="sign_in", body=json.dumps({"access_token": "a" * 32, "role": role}))
    with pytest.raises(AylaError):
        provider(None, None)
    line = next(record.message for record in caplog.records if "Signed in" in record.message)
    assert line.isprintable()

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import requests

from ayla_provider.local_cloud import LocalCloud
from tests.local_cloud.clients import acs, sign_in


def refresh(cloud: LocalCloud, token: str) -> requests.Response:
    return requests.post(f"{cloud.url}/users/refresh_token.json", json={"user": {"refresh_token": token}}, timeout=60)


def test_sign_in_gives_tokens_and_the_role(cloud: LocalCloud) -> None:
    answer = sign_in(cloud)
    assert answer.status_code == 200
    body = answer.json()
    assert body["expires_in"] == "86400"
    assert body["role"] == "OEM::Admin"
    assert body["role_tags"] == []
    assert len(body["access_token"]) == len(body["refresh_token"]) == 32
    assert (cloud.sign_ins, cloud.refusals) == (1, 0)


def test_expires_in_can_be_a_number(cloud: LocalCloud) -> None:
    cloud.options.expires_in_as_text = False
    cloud.options.access_token_life = timedelta(minutes=5)
    assert sign_in(cloud).json()["expires_in"] == 300


@pytest.mark.parametrize(("change", "status"), [({"password": "wrong"}, 401), ({"app_id": "wrong"}, 404)])
def test_wrong_credentials_are_refused_and_counted(cloud: LocalCloud, change: dict[str, str], status: int) -> None:
    answer = sign_in(cloud, **change)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert (cloud.sign_ins, cloud.refusals) == (0, 1)


def test_an_error_can_be_an_object(cloud: LocalCloud) -> None:
    cloud.options.error_as_object = True
    assert sign_in(cloud, password="wrong").json()["error"]["message"]


def test_five_refusals_in_a_row_lock_the_account_for_half_an_hour(cloud: LocalCloud) -> None:
    for _ in range(5):
        sign_in(cloud, password="wrong")
    assert sign_in(cloud).status_code == 401
    assert "locked" in sign_in(cloud).json()["error"]
    cloud.clock.advance(timedelta(minutes=31))
    assert sign_in(cloud).status_code == 200


def test_a_sign_in_between_refusals_prevents_the_lock(cloud: LocalCloud) -> None:
    for _ in range(4):
        sign_in(cloud, password="wrong")
    sign_in(cloud)
    for _ in range(4):
        sign_in(cloud, password="wrong")
    assert sign_in(cloud).status_code == 200


def test_a_new_password_is_asked_for_at_once(cloud: LocalCloud) -> None:
    old = cloud.account.password
    cloud.account.password = "another one"
    assert sign_in(cloud, password=old).status_code == 401
    assert sign_in(cloud).status_code == 200


def test_mfa_gives_no_access_token(cloud: LocalCloud) -> None:
    cloud.account.mfa = True
    body = sign_in(cloud).json()
    assert body["is_mfa_enabled"] is True
    assert body["auth_code"]
    assert "access_token" not in body


def test_a_refresh_token_works_once(cloud: LocalCloud) -> None:
    first = sign_in(cloud).json()
    second = refresh(cloud, first["refresh_token"]).json()
    assert acs(cloud, second["access_token"]).status_code == 200
    assert acs(cloud, first["access_token"]).status_code == 401
    assert refresh(cloud, first["refresh_token"]).status_code == 401
    assert cloud.sign_ins == 1


def test_a_refresh_can_be_refused(cloud: LocalCloud) -> None:
    cloud.options.refuse_refresh = True
    assert refresh(cloud, sign_in(cloud).json()["refresh_token"]).status_code == 401
    assert cloud.refusals == 0


def test_signing_out_kills_both_tokens(cloud: LocalCloud) -> None:
    tokens = sign_in(cloud).json()
    body = {"user": {"access_token": tokens["access_token"]}}
    assert requests.post(f"{cloud.url}/users/sign_out.json", json=body, timeout=60).status_code == 200
    assert acs(cloud, tokens["access_token"]).status_code == 401
    assert refresh(cloud, tokens["refresh_token"]).status_code == 401


def test_with_one_session_a_sign_in_kills_the_tokens_of_earlier_ones(cloud: LocalCloud) -> None:
    first = sign_in(cloud).json()
    sign_in(cloud)
    assert acs(cloud, first["access_token"]).status_code == 200
    cloud.options.one_session = True
    sign_in(cloud)
    assert acs(cloud, first["access_token"]).status_code == 401
    assert refresh(cloud, first["refresh_token"]).status_code == 401


def test_a_storage_token_lasts_an_hour_of_real_time_at_any_time_of_the_export(cloud: LocalCloud) -> None:
    body = acs(cloud, sign_in(cloud).json()["access_token"]).json()
    assert body["tokenValue"].startswith("ya29.dr.")
    assert body["scopes"] == []
    left = datetime.fromisoformat(body["expirationTime"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


def test_acs_refuses_dead_tokens_and_other_roles(cloud: LocalCloud) -> None:
    token = sign_in(cloud).json()["access_token"]
    cloud.account.role = "OEM::Staff"
    assert acs(cloud, token).status_code == 403
    cloud.account.role = "OEM::Admin"
    assert acs(cloud, "made up").status_code == 401
    cloud.clock.advance(timedelta(days=1))
    assert acs(cloud, token).status_code == 401


def test_access_tokens_can_be_killed_while_refresh_tokens_live(cloud: LocalCloud) -> None:
    tokens = sign_in(cloud).json()
    cloud.revoke("access")
    assert acs(cloud, tokens["access_token"]).status_code == 401
    assert refresh(cloud, tokens["refresh_token"]).status_code == 200


def test_a_request_that_is_no_json_is_refused(cloud: LocalCloud) -> None:
    assert requests.post(f"{cloud.url}/users/sign_in.json", data="{", timeout=60).status_code == 404

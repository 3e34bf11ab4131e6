from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from google.auth import _helpers

from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaError, AylaSignInRefused, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source import auth
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from tests.support.client import age, client_of, export_of, provider_of, requests_of, settings_of
from tests.support.web_server import Answering

THREADS = 16

StartServer = Callable[..., Answering]


def steps(cloud: LocalCloud) -> list[tuple[str, int]]:
    """Return what Ayla was asked for, with the statuses, in order."""
    return [(one.step, one.status) for one in requests_of(cloud, "sign_in", "refresh", "acs")]


def list_in_threads(export: Export) -> None:
    """List in many threads at the same moment."""
    together = threading.Barrier(THREADS)

    def one(_: int) -> None:
        together.wait()
        export.event_folders()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(THREADS)))


def test_a_sign_in_gives_a_storage_token_that_lists(cloud: LocalCloud, export: Export) -> None:
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"x")
    assert export.event_folders() == {"datapoint": "Datapoint"}
    assert steps(cloud) == [("sign_in", 200), ("acs", 200)]


@pytest.mark.parametrize("quoted", [True, False])
def test_expires_in_may_be_quoted(cloud: LocalCloud, provider: TokenProvider, quoted: bool) -> None:
    cloud.options.expires_in_as_text = quoted
    token, expiry = provider(None, None)
    assert token.startswith("ya29.dr.")
    assert expiry.tzinfo is None
    assert timedelta(minutes=59) < expiry - datetime.now(UTC).replace(tzinfo=None) <= timedelta(hours=1)


@pytest.mark.parametrize("form", ["{:%Y-%m-%dT%H:%M:%S}Z", "{:%Y-%m-%dT%H:%M:%S}", "{:%Y-%m-%dT%H:%M:%S}.020+00:00"])
def test_the_expiration_is_read_in_each_iso_form(cloud: LocalCloud, provider: TokenProvider, form: str) -> None:
    expires = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    body = json.dumps({"tokenValue": "ya29.dr.x", "scopes": [], "expirationTime": form.format(expires)})
    cloud.faults.add(200, step="acs", body=body)
    assert provider(None, None)[1].replace(microsecond=0) == expires.replace(tzinfo=None)


def test_a_storage_token_is_replaced_ahead_of_its_expiry(
    cloud: LocalCloud, export: Export, provider: TokenProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.event_folders()
    later = timedelta(minutes=57)
    cloud.clock.advance(later)
    monkeypatch.setattr(_helpers, "utcnow", lambda: datetime.now(UTC).replace(tzinfo=None) + later)
    age(provider)
    export.event_folders()
    assert [one.status for one in requests_of(cloud, "list")] == [200, 200]
    assert steps(cloud) == [("sign_in", 200), ("acs", 200), ("acs", 200)]


def test_many_threads_on_a_stale_token_make_one_request_for_a_new_one(
    cloud: LocalCloud, export: Export, provider: TokenProvider
) -> None:
    export.event_folders()
    age(provider)
    client_of(export)._credentials.expiry = datetime.now(UTC).replace(tzinfo=None)
    list_in_threads(export)
    assert len(requests_of(cloud, "acs")) == 2
    assert {one.status for one in requests_of(cloud, "list")} == {200}


def test_many_threads_without_a_token_make_one_sign_in(cloud: LocalCloud, export: Export) -> None:
    list_in_threads(export)
    assert steps(cloud) == [("sign_in", 200), ("acs", 200)]


def test_many_threads_that_get_401_make_one_request_for_a_new_token(
    cloud: LocalCloud, export: Export, provider: TokenProvider
) -> None:
    export.event_folders()
    age(provider)
    cloud.revoke("storage")
    list_in_threads(export)
    assert 401 in {one.status for one in requests_of(cloud, "list")}
    assert len(requests_of(cloud, "acs")) == 2
    assert cloud.sign_ins == 1


def test_a_revoked_storage_token_costs_one_request_for_another(
    cloud: LocalCloud, export: Export, provider: TokenProvider
) -> None:
    export.event_folders()
    age(provider)
    cloud.revoke("storage")
    export.event_folders()
    assert [one.status for one in requests_of(cloud, "list")] == [200, 401, 200]
    assert steps(cloud) == [("sign_in", 200), ("acs", 200), ("acs", 200)]


def test_a_dead_session_is_refreshed_with_the_newest_refresh_token(
    cloud: LocalCloud, export: Export, provider: TokenProvider
) -> None:
    export.event_folders()
    for _ in range(2):  # the first refresh brings another refresh token, and the cloud takes each but once
        age(provider)
        cloud.revoke("storage", "access")
        export.event_folders()
    refreshed = [("acs", 401), ("refresh", 200), ("acs", 200)]
    assert steps(cloud) == [("sign_in", 200), ("acs", 200), *refreshed, *refreshed]


def test_a_refused_refresh_is_followed_by_one_sign_in(
    cloud: LocalCloud, export: Export, provider: TokenProvider
) -> None:
    export.event_folders()
    age(provider)
    cloud.revoke("storage", "session")
    export.event_folders()
    again = [("acs", 401), ("refresh", 401), ("sign_in", 200), ("acs", 200)]
    assert steps(cloud) == [("sign_in", 200), ("acs", 200), *again]
    assert cloud.refusals == 0


def test_a_temporary_failure_of_a_refresh_does_not_cause_a_sign_in(
    cloud: LocalCloud, export: Export, provider: TokenProvider
) -> None:
    export.event_folders()
    age(provider)
    cloud.revoke("storage", "access")
    cloud.faults.add(503, step="refresh", times=None, body="<html>")
    with pytest.raises(AylaUnavailable, match="503"):
        export.event_folders()
    assert cloud.sign_ins == 1


@pytest.mark.parametrize("step", ["sign_in", "acs"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_passing_answer_is_asked_again_after_the_time_it_states(
    cloud: LocalCloud, provider: TokenProvider, step: str, status: int
) -> None:
    cloud.faults.add(status, step=step, retry_after=1, body="<html>Slow down</html>")
    assert provider(None, None)[0]
    first, second = requests_of(cloud, step)
    assert (first.status, second.status) == (status, 200)
    assert second.at - first.at >= timedelta(seconds=0.95)
    assert cloud.refusals == 0


@pytest.mark.parametrize("step", ["sign_in", "acs"])
def test_a_passing_answer_that_stays_ends_as_unavailable(cloud: LocalCloud, provider: TokenProvider, step: str) -> None:
    cloud.faults.add(502, step=step, times=None, body="<html>Bad gateway</html>")
    with pytest.raises(AylaUnavailable, match="502") as failed:
        provider(None, None)
    assert failed.value.retryable
    assert len(requests_of(cloud, step)) == 5


def test_a_wait_that_is_too_long_is_left_to_the_tasks_retries(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.faults.add(503, step="sign_in", times=None, retry_after=3600)
    with pytest.raises(AylaUnavailable, match="3600 s") as failed:
        provider(None, None)
    assert failed.value.retryable
    assert len(requests_of(cloud, "sign_in")) == 1


def test_an_invalid_retry_after_ends_as_an_error_of_ours(cloud: LocalCloud, answering: StartServer) -> None:
    server = answering(503, "<html>", Retry_After="soon")
    with pytest.raises(AylaUnavailable):
        provider_of(settings_of(cloud, host=server.url))(None, None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_the_sign_in_takes_the_password_nowhere(
    cloud: LocalCloud, answering: StartServer, status: int
) -> None:
    other = answering(200, {"access_token": "a", "refresh_token": "b"})
    server = answering(status, Location=f"{other.url}PATH")
    with pytest.raises(AylaUnavailable, match="redirect"):
        provider_of(settings_of(cloud, host=server.url))(None, None)
    assert len(server.received) == 1
    assert other.received == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_of_the_credentials_service_takes_the_token_nowhere(
    cloud: LocalCloud, answering: StartServer, status: int
) -> None:
    other = answering(200)
    server = answering(status, Location=f"{other.url}PATH")
    with pytest.raises(AylaUnavailable, match="redirect"):
        provider_of(settings_of(cloud, acs_url=f"{server.url}/acs"))(None, None)
    assert len(server.received) == 1
    assert other.received == []


def test_an_account_with_mfa_is_refused_with_what_to_do_about_it(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.account.mfa = True
    for _ in range(2):
        with pytest.raises(AylaSignInRefused, match="app_id without MFA"):
            provider(None, None)
    assert len(requests_of(cloud, "sign_in")) == 1


def test_a_wrong_role_is_reported_with_the_right_one(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.account.role = "OEM::Staff"
    with pytest.raises(AylaAccessDenied, match=r"'OEM::Staff'.*'OEM::Admin'"):
        provider(None, None)
    assert steps(cloud) == [("sign_in", 200), ("acs", 403)]


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize(
    ("change", "reason"), [({"password": "wrong"}, "password"), ({"app_id": "nobody"}, "app_id or app_secret")]
)
def test_a_refusal_is_reported_with_the_vendors_words_and_never_repeated(
    cloud: LocalCloud, as_object: bool, change: dict[str, str], reason: str
) -> None:
    cloud.options.error_as_object = as_object
    provider = provider_of(settings_of(cloud, **change))
    words = "Invalid email or password" if "password" in change else "Could not find application"
    for _ in range(3):
        with pytest.raises(AylaSignInRefused, match=reason) as refused:
            provider(None, None)
        assert f'"{words}"' in str(refused.value)
        assert not refused.value.retryable
    assert cloud.refusals == 1


def test_a_refusal_without_json_is_a_refusal(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.faults.add(401, step="sign_in", times=None, body="<html>no</html>")
    with pytest.raises(AylaSignInRefused, match="401"):
        provider(None, None)
    assert len(requests_of(cloud, "sign_in")) == 1


@pytest.mark.parametrize(
    ("step", "body"),
    # Any JSON answer to a sign-in that brings no token is a refusal.
    [
        ("sign_in", "<html>hello</html>"),
        *(("acs", body) for body in ("<html>hello</html>", "[]", "{}", '{"access_token": 1}')),
    ],
)
def test_a_good_status_without_tokens_names_the_address(
    cloud: LocalCloud, provider: TokenProvider, step: str, body: str
) -> None:
    cloud.faults.add(200, step=step, body=body)
    with pytest.raises(AylaUnavailable, match=cloud.url):
        provider(None, None)


@pytest.mark.parametrize("how", ["cut", "slow"])
def test_a_sign_in_whose_answer_is_lost_is_not_repeated(
    cloud: LocalCloud, provider: TokenProvider, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(auth, "TIMEOUT", (5, 0.3))
    cloud.faults.add(how, step="sign_in", delay=0.6)
    with pytest.raises(AylaUnavailable, match="no answer"):
        provider(None, None)
    threading.Event().wait(0.5)
    assert len(requests_of(cloud, "sign_in")) == 1


def test_a_sign_in_whose_connection_ends_without_an_answer_is_not_repeated(
    cloud: LocalCloud, answering: StartServer
) -> None:
    server = answering(0)
    with pytest.raises(AylaUnavailable, match="no answer"):
        provider_of(settings_of(cloud, host=server.url))(None, None)
    assert len(server.received) == 1


def test_a_request_for_a_token_is_repeated_when_its_connection_ends_without_an_answer(
    cloud: LocalCloud, answering: StartServer
) -> None:
    server = answering(0)
    with pytest.raises(AylaUnavailable, match="no answer"):
        provider_of(settings_of(cloud, acs_url=f"{server.url}/acs"))(None, None)
    assert len(server.received) == 4
    assert cloud.sign_ins == 1


def test_a_lost_token_does_not_cause_another_sign_in(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.faults.add("cut", step="acs")
    with pytest.raises(AylaUnavailable, match="no answer"):
        provider(None, None)
    assert provider(None, None)[0]
    assert cloud.sign_ins == 1


def test_an_address_where_nothing_answers_is_reported(cloud: LocalCloud) -> None:
    provider = provider_of(settings_of(cloud, host="http://127.0.0.1:9"))
    with pytest.raises(AylaUnavailable, match=r"127\.0\.0\.1:9.*[Rr]efused"):
        provider(None, None)


def test_a_session_that_another_sign_in_ended_at_once_is_replaced(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.options.one_session = True
    slow = cloud.faults.add("slow", step="acs", delay=0.5)
    with ThreadPoolExecutor(1) as pool:
        ours = pool.submit(provider, None, None)
        while not slow.fired:
            threading.Event().wait(0.01)
        provider_of(settings_of(cloud))._sign_in()  # somebody else's, of the same account
        assert ours.result()[0]
    ours_and_theirs = [("sign_in", 200), ("sign_in", 200), ("acs", 401), ("sign_in", 200), ("acs", 200)]
    assert steps(cloud) == ours_and_theirs


def test_a_session_that_is_ended_over_and_over_is_given_up(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.faults.add(401, step="acs", times=None)
    with pytest.raises(AylaAccessDenied, match="nothing else signs in"):
        provider(None, None)
    assert cloud.sign_ins == 6


def test_a_401_for_another_role_is_not_taken_for_an_ended_session(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.account.role = "EndUser"
    cloud.faults.add(401, step="acs", times=None)
    with pytest.raises(AylaAccessDenied, match="'EndUser'"):
        provider(None, None)
    assert cloud.sign_ins == 1


def test_a_token_that_seems_to_end_soon_is_reported_as_a_wrong_clock(
    cloud: LocalCloud, provider: TokenProvider
) -> None:
    cloud.options.storage_token_life = timedelta(seconds=-3600)
    with pytest.raises(AylaUnavailable, match="Check the clock"):
        provider(None, None)


def test_every_secret_is_handed_over_to_be_masked(cloud: LocalCloud) -> None:
    secrets: list[str] = []
    token, _ = provider_of(settings_of(cloud), on_secret=secrets.append)(None, None)
    assert len(secrets) == 3
    assert token in secrets
    signed_in = requests.get(
        settings_of(cloud).acs_url, headers={"Authorization": f"auth_token {secrets[0]}"}, timeout=5
    )
    assert signed_in.status_code == 200


def _echoed_password(cloud: LocalCloud) -> None:
    body = json.dumps({"error": {"message": f"no {cloud.account.password} for {cloud.account.app_secret}"}})
    cloud.faults.add(401, step="sign_in", body=body, content_type="application/json")


SCENES: dict[str, Callable[[LocalCloud], Any]] = {
    "echo": _echoed_password,
    "mfa": lambda cloud: setattr(cloud.account, "mfa", True),
    "role": lambda cloud: setattr(cloud.account, "role", "OEM::Staff"),
    "lost sign-in": lambda cloud: cloud.faults.add("cut", step="sign_in"),
    "lost token": lambda cloud: cloud.faults.add("cut", step="acs", times=None),
    "killed": lambda cloud: cloud.faults.add(401, step="acs", times=None),
    "clock": lambda cloud: setattr(cloud.options, "storage_token_life", timedelta(minutes=-1)),
    "odd refusal": lambda cloud: cloud.faults.add(418, step="acs"),
    "list 403": lambda cloud: cloud.faults.add(403, step="list", times=None),
    "list 401": lambda cloud: cloud.faults.add(401, step="list", times=None),
    "redirected": lambda cloud: cloud.faults.add(302, step="list", times=None),
    "nothing": lambda cloud: None,
}


@pytest.mark.parametrize("scene", SCENES)
def test_no_error_and_no_log_contains_a_secret(cloud: LocalCloud, caplog: pytest.LogCaptureFixture, scene: str) -> None:
    caplog.set_level(logging.DEBUG, logger="ayla_provider")
    SCENES[scene](cloud)
    settings = settings_of(cloud)
    secrets = [settings.password, settings.app_secret]
    provider = provider_of(settings, on_secret=secrets.append)
    export = export_of(cloud, provider)
    texts = [repr(settings)]
    for _ in range(2):
        try:
            export.event_folders()
        except AylaError as error:
            texts += [str(error), repr(error), *traceback.format_exception(error)]
    client_of(export).close()
    assert (len(texts) > 1) == (scene != "nothing")
    texts += [repr(provider._session), repr(provider._token)]
    ours = [one for one in caplog.records if one.name.startswith("ayla_provider")]
    texts += [f"{one.getMessage()} {one.args} {one.exc_text}" for one in ours]
    text = "\n".join(texts)
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize("token", ["secret\n", "se\r\ncret"])
def test_an_access_token_that_is_not_valid_in_a_header_is_not_shown(cloud: LocalCloud, token: str) -> None:
    body = json.dumps({"access_token": token, "refresh_token": "b" * 32, "role": "OEM::Admin"})
    cloud.faults.add(200, step="sign_in", times=None, body=body)
    with pytest.raises(AylaError) as failed:
        provider_of(settings_of(cloud))(None, None)
    assert "cret" not in str(failed.value)


def test_a_token_of_a_minute_is_used_while_it_lasts(cloud: LocalCloud, export: Export) -> None:
    cloud.options.storage_token_life = timedelta(seconds=60)
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"x")
    assert export.event_folders() == {"datapoint": "Datapoint"}
    assert export.event_folders() == {"datapoint": "Datapoint"}
    assert cloud.sign_ins == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, '{"error": "Invalid password"}'),
        (200, '{"error": {"message": "Invalid password"}}'),
        (200, '{"message": "Invalid password"}'),
        (200, '{"status": "failed"}'),
        *(
            (200, body)
            for body in ("{}", "[]", "null", '"Invalid"', '[{"error": "bad"}]', '{"access_token": {"a": 1}}')
        ),
        (404, '{"message": "Invalid password"}'),
        (404, '{"detail": "Invalid password"}'),
        (400, '{"detail": "Invalid password"}'),
        (400, '{"errors": ["Invalid password"]}'),
        (400, '{"errors": [{"message": "Invalid password"}]}'),
        (422, '{"errors": {"email": ["is unknown"]}}'),
        *((403, body) for body in ("", "Forbidden", '{"detail": "locked"}', '{"error": true}')),
        *((423, body) for body in ("", '{"status": "locked"}')),
    ],
)
def test_a_refusal_in_another_form_is_a_refusal_and_remembered(cloud: LocalCloud, status: int, body: str) -> None:
    cloud.faults.add(status, step="sign_in", times=None, body=body, content_type="application/json")
    for _ in range(6):
        with pytest.raises(AylaSignInRefused, match="refused the sign-in"):
            provider_of(settings_of(cloud))(None, None)
    assert len(requests_of(cloud, "sign_in")) == 1


@pytest.mark.parametrize(("status", "body"), [(400, '{"errors": [{"message": "w"}]}'), (404, '{"detail": "w"}')])
def test_the_words_of_a_refusal_in_another_form_are_quoted(cloud: LocalCloud, status: int, body: str) -> None:
    cloud.faults.add(status, step="sign_in", body=body, content_type="application/json")
    with pytest.raises(AylaSignInRefused, match=f'\\({status}, "w"\\)'):
        provider_of(settings_of(cloud))(None, None)


@pytest.mark.parametrize("form", ["epoch", "milliseconds", "http", "suffix"])
def test_an_expiration_that_is_unambiguous_is_read(cloud: LocalCloud, provider: TokenProvider, form: str) -> None:
    expires = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    written = {
        "epoch": expires.timestamp(),
        "milliseconds": expires.timestamp() * 1000,
        "http": f"{expires:%a, %d %b %Y %H:%M:%S} GMT",
        "suffix": f"{expires:%Y-%m-%d %H:%M:%S} UTC",
    }[form]
    cloud.faults.add(200, step="acs", body=json.dumps({"tokenValue": "ya29.dr.x", "expirationTime": written}))
    assert provider(None, None)[1] == expires.replace(tzinfo=None)


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_an_answer_without_the_expected_keys_is_shown(cloud: LocalCloud, provider: TokenProvider, name: str) -> None:
    cloud.faults.add(200, step="acs", body=json.dumps({name: "ya29.dr.5ecret", "expires": 1}))
    with pytest.raises(AylaUnavailable, match=f"expected tokenValue .* found '{name}', 'expires'") as failed:
        provider(None, None)
    assert "5ecret" not in str(failed.value)


@pytest.mark.parametrize(
    ("value", "expires", "field"),
    [
        ("ya29.dr.5ecret", "1795906189", "expirationTime"),
        ("ya29.dr.5ecret", 1e300, "expirationTime"),
        ("ya29.dr.5ecret", 3600, "expirationTime"),
        ("ya29.dr.5e cret", "2199-01-01T00:00:00Z", "tokenValue"),
        (None, None, "tokenValue and expirationTime"),
    ],
)
def test_an_odd_value_of_an_expected_key_is_named(
    cloud: LocalCloud, provider: TokenProvider, value: object, expires: object, field: str
) -> None:
    body = json.dumps({"tokenValue": value, "expirationTime": expires})
    cloud.faults.add(200, step="acs", body=body, content_type="application/json")
    with pytest.raises(AylaUnavailable, match=f"but can't read the value of {field}. Check") as failed:
        provider(None, None)
    assert "found" not in str(failed.value)
    assert "temporary" not in str(failed.value)
    assert "cret" not in str(failed.value)


def test_an_explanation_of_the_credentials_service_is_quoted(cloud: LocalCloud, provider: TokenProvider) -> None:
    cloud.faults.add(400, step="acs", times=None, body='{"message": "unknown tenant"}', content_type="application/json")
    with pytest.raises(AylaUnavailable, match='400, "unknown tenant"'):
        provider(None, None)


@pytest.mark.parametrize("odd", ["9" * 5000, "Wed, 21 Oct 999999999 07:28:00 GMT", "soon"])
def test_an_odd_retry_after_is_ignored(odd: str) -> None:
    class Answer:
        status = 503
        headers = {"Retry-After": odd}  # noqa: RUF012

    assert auth._PatientRetry().get_retry_after(Answer()) is None


def test_a_short_token_does_not_become_a_mask(cloud: LocalCloud) -> None:
    masked: list[str] = []
    body = {"access_token": "datapoint", "refresh_token": "quarantined", "role": auth.ROLE}
    cloud.faults.add(200, step="sign_in", body=json.dumps(body))
    cloud.faults.add(200, step="acs", body=json.dumps({"tokenValue": "overdue", "expirationTime": 4e9}))
    assert provider_of(settings_of(cloud), on_secret=masked.append)(None, None)[0] == "overdue"
    assert masked == []


@pytest.mark.parametrize("kind", [400, 401, 403, 500, 302, 200, "refused", "bomb"])
def test_the_query_of_the_credentials_service_is_sent_and_in_no_error(cloud: LocalCloud, kind: int | str) -> None:
    url = f"{cloud.ayla_connection()['extra']['acs_url']}?tenant=5ecret"
    cloud.faults.add(kind, step="acs", times=None, body='{"message": "not now"}', content_type="application/json")
    with pytest.raises(AylaError) as failed:
        provider_of(settings_of(cloud, acs_url=url))(None, None)
    assert {request.query for request in requests_of(cloud, "acs")} == {"tenant=5ecret"}
    assert "5ecret" not in str(failed.value)


@pytest.mark.parametrize("status", [200, 400])
def test_an_unusable_answer_that_does_not_change_ends_the_wait(
    cloud: LocalCloud, provider: TokenProvider, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(auth.time, "monotonic", lambda: clock[0])

    def ask(words: str) -> AylaError:
        body = json.dumps({"token": "ya29.dr.5ecret", "message": words})
        cloud.faults.add(status, step="acs", body=body, content_type="application/json")
        with pytest.raises(AylaError, match=words) as failed:
            provider(None, None)
        return failed.value

    assert isinstance(ask("no such tenant"), AylaUnavailable)
    clock[0] += 2000
    assert isinstance(ask("another answer to request 1"), AylaUnavailable)
    clock[0] += 2000
    assert isinstance(ask("another answer to request 22"), AylaUnavailable)
    clock[0] += 2000
    last = ask("another answer to request 3f2c8a11-90")
    assert isinstance(last, AylaConfigError)
    assert "same answer for 67 minutes" in str(last)
    assert "Airflow retries" not in str(last)
    assert provider(None, None)[0], "a good answer ends it"
    clock[0] += 4000
    assert isinstance(ask("another answer"), AylaUnavailable)

"""From a connection to a signed-in session: tenants, roles, proxies and certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaError, AylaSignInRefused, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source import auth
from ayla_provider.source.export import Export
from ayla_provider.source.gcs import GcsSource
from ayla_provider.source.settings import AylaSettings
from ayla_provider.transport.cloud_storage import storage_client
from ayla_provider.transport.http import HttpClient
from tests.local_cloud.proxy import Seen, proxy
from tests.support.client import provider_of, requests_of, settings_of
from tests.support.web_server import Answering

StartServer = Callable[..., Answering]

PROXY_PASSWORD = "p@ss/w%rd"
WANTED = f"agent:{PROXY_PASSWORD}"
WRITTEN = f"agent:{quote(PROXY_PASSWORD, safe='')}"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def tls_of(ca: trustme.CA, folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    made, certificate, key = ca.issue_cert(name), folder / "certificate.pem", folder / "key.pem"
    made.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    return certificate, key


@pytest.fixture
def tls_cloud(ca: trustme.CA, tmp_path: Path) -> Iterator[LocalCloud]:
    with LocalCloud(tls=tls_of(ca, tmp_path)) as cloud:
        cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"x")
        yield cloud


@pytest.fixture
def seen() -> Iterator[Seen]:
    with proxy() as seen:
        yield seen


def look(settings: AylaSettings) -> dict[str, str]:
    """Go through all that a connection leads to: user service, ACS, Cloud Storage."""
    source = GcsSource(
        provider_of(settings).credentials(),
        settings.bucket,
        endpoint=settings.storage_endpoint,
        network=settings.network,
    )
    with closing(source.client):
        return Export(source, f"{settings.oem_id}/").event_folders()


def message_of(settings: AylaSettings, kind: type[AylaError] = AylaUnavailable) -> str:
    """Return what is said of a connection that leads nowhere, and make sure that it shows no secret."""
    with pytest.raises(kind) as failed:
        look(settings)
    text, one = "", failed.value
    parts: list[BaseException | None] = [one, one.__cause__, None if one.__suppress_context__ else one.__context__]
    for part in parts:
        text += f"{part} {part!r}"
    assert [secret for secret in settings.secrets if secret in text] == []
    return str(one)


def steps(cloud: LocalCloud) -> list[str]:
    return [one.step for one in requests_of(cloud, "sign_in", "acs", "list")]


# Tenants that are gone


def test_a_host_without_an_address_is_reported(cloud: LocalCloud) -> None:
    said = message_of(settings_of(cloud, host="https://user-field-gone.invalid"))
    assert "user-field-gone.invalid has no address" in said
    assert "Check the address in the connection" in said
    assert cloud.requests == []


@pytest.mark.parametrize("change", ["host", "acs_url", "storage_endpoint"])
def test_a_host_that_refuses_connections_is_reported(cloud: LocalCloud, change: str) -> None:
    with LocalCloud() as gone:
        url = gone.url
    said = message_of(settings_of(cloud, **{change: url}))
    assert f"{url.removeprefix('http://')} refuses connections" in said


def test_a_cloud_that_comes_back_is_signed_in_to(cloud: LocalCloud) -> None:
    provider = provider_of(settings_of(cloud))
    with cloud.not_listening(), pytest.raises(AylaUnavailable, match="refuses connections"):
        provider(None, None)
    assert provider(None, None)[0]
    assert steps(cloud) == ["sign_in", "acs"]


@pytest.mark.parametrize("status", [200, 403, 404, 410])
def test_a_web_page_instead_of_the_user_service_is_not_a_refusal(cloud: LocalCloud, status: int) -> None:
    cloud.options.web_page = status
    settings = settings_of(cloud)
    for _ in range(2):
        with pytest.raises(AylaUnavailable, match="Ayla's user service did not answer at") as failed:
            provider_of(settings)(None, None)
        assert f"{cloud.url}/users/sign_in.json ({status} with a web page)" in str(failed.value)
        assert "Check host (or region)" in str(failed.value)
    assert [one.status for one in requests_of(cloud, "sign_in")] == [status] * 2, "it isn't remembered as refused"
    cloud.options.web_page = None
    assert provider_of(settings)(None, None)[0]


@pytest.mark.parametrize("body", ['{"status": 404, "error": "Not Found"}', "{}", "", "no such app"])
def test_a_404_without_the_vendors_words_does_not_mean_a_wrong_app_id(cloud: LocalCloud, body: str) -> None:
    cloud.faults.add(404, step="sign_in", body=body, content_type="application/json")
    with pytest.raises(AylaUnavailable, match="Ayla's user service did not answer"):
        provider_of(settings_of(cloud))(None, None)


@pytest.mark.parametrize("status", [403, 404])
def test_a_web_page_in_the_place_of_the_credentials_service_names_its_field(cloud: LocalCloud, status: int) -> None:
    cloud.faults.add(status, step="acs", body="<html>Welcome</html>", content_type="text/html")
    with pytest.raises(AylaUnavailable, match=r"Ayla's credentials service did not answer .* Check acs_url"):
        provider_of(settings_of(cloud))(None, None)


# Accounts that may not


@pytest.mark.parametrize(
    ("status", "words", "what"),
    [
        (404, "Could not find application", "app_id or app_secret are unknown there"),
        (403, "Forbidden", "may not sign in to this application"),
        (401, "Invalid email or password", "the e-mail or password"),
    ],
)
def test_a_refusal_says_which_field_it_is_about_and_is_remembered(
    cloud: LocalCloud, status: int, words: str, what: str
) -> None:
    cloud.faults.add(status, step="sign_in", times=None, body=f'{{"error": "{words}"}}')
    for _ in range(2):
        with pytest.raises(AylaSignInRefused, match=f'"{words}".*{what}'):
            provider_of(settings_of(cloud))(None, None)
    assert len(requests_of(cloud, "sign_in")) == 1


def test_a_refusal_in_spite_of_the_right_role_looks_elsewhere(cloud: LocalCloud) -> None:
    cloud.faults.add(403, step="acs", times=None)
    with pytest.raises(AylaAccessDenied, match=r"as required.*data export is switched on"):
        provider_of(settings_of(cloud))(None, None)


def test_a_code_for_a_second_factor_is_recognised_without_its_flag(cloud: LocalCloud) -> None:
    cloud.faults.add(200, step="sign_in", body='{"auth_code": "0123"}')
    with pytest.raises(AylaSignInRefused, match="app_id without MFA") as refused:
        provider_of(settings_of(cloud))(None, None)
    assert "0123" not in str(refused.value)


# Proxies


def by_connection(seen: Seen, user: str = "") -> dict[str, str]:
    return {"proxy": f"http://{user + '@' if user else ''}{seen.address}"}


@pytest.mark.parametrize("where", ["connection", "environment"])
def test_all_services_are_reached_through_the_proxy_by_tunnels(
    tls_cloud: LocalCloud, ca_file: str, seen: Seen, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    seen.wanted = WANTED
    changes = {"ca_file": ca_file}
    if where == "connection":
        changes |= by_connection(seen, WRITTEN)
    else:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{WRITTEN}@{seen.address}")
    settings = settings_of(tls_cloud, **changes)
    assert look(settings) == {"datapoint": "Datapoint"}
    assert steps(tls_cloud) == ["sign_in", "acs", "list"]
    assert set(seen.asked) == {f"CONNECT {tls_cloud.url.removeprefix('https://')}"}
    assert len(seen.asked) == 2, "one connection for the sign-in and its token, and one for Cloud Storage"
    assert not any("Authorization" in name and "Proxy" not in name for one in seen.headers for name in one)


@pytest.mark.parametrize("where", ["connection", "environment"])
def test_plain_http_goes_through_the_proxy_too(
    cloud: LocalCloud, seen: Seen, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "environment":
        monkeypatch.setenv("HTTP_PROXY", f"http://{seen.address}")
    look(settings_of(cloud, **(by_connection(seen) if where == "connection" else {})))
    paths = ["/users/sign_in.json", "/credentials/", "/storage/v1/b/"]
    assert len(seen.asked) == 3
    assert all(path in asked for path, asked in zip(paths, seen.asked, strict=True))


def test_a_download_goes_through_the_connections_proxy(tls_cloud: LocalCloud, ca_file: str, seen: Seen) -> None:
    settings = settings_of(tls_cloud, ca_file=ca_file, **by_connection(seen))
    http = HttpClient(provider_of(settings).credentials(), settings.network)
    url = f"{tls_cloud.url}/download/storage/v1/b/{tls_cloud.vendor.name}/o/"
    name = quote(f"{tls_cloud.oem_id}/Datapoint/2024-05-09 02:00:00/a.csv", safe="")
    assert http.request("GET", f"{url}{name}?alt=media", timeout=(5, 5)).data == b"x"
    assert len(seen.asked) == 2
    assert steps(tls_cloud) == ["sign_in", "acs"]
    http.close()


def test_the_connections_proxy_goes_before_the_environments(
    cloud: LocalCloud, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy() as other:
        monkeypatch.setenv("HTTP_PROXY", f"http://{other.address}")
        look(settings_of(cloud, **by_connection(seen)))
    assert (len(seen.asked), other.asked) == (3, [])


@pytest.mark.parametrize("where", ["connection", "environment"])
def test_hosts_in_no_proxy_go_without(
    cloud: LocalCloud, seen: Seen, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HTTP_PROXY", f"http://{seen.address}")
    look(settings_of(cloud, **(by_connection(seen) if where == "connection" else {})))
    assert seen.asked == []
    assert steps(cloud) == ["sign_in", "acs", "list"]


@pytest.mark.parametrize("user", ["", "agent:wrong"])
@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("where", ["connection", "environment"])
def test_a_proxy_that_rejects_the_password_is_asked_once_and_reported(
    request: pytest.FixtureRequest,
    ca_file: str,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
    tls: bool,
    user: str,
    where: str,
) -> None:
    cloud: LocalCloud = request.getfixturevalue("tls_cloud" if tls else "cloud")
    seen.wanted = WANTED
    changes = {"ca_file": ca_file}
    if where == "connection":
        changes |= by_connection(seen, user)
    else:
        monkeypatch.setenv("HTTPS_PROXY" if tls else "HTTP_PROXY", by_connection(seen, user)["proxy"])
    said = message_of(settings_of(cloud, **changes), AylaConfigError)
    assert f"the proxy {seen.address}" in said
    assert "407" in said
    assert ("proxy in the connection" if where == "connection" else "_PROXY (or ALL_PROXY) in the environment") in said
    assert "wrong" not in said
    assert len(seen.asked) == 1
    assert cloud.requests == []


def test_a_proxy_that_refuses_only_for_storage_is_reported_at_once(
    tls_cloud: LocalCloud, ca_file: str, seen: Seen
) -> None:
    settings = settings_of(tls_cloud, ca_file=ca_file)
    seen.wanted = WANTED
    behind = settings_of(tls_cloud, ca_file=ca_file, **by_connection(seen, "agent:wrong")).network
    source = GcsSource(
        provider_of(settings).credentials(),
        settings.bucket,
        endpoint=settings.storage_endpoint,
        network=behind,
    )
    with closing(source.client), pytest.raises(AylaConfigError, match="407"):
        Export(source, f"{settings.oem_id}/").event_folders()
    assert len(seen.asked) == 1


@pytest.mark.parametrize(("status", "words"), [(403, "to allow this host"), (502, "doesn't reach")])
def test_a_proxy_that_does_not_reach_the_host_is_reported(
    tls_cloud: LocalCloud, ca_file: str, seen: Seen, status: int, words: str
) -> None:
    seen.refuses = status
    said = message_of(settings_of(tls_cloud, ca_file=ca_file, **by_connection(seen)))
    assert words in said
    assert f"the proxy {seen.address} (proxy in the connection)" in said
    assert str(status) in said
    assert tls_cloud.url.removeprefix("https://") in said


@pytest.mark.parametrize("where", ["connection", "environment"])
def test_a_proxy_that_does_not_exist_is_reported(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with proxy() as gone:
        url = f"http://{WRITTEN}@{gone.address}"
    monkeypatch.setenv("HTTP_PROXY", url)
    said = message_of(settings_of(cloud, **({"proxy": url} if where == "connection" else {})))
    assert f"the proxy {gone.address}" in said
    assert "refuses connections" in said
    assert WRITTEN not in said
    assert cloud.requests == []


@pytest.mark.parametrize(
    "url", [f"http://{WRITTEN}@host:port", f"http://{WRITTEN}@[::1", f"http://{WRITTEN}@host:99999"]
)
def test_a_malformed_proxy_in_the_environment_is_reported_without_its_password(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", url)
    with pytest.raises(AylaConfigError, match="HTTP_PROXY") as failed:
        provider_of(settings_of(cloud))(None, None)
    assert WRITTEN not in f"{failed.value!r} {failed.value.__context__!r}"


# Certificates


@pytest.mark.parametrize("where", ["connection", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_ca_is_trusted_by_all_services(
    tls_cloud: LocalCloud, ca_file: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where != "connection":
        monkeypatch.setenv(where, ca_file)
    assert look(settings_of(tls_cloud, **({"ca_file": ca_file} if where == "connection" else {})))
    assert steps(tls_cloud) == ["sign_in", "acs", "list"]


def test_the_connections_ca_goes_before_the_environments(
    tls_cloud: LocalCloud, ca_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    assert look(settings_of(tls_cloud, ca_file=ca_file))


def test_an_unknown_ca_is_reported_with_what_to_set(tls_cloud: LocalCloud) -> None:
    said = message_of(settings_of(tls_cloud))
    assert f"{tls_cloud.url.removeprefix('https://')} presents a certificate that can't be verified" in said
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "ca_file of the connection" in said
    assert "REQUESTS_CA_BUNDLE" in said
    assert tls_cloud.requests == []


@pytest.mark.parametrize("change", ["acs_url", "storage_endpoint"])
def test_an_unknown_ca_of_only_one_service_is_reported(cloud: LocalCloud, tls_cloud: LocalCloud, change: str) -> None:
    said = message_of(settings_of(cloud, **{change: tls_cloud.url}))
    assert tls_cloud.url.removeprefix("https://") in said
    assert "ca_file" in said
    assert tls_cloud.requests == []


def test_a_certificate_for_a_different_name_is_reported(ca: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    with LocalCloud(tls=tls_of(ca, tmp_path, "user.example.com")) as cloud:
        said = message_of(settings_of(cloud, ca_file=ca_file))
        assert "certificate for a different name" in said
        assert "Check the address in the connection" in said
        assert cloud.requests == []


def test_the_verification_cant_be_switched_off(tls_cloud: LocalCloud) -> None:
    provider = provider_of(settings_of(tls_cloud))
    client = storage_client(provider.credentials(), tls_cloud.url)
    client._http.verify = False
    with closing(client), pytest.raises(AylaUnavailable, match="can't be switched off"):
        list(client.list_blobs("a-bucket"))
    assert tls_cloud.requests == []


def test_a_ca_bundle_of_the_environment_that_is_not_there_is_named(
    tls_cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    assert f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE in the environment names {tmp_path}/gone.pem" in message_of(
        settings_of(tls_cloud), AylaConfigError
    )


def test_a_proxy_with_a_certificate_that_isnt_trusted_is_named(
    tls_cloud: LocalCloud, ca_file: str, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls_of(trustme.CA(), tmp_path / "proxy"))
    with proxy(context) as seen:
        said = message_of(settings_of(tls_cloud, ca_file=ca_file, proxy=f"https://{seen.address}"))
    assert f"the proxy {seen.address} (proxy in the connection) presents a certificate" in said


def test_a_plain_server_at_an_https_address_is_reported(cloud: LocalCloud) -> None:
    said = message_of(settings_of(cloud, host=cloud.url.replace("http:", "https:")))
    assert "didn't answer (SSLError" in said


# Passwords of the machine


def test_a_netrc_does_not_take_the_place_of_a_token(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    look(settings_of(cloud))
    assert [one.status for one in requests_of(cloud, "sign_in", "acs", "list")] == [200, 200, 200]


def test_a_changed_way_makes_another_provider(cloud: LocalCloud, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_PROVIDERS", {})
    plain, behind = settings_of(cloud), settings_of(cloud, **by_connection(seen))
    made: list[Any] = [auth.shared_provider(one, lambda one=one: provider_of(one)) for one in (plain, behind, plain)]  # type: ignore[misc]
    assert made[0] is made[2]
    assert made[0] is not made[1]

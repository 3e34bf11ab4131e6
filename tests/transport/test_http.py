"""One rule for requests and urllib3: proxies, CAs, user agent, redirects and tokens."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import trustme
from google.oauth2.credentials import Credentials
from urllib3.exceptions import ProtocolError

from ayla_provider import __version__
from ayla_provider.errors import AylaConfigError, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.transport.http import HttpClient
from ayla_provider.transport.network import Network
from ayla_provider.transport.requests_session import configure
from tests.local_cloud.proxy import Seen, proxy
from tests.source.test_sign_in import tls_of
from tests.support.client import provider_of, requests_of, settings_of
from tests.support.web_server import Answering

StartServer = Callable[..., Answering]
TIMEOUT = (5.0, 5.0)
PASSWORD = "p@ss/w%rd"
WITH_PASSWORD = f"agent:{quote(PASSWORD, safe='')}"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def seen() -> Iterator[Seen]:
    with proxy() as seen:
        yield seen


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_cloud(ca: trustme.CA, tmp_path: Path) -> Iterator[LocalCloud]:
    with LocalCloud(tls=tls_of(ca, tmp_path / "server")) as cloud:
        yield cloud


def with_requests(url: str, network: Network) -> int:
    with requests.Session() as session:
        configure(session, network)
        return session.get(url, timeout=TIMEOUT).status_code


def with_urllib3(url: str, network: Network) -> int:
    with closing(HttpClient(Credentials(token="a-token"), network)) as http:
        return http.request("GET", url, timeout=TIMEOUT).status


@pytest.fixture(params=[with_requests, with_urllib3], ids=["requests", "urllib3"])
def get(request: pytest.FixtureRequest) -> Callable[[str, Network], int]:
    """Sends a request, and returns the status of the answer."""
    made: Callable[[str, Network], int] = request.param
    return made


@pytest.mark.parametrize("where", ["setting", "environment"])
@pytest.mark.parametrize("tls", [True, False])
def test_a_proxy_with_a_password_is_used(
    request: pytest.FixtureRequest,
    ca: trustme.CA,
    seen: Seen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    get: Callable[[str, Network], int],
    where: str,
    tls: bool,
) -> None:
    cloud: LocalCloud = request.getfixturevalue("tls_cloud" if tls else "cloud")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    seen.wanted = f"agent:{PASSWORD}"
    url = f"http://{WITH_PASSWORD}@{seen.address}"
    if where == "environment":
        monkeypatch.setenv("HTTPS_PROXY" if tls else "HTTP_PROXY", url)
    network = Network(proxy=url if where == "setting" else None, ca_file=str(tmp_path / "ca.pem"))
    assert get(f"{cloud.url}/nothing", network) == 404
    host = cloud.url.partition("://")[2]
    assert seen.asked == [f"CONNECT {host}" if tls else f"GET {cloud.url}/nothing"]


def test_a_proxy_without_a_scheme_is_an_http_proxy(
    cloud: LocalCloud, seen: Seen, monkeypatch: pytest.MonkeyPatch, get: Callable[[str, Network], int]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", seen.address)
    assert get(f"{cloud.url}/nothing", Network()) == 404
    assert len(seen.asked) == 1


@pytest.mark.parametrize("where", ["setting", "environment"])
def test_a_host_in_no_proxy_is_reached_directly(
    cloud: LocalCloud, seen: Seen, monkeypatch: pytest.MonkeyPatch, get: Callable[[str, Network], int], where: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HTTP_PROXY", f"http://{seen.address}")
    assert get(f"{cloud.url}/nothing", Network(proxy=f"http://{seen.address}" if where == "setting" else None)) == 404
    assert seen.asked == []


@pytest.mark.parametrize("tls", [True, False])
def test_a_proxy_that_rejects_the_password_is_asked_once(
    request: pytest.FixtureRequest,
    ca: trustme.CA,
    seen: Seen,
    tmp_path: Path,
    get: Callable[[str, Network], int],
    tls: bool,
) -> None:
    cloud: LocalCloud = request.getfixturevalue("tls_cloud" if tls else "cloud")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    seen.wanted = "agent:right"
    network = Network(proxy=f"http://agent:wrong@{seen.address}", ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(AylaConfigError, match="407") as failed:
        get(f"{cloud.url}/nothing", network)
    assert len(seen.asked) == 1
    assert "wrong" not in f"{failed.value!r} {failed.value.__cause__!r} {failed.value.__context__!r}"


def test_a_proxy_that_does_not_answer_is_a_temporary_failure_without_a_password(cloud: LocalCloud) -> None:
    with proxy() as gone:
        network = Network(proxy=f"http://{WITH_PASSWORD}@{gone.address}")
    with pytest.raises(ProtocolError, match=f"the proxy {gone.address}.*refuses connections") as failed:
        with_urllib3(f"{cloud.url}/nothing", network)
    assert WITH_PASSWORD not in f"{failed.value!r} {failed.value.__cause__!r} {failed.value.__context__!r}"
    with pytest.raises(requests.exceptions.ProxyError, match=f"the proxy {gone.address}.*refuses connections"):
        with_requests(f"{cloud.url}/nothing", network)


@pytest.mark.parametrize("where", ["setting", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_ca_is_trusted(
    ca: trustme.CA,
    tls_cloud: LocalCloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    get: Callable[[str, Network], int],
    where: str,
) -> None:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(file)
    if where != "setting":
        monkeypatch.setenv(where, str(file))
    assert get(f"{tls_cloud.url}/nothing", Network(ca_file=str(file) if where == "setting" else None)) == 404


def test_a_server_with_an_unknown_ca_gets_nothing(tls_cloud: LocalCloud, get: Callable[[str, Network], int]) -> None:
    with pytest.raises(AylaUnavailable, match="can't be verified with the public CAs"):
        get(f"{tls_cloud.url}/nothing", Network())
    assert tls_cloud.requests == []


def test_the_user_agent_names_the_package(answering: StartServer, get: Callable[[str, Network], int]) -> None:
    server = answering(200)
    get(server.url, Network())
    ((_, headers, _),) = server.received
    assert headers["User-Agent"] == f"airflow-provider-ayla/{__version__}"


# What urllib3 alone does


def test_a_redirect_is_an_answer_like_any_other(answering: StartServer) -> None:
    other = answering(200)
    server = answering(302, Location=other.url)
    assert with_urllib3(server.url, Network()) == 302
    assert other.received == []


def test_an_answer_has_the_time_that_it_is_given_however_short_a_connection_may_take(cloud: LocalCloud) -> None:
    cloud.faults.add("slow", step="list", delay=0.5, times=None)
    url = f"{cloud.url}/storage/v1/b/{cloud.vendor.name}/o?prefix={cloud.oem_id}/"
    with closing(HttpClient(provider_of(settings_of(cloud)).credentials())) as http:
        assert http.request("GET", url, timeout=(0.2, 20)).status == 200
        with pytest.raises(ProtocolError, match="didn't answer"):
            http.request("GET", url, timeout=(20, 0.2))


def test_packed_content_stays_packed(answering: StartServer) -> None:
    text = "row\r\n" * 100
    server = answering(200, text, Content_Encoding="gzip")
    with closing(HttpClient(Credentials(token="a-token"))) as http:
        response = http.request("GET", server.url, timeout=TIMEOUT, stream=True)
        assert response.read(1000) == text.encode(), "it isn't unpacked, which would fail"
        response.close()


def test_a_401_gets_a_new_token_each_time_and_is_returned_if_it_stays(cloud: LocalCloud) -> None:
    calls = count(1)

    def new_token(request: Any, scopes: Any) -> tuple[str, datetime]:
        good, expiry = provider(request, scopes)
        return (good if next(calls) == 3 else "not a token of the cloud"), expiry

    provider = provider_of(settings_of(cloud))
    url = f"{cloud.url}/storage/v1/b/{cloud.vendor.name}/o?prefix={cloud.oem_id}/"
    with closing(HttpClient(Credentials(token=None, refresh_handler=new_token))) as http:  # type: ignore[no-untyped-call]
        assert http.request("GET", url, timeout=TIMEOUT).status == 200
    assert [one.status for one in requests_of(cloud, "list")] == [401, 401, 200]
    cloud.faults.add(401, step="list", times=None)
    with closing(HttpClient(provider.credentials())) as http:
        assert http.request("GET", url, timeout=TIMEOUT).status == 401


def test_a_copy_has_connections_of_its_own(cloud: LocalCloud) -> None:
    """google-auth copies what it uses in a thread of its own."""
    client = HttpClient(Credentials(token="a-token"))
    client.request("GET", f"{cloud.url}/nothing", timeout=TIMEOUT)
    request = copy.deepcopy(client._refresh_request)
    client.close()
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(request(f"{cloud.url}/nothing", timeout=5).status))
    thread.start()
    thread.join()
    assert statuses == [404]

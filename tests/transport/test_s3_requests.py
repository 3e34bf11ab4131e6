"""Signatures of requests to S3; botocore's signer is the oracle."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.transport.checksum import Crc32c
from ayla_provider.transport.http import Hosts
from ayla_provider.transport.network import Network
from ayla_provider.transport.s3_requests import S3Requests, _network_of, sign

boto3 = pytest.importorskip("boto3", reason="pip install apache-airflow-providers-amazon")

NOW = datetime(2026, 11, 1, 7, 5, 9, tzinfo=UTC)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(
    method=st.sampled_from(["GET", "PUT"]),
    path=st.sampled_from(["a.csv", "a%20b/%C3%A9%2B%2520~.csv", "event_type%3Dx/date=2024/x(1)'!*.csv"]),
    host=st.sampled_from(["bucket.s3.eu-west-1.amazonaws.com", "127.0.0.1:8333", "s3.example.com:9000"]),
    scheme=st.sampled_from(["http", "https"]),
    headers=st.dictionaries(st.sampled_from(["If-Match", "Content-Type", "x-amz-acl", "Range"]), VALUES),
    body=st.binary(max_size=20),
    token=st.none() | st.text("abc/+=", min_size=1),
    query=st.sampled_from(["", "?partNumber=10&uploadId=a-b_c.d~", "?partNumber=2&uploadId=a%2Fb%2Bc%3D%3D"]),
)
def test_a_request_is_signed_as_by_botocore(
    method: str, path: str, host: str, scheme: str, headers: dict[str, str], body: bytes, token: str | None, query: str
) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    credentials = ReadOnlyCredentials("AKID", "secret/+key", token)
    url = f"{scheme}://{host}/{path}{query}"
    request = AWSRequest(method, url, headers, data=body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        S3SigV4Auth(credentials, "s3", "eu-west-1").add_auth(request)
    sha256 = hashlib.sha256(body).hexdigest()
    signed = sign(credentials, method, url, headers, sha256, "eu-west-1", NOW)
    assert signed == {name: request.headers[name] for name in signed}
    assert len(signed) == len(request.headers)


def client(monkeypatch: pytest.MonkeyPatch, **settings: object) -> Any:
    from botocore.config import Config

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    verify, endpoint_url = settings.pop("verify", None), settings.pop("endpoint_url", None)
    return boto3.client(
        "s3",
        region_name="eu-west-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        verify=verify,
        endpoint_url=endpoint_url,
        config=Config(**settings),
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("signed", [None, True, False])
def test_the_signature_covers_the_content_where_botos_does(
    monkeypatch: pytest.MonkeyPatch, scheme: str, *, signed: bool | None
) -> None:
    from botocore.awsrequest import AWSResponse
    from botocore.credentials import ReadOnlyCredentials

    made = client(monkeypatch, endpoint_url=f"{scheme}://s3.example.com", s3={"payload_signing_enabled": signed})
    requests = S3Requests(made, "UploadPart")
    by_boto = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        by_boto.append((request.url, request.headers["X-Amz-Content-SHA256"].decode()))
        return AWSResponse(request.url, 200, {}, mock.Mock(stream=lambda: iter([b""])))

    made.meta.events.register("before-send.s3.UploadPart", answer)
    requests.through_boto("a b/é.csv")
    checksum = Crc32c(b"content").base64
    of_upload = {"Bucket": "a-bucket", "Key": "a b/é.csv", "PartNumber": 2, "UploadId": "a/b+c=="}
    made.upload_part(**of_upload, Body=b"content", ChecksumCRC32C=checksum)
    sent = []
    monkeypatch.setattr(
        Hosts, "request", lambda self, method, url, body, headers, *_, **__: sent.append((url, dict(headers)))
    )
    requests.send(
        ReadOnlyCredentials("a", "b", None),
        *("PUT", "a b/é.csv", {"x-amz-checksum-crc32c": checksum}, b"content"),
        query={"uploadId": "a/b+c==", "partNumber": "2"},
    )
    assert [(url, headers["X-Amz-Content-SHA256"]) for url, headers in sent] == [
        (f"{url.partition('?')[0]}?partNumber=2&uploadId=a%2Fb%2Bc%3D%3D", sha256) for url, sha256 in by_boto
    ]


URL = "https://bucket.s3.eu-west-1.amazonaws.com/key"


@pytest.mark.parametrize("proxies", [{"https": "http://proxy:3128"}, {"http": "http://proxy:3128"}])
def test_what_the_environment_says_of_proxies_does_not_replace_what_the_client_says(
    monkeypatch: pytest.MonkeyPatch, proxies: dict[str, str]
) -> None:
    made = client(monkeypatch, proxies=proxies)
    monkeypatch.setenv("HTTPS_PROXY", "http://other:3128")
    monkeypatch.setenv("NO_PROXY", "amazonaws.com" if "https" in proxies else "")
    assert _network_of(made, URL) is None


@pytest.mark.parametrize(
    ("settings", "network"),
    [
        ({}, Network()),
        ({"proxies": {"https": "http://user:pass@proxy:3128"}}, Network("http://user:pass@proxy:3128")),
        ({"proxies": {"http": "http://proxy:3128"}}, Network()),
        ({"verify": "/etc/ca.pem"}, Network(None, "/etc/ca.pem")),
        ({"verify": False}, None),
        ({"client_cert": "/etc/client.pem"}, None),
        ({"proxies_config": {"proxy_client_cert": "/etc/client.pem"}}, None),
    ],
)
def test_other_connections_have_the_clients_settings_or_are_not_made(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], network: Network | None
) -> None:
    assert _network_of(client(monkeypatch, **settings), URL) == network

"""The credentials that a Google connection has here are those that Airflow's own hook reads from it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.auth.exceptions import GoogleAuthError

from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.destinations import open_destination
from ayla_provider.errors import AylaDestinationError
from ayla_provider.local_cloud import LocalCloud

CONNECTION = "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"
URL = "gs://bucket/ayla"


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    with LocalCloud() as cloud:
        return cloud.service_account_key()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: dict[str, str]) -> None:
    """A machine with credentials of its own, and without other settings."""
    for name in ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE", "GOOGLE_CLOUD_UNIVERSE_DOMAIN"):
        monkeypatch.delenv(name, raising=False)
    own = tmp_path / "own.json"
    own.write_text(json.dumps(key | {"client_email": "machine@project.iam.gserviceaccount.com"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(own))


def connect(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    monkeypatch.setenv(CONNECTION, json.dumps({"conn_type": "google_cloud_platform", "extra": extra}))


def facts(credentials: Any, endpoint: str) -> dict[str, Any]:
    names = ("service_account_email", "scopes", "_scopes", "_target_principal", "quota_project_id", "_token_uri")
    found = {name: getattr(credentials, name, None) for name in names}
    # Some classes keep the list that they got, and some a tuple.
    found |= {name: list(found[name] or ()) for name in ("scopes", "_scopes")}
    return found | {"class": type(credentials), "endpoint": endpoint}


def ours() -> dict[str, Any]:
    destination = open_destination(URL)
    assert isinstance(destination, GcsDestination)
    endpoint = destination._bucket_url.removesuffix("/storage/v1/b/bucket")
    return facts(destination._http._credentials, endpoint)


def of_the_hook() -> dict[str, Any]:
    hook = GCSHook()
    return facts(hook.get_credentials(), hook.get_conn().api_endpoint)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="the machine's own"),
        pytest.param({"project": "another", "num_retries": 3}, id="the machine's own, in another project"),
        pytest.param({"keyfile_dict": "text"}, id="a key as text"),
        pytest.param({"keyfile_dict": "object"}, id="a key as an object"),
        pytest.param({"keyfile_dict": "escaped"}, id="a key with escaped newlines"),
        pytest.param({"key_path": "file"}, id="a key's file"),
        pytest.param({"extra__google_cloud_platform__key_path": "file"}, id="a key's file, as old versions wrote it"),
        pytest.param({"keyfile_dict": "text", "scope": "https://www.googleapis.com/auth/a"}, id="other scopes"),
        pytest.param({"keyfile_dict": "text", "impersonation_chain": "other@x.example"}, id="impersonation"),
        pytest.param({"keyfile_dict": "text", "quota_project_id": "another-project"}, id="another quota project"),
        pytest.param({"is_anonymous": True}, id="nobody"),
    ],
)
@pytest.mark.parametrize(
    "machine",
    [
        pytest.param({}, id="public cloud"),
        pytest.param({"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}, id="emulator"),
        pytest.param({"API_ENDPOINT_OVERRIDE": "http://127.0.0.1:8"}, id="another endpoint"),
    ],
)
def test_a_connection_means_what_it_means_to_airflows_hook(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    key: dict[str, str],
    extra: dict[str, Any],
    machine: dict[str, str],
) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key))
    escaped = key | {"private_key": key["private_key"].replace("\n", "\\n")}
    forms = {"text": json.dumps(key), "object": key, "escaped": json.dumps(escaped), "file": str(file)}
    connect(monkeypatch, **{name: forms.get(str(value), value) for name, value in extra.items()})
    for name, value in machine.items():
        monkeypatch.setenv(name, value)
    assert ours() == of_the_hook()


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"keyfile_dict": "{"}, id="no JSON"),
        pytest.param({"keyfile_dict": "[1]"}, id="no object"),
        pytest.param({"keyfile_dict": '{"type": "service_account"}'}, id="no key"),
        pytest.param({"key_path": "/nowhere/key.json"}, id="no file"),
        pytest.param({"key_path": "/nowhere/key.p12"}, id="another kind of file"),
        pytest.param({"key_path": "/nowhere/key.json", "keyfile_dict": "{}"}, id="two keys"),
    ],
)
def test_a_key_that_is_refused_is_refused_as_by_airflows_hook(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    connect(monkeypatch, **extra)
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - what it is, the hook decides
        of_the_hook()
    with pytest.raises(Exception) as own:  # noqa: PT011 - as above
        open_destination(URL)
    assert str(theirs.value) in str(own.value)
    expected = AylaDestinationError if isinstance(theirs.value, GoogleAuthError) else type(theirs.value)
    assert type(own.value) is expected


def pem_of(private: Any) -> str:
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem: bytes = private.private_bytes(serialization.Encoding.PEM, *plain)
    return pem.decode()


def with_a_flipped_bit(pem: str, name: str) -> str:
    """Damage one of the numbers of a key."""
    private = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    numbers = private.private_numbers()
    number = numbers.public_numbers.n if name == "n" else getattr(numbers, name)
    size = (number.bit_length() + 7) // 8
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    der = private.private_bytes(serialization.Encoding.DER, *plain)
    wrong = der.replace(number.to_bytes(size, "big"), (number ^ 0x100).to_bytes(size, "big"))
    assert wrong != der
    return f"-----BEGIN PRIVATE KEY-----\n{base64.encodebytes(wrong).decode()}-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("damage", ["n", "d", "p", "q", "dmp1", "dmq1", "iqmp", "cut off"])
@pytest.mark.parametrize("place", ["keyfile_dict", "key_path"])
def test_a_damaged_key_is_refused_as_by_airflows_hook(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: dict[str, str], damage: str, place: str
) -> None:
    pem = key["private_key"]
    damaged = key | {"private_key": pem[: len(pem) // 2] if damage == "cut off" else with_a_flipped_bit(pem, damage)}
    file = tmp_path / "key.json"
    file.write_text(json.dumps(damaged))
    connect(monkeypatch, **{place: str(file) if place == "key_path" else json.dumps(damaged)})
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - what it is, the hook decides
        of_the_hook()
    with pytest.raises(type(theirs.value)) as own:
        open_destination(URL)
    assert str(own.value) == str(theirs.value)


def test_another_kind_of_key_is_left_to_airflows_hook(monkeypatch: pytest.MonkeyPatch, key: dict[str, str]) -> None:
    connect(
        monkeypatch, keyfile_dict=json.dumps(key | {"private_key": pem_of(ec.generate_private_key(ec.SECP256R1()))})
    )
    assert ours() == of_the_hook()


def test_a_machine_without_credentials_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/own.json")
    with pytest.raises(AylaDestinationError, match="has no usable credentials"):
        open_destination(URL)

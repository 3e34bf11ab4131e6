from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.local_cloud.clients import object_url, sign_in

if TYPE_CHECKING:
    from ayla_provider.local_cloud import LocalCloud


def call(cloud: LocalCloud, method: str, path: str, body: Any = None) -> Any:
    answer = requests.request(method, f"{cloud.url}/_local/{path}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_stats_and_requests_leave_themselves_out(cloud: LocalCloud) -> None:
    sign_in(cloud)
    sign_in(cloud, password="wrong")
    stats = call(cloud, "GET", "stats")
    assert (stats["sign_ins"], stats["refusals"], stats["failures"]) == (1, 1, 1)
    assert stats["requests"] == {"sign_in": 2}
    first, second = call(cloud, "GET", "requests")
    assert (first["step"], first["method"], first["path"], first["query"]) == (
        "sign_in",
        "POST",
        "/users/sign_in.json",
        "",
    )
    assert (first["status"], second["status"]) == (200, 401)
    assert first["received"] > 0
    assert first["sent"] > 0
    call(cloud, "DELETE", "requests")
    assert call(cloud, "GET", "requests") == []


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Host": "evil.example:80"}],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_web_page_cannot_control_the_cloud(cloud: LocalCloud, method: str, headers: dict[str, str]) -> None:
    body = '{"password": "stolen"}' if method == "POST" else ""
    headers = {"Content-Type": "text/plain", **headers}
    answer = requests.request(method, f"{cloud.url}/_local/options", data=body, headers=headers, timeout=60)
    assert answer.status_code == 403
    assert sign_in(cloud).ok, "the password is the same"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:80"])
def test_its_own_names_are_accepted(cloud: LocalCloud, host: str) -> None:
    answer = requests.get(f"{cloud.url}/_local/options", headers={"Host": host}, timeout=60)
    assert answer.status_code == 200


def test_the_clock_is_set_stepped_and_released(cloud: LocalCloud) -> None:
    assert call(cloud, "POST", "clock", {"advance": 3600})["now"] == "2024-05-09T13:00:00+00:00"
    assert call(cloud, "POST", "clock", {"set": "2024-06-01T00:00:00+00:00"})["now"] == "2024-06-01T00:00:00+00:00"
    call(cloud, "POST", "clock", {"real": 0})
    assert abs(cloud.clock.wall() - cloud.clock.now() - timedelta(hours=1)) < timedelta(minutes=1)


def test_faults_are_added_listed_and_forgotten(cloud: LocalCloud) -> None:
    call(cloud, "POST", "faults", {"kind": 503, "step": "sign_in"})
    assert sign_in(cloud).status_code == 503
    (fault,) = call(cloud, "GET", "faults")
    assert (fault["kind"], fault["fired"]) == (503, 1)
    call(cloud, "DELETE", "faults")
    assert call(cloud, "GET", "faults") == []


def test_options_and_the_password_are_changed(cloud: LocalCloud) -> None:
    options = call(cloud, "POST", "options", {"one_session": True, "storage_token_life": 60, "password": "new"})
    assert (options["one_session"], options["storage_token_life"]) == (True, 60)
    assert "password" not in options
    assert cloud.account.password == "new"
    assert cloud.options.storage_token_life == timedelta(minutes=1)


def test_objects_are_put_and_removed(cloud: LocalCloud, vendor: requests.Session) -> None:
    where = {"event_folder": "Datapoint", "folder_name": "2024-05-09 02:00:00", "file": "a.csv"}
    data = base64.b64encode(b"one").decode()
    resource = call(cloud, "POST", "objects", {**where, "data_base64": data, "created": "2024-05-09T11:00:00+00:00"})
    assert resource["timeCreated"] == "2024-05-09T11:00:00.000Z"
    url = object_url(cloud, cloud.vendor.name, resource["name"])
    assert vendor.get(url).json()["size"] == "3"
    assert call(cloud, "POST", "objects", {**where, "seed": 1, "size": 5_000_000})["size"] == "5000000"
    call(cloud, "DELETE", "objects", where)
    assert vendor.get(url).status_code == 404
    call(cloud, "POST", "revoke", {"kinds": ["storage"]})
    assert vendor.get(url).status_code == 401


def test_an_unknown_field_of_a_fault_is_named_with_the_known_ones(cloud: LocalCloud) -> None:
    answer = requests.post(f"{cloud.url}/_local/faults", json={"kind": 503, "stp": "list"}, timeout=60)
    assert answer.json()["error"].startswith("ValueError: a fault has no stp: expected some of kind, step, match,")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", {}),
        ("clock", {"set": "noon"}),
        ("faults", {"kind": "explode"}),
        ("faults", {"kind": 503, "stp": "list"}),
        ("options", {"speed": 1}),
        ("objects", {}),
        ("revoke", {"kinds": ["x"]}),
    ],
)
def test_what_cannot_be_read_is_refused(cloud: LocalCloud, path: str, body: Any) -> None:
    answer = requests.post(f"{cloud.url}/_local/{path}", json=body, timeout=60)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)

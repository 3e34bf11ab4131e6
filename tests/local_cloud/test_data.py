from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from ayla_provider.local_cloud import LocalCloud, SeededContent
from ayla_provider.local_cloud.contents import SPOOL_ABOVE
from tests.local_cloud.clients import bearer, customer_token, object_url, upload_url

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2024, 5, 9, 12, 20, tzinfo=UTC)
LARGE = bytes(range(256)) * (SPOOL_ABOVE // 256 + 1)


def everything(cloud: LocalCloud) -> dict[str, list[tuple[Any, ...]]]:
    """All generations of all objects of both buckets, with their bytes."""
    found = {}
    for bucket in (cloud.vendor, cloud.customer):
        for name in bucket.names:
            found[f"{bucket.name}/{name}"] = [
                (one.resource(""), b"".join(one.content.chunks(0, one.content.size)))
                for one in bucket._generations[name]
            ]
    return found


def upload(cloud: LocalCloud, session: requests.Session, name: str, data: bytes) -> None:
    answer = session.post(upload_url(cloud, "media"), params={"name": name}, data=data)
    assert answer.status_code == 200


def test_all_comes_back_byte_for_byte_and_with_its_generations(tmp_path: Path) -> None:
    with LocalCloud(data=tmp_path, seed=7, hours=8, rows=20, now=NOW, max_lag=timedelta(minutes=10)) as cloud:
        for number in range(2):
            cloud.put_object("Datapoint", "2024-05-09 02:10:00", "by hand.csv", b"%d" % number)
        cloud.put_object("Datapoint", "2024-05-09 02:10:00", "later.csv", b"x", NOW + timedelta(hours=5))
        cloud.put_object("Datapoint", "2024-05-09 02:10:00", "seeded.csv", SeededContent("s", 3_000_000))
        with bearer(customer_token(cloud)) as session:
            upload(cloud, session, "small", b"old")
            upload(cloud, session, "small", b"new")
            upload(cloud, session, "large", LARGE)
            upload(cloud, session, "gone", LARGE)
            assert session.delete(object_url(cloud, cloud.customer.name, "gone")).status_code == 204
            patched = session.patch(object_url(cloud, cloud.customer.name, "small"), json={"metadata": {"a": "1"}})
            assert patched.json()["metageneration"] == "2"
        made = [name for name in cloud.vendor.names if "by hand" not in name]
        event, folder, file = made[0].split("/")[1:]
        cloud.delete_object(event, folder, file)
        before, key, answers = everything(cloud), cloud.service_account_key(), cloud.answer_key()
    assert len(before) > 30
    assert stat.S_IMODE((tmp_path / "customer-key.pem").stat().st_mode) == 0o600
    assert len(before[f"{cloud.customer.name}/small"]) == 1
    with LocalCloud(data=tmp_path, now=NOW) as cloud:
        assert everything(cloud) == before
        assert cloud.answer_key() == answers
        assert {**cloud.service_account_key(), "token_uri": ""} == {**key, "token_uri": ""}
        with bearer(customer_token(cloud)) as session:
            got = session.get(object_url(cloud, cloud.customer.name, "large"), params={"alt": "media"})
        assert got.content == LARGE
    assert len(list((tmp_path / "contents").iterdir())) == 1


def test_what_is_changed_after_a_restart_is_there_after_the_next(tmp_path: Path) -> None:
    for turn in range(3):
        with LocalCloud(data=tmp_path) as cloud, bearer(customer_token(cloud)) as session:
            url = object_url(cloud, cloud.customer.name, "x")
            if turn:
                assert session.get(url, params={"alt": "media"}).content == LARGE + bytes([turn - 1])
                generation = int(session.get(url).json()["generation"])
            upload(cloud, session, "x", LARGE + bytes([turn]))
            assert not turn or int(session.get(url).json()["generation"]) > generation
        assert len(list((tmp_path / "contents").iterdir())) == 1


def test_the_made_up_export_goes_on_where_it_began(tmp_path: Path) -> None:
    with LocalCloud(data=tmp_path, seed=3, hours=4, rows=20, now=NOW) as cloud:
        first = cloud.answer_key()
    with LocalCloud(data=tmp_path, hours=1, now=NOW + timedelta(hours=2)) as cloud:
        assert cloud.answer_key()[: len(first)] == first
        assert cloud.answer_key()[-1].hour - first[-1].hour == timedelta(hours=2)


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    with LocalCloud(), LocalCloud(data=tmp_path) as kept:
        assert kept.customer.names == []


def test_what_was_stored_survives_a_process_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ayla_provider.local_cloud", "--hours", "2", "--data", str(tmp_path)]
    seen: list[Any] = []
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            about = json.loads(process.stdout.readline())
            body = {
                "event_folder": "Location",
                "folder_name": "2024-05-09 02:00:00",
                "file": "a",
                "data_base64": "eA==",
            }
            if not seen:
                requests.post(f"{about['url']}/_local/objects", json=body, timeout=60).raise_for_status()
            seen.append(requests.get(f"{about['url']}/_local/answer-key", timeout=60).json())
            process.send_signal(signal.SIGKILL)
    assert seen[0] == seen[1][: len(seen[0])]
    with LocalCloud(data=tmp_path) as cloud:
        stored = cloud.vendor.live(f"{cloud.oem_id}/Location/2024-05-09 02:00:00/a")
        assert stored
        assert b"".join(stored.content.chunks(0, 1)) == b"x"


@pytest.mark.parametrize("status", [200, 404])
def test_a_web_page_can_stand_where_the_user_service_was(cloud: LocalCloud, status: int) -> None:
    requests.post(f"{cloud.url}/_local/options", json={"web_page": status}, timeout=60).raise_for_status()
    for path in ("sign_in", "refresh_token", "sign_out"):
        answer = requests.post(f"{cloud.url}/users/{path}.json", json={}, timeout=60)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert cloud.refusals == 0

"""Each kind of AWS connection, against a server that checks signatures and rights: those that ``init`` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.url import DestinationUrl
from ayla_provider.cli.project_policies import policies
from ayla_provider.destinations import open_destination
from ayla_provider.errors import AylaDestinationError
from ayla_provider.transport.checksum import CHUNK
from tests.support.object_stores import PATH, Breaking, aws_client, quiet, write
from tests.support.places import Place

pytestmark = quiet

ROLE, USER = (f"arn:aws:iam::123456789012:{what}" for what in ("role/archive", "user/airflow"))


@pytest.fixture
def place(s3: Place, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A bucket on which only the role ``archive`` has rights, exactly those that ``init`` writes for a worker."""
    trust = [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": USER}}]
    iam = aws_client(s3_url, "iam")
    iam.create_role(RoleName="archive", AssumeRolePolicyDocument=document(trust))
    grant(s3_url, s3, "s3-worker.json")
    yield s3
    iam.delete_role_policy(RoleName="archive", PolicyName="archive")
    iam.delete_role(RoleName="archive")


def grant(s3_url: str, place: Place, policy: str) -> None:
    """Give the role the rights of a file that ``init`` writes, and no others."""
    text = policies(DestinationUrl.parse(place.destination.url), [])[policy]
    aws_client(s3_url, "iam").put_role_policy(RoleName="archive", PolicyName="archive", PolicyDocument=text)


def document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.fixture
def user(s3_url: str) -> Iterator[dict[str, str]]:
    """The keys of a user who may take on the role, and nothing else."""
    iam, name = aws_client(s3_url, "iam"), "airflow"
    iam.create_user(UserName=name)
    allowed = [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": ROLE}]
    iam.put_user_policy(UserName=name, PolicyName="take-on", PolicyDocument=document(allowed))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    yield {"login": made["AccessKeyId"], "password": made["SecretAccessKey"]}
    iam.delete_access_key(UserName=name, AccessKeyId=made["AccessKeyId"])
    iam.delete_user_policy(UserName=name, PolicyName="take-on")
    iam.delete_user(UserName=name)


def connect(monkeypatch: pytest.MonkeyPatch, url: str, user: dict[str, str], kind: str, folder: Path) -> str | None:
    """Return the id of a connection of some kind, None for what the machine may do."""
    connection: dict[str, Any] = user | {"conn_type": "aws"}
    extra: dict[str, Any] = {"endpoint_url": url, "region_name": "us-east-1"}
    given = aws_client(url, "sts").assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]
    if kind == "role":
        extra |= {"role_arn": ROLE, "service_config": {"sts": {"endpoint_url": url}}}
    if kind == "session token":
        connection |= {"login": given["AccessKeyId"], "password": given["SecretAccessKey"]}
        extra |= {"aws_session_token": given["SessionToken"]}
    if kind in ("role", "session token", "user"):
        monkeypatch.setenv("AIRFLOW_CONN_AWS_CHECKED", json.dumps(connection | {"extra": extra}))
        return "aws_checked"
    environment = {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}
    if kind == "environment":
        environment |= {"AWS_ACCESS_KEY_ID": given["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"]}
        environment |= {"AWS_SESSION_TOKEN": given["SessionToken"]}
    if kind == "workload identity":
        (folder / "token").write_text("a token of the cluster")
        environment |= {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return None


def check_rights(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Let the server check signature and rights of each request that follows a number of others."""
    monkeypatch.setattr("moto.core.authorization.ActionAuthenticatorMixin.request_count", 0)
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", after)


@pytest.mark.parametrize("kind", ["role", "session token", "environment", "workload identity"])
def test_the_rights_of_a_worker_suffice_with_each_kind_of_connection(
    place: Place, s3_url: str, user: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conn_id = connect(monkeypatch, s3_url, user, kind, tmp_path)
    with monkeypatch.context() as checked:
        # To take on a role with a token needs no signature, which moto doesn't know.
        check_rights(checked, after=1 if kind == "workload identity" else 0)
        destination = open_destination(place.destination.url, conn_id)
        first = write(destination, b"first")
        assert destination.folder(PATH.rpartition("/")[0]) == {PATH: first}
        data = os.urandom(9 * CHUNK)
        second = write(destination, data, replaces=first)
        assert destination.read(PATH) == (data, second)
        # The second creation of a small object doesn't go through boto.
        small = [write(destination, b"small", path=f"b/{number}.csv") for number in range(2)]
        assert destination.folder("b") == {stored.path: stored for stored in small}
        assert {listed.stored.path for listed in destination.tree("")} == {PATH, "b/0.csv", "b/1.csv"}
        with pytest.raises(Exception, match="the download broke"):
            write(destination, data, path="a/other.csv", stream=Breaking(data, len(data) - 1))
    others = {"b/0.csv": b"small", "b/1.csv": b"small"}
    assert (place.everything(), place.unfinished()) == ({PATH: data} | others, 0)


def test_readers_get_copies_and_typed_rows_and_nothing_else(
    place: Place, s3_url: str, user: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    readable = [PATH, "_manifests/" + PATH, "parquet/" + PATH]
    for path in [*readable, "_quarantine/one.csv", "_erasures/one.json"]:
        place.spoil(path, b"data")
    grant(s3_url, place, "s3-readers.json")
    conn_id = connect(monkeypatch, s3_url, user, "role", tmp_path)
    with monkeypatch.context() as checked:
        check_rights(checked)
        destination = open_destination(place.destination.url, conn_id)
        assert [destination.read(path)[0] for path in readable] == [b"data"] * 3  # type: ignore[index]
        for path in ("_quarantine/one.csv", "_erasures/one.json"):
            with pytest.raises(AylaDestinationError, match="the store refuses it"):
                destination.read(path)
        with pytest.raises(AylaDestinationError, match="the store refuses it"):
            write(destination, b"other", path="parquet/other.parquet")
    assert len(place.everything()) == 5


def test_a_store_takes_the_lifecycle_rules(s3: Place, s3_url: str) -> None:
    url = DestinationUrl.parse(s3.destination.url)
    rules = json.loads(policies(url, [])["s3-lifecycle.json"])
    client = aws_client(s3_url)
    client.put_bucket_lifecycle_configuration(Bucket=url.bucket, LifecycleConfiguration=rules)
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket=url.bucket)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    # Only of objects that were replaced or removed.
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert "Expiration" not in rule


def test_the_message_names_the_rights_that_are_missing(
    place: Place, s3_url: str, user: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conn_id = connect(monkeypatch, s3_url, user, "user", tmp_path)
    with monkeypatch.context() as checked:
        check_rights(checked)
        destination = open_destination(place.destination.url, conn_id)
        with pytest.raises(AylaDestinationError, match=r"Access Denied.*list, read, write and delete"):
            destination.folder("a")
        with pytest.raises(AylaDestinationError, match="the store refuses it"):
            write(destination, b"data")
    assert place.everything() == {}


def test_a_role_that_can_not_be_assumed_is_reported(
    place: Place, s3_url: str, user: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conn_id = connect(monkeypatch, s3_url, user | {"password": "another"}, "role", tmp_path)
    with monkeypatch.context() as checked:
        check_rights(checked)
        with pytest.raises(
            AylaDestinationError, match=r"'aws_checked' has no usable credentials for 's3://.*AssumeRole"
        ):
            open_destination(place.destination.url, conn_id)

"""Iceberg tables in the catalogs that users have: SQL in PostgreSQL, and Glue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.judges import judges
from harness.seaweedfs import KEY_ID, REGION, SECRET
from tests.support import postgres_server
from tests.support.lakes import HOUR, MIDNIGHT, NAMESPACE, Lake, Scene, s3_facts
from tests.support.object_stores import aws_client
from tests.support.tools import POSTGRESQL

HOURS = [MIDNIGHT + number * HOUR for number in range(3)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The folder of a PostgreSQL server's socket."""
    POSTGRESQL.require()
    with postgres_server.running() as host:
        yield host


def load_anew_and_at_the_same_time(scene: Scene) -> None:
    """Load two hours, one of them anew, and another one by two processes."""
    for hour in HOURS[:2]:
        scene.put("connection", hour, share=0.5)
    scene.load("connection", HOURS[:2])
    scene.put("connection", HOURS[0])
    scene.load("connection", [HOURS[0]])
    scene.assert_agreed("connection")
    scene.put("connection", HOURS[1])
    scene.put("connection", HOURS[2])
    with scene.process("connection", HOURS[1]) as one, scene.process("connection", HOURS[2]) as other:
        for loader in (one, other):
            loader.until_ready()
        for loader in (one, other):
            loader.go()
        assert [one.result(), other.result()] == ["ok", "ok"]
    scene.assert_agreed("connection")
    scene.assert_ledger("connection")


def test_a_sql_catalog_in_postgresql(tmp_path: Path, server: str, scene_on_disk: Callable[[Lake], Scene]) -> None:
    uri = f"postgresql+psycopg2://{postgres_server.USER}@/postgres?host={server}"
    root = f"file://{tmp_path}/lake"
    load_anew_and_at_the_same_time(scene_on_disk(Lake("iceberg", root, {"type": "sql", "uri": uri, "warehouse": root})))


@pytest.fixture
def glue(s3_url: str) -> Lake:
    """Tables of a Glue catalog, in S3."""
    name = f"lake-{time.monotonic_ns()}"
    aws_client(s3_url).create_bucket(Bucket=name)
    catalog_client = aws_client(s3_url, "glue")
    if any(database["Name"] == NAMESPACE for database in catalog_client.get_databases()["DatabaseList"]):
        # Of the test before.
        catalog_client.delete_table(DatabaseName=NAMESPACE, Name="ayla_connection")
    access = {"region": REGION, "access-key-id": KEY_ID, "secret-access-key": SECRET}
    catalog = {"type": "glue", "warehouse": f"s3://{name}/lake", "glue.endpoint": s3_url}
    catalog |= {f"glue.{key}": value for key, value in access.items()}
    return Lake("iceberg", f"s3://{name}/lake", catalog, s3_facts(s3_url))


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str]]:
    """
    The versions that updates of tables in Glue name, each beside the one that the table had.

    An update of another version is refused, as AWS does, and moto doesn't.
    """
    from moto.core.exceptions import JsonRESTError
    from moto.glue.responses import GlueResponse

    update, seen = GlueResponse.update_table, []

    def checked(self: Any) -> Any:
        given = self.parameters.get("VersionId")
        table = self.glue_backend.get_table(self.parameters["DatabaseName"], self.parameters["TableInput"]["Name"])
        current = table.as_dict()["VersionId"]
        seen.append((given, current))
        if given != current:
            raise JsonRESTError("ConcurrentModificationException", f"version {given} isn't {current}")
        return update(self)

    monkeypatch.setattr(GlueResponse, "update_table", checked)
    return seen


def test_a_glue_catalog(tmp_path: Path, glue: Lake, updates: list[tuple[str | None, str]]) -> None:
    with judges(glue.s3) as both:
        load_anew_and_at_the_same_time(Scene(tmp_path, glue, both))
    assert updates
    assert all(given is not None for given, _ in updates), "each update names the version that was read"


def test_an_update_of_a_glue_table_that_changed_meanwhile_is_refused(
    tmp_path: Path, glue: Lake, updates: list[tuple[str | None, str]]
) -> None:
    with judges(glue.s3) as both:
        scene = Scene(tmp_path, glue, both)
        for hour in HOURS[:2]:
            scene.put("connection", hour)
        scene.load("connection", [HOURS[0]])
        scene.put("connection", HOURS[0], share=0.5)
        with scene.process("connection", HOURS[0]) as late:
            late.until_ready()
            scene.load("connection", HOURS[:2])
            late.go()
            assert late.result() == "AylaConflictError"
        scene.assert_agreed("connection")
        scene.assert_ledger("connection")

"""A commit that happened, and whose answer was lost: the next try finds it, and nothing is doubled or destroyed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ayla_provider.errors import AylaError
from harness.judges import Judge
from harness.seaweedfs import SeaweedFS
from tests.support.lakes import HOUR, MIDNIGHT, NAMESPACE, Lake, Scene, s3_facts
from tests.support.lossy_proxy import lossy_proxy
from tests.support.rest_catalog import rest_catalog

HOURS = [MIDNIGHT + number * HOUR for number in range(3)]
EACH_ANSWER = pytest.mark.parametrize("status", [409, 500, 503, 0], ids=["409", "500", "503", "cut"])


def load_in_spite_of_errors(scene: Scene, event_type: str) -> int:
    """Load an hour by as many tries as it takes, and return how many failed."""
    for failed in range(5):
        try:
            scene.retry(event_type, HOURS[0])
        except AylaError:
            continue
        return failed
    raise AssertionError("no try succeeded")


@EACH_ANSWER
@pytest.mark.parametrize("first", [True, False], ids=["first load", "loaded anew"])
def test_an_iceberg_catalog_loses_its_answer(
    tmp_path: Path, scene_on_disk: Callable[[Lake], Scene], status: int, first: bool
) -> None:
    with rest_catalog(f"file://{tmp_path}/lake") as catalog:
        lake = Lake("iceberg", f"file://{tmp_path}/lake", {"type": "rest", "uri": catalog.url})
        scene = scene_on_disk(lake)
        scene.put("connection", HOURS[1])
        scene.load("connection", [HOURS[1]])
        if not first:
            scene.put("connection", HOURS[0], share=0.5)
            scene.load("connection", [HOURS[0]])
        scene.put("connection", HOURS[0])
        before = len(catalog.commits)
        catalog.lose(status)
        assert load_in_spite_of_errors(scene, "connection") <= 1
        # It happened once, and no other try wrote it again.
        assert len(catalog.commits) == before + 1
        scene.assert_agreed("connection")
        scene.assert_ledger("connection")
        # The table can still be written.
        scene.put("connection", HOURS[2])
        scene.load("connection", [HOURS[2]])
        scene.assert_agreed("connection")
        assert catalog.metadata_location(NAMESPACE, "ayla_connection")


@pytest.mark.parametrize("status", [409, 500, 503], ids=str)
def test_an_iceberg_catalog_refuses_before_it_commits(
    tmp_path: Path, scene_on_disk: Callable[[Lake], Scene], status: int
) -> None:
    with rest_catalog(f"file://{tmp_path}/lake") as catalog:
        lake = Lake("iceberg", f"file://{tmp_path}/lake", {"type": "rest", "uri": catalog.url})
        scene = scene_on_disk(lake)
        scene.put("connection", HOURS[1])
        scene.load("connection", [HOURS[1]])
        scene.put("connection", HOURS[0])
        catalog.refuse(status)
        load_in_spite_of_errors(scene, "connection")
        scene.assert_agreed("connection")
        scene.assert_ledger("connection")


@pytest.mark.parametrize("status", [500, 503, 0], ids=["500", "503", "cut"])
@pytest.mark.parametrize("first", [True, False], ids=["first load", "loaded anew"])
def test_the_storage_of_a_delta_log_loses_its_answer(
    tmp_path: Path, weed: SeaweedFS, in_s3: list[Judge], status: int, first: bool
) -> None:
    bucket = f"lost-{time.monotonic_ns()}"
    weed.make_bucket(bucket)
    with lossy_proxy(weed.url) as proxy:
        scene = Scene(tmp_path, Lake("delta", f"s3://{bucket}/lake", s3=s3_facts(proxy.url)), in_s3)
        scene.put("connection", HOURS[1])
        scene.load("connection", [HOURS[1]])
        if not first:
            scene.put("connection", HOURS[0], share=0.5)
            scene.load("connection", [HOURS[0]])
        scene.put("connection", HOURS[0])
        proxy.lose("PUT", r"/_delta_log/\d+\.json$", status)
        load_in_spite_of_errors(scene, "connection")
        assert proxy.lost == 1
        scene.assert_agreed("connection")
        scene.assert_ledger("connection")
        scene.put("connection", HOURS[2])
        scene.load("connection", [HOURS[2]])
        scene.assert_agreed("connection")

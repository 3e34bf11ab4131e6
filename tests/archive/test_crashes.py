"""Workers that die, meet each other, or lose the destination: each is a process of its own, as in Airflow."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import SeededContent
from ayla_provider.transport.checksum import CHUNK
from simulation.worker import Kind, Result, Task
from simulation.worker import Place as Surroundings
from simulation.workers import WorkerPool
from tests.support.client import NOW, at, bytes_of, put, requests_of
from tests.support.places import Place

FOLDER = "event_type=datapoint/date=2024-05-09/hour=02"
MANIFEST = manifest_path(ExportHour("datapoint", at(2)))
COPY = Task(Kind.COPY, "export", "datapoint", at(2), at(2) + ONE_HOUR, NOW)


@pytest.fixture
def workers(cloud: LocalCloud, place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    """Worker processes for the destination."""
    home = tmp_path_factory.mktemp("workers")
    around = Surroundings(home, cloud.ayla_connection(), place.destination.url, cloud.service_account_key())
    made = WorkerPool(lambda: around)
    yield made
    made.kill()


def put_files(cloud: LocalCloud, **sizes: int) -> dict[str, bytes]:
    """Put files into an hour, and return what the archive must contain."""
    contents = {f"{name}.csv": SeededContent(name, size) for name, size in sizes.items()}
    for name, content in contents.items():
        put(cloud, 2, name, content)
    return {f"{FOLDER}/20240509T020000Z-{name}": bytes_of(content) for name, content in contents.items()}


def is_complete(place: Place, files: dict[str, bytes]) -> bool:
    """Whether the archive has the files, a manifest of exactly these, and nothing else."""
    everything = place.everything()
    manifest: dict[str, Any] = json.loads(everything.pop(MANIFEST))
    stated = {entry["path"]: entry["size"] for entry in manifest["files"]}
    return everything == files and stated == {path: len(data) for path, data in files.items()}


def copy(workers: WorkerPool) -> Result:
    ((_, result),) = workers.run([COPY])
    return result


def test_a_worker_killed_in_the_middle_of_a_copy_leaves_nothing_that_looks_whole(
    cloud: LocalCloud, place: Place, workers: WorkerPool
) -> None:
    files = put_files(cloud, large=20 * CHUNK)
    (path,) = files
    # A bucket has some of what arrives by then; the rest keeps the worker waiting.
    cloud.faults.add("truncate", step="download", match="large", after_bytes=17 * CHUNK)
    hanging = cloud.faults.add("slow", step="download", match="large", nth=2, delay=3)
    ((_, killed),) = workers.run([COPY], when=lambda _: hanging.fired > 0, act=workers.kill)
    assert killed.error == "killed"
    left = place.everything()
    assert path not in left
    assert MANIFEST not in left
    assert place.destination.folder(FOLDER) == {}, "no reader takes what is left for a file"
    if isinstance(place.destination, FileDestination):
        ((partial, data),) = left.items()
        assert 0 < len(data) < 20 * CHUNK
        assert files[path].startswith(data)
        assert partial.rpartition("/")[2].startswith("."), "what Spark, DuckDB and globs pass over"
    else:
        (sent,) = [one.received for one in requests_of(cloud, "upload")][1:]
        assert 0 < sent < 20 * CHUNK
        assert left == {}

    assert copy(workers) == Result(copied_files=1, manifests_written=1)
    if isinstance(place.destination, FileDestination):
        assert left.items() <= place.everything().items(), "it may be that of a worker that is still alive"
        a_day_ago = time.time() - 25 * 3600
        os.utime(Path(place.destination.root) / partial, (a_day_ago, a_day_ago))
        assert copy(workers) == Result()
    assert is_complete(place, files)


def test_two_processes_that_copy_one_hour_at_once_leave_a_whole_one(
    cloud: LocalCloud, place: Place, workers: WorkerPool
) -> None:
    files = put_files(cloud, a=100, b=2 * CHUNK, c=5 * CHUNK)
    cloud.faults.add("slow", step="download", match="Datapoint", delay=2, times=2 * len(files))
    done = workers.run([COPY, replace(COPY, dag="by hand")])
    vendor = [one for one in requests_of(cloud, "download") if "Datapoint" in one.path]
    assert len(vendor) == 2 * len(files), "both were at it"
    errors = [result for _, result in done if result.error]
    assert len(errors) <= 1
    # Several failures of different files are reported as one.
    assert all(result.error == "AylaConflictError" and result.retryable for result in errors)
    assert is_complete(place, files)
    assert json.loads(place.everything()[MANIFEST])["revision"] == 1
    assert copy(workers) == Result()


@pytest.mark.parametrize("kind", [403, 503, "refused", "cut_request"])
@pytest.mark.parametrize("place", ["gcs"], indirect=True)
def test_after_a_bucket_was_cut_off_half_way_a_retry_does_the_rest(
    cloud: LocalCloud, place: Place, workers: WorkerPool, kind: int | str
) -> None:
    files = put_files(cloud, a=100, b=200, c=300, d=400, e=6 * CHUNK)
    cloud.faults.add(kind, step="upload", nth=3, times=None, after_bytes=50)
    failed = copy(workers)
    assert failed.error == "AylaDestinationError"
    assert failed.retryable
    left = place.everything()
    assert left
    assert left.items() < files.items(), "and so no manifest"

    cloud.faults.clear()
    assert copy(workers) == Result(copied_files=len(files) - len(left), manifests_written=1)
    assert is_complete(place, files)


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_after_a_disk_was_full_half_way_a_retry_does_the_rest(
    cloud: LocalCloud, place: Place, workers: WorkerPool
) -> None:
    files = put_files(cloud, a=100, b=200, c=300, d=3 * CHUNK, e=6 * CHUNK)
    ((_, failed),) = workers.run([replace(COPY, disk=2 * CHUNK)])
    assert failed.error == "AylaDestinationError"
    assert failed.retryable
    left = place.everything()
    assert left == {path: data for path, data in files.items() if len(data) <= CHUNK}, "nothing of the others"

    assert copy(workers) == Result(copied_files=2, manifests_written=1)
    assert is_complete(place, files)

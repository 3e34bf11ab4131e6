"""Lake tables on disk and in S3, and the judges that read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.judges import INSTALLED, Judge, judges
from harness.seaweedfs import SeaweedFS, seaweedfs
from tests.support.lakes import Lake, Scene, s3_facts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the judges on a machine without them."""
    if INSTALLED.exists():
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="needs the judges: make judges"))


@pytest.fixture(scope="session")
def weed() -> Iterator[SeaweedFS]:
    """A server with S3 and an Iceberg catalog."""
    with seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def on_disk() -> Iterator[list[Judge]]:
    """Both judges, for tables on disk."""
    with judges() as both:
        yield both


@pytest.fixture(scope="session")
def in_s3(weed: SeaweedFS) -> Iterator[list[Judge]]:
    """Both judges, for tables in SeaweedFS."""
    with judges(s3_facts(weed.url)) as both:
        yield both


def iceberg_on_disk(folder: Path) -> Lake:
    """Iceberg with a SQLite catalog."""
    catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/lake"}
    return Lake("iceberg", f"file://{folder}/lake", catalog)


def delta_on_disk(folder: Path) -> Lake:
    """Delta Lake in a folder."""
    return Lake("delta", f"file://{folder}/lake")


@pytest.fixture(
    params=[
        "Iceberg, SQLite, disk",
        "Delta, disk",
        pytest.param("Iceberg, REST, S3", marks=pytest.mark.ci),
        pytest.param("Delta, S3", marks=pytest.mark.ci),
    ]
)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    """An empty lake, with an empty archive."""
    if request.param.endswith("disk"):
        lake = (iceberg_on_disk if request.param.startswith("Iceberg") else delta_on_disk)(tmp_path)
        return Scene(tmp_path, lake, request.getfixturevalue("on_disk"))
    server: SeaweedFS = request.getfixturevalue("weed")
    name = f"lake-{time.monotonic_ns()}"
    facts = s3_facts(server.url)
    if request.param.startswith("Delta"):
        server.make_bucket(name)
        lake = Lake("delta", f"s3://{name}/lake", s3=facts)
    else:
        server.make_table_bucket(name)
        lake = Lake("iceberg", f"s3://{name}", server.catalog_properties(name), facts)
    return Scene(tmp_path, lake, request.getfixturevalue("in_s3"))


@pytest.fixture
def scene_on_disk(tmp_path: Path, on_disk: list[Judge]) -> Callable[[Lake], Scene]:
    """Returns a scene for a lake on disk."""
    return lambda lake: Scene(tmp_path, lake, on_disk)

"""A local cloud behind a gate, once for all cells of a module, and short waits."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ayla_provider.local_cloud import LocalCloud, listing
from tests.faults.hour import put_files
from tests.faults.scene import GENEROUS, Scene, shorten
from tests.faults.tcp_gate import Gate
from tests.support.fixtures import answering  # noqa: F401 - a fixture, found by its name


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud() as made:
        put_files(made)
        yield made


@pytest.fixture(scope="module")
def gate(cloud: LocalCloud) -> Iterator[Gate]:
    made = Gate(cloud.url)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch.setattr, GENEROUS)
    monkeypatch.setattr(listing, "MAX_RESULTS", 1)  # a file a page


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    airflow_db: None,
    cloud: LocalCloud,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> Scene:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return Scene(cloud, gate, name, monkeypatch, caplog, capsys)

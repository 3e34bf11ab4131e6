"""Doubles of Kinesis, and an Event Hub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.kinesis_double import KINESALITE, KINESIS_LOCAL, KinesisDouble
from tests.support.tools import KINESIS


@pytest.fixture(scope="session")
def kinesalite() -> Iterator[KinesisDouble]:
    KINESIS.require()
    double = KinesisDouble(KINESALITE)
    yield double
    double.close()


@pytest.fixture(scope="session")
def kinesis_local() -> Iterator[KinesisDouble]:
    KINESIS.require()
    double = KinesisDouble(KINESIS_LOCAL)
    yield double
    double.close()


@pytest.fixture
def movable() -> Iterator[KinesisDouble]:
    """A double whose time a test may move."""
    KINESIS.require()
    double = KinesisDouble(KINESALITE)
    yield double
    double.close()


@pytest.fixture(params=["kinesalite", "kinesis_local"])
def kinesis(request: pytest.FixtureRequest) -> KinesisDouble:
    double: KinesisDouble = request.getfixturevalue(request.param)
    return double


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("ayla_provider.stream.kinesis.PAUSE", 0.0)
    monkeypatch.setattr("ayla_provider.stream.kinesis.FIRST_WAIT", 0.001)

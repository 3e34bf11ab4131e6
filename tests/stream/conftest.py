"""Doubles of Kinesis, and clients that don't wait long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

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


class _Impatient:
    """What azure-eventhub's modules see of the clock: they wait in steps of up to a second."""

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, 0.01))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.suppress(ImportError):
        for module in ("_client_base", "_pyamqp.client", "_eventprocessor.event_processor"):
            monkeypatch.setattr(f"azure.eventhub.{module}.time", _Impatient())
        monkeypatch.setattr("ayla_provider.stream.eventhubs.WAITS", (0.01, 0.01))


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("ayla_provider.stream.kinesis.PAUSE", 0.0)
    monkeypatch.setattr("ayla_provider.stream.kinesis.FIRST_WAIT", 0.001)

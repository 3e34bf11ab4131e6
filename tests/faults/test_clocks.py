"""This machine's clock is ten minutes off against the cloud's, in either direction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ayla_provider.local_cloud import LocalCloud
from tests.faults.hour import check_complete, check_nothing_half
from tests.faults.scene import Scene

TEN = timedelta(minutes=10)


@pytest.fixture(params=["behind", "ahead"])
def skew(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[str]:
    """The time of this machine's clock."""
    step = TEN if request.param == "behind" else -TEN
    cloud.clock.advance(step)
    yield request.param
    cloud.clock.advance(-step)


def test_with_a_clock_that_is_ten_minutes_off_an_hour_arrives(skew: str, scene: Scene) -> None:
    assert scene.run().outcome == "r"
    check_complete(scene.archive())
    assert scene.sign_ins == 1


def test_a_token_that_ends_sooner_than_this_machine_believes_is_replaced(skew: str, scene: Scene) -> None:
    # Behind, it seems to be good for twelve minutes more when it is at its end.
    hangs = scene.cloud.faults.add("slow", step="download", match="b-large.csv", delay=0.15)
    with scene.when(lambda: hangs.fired > 0, lambda: scene.cloud.revoke("storage")):
        assert scene.run().outcome == "r"
    check_complete(scene.archive())
    assert len(scene.asked("acs")) == 2
    assert scene.sign_ins == 1


def test_a_token_that_seems_to_have_ended_is_reported_with_a_hint_about_the_clock(
    skew: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.cloud.options, "storage_token_life", timedelta(minutes=5))
    tried = scene.run()
    assert tried.outcome == ("r" if skew == "behind" else "t")
    check_nothing_half(scene.archive())
    if tried.error:
        assert "Check the clock" in str(tried.error)

"""The operators that divide an hour over mapped tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import (
    AylaExportPartsOperator,
    AylaExportPartToBucketOperator,
    AylaExportPartToParquetOperator,
)
from tests.support.fleet import HOUR, put_hour


def parts_of(most: int, hours: int = 1) -> list[dict[str, Any]]:
    operator = AylaExportPartsOperator(
        task_id="parts", event_type="datapoint", start=HOUR, end=HOUR + hours * ONE_HOUR, max_bytes_per_task=most
    )
    return operator.execute({})


def test_the_list_has_an_item_for_each_part_and_one_at_least_for_each_hour(export: LocalCloud) -> None:
    put_hour(export, "Datapoint", data=b"x" * 100, file="a.csv")
    put_hour(export, "Datapoint", data=b"x" * 100, file="b.csv")
    found = parts_of(150, hours=2)
    assert [(item["start"], item["part"]) for item in found] == [
        (HOUR.isoformat(), 1),
        (HOUR.isoformat(), 2),
        ((HOUR + ONE_HOUR).isoformat(), 1),
    ]
    assert found[1]["reason"] == f"datapoint {HOUR:%Y-%m-%d %H:%M} UTC, part 2 of 2"
    assert [item["part"] for item in parts_of(1)] == [1, 2, 3]
    assert [item["part"] for item in parts_of(10**9)] == [1]


def test_a_part_takes_an_item_of_the_list_and_emits_no_event(export: LocalCloud, tmp_path: Path) -> None:
    put_hour(export, "Datapoint", data=b"x" * 100, file="a.csv")
    (_, second) = parts_of(1)
    operator = AylaExportPartToBucketOperator(
        task_id="copy", destination=f"file://{tmp_path}", max_bytes_per_task=1, **second
    )
    assert operator.outlets == []
    found = operator.execute({})
    assert {name: found[name] for name in ("part", "files", "copied_files")} == {
        "part": 2,
        "files": 1,
        "copied_files": 1,
    }


def test_a_part_is_one_of_a_single_hour(export: LocalCloud, tmp_path: Path) -> None:
    hours = {"event_type": "datapoint", "start": HOUR, "end": HOUR + 2 * ONE_HOUR, "part": 1}
    url = f"file://{tmp_path}"
    for operator in (
        AylaExportPartToBucketOperator(task_id="copy", destination=url, **hours),
        AylaExportPartToParquetOperator(task_id="type", archive=url, **hours),
    ):
        with pytest.raises(AirflowFailException, match="one of an hour, and 2 hours are given"):
            operator.execute({})

"""The sample DAGs of lakes, run by ``dag.test()``: both judges read what the export has."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.tables import TABLES
from ayla_provider.local_cloud import LocalCloud
from harness import reference
from harness.judges import INSTALLED, comparable, judges
from tests.integration.test_sample_dags import HOUR, ROOT, fleet, run
from tests.support.dag_bag import dags_of
from tests.support.lakes import Lake

__all__ = ["fleet"]

pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(not INSTALLED.exists(), reason="needs the judges: make judges"),
]


def rows_of(archive: Path, event_type: str, hour: datetime) -> list[dict[str, Any]]:
    """The rows that an hour's files have, by the second implementation."""
    manifest = Archive(FileDestination(archive)).manifest(ExportHour(EventType(event_type), hour))
    assert manifest
    files = [(file.source, file.generation, (archive / file.path).read_bytes()) for file in manifest.files]
    return [row | {"folder_hour": hour} for row in reference.read(event_type, files).rows]


@pytest.mark.parametrize("format_", ["iceberg", "delta"])
def test_the_sample_dags_load_an_hour_into_a_lake_and_keep_it_up(
    fleet: LocalCloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format_: Any,
) -> None:
    root = f"file://{tmp_path}/lake"
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": root}
    monkeypatch.setenv("AIRFLOW_CONN_ICEBERG_DEFAULT", json.dumps({"conn_type": "iceberg", "extra": catalog}))
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_DELTA", root)
    dags = dags_of(ROOT / "dags")
    run(dags["ayla_export_to_bucket"])
    run(dags[f"ayla_export_to_{format_}"])
    run(dags[f"ayla_export_to_{format_}_upkeep"])
    lake = Lake(format_, root, catalog)
    with judges() as both:
        for event_type in EVENT_TYPES:
            expected, names = rows_of(tmp_path / "archive", event_type, HOUR), TABLES[event_type].names
            (answer,) = [one for one in fleet.answer_key() if (one.event_type, one.hour) == (event_type, HOUR)]
            assert len(expected) == answer.distinct_rows
            for judge in both:
                found = judge.read(format_, lake.location(event_type))
                assert comparable(found, names) == comparable(expected, names), (judge.name, event_type)

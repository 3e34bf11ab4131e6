"""The DAGs of several OEMs: what is shared between them, which is nothing, and an hour of each, by ``dag.test()``."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.transport.checksum import Crc32c
from tests.integration.test_sample_dags import HOUR, ROOT
from tests.support.dag_bag import dags_of
from tests.support.oems import OEM_IDS, clouds_of_oems

# Of several versions of a DAG in its database Airflow warns itself.
pytestmark = pytest.mark.filterwarnings("ignore:Multiple rows returned with uselist=False")

FILE = ROOT / "dags" / "ayla_export_oem.py"


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch, airflow_db: None, tmp_path: Path) -> Iterator[dict[str, LocalCloud]]:
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
    monkeypatch.setenv("AYLA_EXPORT_START", (HOUR - 2 * ONE_HOUR).isoformat())
    with clouds_of_oems(monkeypatch, tmp_path, start=HOUR - 2 * ONE_HOUR, max_lag=timedelta(minutes=40)) as made:
        yield made


def of_oem(dags: dict[str, Any], name: str) -> dict[str, Any]:
    return {dag_id: dag for dag_id, dag in dags.items() if name in dag.tags}


def test_each_oem_has_dags_that_are_found_by_its_name_and_share_nothing_with_others() -> None:
    dags = dags_of(FILE)
    assert len(dags) == 3 * len(OEM_IDS)
    used = {}
    for name in OEM_IDS:
        own = of_oem(dags, name)
        assert set(own) == {f"{FILE.stem}_{name}{more}" for more in ("", "_reconcile", "_reconcile_weekly")}
        tasks = [task for dag in own.values() for task in dag.tasks]
        arguments_set = {(argument, str(value)) for task in tasks for argument, value in arguments_of(task).items()}
        assert {argument for argument, _ in arguments_set} == {
            "pool",
            "ayla_conn_id",
            "destination",
            "destination_conn_id",
        }
        used[name] = arguments_set
        assert len(own[f"{FILE.stem}_{name}"].tasks) == 2 * len(EVENT_TYPES)
    assert len(set.union(*used.values())) == sum(map(len, used.values())) == 4 * len(OEM_IDS)


def arguments_of(task: Any) -> dict[str, Any]:
    """What a task, or each that it is mapped to, was given of what must be an OEM's own."""
    given = {**task.partial_kwargs, "pool": task.pool} if task.is_mapped else vars(task) | {"pool": task.pool}
    names = ("pool", "ayla_conn_id", "destination", "destination_conn_id")
    return {name: given[name] for name in names if name in given}


def test_one_destination_for_two_is_an_error_of_the_file(tmp_path: Path) -> None:
    code = FILE.read_text()
    assert code.count("destination_globex_eu }}") == 1
    (tmp_path / FILE.name).write_text(code.replace("destination_globex_eu }}", "destination_acme_us }}"))
    with pytest.raises(ValueError, match="two entries of OEMS have the same destination"):
        runpy.run_path(str(tmp_path / FILE.name))


def test_an_hour_of_each_lands_in_its_own_destination_while_the_others_cloud_is_down(
    clouds: dict[str, LocalCloud], tmp_path: Path
) -> None:
    dags = dags_of(FILE)
    acme, globex = (dags[f"{FILE.stem}_{name}"] for name in clouds)
    for task in globex.tasks:
        task.retries = 0
    with clouds["globex_eu"].not_listening():
        # Its waits would go on for a day.
        assert done(globex, only=r"datapoint\.copy") == "failed"
        assert done(acme, only=r"(datapoint|connection)\.") == "success"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme_us"]
    assert done(globex, only=r"(datapoint|connection)\.") == "success"
    for name, cloud in clouds.items():
        archive = Archive(FileDestination(tmp_path / name))
        manifests = [archive.manifest(ExportHour(event_type, HOUR)) for event_type in ("connection", "datapoint")]
        assert {manifest and manifest.export for manifest in manifests} == {
            f"gs://{cloud.vendor.name}/{OEM_IDS[name]}/"
        }
        files = [file for manifest in manifests if manifest for file in manifest.files]
        expected = {
            file.object_name: file.final.crc32c
            for answer in cloud.answer_key()
            if answer.hour == HOUR and answer.event_type in ("connection", "datapoint")
            for file in answer.files
        }
        assert expected
        assert {f.source: Crc32c((tmp_path / name / f.path).read_bytes()).base64 for f in files} == expected
        assert (cloud.sign_ins, cloud.refusals) == (1, 0)


def done(dag: Any, only: str) -> Any:
    """Run an hour in which only some tasks do something, and return how it ended."""
    run = dag.test(logical_date=HOUR + ONE_HOUR, mark_success_pattern=f"(?!{only}).*")
    return run.get_state()

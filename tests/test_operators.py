from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.errors import AylaError, AylaNotSettledError
from ayla_provider.links import AylaDestinationLink, AylaManifestLink
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.operators import AylaExportToBucketOperator
from tests.support.fleet import HOUR, connect, put_hour

TI = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="copy", try_number=2, max_tries=4)
CONTEXT: Any = {"ti": TI, "outlet_events": OutletEventAccessors()}


def operator(destination: str | Path, hours: int = 1, **changes: Any) -> AylaExportToBucketOperator:
    arguments: dict[str, Any] = {
        "task_id": "copy",
        "event_type": "datapoint",
        "start": HOUR.isoformat(),
        "end": (HOUR + hours * ONE_HOUR).isoformat(),
        "destination": f"file://{destination}" if isinstance(destination, Path) else destination,
    }
    return AylaExportToBucketOperator(**(arguments | changes))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


DAY, OF_HOUR = f"event_type=datapoint/date={HOUR:%Y-%m-%d}", f"{HOUR:%Y%m%dT%H}0000Z"


def test_an_hour_lands_with_its_manifest(export: LocalCloud, tmp_path: Path) -> None:
    result = operator(tmp_path).execute(CONTEXT)
    content = b"datapoints of an hour\r\n"
    found = files(tmp_path)
    manifest = json.loads(found.pop(f"_manifests/{DAY}/hour={HOUR:%H}.json"))
    assert found == {f"{DAY}/hour={HOUR:%H}/{OF_HOUR}-f.csv": content}
    assert manifest["written_by"] == {"dag_id": "a_dag", "run_id": "a_run", "task_id": "copy", "try_number": "2"}
    assert (manifest["state"], manifest["revision"], manifest["total_files"]) == ("landed", 1, 1)
    assert result == {
        "event_type": "datapoint",
        "start": HOUR.isoformat(),
        "end": (HOUR + ONE_HOUR).isoformat(),
        "destination": f"file://{tmp_path}",
        "hours": {"landed": 1},
        "files": 1,
        "bytes": len(content),
        "copied_files": 1,
        "copied_bytes": len(content),
    }


def test_a_run_after_success_moves_no_bytes_and_says_so(
    export: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    what = f"datapoint {HOUR:%Y-%m-%d %H:%M} UTC"
    operator(tmp_path).execute(CONTEXT)
    log = caplog.text + capsys.readouterr().out
    caplog.clear()
    newest = HOUR + timedelta(minutes=90)
    assert f"Found {what}: landed, 1 file, 23 B, the newest of {newest:%Y-%m-%d %H:%M} UTC" in log
    assert f"Committed {what}: landed, 1 file, 23 B, 1 line, revision 1" in log
    assert f"Copied {what}: 1 file, 23 B, in " in log
    assert f"manifests written: 1. In file://{tmp_path} now: 1 file, 23 B." in log
    before = files(tmp_path)
    seen = len(export.requests)
    result = operator(tmp_path).execute(CONTEXT)
    assert (result["files"], result["copied_files"], result["copied_bytes"]) == (1, 0, 0)
    assert "download" not in {request.step for request in export.requests[seen:]}
    assert files(tmp_path) == before
    log = caplog.text + capsys.readouterr().out
    assert f"Unchanged {what}: landed, 1 file" in log
    assert f"Nothing to do for {what}: file://{tmp_path} already has all of it, 1 file, 23 B." in log
    assert "Committed" not in log


def test_it_copies_to_a_bucket_with_the_customers_google_connection(export: LocalCloud) -> None:
    result = operator(f"gs://{export.customer.name}/a/b").execute(CONTEXT)
    assert result["copied_files"] == 1
    stored = export.customer.live(f"a/b/{DAY}/hour={HOUR:%H}/{OF_HOUR}-f.csv")
    assert stored is not None
    assert b"".join(stored.content.chunks(0, stored.content.size)) == b"datapoints of an hour\r\n"
    assert operator(f"gs://{export.customer.name}/a/b").execute(CONTEXT)["copied_files"] == 0


def test_a_mirror_keeps_the_sources_path(export: LocalCloud, tmp_path: Path) -> None:
    operator(tmp_path, layout="mirror").execute(CONTEXT)
    assert f"{export.oem_id}/Datapoint/{HOUR:%Y-%m-%d %H:%M:%S}/f.csv" in files(tmp_path)


def test_an_unknown_layout_is_refused_when_the_dag_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flat"):
        operator(tmp_path, layout="flat")


def test_a_day_is_the_same_code_as_an_hour(export: LocalCloud, tmp_path: Path) -> None:
    result = operator(tmp_path, hours=3, event_type="connection").execute(CONTEXT)
    assert result["hours"] == {"empty": 1, "landed": 2}
    assert len([path for path in files(tmp_path) if path.startswith("_manifests/")]) == 3


def test_an_hour_that_may_still_get_files_gets_no_manifest_and_can_be_retried(
    export: LocalCloud, tmp_path: Path
) -> None:
    late = HOUR + 10 * ONE_HOUR
    made = operator(tmp_path, start=late.isoformat(), end=(late + ONE_HOUR).isoformat())
    with pytest.raises(AylaNotSettledError, match="overdue"):
        made.execute(CONTEXT)
    assert files(tmp_path) == {}
    put_hour(export, "Datapoint", late)
    assert made.execute(CONTEXT)["hours"] == {"landed": 1}


def test_a_refused_sign_in_fails_for_good(export: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, export, password="wrong-password")
    with pytest.raises(AirflowFailException, match="refused the sign-in"):
        operator(tmp_path).execute(CONTEXT)
    assert export.refusals == 1


def test_what_passes_can_be_retried_and_the_retry_does_only_the_rest(
    export: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ayla_provider.source.reader._TRIES_WITHOUT_PROGRESS", 1)
    put_hour(export, "Datapoint", file="g.csv", data=b"more\r\n")
    export.faults.add(Fault(step="download", match="g.csv", kind="500", times=1))
    with pytest.raises(AylaError, match=r"g\.csv") as failure:
        operator(tmp_path).execute(CONTEXT)
    assert not isinstance(failure.value, AirflowFailException)
    assert not (tmp_path / "_manifests").exists()
    seen = len(export.requests)
    assert operator(tmp_path).execute(CONTEXT)["copied_files"] == 1
    downloads = [request.path for request in export.requests[seen:] if request.step == "download"]
    assert len(downloads) == 1
    assert "g.csv" in downloads[0]


def test_a_dry_run_says_what_it_would_copy_and_writes_nothing(
    export: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_hour(export, "Datapoint", file="g.csv", data=b"more\r\n")
    result = operator(tmp_path, dry_run=True).execute(CONTEXT)
    assert (result["dry_run"], result["files"], result["files_to_copy"], result["bytes_to_copy"]) == (True, 2, 2, 29)
    assert files(tmp_path) == {}
    assert "download" not in {request.step for request in export.requests}
    assert "2 of 2 files, 29 B, would be copied" in capsys.readouterr().out
    operator(tmp_path).execute(CONTEXT)
    assert operator(tmp_path, dry_run=True).execute(CONTEXT)["files_to_copy"] == 0


def announced(context: Any) -> list[tuple[str, dict[str, Any]]]:
    (events,) = [accessor.asset_alias_events for accessor in context["outlet_events"].values()]
    return [(event.dest_asset_key.uri, event.extra) for event in events]


def test_each_hour_is_announced_as_an_asset_event(export: LocalCloud, tmp_path: Path) -> None:
    context: Any = {"ti": TI, "outlet_events": OutletEventAccessors()}
    operator(tmp_path, hours=2).execute(context)
    first, second = announced(context)
    assert first[0] == second[0] == f"file://{tmp_path}/event_type=datapoint"
    extras = sorted((first[1], second[1]), key=lambda extra: extra["hour"])
    assert extras == [
        {
            "event_type": "datapoint",
            "hour": HOUR.isoformat(),
            "state": "landed",
            "files": 1,
            "bytes": 23,
            "lines": 1,
            "revision": 1,
            "newest": (HOUR + timedelta(minutes=90)).isoformat(),
        },
        {
            "event_type": "datapoint",
            "hour": (HOUR + ONE_HOUR).isoformat(),
            "state": "empty",
            "files": 0,
            "bytes": 0,
            "lines": 0,
            "revision": 1,
            "newest": None,
        },
    ]


def test_a_retry_announces_what_an_earlier_try_committed_and_another_run_doesnt(
    export: LocalCloud, tmp_path: Path
) -> None:
    def run(run_id: str, try_number: int) -> int:
        ti = SimpleNamespace(dag_id="a_dag", run_id=run_id, task_id="copy", try_number=try_number, max_tries=4)
        context: Any = {"ti": ti, "outlet_events": OutletEventAccessors()}
        operator(tmp_path).execute(context)
        return len(announced(context)) if list(context["outlet_events"]) else 0

    assert [run("a_run", 1), run("a_run", 2), run("another_run", 1)] == [1, 1, 0]


def test_lineage_leads_from_the_vendors_folder_to_the_archive(export: LocalCloud, tmp_path: Path) -> None:
    made = operator(f"gs://{export.customer.name}/a/b")
    assert made.get_openlineage_facets_on_complete(None) is None
    made.execute(CONTEXT)
    lineage = made.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    (source,), (copy,) = lineage.inputs, lineage.outputs
    assert (source.namespace, source.name) == (f"gs://{export.vendor.name}", f"{export.oem_id}/Datapoint")
    assert (copy.namespace, copy.name) == (f"gs://{export.customer.name}", "a/b/event_type=datapoint")
    statistics = copy.outputFacets["outputStatistics"]
    assert (statistics.fileCount, statistics.size) == (1, 23)
    on_disk = operator(tmp_path)
    on_disk.execute(CONTEXT)
    (copy,) = on_disk.get_openlineage_facets_on_complete(None).outputs  # type: ignore[union-attr]
    assert (copy.namespace, copy.name) == ("file", f"{tmp_path}/event_type=datapoint")


def test_without_the_openlineage_provider_there_is_no_lineage_and_no_error(
    export: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    made = operator(tmp_path)
    made.execute(CONTEXT)
    assert made.get_openlineage_facets_on_complete(None) is None


@pytest.mark.parametrize(
    ("destination", "hours", "console", "manifest"),
    [
        (
            "gs://b/a",
            1,
            f"https://console.cloud.google.com/storage/browser/b/a/{DAY}/hour={HOUR:%H}",
            f"https://console.cloud.google.com/storage/browser/_details/b/a/_manifests/{DAY}/hour={HOUR:%H}.json",
        ),
        (
            "gs://b",
            48,
            "https://console.cloud.google.com/storage/browser/b/event_type=datapoint",
            "https://console.cloud.google.com/storage/browser/b/_manifests/event_type=datapoint",
        ),
        (
            "s3://b/a b",
            1,
            f"https://s3.console.aws.amazon.com/s3/buckets/b?prefix=a%20b/{DAY}/hour={HOUR:%H}/",
            f"https://s3.console.aws.amazon.com/s3/object/b?prefix=a%20b/_manifests/{DAY}/hour={HOUR:%H}.json",
        ),
        ("file:///a", 1, "", ""),
        ("abfs://a/b", 1, "", ""),
    ],
)
def test_links_lead_to_the_stores_console(destination: str, hours: int, console: str, manifest: str) -> None:
    made = operator(destination, hours=hours)
    links = {link.name: link.get_link(made, ti_key=None) for link in made.operator_extra_links}  # type: ignore[arg-type]
    assert links == {"Destination": console, "Manifest": manifest}


def test_a_day_has_one_folder_and_copies_under_the_vendors_names_have_none() -> None:
    day = HOUR.replace(hour=0)
    made = operator("gs://b", start=day.isoformat(), end=(day + 24 * ONE_HOUR).isoformat())
    console = "https://console.cloud.google.com/storage/browser/b"
    assert AylaDestinationLink().get_link(made, ti_key=None) == f"{console}/{DAY}"  # type: ignore[arg-type]
    assert AylaManifestLink().get_link(made, ti_key=None) == f"{console}/_manifests/{DAY}"  # type: ignore[arg-type]
    mirror = operator("gs://b", layout="mirror")
    assert AylaDestinationLink().get_link(mirror, ti_key=None) == f"{console}/"  # type: ignore[arg-type]


def test_links_of_a_task_without_an_interval_are_empty_and_no_error() -> None:
    made = operator("gs://b", start="", end="")
    assert AylaManifestLink().get_link(made, ti_key=None) == ""  # type: ignore[arg-type]
    assert AylaDestinationLink().get_link(made, ti_key=None) == ""  # type: ignore[arg-type]

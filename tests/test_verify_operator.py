from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.assets import export_alias
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.manifest import loads
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.typed_manifest import typed_manifest_path
from ayla_provider.errors import AylaConfigError
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import AylaExportToBucketOperator, AylaExportVerifyOperator
from tests.support.fleet import connect, put_hour
from tests.test_reconcile_operator import TaskInstance

FIRST = hour_of(datetime.now(UTC)) - timedelta(days=2)
HOURS = [ExportHour(EventType("datapoint"), FIRST + number * ONE_HOUR) for number in range(24)]
# Verify expects the hours until a day ago, so an hour that passes during a test would be one more of them.
pytestmark = pytest.mark.usefixtures("hour_of_import")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Any:
    """A local cloud with an object in each hour of a day, and the connections that lead to it."""
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        for hour in HOURS:
            put_hour(cloud, "Datapoint", hour.start, data=f"{hour}\r\n".encode())
        yield cloud


@pytest.fixture
def archive(cloud: LocalCloud, tmp_path: Path) -> Path:
    Archive(FileDestination(tmp_path)).take_in(AylaHook().export, HOURS, ArrivalRule(), written_by={}, last_try=True)
    return tmp_path


def verify(root: Path, **changes: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the list and the summary."""
    arguments = {"event_types": ["Datapoint"], "not_before": FIRST, "destination": f"file://{root}"} | changes
    ti = TaskInstance()
    repairs = AylaExportVerifyOperator(task_id="verify", **arguments).execute({"ti": ti})  # type: ignore[typeddict-item]
    assert json.loads(json.dumps(repairs)) == repairs
    return repairs, ti.xcoms["summary"]


def verify_events(root: Path) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    """Return the list, the summary, and the extras of the asset events."""
    ti, events = TaskInstance(), OutletEventAccessors()
    made = AylaExportVerifyOperator(
        task_id="verify", event_types=["Datapoint"], not_before=FIRST, destination=f"file://{root}"
    )
    repairs = made.execute({"ti": ti, "outlet_events": events})  # type: ignore[typeddict-item]
    alias = export_alias("datapoint")
    extras = [event.extra for event in events[alias].asset_alias_events] if alias in made.outlets else []
    return repairs, ti.xcoms["summary"], extras


def repair(root: Path, arguments: dict[str, Any]) -> None:
    made = AylaExportToBucketOperator(task_id="repair", destination=f"file://{root}", **arguments)
    made.execute({"ti": TaskInstance(), "outlet_events": OutletEventAccessors()})  # type: ignore[typeddict-item]


def remove_at_ayla(cloud: LocalCloud, hour: ExportHour) -> None:
    for name in [name for name in cloud.vendor.names if f"{hour.start:%Y-%m-%d %H}:" in name]:
        cloud.vendor.delete(name)


def copy_of(root: Path, hour: ExportHour) -> Path:
    (entry,) = loads((root / manifest_path(hour)).read_bytes(), "there").files
    return root / entry.path


def damage(copy: Path, data: bytes) -> None:
    """Change a copy, two hours ago."""
    copy.write_bytes(data)
    os.utime(copy, ((datetime.now(UTC) - 2 * ONE_HOUR).timestamp(),) * 2)


def contents(root: Path) -> dict[str, Any]:
    """Return all copies, and for each manifest what doesn't change in a repair."""
    files: dict[str, Any] = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.csv")}
    for path in root.rglob("*.json"):
        manifest = loads(path.read_bytes(), "there")
        files[str(path.relative_to(root))] = (manifest.hour, manifest.state, manifest.files)
    return files


def test_what_was_damaged_is_copied_again_until_nothing_differs(archive: Path) -> None:
    before = contents(archive)
    missing, cut, flipped, bare, unreadable = HOURS[:5]
    copy_of(archive, missing).unlink()
    damage(copy_of(archive, cut), b"x")
    damage(copy_of(archive, flipped), copy_of(archive, flipped).read_bytes().upper())
    (archive / manifest_path(bare)).unlink()
    (archive / manifest_path(unreadable)).write_bytes(b"{")
    repairs, summary = verify(archive)
    assert [item["reason"] for item in repairs] == [
        f"{unreadable}: its manifest can't be read",
        f"{bare}: no manifest in the archive",
        f"{flipped}: 1 file damaged in the archive",
        f"{cut}: 1 file damaged in the archive",
        f"{missing}: 1 file missing in the archive",
    ]
    assert summary["damages"] == {"damaged": 2, "missing": 1, "no_manifest": 1, "unreadable_manifest": 1}
    for item in repairs:
        repair(archive, item)
    assert contents(archive) == before
    repairs, summary = verify(archive)
    assert (repairs, summary["damages"], summary["manifests"], summary["files"]) == ([], {}, 24, 24)


def test_a_bit_that_flipped_on_the_disk_is_found_by_reading_and_repaired(archive: Path) -> None:
    before = contents(archive)
    copy = copy_of(archive, HOURS[7])
    facts = (datetime.now(UTC) - 2 * ONE_HOUR).timestamp()
    for path in archive.rglob("*.csv"):
        os.utime(path, (facts, facts))
    for hour in HOURS:
        # So that the manifests state the versions of by now.
        manifest = archive / manifest_path(hour)
        stored = FileDestination(archive).folder(str(copy_of(archive, hour).parent.relative_to(archive)))
        document = json.loads(manifest.read_bytes())
        document["files"][0]["version"] = next(iter(stored.values())).version
        manifest.write_text(json.dumps(document))
    copy.write_bytes(bytes([copy.read_bytes()[0] ^ 1]) + copy.read_bytes()[1:])
    os.utime(copy, (facts, facts))
    assert verify(archive)[0] == []
    (item,), summary = verify(archive, lookback=None, read_every=timedelta(days=1))
    assert item["reason"] == f"{HOURS[7]}: 1 file damaged in the archive"
    assert summary["read_files"] == 24
    repair(archive, item)
    repairs, summary = verify(archive, lookback=None, read_every=timedelta(days=1))
    assert (repairs, summary["damages"]) == ([], {})
    shutil.rmtree(archive / "_verify")
    assert contents(archive) == before


def test_typed_rows_are_compared_with_their_receipts_and_not_repaired_by_a_copy(archive: Path, tmp_path: Path) -> None:
    receipt = archive / "parquet" / typed_manifest_path(HOURS[3])
    receipt.parent.mkdir(parents=True)
    receipt.write_text("{")
    repairs, summary = verify(archive)
    assert (repairs, summary["damages"]) == ([], {"unreadable_receipt": 1})
    repairs, summary = verify(archive, parquet=f"file://{tmp_path}/elsewhere")
    assert (repairs, summary["damages"]) == ([], {})


@pytest.mark.parametrize("changes", [{"read_every": timedelta(days=90)}, {"read_every": 90}])
def test_a_period_of_reading_needs_everything(changes: dict[str, Any]) -> None:
    with pytest.raises(AylaConfigError, match="read_every"):
        AylaExportVerifyOperator(task_id="verify", destination="file:///x", **changes)


def test_verify_needs_no_connection_to_ayla(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_AYLA_DEFAULT")
    assert verify(archive)[0] == []


def test_a_file_that_ayla_no_longer_has_is_lost_named_and_tried_once(archive: Path, cloud: LocalCloud) -> None:
    hour = HOURS[3]
    copy, data = copy_of(archive, hour), copy_of(archive, hour).read_bytes()
    copy.unlink()
    remove_at_ayla(cloud, hour)
    (item,), summary, events = verify_events(archive)
    assert (summary["lost"], events) == (0, [])
    for _ in range(2):
        with pytest.raises(AirflowFailException, match=rf"{hour}: 1 lost file\..*{copy.name}.*restore the copy"):
            repair(archive, item)
        repairs, summary, (event,) = verify_events(archive)
        assert (repairs, summary["lost"], summary["damages"]) == ([], 1, {})
        assert (event["hour"], event["state"], event["files"], event["lost"]) == (hour.start.isoformat(), "lost", 1, 1)
    damage(copy, data)
    (item,), summary, events = verify_events(archive)
    assert (item["reason"], summary["lost"], events) == (f"{hour}: 1 lost file back in the archive", 0, [])
    repair(archive, item)
    assert verify(archive)[1]["damages"] == {}
    # It can be lost again.
    copy.unlink()
    (item,), summary = verify(archive)
    assert (item["reason"], summary["lost"]) == (f"{hour}: 1 file missing in the archive", 0)


def test_a_lost_manifest_is_not_replaced_by_one_without_files(archive: Path, cloud: LocalCloud) -> None:
    bare, unreadable = HOURS[3:5]
    (archive / manifest_path(bare)).unlink()
    (archive / manifest_path(unreadable)).write_bytes(b"{")
    for hour in (bare, unreadable):
        remove_at_ayla(cloud, hour)
    repairs, _ = verify(archive)
    for item in repairs:
        with pytest.raises(AirflowFailException, match=r"its manifest .*restore _manifests/.* \(no earlier version\)"):
            repair(archive, item)
    assert not (archive / manifest_path(bare)).exists()
    assert (archive / manifest_path(unreadable)).read_bytes() == b"{"
    repairs, summary = verify(archive)
    assert (repairs, summary["lost"]) == ([], 2)


def test_all_copies_of_an_hour_can_be_named_at_once(archive: Path) -> None:
    before = contents(archive)
    copy = copy_of(archive, HOURS[0])
    data, time = copy.read_bytes(), copy.stat().st_mtime_ns
    copy.write_bytes(data.upper())
    # Nothing shows this damage but the content.
    os.utime(copy, ns=(time, time))
    arguments = {"event_type": "datapoint", "start": HOURS[0].start, "end": HOURS[0].end}
    repair(archive, arguments)
    assert contents(archive) != before
    repair(archive, arguments | {"untrusted": ["*"]})
    assert contents(archive) == before


def test_a_bound_of_repairs_leaves_the_rest_to_the_next_run(archive: Path) -> None:
    for hour in HOURS[:4]:
        copy_of(archive, hour).unlink()
    repairs, summary = verify(archive, max_repairs=3)
    assert [item["start"] for item in repairs] == [hour.start.isoformat() for hour in HOURS[3:0:-1]]
    assert (summary["repairs"], summary["postponed"]) == (3, 1)


@pytest.mark.parametrize(
    "arguments", [{"max_repairs": 0}, {"lookback": timedelta(minutes=1)}, {"expected_retention": 7}]
)
def test_a_wrong_argument_is_refused_when_the_dag_is_read(arguments: dict[str, Any]) -> None:
    with pytest.raises(AylaConfigError):
        AylaExportVerifyOperator(task_id="verify", destination="file:///x", **arguments)

"""Several OEMs in one process: nothing of one is seen, held up or changed by another."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ayla_provider.__main__ import main
from ayla_provider.archive.archive import Archive
from ayla_provider.archive.compare import reconcile
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.assets import export_asset
from ayla_provider.domain.arrival import PATIENCE, QUIET_PERIOD, ArrivalRule
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.errors import AylaConfigError, AylaSignInRefused
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.triggers import AylaExportHourTrigger
from tests.support.fleet import HOUR, put_hour
from tests.support.oems import clouds_of_oems

ACME, GLOBEX = "ayla_acme_us", "ayla_globex_eu"


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch, airflow_db: None, tmp_path: Path) -> Iterator[list[LocalCloud]]:
    """The clouds of two OEMs, each with its own datapoints in HOUR; of the hour after it there are none."""
    with clouds_of_oems(monkeypatch, tmp_path) as made:
        for name, cloud in made.items():
            put_hour(cloud, "Datapoint", data=f"datapoints of {name}\r\n".encode())
            put_hour(cloud, "Connection", HOUR + 2 * ONE_HOUR)
        yield list(made.values())


def reconnect(monkeypatch: pytest.MonkeyPatch, conn_id: str, cloud: LocalCloud, **changes: str) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(cloud.ayla_connection() | changes))


def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ayla_provider.source.auth._PROVIDERS", {})


def copy(conn_id: str, root: Path, hour: Any = HOUR) -> None:
    archive = Archive(FileDestination(root))
    archive.take_in(AylaHook(conn_id).export, [ExportHour("datapoint", hour)], ArrivalRule(), written_by={})


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def wait(conn_id: str) -> AylaExportHourTrigger:
    return AylaExportHourTrigger(
        ayla_conn_id=conn_id,
        event_type="datapoint",
        start=HOUR.isoformat(),
        end=(HOUR + ONE_HOUR).isoformat(),
        quiet_period=QUIET_PERIOD.total_seconds(),
        patience=PATIENCE.total_seconds(),
        poke_interval=0.1,
        until="2030-01-01T00:00:00+00:00",
    )


async def fired(made: AylaExportHourTrigger) -> Any:
    return (await anext(made.run())).payload  # type: ignore[arg-type]


def test_each_account_signs_in_for_itself_and_its_tokens_go_to_its_own_cloud(clouds: list[LocalCloud]) -> None:
    for _ in range(3):
        for conn_id in (ACME, GLOBEX):
            assert set(AylaHook(conn_id).list_event_types()) == {"datapoint", "connection"}
    assert [(cloud.sign_ins, cloud.refusals) for cloud in clouds] == [(1, 0), (1, 0)]
    assert {request.status for cloud in clouds for request in cloud.requests} == {200}


def test_two_connections_of_one_account_sign_in_once(clouds: list[LocalCloud], monkeypatch: pytest.MonkeyPatch) -> None:
    acme, globex = clouds
    reconnect(monkeypatch, GLOBEX, acme)
    for conn_id in (ACME, GLOBEX):
        AylaHook(conn_id).list_event_types()
    assert (acme.sign_ins, globex.sign_ins) == (1, 0)


def test_a_refused_account_is_asked_once_by_all_its_connections_and_holds_up_no_other(
    clouds: list[LocalCloud], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, globex = clouds
    for conn_id in ("ayla_default", GLOBEX):
        reconnect(monkeypatch, conn_id, globex, password="wrong-password")
    for conn_id in (GLOBEX, "ayla_default", GLOBEX):
        new_process(monkeypatch)
        with pytest.raises(AylaSignInRefused):
            AylaHook(conn_id).list_event_types()
    assert (globex.sign_ins, globex.refusals) == (0, 1)
    AylaHook(ACME).list_event_types()
    assert (acme.sign_ins, acme.refusals) == (1, 0)


def test_waits_whose_cloud_does_not_answer_hold_up_no_other_oems(
    clouds: list[LocalCloud], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
    acme, globex = clouds
    address = urlsplit(globex.url)

    async def run() -> list[Any]:
        with globex.not_listening(), socket.create_server((address.hostname, address.port)) as silent:
            silent.setblocking(False)
            waits = [asyncio.ensure_future(fired(wait(GLOBEX))) for _ in range(50)]
            asked, _ = await asyncio.get_running_loop().sock_accept(silent)
            with asked:
                first = await fired(wait(ACME))
                assert not any(one.done() for one in waits)
        return [first, *await asyncio.gather(*waits)]

    events = asyncio.run(asyncio.wait_for(run(), 50))
    assert len(events) == 51
    assert {event["status"] for event in events} == {"settled"}
    assert (acme.sign_ins, globex.sign_ins) == (1, 1)


@pytest.mark.parametrize("hour", [HOUR, HOUR + ONE_HOUR], ids=["landed", "empty"])
def test_an_archive_takes_in_no_hour_of_another_oem(clouds: list[LocalCloud], tmp_path: Path, hour: Any) -> None:
    acme, globex = clouds
    copy(ACME, tmp_path, hour)
    put_hour(globex, "Datapoint", HOUR + ONE_HOUR)
    before = everything(tmp_path)
    with pytest.raises(AylaConfigError, match=rf"archive of the export .*{acme.oem_id}.*leads to .*{globex.oem_id}"):
        copy(GLOBEX, tmp_path, hour)
    assert everything(tmp_path) == before
    copy(ACME, tmp_path, hour)


def test_a_comparison_with_the_archive_of_another_oem_is_refused(
    clouds: list[LocalCloud], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy(ACME, tmp_path)
    records = Records(FileDestination(tmp_path))
    with pytest.raises(AylaConfigError, match="Give each OEM its own destination"):
        reconcile(AylaHook(GLOBEX).export, records, ["datapoint"], HOUR, HOUR + ONE_HOUR)
    arguments = ["report", "--destination", f"file://{tmp_path}", "--since", HOUR.isoformat()]
    assert main([*arguments, "--conn", GLOBEX, "--json"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {GLOBEX} and file://{tmp_path}: ")
    assert "Give each OEM its own destination" in error
    assert main([*arguments, "--conn", ACME]) == 1


def test_the_archive_of_an_export_that_moved_to_another_bucket_goes_on(
    clouds: list[LocalCloud], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    acme, _ = clouds
    copy(ACME, tmp_path)
    moved = AylaHook(ACME).export
    monkeypatch.setattr(moved.source, "url", "gs://another-bucket")
    put_hour(acme, "Datapoint", data=b"replaced\r\n")
    Archive(FileDestination(tmp_path)).take_in(moved, [ExportHour("datapoint", HOUR)], ArrivalRule(), written_by={})
    (path,) = (tmp_path / "event_type=datapoint").rglob("*.csv")
    assert path.read_bytes() == b"replaced\r\n"


def test_assets_of_two_archives_are_two() -> None:
    one, other = (export_asset(f"gs://{name}-archive/ayla", "datapoint") for name in ("acme", "globex"))
    assert one.uri != other.uri
    assert one.name != other.name

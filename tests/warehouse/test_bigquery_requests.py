"""What BigQuery is asked, by Google's own client over HTTP; tests/doubles checks the tables' content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import RefreshError
from google.cloud import bigquery as google_bigquery

from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.domain.work import Work
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.warehouse import bigquery
from ayla_provider.warehouse.base import LEDGER, Load
from ayla_provider.warehouse.bigquery import BigQueryWarehouse
from tests.warehouse.bigquery_service import Json, Service, serving

DATAPOINT = TABLES["datapoint"]
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = "projects/acme/locations/eu/keyRings/ring/cryptoKeys/iot"
DATASET = "/bigquery/v2/projects/acme/datasets/iot"
CONFLICT = (400, "invalidQuery", "Transaction is aborted due to concurrent update against table acme:iot.ayla_loads.")
AT_REST = {"kmsKeyName": KEY}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(bigquery, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(bigquery, "LONGEST_WAIT", 0.01)
    with serving() as service:
        yield service


def warehouse(service: Service, **arguments: Any) -> BigQueryWarehouse:
    def connect() -> google_bigquery.Client:
        return google_bigquery.Client("acme", AnonymousCredentials(), client_options={"api_endpoint": service.url})

    return BigQueryWarehouse(connect, **{"dataset": "iot"} | arguments)


def hour(tmp_path: Path, content: bytes = b"PAR1") -> Load:
    file = tmp_path / "hour.parquet"
    file.write_bytes(content)
    return Load(
        table=DATAPOINT,
        hour=NOON,
        version="v1",
        rows=1,
        lines=4,
        duplicates=2,
        quarantined=1,
        parquet=file,
        loaded_at=datetime(2026, 11, 2, tzinfo=UTC),
        loaded_by="it's a \\ run",
    )


def there(service: Service, **tables: Json) -> None:
    """Let a dataset in Tokyo and some tables be there."""
    service.things[DATASET] = {
        "datasetReference": {"projectId": "acme", "datasetId": "iot"},
        "location": "asia-northeast1",
    }
    for name, table in tables.items():
        reference = {"projectId": "acme", "datasetId": "iot", "tableId": name}
        service.things[f"{DATASET}/tables/{name}"] = {"tableReference": reference} | table


def test_what_is_not_there_is_made(service: Service) -> None:
    with warehouse(service, location="EU", kms_key=KEY) as target:
        target.prepare(DATAPOINT)
    (dataset,) = service.of("POST", "/datasets")
    assert dataset["location"] == "EU"
    assert dataset["defaultEncryptionConfiguration"] == AT_REST
    made = {one["tableReference"]["tableId"]: one for one in service.of("POST", "/tables")}
    assert set(made) == {"ayla_loads", "ayla_datapoint", "ayla_datapoint_unique", "ayla_latest_values"}

    table = made["ayla_datapoint"]
    assert table["timePartitioning"] == {"type": "DAY", "field": "folder_hour"}
    assert table["clustering"] == {"fields": ["dsn"]}
    assert table["description"] == DATAPOINT.description
    types = {one["name"]: one["type"] for one in table["schema"]["fields"]}
    assert [*types] == [*DATAPOINT.names]
    assert {types[name] for name in ("dsn", "time_uuid")} == {"STRING"}
    names = ("val_int", "val_float", "echo", "folder_hour")
    assert [types[name] for name in names] == ["INT64", "FLOAT64", "BOOL", "TIMESTAMP"]
    assert all(one["description"] for one in table["schema"]["fields"])

    assert made["ayla_loads"]["clustering"] == {"fields": ["event_type"]}
    assert [made[name]["encryptionConfiguration"] for name in ("ayla_loads", "ayla_datapoint")] == [AT_REST, AT_REST]
    view = made["ayla_latest_values"]
    assert view["description"].startswith("The latest value")
    assert view["view"]["useLegacySql"] is False
    assert "from `acme`.`iot`.`ayla_datapoint_unique`" in view["view"]["query"]


def test_every_job_says_for_what_task_oem_and_event_type_it_is(service: Service, tmp_path: Path) -> None:
    there(service)
    with warehouse(service) as target:
        target.work_for(Work("Fleet.1", "load", "manual__1"))
        target.prepare(DATAPOINT)
        target.loaded("datapoint", NOON, NOON + timedelta(hours=1))
        target.replace(replace(hour(tmp_path), oem_id="acme"))
    of_task = {"ayla_dag": "fleet-1", "ayla_task": "load", "ayla_run": "manual__1"}
    of_load = of_task | {"ayla_oem": "acme", "ayla_event_type": "datapoint"}
    jobs = [request.body["configuration"] for request in service.requests if "configuration" in request.body]
    (load_job,) = [job for job in jobs if "load" in job]
    (script,) = [job for job in jobs if "begin transaction" in str(job)]
    assert load_job["labels"] == script["labels"] == of_load
    others = [job["labels"] for job in jobs if job not in (load_job, script)]
    assert others == [of_task] * len(others)
    assert others


def test_where_all_is_there_nothing_is_written(service: Service) -> None:
    with warehouse(service) as target:
        target.prepare(DATAPOINT)
        before = len(service.requests)
        target.prepare(DATAPOINT)
    assert {one.method for one in service.requests[before:]} == {"GET"}


def test_a_missing_column_is_added_in_the_location_of_the_dataset(service: Service) -> None:
    with warehouse(service) as target:
        target.prepare(DATAPOINT)
        service.things[DATASET]["location"] = "EU"
    with warehouse(service, kms_key=KEY, location="US") as target:
        target.prepare(DATAPOINT.with_columns((Column("firmware", ColumnType.TEXT, 'Its "maker\'s".'),)))
    (deletion, job) = service.of("POST", "/jobs")
    # A new table holds none of the hours that the ledger may name.
    assert deletion["configuration"]["query"]["query"].startswith("delete from `acme`.`iot`.`ayla_loads`")
    assert job["configuration"]["query"]["query"] == (
        "alter table `acme`.`iot`.`ayla_datapoint` add column if not exists `firmware` STRING "
        'options (description = "Its \\"maker\'s\\".")'
    )
    assert job["jobReference"]["location"] == "EU"
    # BigQuery refuses a key for statements that make or change a table.
    assert "destinationEncryptionConfiguration" not in job["configuration"]["query"]
    (view,) = service.of("PATCH", "/tables/ayla_datapoint_unique")
    assert "`firmware`" in view["view"]["query"]


def test_a_view_keeps_a_column_that_the_files_of_an_hour_lack(service: Service) -> None:
    with warehouse(service) as target:
        target.prepare(DATAPOINT)
        table = next(thing for path, thing in service.things.items() if path.endswith("/tables/ayla_datapoint"))
        table["schema"]["fields"].append({"name": "firmware", "type": "STRING", "mode": "NULLABLE"})
        target.prepare(DATAPOINT)
    (view,) = service.of("PATCH", "/tables/ayla_datapoint_unique")
    assert "`firmware`" in view["view"]["query"]


@pytest.mark.parametrize(("kind", "mode"), [("INTEGER", "NULLABLE"), ("STRING", "REPEATED")])
def test_a_column_of_another_type_is_reported(service: Service, kind: str, mode: str) -> None:
    there(service, ayla_datapoint={"schema": {"fields": [{"name": "DSN", "type": kind, "mode": mode}]}})
    message = r"column dsn of .*ayla_datapoint.* has the type .*, but the rows need STRING.*table_prefix"
    with warehouse(service) as target, pytest.raises(AylaWarehouseError, match=message):
        target.prepare(DATAPOINT)


def test_the_rows_are_staged_in_a_table_of_their_own(service: Service, tmp_path: Path) -> None:
    there(service)
    content = bytes(range(256)) * 10_000
    with warehouse(service, kms_key=KEY) as target:
        target.replace(hour(tmp_path, content))
    (staged,) = service.of("POST", "/tables")
    assert re.fullmatch(r"ayla_datapoint_2026110112_[0-9a-f]{32}", staged["tableReference"]["tableId"])
    assert staged["encryptionConfiguration"] == AT_REST
    until_it_expires = datetime.fromtimestamp(int(staged["expirationTime"]) / 1000, UTC) - datetime.now(UTC)
    assert timedelta(minutes=30) < until_it_expires <= timedelta(hours=1)

    (job,) = service.of("POST", "/upload/bigquery/v2/projects/acme/jobs")
    assert job["jobReference"]["location"] == "asia-northeast1"
    assert job["jobReference"]["jobId"].startswith("ayla_datapoint_2026110112_")
    load = job["configuration"]["load"]
    assert load["destinationTable"] == staged["tableReference"]
    assert load["schema"]["fields"] == staged["schema"]["fields"]
    assert load["sourceFormat"] == "PARQUET"
    assert (load["createDisposition"], load["writeDisposition"]) == ("CREATE_NEVER", "WRITE_EMPTY")
    assert load["destinationEncryptionConfiguration"] == AT_REST
    assert service.uploaded == content
    assert [*service.things] == [DATASET]


def test_one_script_changes_rows_and_ledger(service: Service, tmp_path: Path) -> None:
    there(service)
    load = hour(tmp_path)
    with warehouse(service, kms_key=KEY) as target:
        target.replace(load)
    (job,) = service.scripts()
    (staged,) = service.of("POST", "/tables")
    query = job["configuration"]["query"]
    columns = ", ".join(f"`{name}`" for name in DATAPOINT.names)
    ledger = ", ".join(f"`{name}`" for name in LEDGER.names)
    assert query["query"].splitlines() == [
        "create table if not exists `acme`.`iot`.`ayla_datapoint_2026110112_turn` options (expiration_timestamp = "
        f'timestamp_add(current_timestamp(), interval 1 hour), kms_key_name = "{KEY}") as select 1 as turn;',
        "begin transaction;",
        "update `acme`.`iot`.`ayla_datapoint_2026110112_turn` set turn = turn + 1 where true;",
        "delete from `acme`.`iot`.`ayla_datapoint` where `folder_hour` = @ledger_folder_hour;",
        f"insert into `acme`.`iot`.`ayla_datapoint` ({columns}) select {columns} "
        f"from `acme`.`iot`.`{staged['tableReference']['tableId']}`;",
        "delete from `acme`.`iot`.`ayla_loads` "
        "where `event_type` = @ledger_event_type and `folder_hour` = @ledger_folder_hour;",
        f"insert into `acme`.`iot`.`ayla_loads` ({ledger}) select "
        f"{', '.join(f'@ledger_{name}' for name in LEDGER.names)};",
        "commit transaction;",
    ]
    assert query["useLegacySql"] is False
    # BigQuery refuses a key for scripts.
    assert "destinationEncryptionConfiguration" not in query
    values = {
        one["name"]: (one["parameterType"]["type"], one["parameterValue"]["value"]) for one in query["queryParameters"]
    }
    assert values == {
        "ledger_event_type": ("STRING", "datapoint"),
        "ledger_folder_hour": ("TIMESTAMP", "2026-11-01 12:00:00+00:00"),
        "ledger_version": ("STRING", "v1"),
        "ledger_rows": ("INT64", "1"),
        "ledger_lines": ("INT64", "4"),
        "ledger_duplicates": ("INT64", "2"),
        "ledger_quarantined": ("INT64", "1"),
        "ledger_loaded_at": ("TIMESTAMP", "2026-11-02 00:00:00+00:00"),
        "ledger_loaded_by": ("STRING", "it's a \\ run"),
    }


def test_no_partition_is_addressed_by_its_decorator(service: Service, tmp_path: Path) -> None:
    with warehouse(service) as target:
        target.prepare(DATAPOINT)
        target.replace(hour(tmp_path))
    assert not [one for one in service.requests if "$" in f"{one.path} {one.body}"]


def test_what_another_load_cancelled_is_done_again(service: Service, tmp_path: Path) -> None:
    there(service)
    service.refusals = [CONFLICT, (409, "duplicate", "Already Exists: Table acme:iot.ayla_datapoint_2026110112_turn")]
    with warehouse(service) as target:
        target.replace(hour(tmp_path))
    scripts = service.scripts()
    assert len(scripts) == 3
    assert len({job["jobReference"]["jobId"] for job in scripts}) == 3
    assert len({job["configuration"]["query"]["query"] for job in scripts}) == 1
    assert len(service.of("POST", "/upload/bigquery/v2/projects/acme/jobs")) == 1


def test_a_load_that_is_always_cancelled_says_so(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(service)
    monkeypatch.setattr(bigquery, "PATIENCE", 0.2)
    service.refusals = [CONFLICT] * 1000
    message = "can't load datapoint 2026-11-01 12:00 UTC: other loads changed the same tables .* safe to try again"
    with warehouse(service) as target, pytest.raises(AylaWarehouseError, match=message) as raised:
        target.replace(hour(tmp_path))
    assert raised.value.retryable
    assert [*service.things] == [DATASET]


def test_a_script_whose_answer_is_lost_runs_once(service: Service, tmp_path: Path) -> None:
    there(service)
    service.lost_answers = 1
    with warehouse(service) as target:
        target.replace(hour(tmp_path))
    assert len({job["jobReference"]["jobId"] for job in service.scripts()}) == 1


def test_a_refusal_quotes_no_row(service: Service, tmp_path: Path) -> None:
    there(service)
    service.refusals = [(400, "invalidQuery", "Bad int64 value: AC000W0001")]
    message = r"can't load datapoint 2026-11-01 12:00 UTC: refused \(invalidQuery\).*job history"
    with warehouse(service) as target, pytest.raises(AylaWarehouseError, match=message) as raised:
        target.replace(hour(tmp_path))
    assert "AC000W0001" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert [*service.things] == [DATASET]


def test_a_missing_right_is_reported(service: Service, tmp_path: Path) -> None:
    there(service)
    service.refusals = [(403, "accessDenied", "Permission bigquery.tables.updateData denied on table ayla_loads")]
    message = r"tables\.updateData denied.*page on BigQuery"
    with warehouse(service) as target, pytest.raises(AylaWarehouseError, match=message):
        target.replace(hour(tmp_path))


def test_a_file_that_was_taken_in_part_is_refused(service: Service, tmp_path: Path) -> None:
    there(service)
    service.rows_taken = 0
    message = "can't load datapoint 2026-11-01 12:00 UTC: 0 of 1 rows arrived, by the load job .* safe to try again"
    with warehouse(service) as target, pytest.raises(AylaWarehouseError, match=message):
        target.replace(hour(tmp_path))
    assert service.scripts() == []


def test_what_is_loaded_is_asked_of_the_ledger(service: Service) -> None:
    there(
        service,
        ayla_loads={"schema": {"fields": [{"name": "version", "type": "STRING"}]}},
        ayla_datapoint={"schema": {"fields": [{"name": "dsn", "type": "STRING"}]}},
    )
    service.rows = [[str(int(NOON.timestamp()) * 1_000_000), "v1"]]
    with warehouse(service, kms_key=KEY) as target:
        assert target.loaded("datapoint", NOON, NOON + timedelta(hours=1)) == {NOON: "v1"}
    (job,) = service.of("POST", "/jobs")
    key = "`event_type` = @ledger_event_type"
    assert f"where {key} and `folder_hour` >= @ledger_start and `folder_hour` < @ledger_end" in str(job)
    assert job["configuration"]["query"]["destinationEncryptionConfiguration"] == AT_REST


def test_a_refused_account_is_reported() -> None:
    class Refused(Credentials):
        def refresh(self, request: object) -> None:
            raise RefreshError("invalid_grant: Invalid JWT Signature.")

    refused = google_bigquery.Client("acme", Refused())
    message = "BigQuery iot: can't connect: RefreshError: invalid_grant"
    with pytest.raises(AylaWarehouseError, match=message), BigQueryWarehouse(lambda: refused, dataset="iot"):
        pass

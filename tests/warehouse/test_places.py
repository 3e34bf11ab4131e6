"""Archive and typed rows in object stores: read in blocks, written as a whole."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.local import FileDestination
from ayla_provider.destinations import open_destination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.typed_manifest import quarantine_path
from ayla_provider.errors import AylaDestinationError
from ayla_provider.rows.typed_archive import TypedArchive
from harness import reference
from tests.rows.test_typed_archive import compare, files_of
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.odd_files import OddFiles

pytestmark = pytest.mark.filterwarnings(
    # Of the stores' clients, about themselves.
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::airflow.exceptions.AirflowProviderDeprecationWarning",
)


def gcs(cloud: object) -> Destination:
    from google.oauth2 import service_account

    scope = "https://www.googleapis.com/auth/devstorage.read_write"
    made = service_account.Credentials.from_service_account_info(cloud.service_account_key(), scopes=[scope])
    made._is_regional_access_boundary_lookup_required = lambda: False
    return GcsDestination(cloud.url, cloud.customer.name, "ayla", credentials=made)


@pytest.fixture(params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    """A bucket, as a destination."""
    if request.param == "gs":
        from ayla_provider.local_cloud import LocalCloud

        with LocalCloud() as cloud:
            yield gcs(cloud)
        return
    import boto3

    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    extra = {"endpoint_url": request.getfixturevalue("s3_url"), "region_name": "us-east-1"}
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
    name = f"bucket-{time.monotonic_ns()}"
    boto3.client("s3", **extra, **keys).create_bucket(Bucket=name)
    connection = {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "example", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_TEST", json.dumps(connection))
    yield open_destination(f"s3://{name}/ayla", "aws_test")


def copy(source: Path, destination: Destination) -> None:
    """Put a folder's content into a bucket."""
    local = FileDestination(source)
    for path in (str(one.relative_to(source)) for one in source.rglob("*") if one.is_file()):
        stored = local.folder(path.rpartition("/")[0])[path]
        destination.write(
            path,
            io.BytesIO((source / path).read_bytes()),
            size=stored.size,
            crc32c=local.crc32c(stored),
            replaces=destination.folder(path.rpartition("/")[0]).get(path),
            content_type="text/csv",
        )


def fetch(source: Destination, path: str, folder: Path) -> None:
    """Bring an object of a bucket into a folder."""
    found = source.read(path)
    assert found
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(found[0])


def test_an_hour_in_a_bucket_is_typed_there(tmp_path: Path, bucket: Destination) -> None:
    files = [OddFiles(reference.LAYOUTS["datapoint-22"], seed).file(200) for seed in (1, 2)]
    manifest = archive_hour(tmp_path / "archive", "datapoint", files)
    copy(tmp_path / "archive", bucket)
    archive = TypedArchive(bucket, bucket, max_malformed=1)
    report = archive.ensure(ExportHour("datapoint", HOUR), {})
    assert report.made
    assert not archive.ensure(ExportHour("datapoint", HOUR), {}).made
    fetch(bucket, report.manifest.path, tmp_path / "rows")
    fetch(bucket, quarantine_path(ExportHour("datapoint", HOUR)), tmp_path / "archive")
    expected = reference.read("datapoint", files_of(tmp_path, manifest))
    compare(tmp_path, manifest, report.manifest, expected)
    with archive.fetched(report.manifest) as local:
        assert local is not None
        assert local.read_bytes() == (tmp_path / "rows" / report.manifest.path).read_bytes()

    # The file is replaced by hand, and its manifest isn't: nothing is loaded from it.
    changed = tmp_path / "archive" / manifest.files[0].path
    changed.write_bytes(changed.read_bytes() + b"x")
    copy(tmp_path / "archive", bucket)
    again = archive_hour(tmp_path / "archive", "datapoint", files, generation=2, revision=2)
    changed.write_bytes(files[0] + b"x")
    copy(tmp_path / "archive", bucket)
    with pytest.raises(AylaDestinationError, match=r"f0\.csv in the archive has .* its manifest says"):
        archive.ensure(ExportHour("datapoint", HOUR), {})
    assert again.revision == 2
    assert archive.loaded([report.manifest.hour]) == {report.manifest.hour: report.manifest.version}


def test_a_receipt_that_was_written_but_whose_answer_is_lost_is_a_good_one(tmp_path: Path) -> None:
    from ayla_provider.local_cloud import LocalCloud

    archive_hour(tmp_path / "archive", "datapoint", [OddFiles(reference.LAYOUTS["datapoint-22"], 1).file(50)])
    with LocalCloud() as cloud:
        bucket = gcs(cloud)
        copy(tmp_path / "archive", bucket)
        # The uploads are those of the malformed lines, the rows, and the receipt.
        fault = cloud.faults.add("cut", step="upload", nth=3)
        archive = TypedArchive(bucket, bucket, max_malformed=1)
        assert archive.ensure(ExportHour("datapoint", HOUR), {}).made
        assert fault.fired == 1
        assert not archive.ensure(ExportHour("datapoint", HOUR), {}).made

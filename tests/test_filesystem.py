"""The export as a file system: with fsspec, pandas, DuckDB, and Airflow's ObjectStoragePath."""

from __future__ import annotations

import pickle
import stat
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.sdk import ObjectStoragePath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayla_provider import filesystem
from ayla_provider.errors import AylaConfigError, AylaSignInRefused, AylaTransferError, AylaUnavailable
from ayla_provider.filesystem import AylaFileSystem
from ayla_provider.local_cloud import Fault, LocalCloud
from tests.support.fleet import connect

DAY = datetime(2026, 11, 1, tzinfo=UTC)
CSV = b"dsn,val\nAC1,1\nAC2,2\n"
FILES = {
    "Connection/2026-11-01 07:00:00/Connections.csv": b"dsn\nAC1\n",
    "Datapoint Ack/2026-11-01 07:00:00/Acks.csv": b"id\n1\n",
    "Datapoint/2026-10-31 23:00:00/Datapoints.csv": CSV,
    "Datapoint/2026-11-01 07:00:00/Datapoints.csv": CSV,
    "Datapoint/2026-11-01 07:00:00/part/more.csv": CSV,
    "Datapoint/2026-11-01 08:00:00/Datapoints.csv": CSV,
    "Datapoint/README.txt": b"hello",
}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Any:
    with LocalCloud() as cloud:
        for path, data in FILES.items():
            put(cloud, path, data)
        connect(monkeypatch, cloud)
        # Airflow keeps the file systems of a process.
        monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
        yield cloud


def put(cloud: LocalCloud, path: str, data: bytes) -> None:
    folder, _, rest = path.partition("/")
    inner, _, file = rest.rpartition("/")
    if inner:
        cloud.put_object(folder, inner, file, data, DAY)
    else:
        from ayla_provider.local_cloud.contents import BytesContent

        cloud.vendor.put(f"{cloud.oem_id}/{path}", BytesContent(data), DAY)


def url(path: str) -> str:
    return f"ayla://ayla_default/{path}"


def listings(cloud: LocalCloud) -> int:
    return sum(request.step == "list" for request in cloud.requests)


def on_disk(root: Path) -> Any:
    """Return fsspec's own file system over the same files, which knows what its methods mean."""
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return fsspec.filesystem("file")


PATTERNS = [
    "*",
    "*/",
    "Datapoint",
    "Datapoint/*",
    "Datapoint/*/*",
    "Datapoint/2026-11-01*",
    "Datapoint/2026-11-01*/*.csv",
    "Datapoint/2026-11-0[1-7]*/*",
    "Datapoint/2026-11-01 0?:00:00/Datapoints.csv",
    "Datapoint/**/*.csv",
    "Datapoint/**",
    "**",
    "**/*.csv",
    "*/2026-11-01*/*.csv",
    "Data*/2026-11-01 07:00:00",
    "Data*/2026-11-01 07:00:00/*",
    "*/README.txt",
    "Nothing/*",
    "Datapoint/README.txt",
    "Datapoint/2026-12*/*",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_finds_what_it_finds_on_a_disk(cloud: LocalCloud, tmp_path: Path, pattern: str) -> None:
    disk = on_disk(tmp_path)
    expected = [path.removeprefix(f"{tmp_path}/") for path in disk.glob(f"{tmp_path}/{pattern}")]
    found = fsspec.filesystem("ayla").glob(url(pattern))
    root = {str(tmp_path), "ayla_default"}
    assert [path.removeprefix("ayla_default/") for path in found if path not in root] == [
        path for path in expected if path not in root
    ]


@pytest.mark.parametrize("path", ["", "Datapoint", "Datapoint/2026-11-01 07:00:00", "Datapoint/README.txt"])
@pytest.mark.parametrize(
    "options", [{}, {"withdirs": True}, {"maxdepth": 1}, {"maxdepth": 1, "withdirs": True}, {"maxdepth": 2}], ids=str
)
def test_find_is_that_of_a_disk(cloud: LocalCloud, tmp_path: Path, path: str, options: dict[str, Any]) -> None:
    expected = on_disk(tmp_path).find(f"{tmp_path}/{path}".rstrip("/"), **options)
    found = fsspec.filesystem("ayla").find(url(path), **options)
    root = {str(tmp_path), "ayla_default"}
    assert [name.removeprefix("ayla_default/") for name in found if name not in root] == [
        name.removeprefix(f"{tmp_path}/") for name in expected if name not in root
    ]


def test_walk_and_ls_are_those_of_a_disk(cloud: LocalCloud, tmp_path: Path) -> None:
    disk, export = on_disk(tmp_path), fsspec.filesystem("ayla")

    def walked(fs: Any, root: str) -> list[tuple[str, list[str], list[str]]]:
        return sorted(
            (path.removeprefix(root).strip("/"), sorted(folders), sorted(files))
            for path, folders, files in fs.walk(root)
        )

    assert walked(export, "ayla_default") == walked(disk, str(tmp_path))
    for path in ("", "Datapoint", "Datapoint/2026-11-01 07:00:00", "Datapoint/README.txt"):
        names = [name.removeprefix("ayla_default/") for name in export.ls(url(path), detail=False)]
        expected = disk.ls(f"{tmp_path}/{path}".rstrip("/"), detail=False)
        assert names == sorted(name.removeprefix(f"{tmp_path}/") for name in expected)


def test_info_says_what_a_path_is(cloud: LocalCloud) -> None:
    fs = fsspec.filesystem("ayla")
    info = fs.info(url("Datapoint/2026-11-01 07:00:00/Datapoints.csv"))
    assert (info["type"], info["size"], info["created"]) == ("file", len(CSV), DAY)
    assert info["crc32c"]
    assert fs.info(url("Datapoint/README.txt"))["size"] == 5
    for folder in (
        "",
        "Datapoint",
        "Datapoint/",
        "Datapoint/2026-11-01 07:00:00",
        "Datapoint/2026-11-01 07:00:00/part",
    ):
        assert fs.info(url(folder))["type"] == "directory"
        assert fs.isdir(url(folder))
    # One name is the beginning of another.
    for nothing in ("Data", "Datapoint/2026-11-01", "Datapoint/2026-11-01 07:00:00/Datapoints", "Location"):
        assert not fs.exists(url(nothing))
        assert not fs.isfile(url(nothing))
        with pytest.raises(FileNotFoundError):
            fs.ls(url(nothing))


def test_a_pattern_lists_what_it_begins_with_and_no_more(cloud: LocalCloud) -> None:
    for hour in range(24 * 40):
        start = DAY + timedelta(hours=hour)
        put(cloud, f"Datapoint/{start:%Y-%m-%d %H:%M:%S}/Datapoints.csv", CSV)
    fs = fsspec.filesystem("ayla")
    assert len(fs.glob(url("Datapoint/2026-11-03*/*.csv"))) == 24
    assert listings(cloud) == 1
    # The folders, and one listing for each of three event types.
    assert len(fs.glob(url("*/2026-11-03*/*.csv"))) == 24
    assert listings(cloud) == 1 + 1 + 3


def test_a_file_is_read_in_any_order(cloud: LocalCloud) -> None:
    data = bytes(range(256)) * 100
    put(cloud, "Datapoint/2026-11-01 09:00:00/big.csv", data)
    fs = fsspec.filesystem("ayla")
    with fs.open(url("Datapoint/2026-11-01 09:00:00/big.csv"), block_size=1000) as file:
        assert file.read(10) == data[:10]
        file.seek(-5, 2)
        assert file.read() == data[-5:]
        file.seek(12_345)
        assert file.read(2_000) == data[12_345:14_345]
        file.seek(0)
        assert file.read() == data
    assert fs.cat_file(url("Datapoint/2026-11-01 09:00:00/big.csv"), 5, 10) == data[5:10]
    assert fs.cat_file(url("Datapoint/2026-11-01 09:00:00/big.csv"), -10) == data[-10:]
    assert fs.cat(url("Datapoint/2026-11-01*/big.csv")) == {
        "ayla_default/Datapoint/2026-11-01 09:00:00/big.csv": data
    } or (fs.cat(url("Datapoint/2026-11-01*/big.csv")) == data)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(reads=st.lists(st.tuples(st.integers(0, 2600), st.integers(-1, 2600)), max_size=6))
def test_any_reads_are_those_of_the_content(cloud: LocalCloud, reads: list[tuple[int, int]]) -> None:
    data = b"0123456789abcdef" * 160
    path = "Datapoint/2026-11-01 09:00:00/any.csv"
    put(cloud, path, data)
    with fsspec.filesystem("ayla").open(url(path), block_size=100) as file:
        for start, length in reads:
            file.seek(start)
            expected = data[start:] if length < 0 else data[start : start + length]
            assert file.read(length) == expected


@pytest.mark.parametrize("kind", ["cut", 503])
def test_a_read_goes_on_after_an_interruption(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, kind: str | int
) -> None:
    monkeypatch.setattr("ayla_provider.source.reader._BACKOFF", 0.001)
    cloud.faults.add(Fault(kind, step="download", times=3, after_bytes=7))
    assert fsspec.filesystem("ayla").cat_file(url("Datapoint/2026-11-01 07:00:00/Datapoints.csv")) == CSV


def test_wrong_content_is_an_error_and_a_download_leaves_nothing(cloud: LocalCloud, tmp_path: Path) -> None:
    fs = fsspec.filesystem("ayla")
    path = url("Datapoint/2026-11-01 07:00:00/Datapoints.csv")
    cloud.faults.add(Fault("corrupt", step="download", after_bytes=3, times=2))
    with pytest.raises(AylaTransferError, match="crc32c"):
        fs.cat_file(path)
    with pytest.raises(AylaTransferError, match="crc32c"):
        fs.get_file(path, tmp_path / "folder" / "x.csv")
    assert list((tmp_path / "folder").iterdir()) == []
    fs.get_file(path, tmp_path / "folder" / "x.csv")
    assert (tmp_path / "folder" / "x.csv").read_bytes() == CSV
    # It is personal data.
    assert stat.S_IMODE((tmp_path / "folder" / "x.csv").stat().st_mode) == 0o600


def test_a_file_that_is_replaced_while_it_is_read_is_an_error(cloud: LocalCloud) -> None:
    path = "Datapoint/2026-11-01 09:00:00/big.csv"
    put(cloud, path, b"a" * 3000)
    fs = fsspec.filesystem("ayla")
    with fs.open(url(path), block_size=1000, cache_type="none") as file:
        assert file.read(1000) == b"a" * 1000
        before = fs.ukey(url(path))
        put(cloud, path, b"b" * 3000)
        with pytest.raises(AylaTransferError):
            file.read(1000)
    assert fs.cat_file(url(path)) == b"b" * 3000
    assert fs.ukey(url(path)) != before


def test_a_token_that_ends_is_renewed(cloud: LocalCloud) -> None:
    fs = fsspec.filesystem("ayla")
    with fs.open(url("Datapoint/2026-11-01 07:00:00/Datapoints.csv"), block_size=4, cache_type="none") as file:
        assert file.read(4) == CSV[:4]
        cloud.revoke("storage", "session")
        assert file.read() == CSV[4:]
    assert len(fs.ls(url("Datapoint"))) == 4
    assert cloud.sign_ins == 2


def test_an_error_isnt_taken_for_absence(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, cloud, password="wrong")
    fs = fsspec.filesystem("ayla")
    for ask in (fs.exists, fs.isfile, fs.isdir, fs.info, fs.ls, fs.glob):
        with pytest.raises(AylaSignInRefused):
            ask(url("Datapoint"))
    assert cloud.refusals == 1


def test_it_is_read_only(cloud: LocalCloud, tmp_path: Path) -> None:
    fs = fsspec.filesystem("ayla")
    path = url("Datapoint/2026-11-01 07:00:00/Datapoints.csv")
    before = [(request.method, request.path) for request in cloud.requests]
    for write in (
        lambda: fs.open(path, "wb"),
        lambda: fs.rm(path),
        lambda: fs.mv(path, f"{path}x"),
        lambda: fs.copy(path, f"{path}x"),
        lambda: fs.touch(path),
        lambda: fs.mkdir(url("New")),
        lambda: fs.makedirs(url("New/folder")),
        lambda: fs.pipe_file(path, b""),
        lambda: fs.put_file(__file__, path),
    ):
        with pytest.raises(OSError, match="can only be read"):
            write()
    assert [request for request in cloud.requests if request.method not in ("GET", "POST")] == []
    assert before == []


def test_a_url_names_its_connection(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalCloud(oem_id="5e6f7a8b") as other:
        other.put_object("Location", "2026-11-01 07:00:00", "l.csv", b"x\n", DAY)
        import json

        monkeypatch.setenv("AIRFLOW_CONN_OTHER_OEM", json.dumps(other.ayla_connection()))
        fs = fsspec.filesystem("ayla")
        assert fs.ls("ayla://other_oem/", detail=False) == ["other_oem/Location"]
        assert fs.cat_file("ayla://other_oem/Location/2026-11-01 07:00:00/l.csv") == b"x\n"
        assert len(fs.ls(url(""))) == 3
    own = fsspec.filesystem("ayla", conn_id="ayla_default")
    assert own.exists(url("Datapoint"))
    with pytest.raises(AylaConfigError, match="give one of them"):
        own.exists("ayla://other_oem/Location")
    with pytest.raises(AylaConfigError, match="names no connection"):
        fs.ls("ayla://")
    with pytest.raises(AylaConfigError, match="no_such"):
        fs.ls("ayla://no_such/")


def test_a_listing_is_bounded(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "MOST_OBJECTS", 3)
    with pytest.raises(AylaUnavailable, match="more than 3 objects"):
        fsspec.filesystem("ayla").glob(url("Datapoint/*/*"))


def test_it_can_be_sent_to_another_process_without_a_secret(cloud: LocalCloud) -> None:
    fs = fsspec.filesystem("ayla", conn_id="ayla_default")
    assert fs.exists(url("Datapoint"))
    sent = pickle.dumps(fs)
    for secret in cloud.secrets:
        assert secret.encode() not in sent
        assert secret not in fs.to_json()
    again = pickle.loads(sent)
    assert isinstance(again, AylaFileSystem)
    assert again.ls(url("Datapoint"), detail=False) == fs.ls(url("Datapoint"), detail=False)


def test_pandas_reads_a_file_by_its_url(cloud: LocalCloud) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(url("Datapoint/2026-11-01 07:00:00/Datapoints.csv"), dtype=str)
    assert frame.to_dict("list") == {"dsn": ["AC1", "AC2"], "val": ["1", "2"]}


def test_duckdb_reads_a_pattern(cloud: LocalCloud) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.register_filesystem(fsspec.filesystem("ayla"))
        query = "select filename, sum(val::int) from read_csv('{}', all_varchar = true, filename = true) group by 1"
        rows = connection.sql(query.format(url("Datapoint/2026-11-01*/*.csv"))).fetchall()
        assert sorted(rows) == [
            (url("Datapoint/2026-11-01 07:00:00/Datapoints.csv"), 3),
            (url("Datapoint/2026-11-01 08:00:00/Datapoints.csv"), 3),
        ]
        (row,) = connection.sql(
            f"select * from read_csv('{url('Connection/2026-11-01 07:00:00/Connections.csv')}')"
        ).fetchall()
        assert row == ("AC1",)


# Airflow 3.1 warns of a scheme that its version of universal_pathlib doesn't know.
OF_ANY_AIRFLOW = pytest.mark.filterwarnings("ignore:Could not find default for known protocol 'ayla'")


@OF_ANY_AIRFLOW
@pytest.mark.parametrize("given", [{}, {"conn_id": "ayla_default"}], ids=["url", "conn_id"])
def test_airflows_object_storage_path_reads_the_export(cloud: LocalCloud, given: dict[str, Any]) -> None:
    root = ObjectStoragePath(url("Datapoint"), **given)
    assert sorted(path.name for path in root.iterdir()) == [
        "2026-10-31 23:00:00",
        "2026-11-01 07:00:00",
        "2026-11-01 08:00:00",
        "README.txt",
    ]
    file = root / "2026-11-01 07:00:00" / "Datapoints.csv"
    assert file.exists()
    assert file.read_bytes() == CSV
    assert file.stat().st_size == len(CSV)
    with file.open("rb") as opened:
        opened.seek(4)
        assert opened.read(3) == CSV[4:7]
    # In Airflow 3.1, a key also has the connection.
    assert sorted(path.key.removeprefix("ayla_default/") for path in root.glob("2026-11-01*/*.csv")) == [
        "Datapoint/2026-11-01 07:00:00/Datapoints.csv",
        "Datapoint/2026-11-01 08:00:00/Datapoints.csv",
    ]
    assert {path.name for path in ObjectStoragePath(url(""), **given).iterdir()} == {
        "Connection",
        "Datapoint",
        "Datapoint Ack",
    }


@pytest.mark.ci
def test_a_path_has_its_names_before_anything_has_imported_the_file_system() -> None:
    code = """
        from airflow.sdk import ObjectStoragePath
        file = ObjectStoragePath("ayla://ayla_default/Datapoint") / "2026-11-01 07:00:00" / "Datapoints.csv"
        print([file.parent.parent.name, file.parent.name, file.name])
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "['Datapoint', '2026-11-01 07:00:00', 'Datapoints.csv']"


@OF_ANY_AIRFLOW
def test_airflow_copies_from_the_export_to_a_disk(cloud: LocalCloud, tmp_path: Path) -> None:
    file = ObjectStoragePath(url("Datapoint/2026-11-01 07:00:00/Datapoints.csv"))
    file.copy(ObjectStoragePath(f"file://{tmp_path}/x.csv"))
    assert (tmp_path / "x.csv").read_bytes() == CSV

"""Names, listings and answers that nobody would expect: nothing escapes, nothing hangs, each error is one of ours."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import trustme
from google.cloud import storage
from google.oauth2.credentials import Credentials
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ayla_provider.cloud import auth
from ayla_provider.cloud import storage as source
from ayla_provider.cloud.archive import Archive
from ayla_provider.cloud.checksum import Crc32c
from ayla_provider.cloud.destination import FileDestination, GcsDestination
from ayla_provider.cloud.session import authorized_session
from ayla_provider.cloud.storage import ExportStore
from ayla_provider.domain.layout import Layout
from ayla_provider.errors import AylaDestinationError, AylaError, AylaUnavailable, AylaUnsafeNameError
from ayla_provider.local_cloud import LocalCloud
from tests.cloud import conftest as parts
from tests.cloud.conftest import NOW, WAITS, Answering, at, provider_of, put, settings_of, store_of
from tests.cloud.test_sign_in import tls_of
from tests.warehouse.test_expressions import CONNECTION, typed

LONG = settings(
    max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
answering = parts.answering
ACCOUNTS = count()
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(now=NOW) as made:
        yield made


@pytest.fixture
def store(cloud: LocalCloud) -> Iterator[ExportStore]:
    cloud.faults.clear()
    made = store_of(cloud, provider_of(settings_of(cloud)))
    with closing(made.client):
        yield made


def take_in(archive: Archive, store: ExportStore) -> AylaError | None:
    """Copy an hour; return what is said if that fails, which has to be an error of ours, with words."""
    error = None
    try:
        archive.take_in(store, "datapoint", [at(2)], **WAITS, written_by={})
    except AylaError as raised:
        error = raised
    assert error is None or len(str(error)) > 20
    return error


# Object names

ODD = [
    *("..", ".", "", "\\", "..\\..", "/etc", "~", "%2e%2e", "%00", "\x00", "\n", "\r", "\x7f", "\u2028", "\u202e", "*"),
    *("ü", "u\u0308", "\U0001d518", "a" * 200, "é" * 120, "CON", "?", "a:b", " ", "-rf", "$(id)", "a.csv", "A.CSV"),
    *("_manifests", "hour=02.json", "event_type=datapoint", ".0123456789abcdef.partial"),
]
PARTS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
NAMES = st.lists(PARTS, min_size=1, max_size=9).map("/".join).filter(lambda name: 0 < len(name.encode()) <= 980)


@given(names=st.lists(NAMES, min_size=1, max_size=3, unique=True), layout=st.sampled_from(list(Layout)))
@example(names=["x" * 980], layout=Layout.PARTITIONED)
@example(names=["é" * 490], layout=Layout.MIRROR)
@example(names=["/".join(["ab"] * 320), "a.csv"], layout=Layout.MIRROR)
@example(names=["a.csv", "A.csv", "a.CSV"], layout=Layout.PARTITIONED)
@LONG
def test_an_object_of_any_name_is_copied_below_the_destination_or_refused(
    cloud: LocalCloud, store: ExportStore, names: list[str], layout: Layout
) -> None:
    contents = {put(cloud, 2, name, f"content {number}".encode()): number for number, name in enumerate(names)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "beside").write_bytes(b"as it was")
            root = Path(folder) / "deep" / "archive"
            error = take_in(Archive(FileDestination(root), layout=layout), store)
            outside = [one for one in Path(folder).rglob("*") if one.is_file() and not one.is_relative_to(root)]
            assert outside == [Path(folder) / "beside"]
            assert outside[0].read_bytes() == b"as it was"
            manifests = list((root / "_manifests").rglob("*.json"))
            assert len(manifests) == (error is None)
            if not error and any(not name.endswith("/") for name in names):
                entries = json.loads(manifests[0].read_text())["files"]
                assert {entry["source"] for entry in entries} == {name for name in contents if not name.endswith("/")}
                for entry in entries:
                    assert (root / entry["path"]).read_bytes() == f"content {contents[entry['source']]}".encode()
    finally:
        for name in names:
            cloud.delete_object("Datapoint", "2024-05-09 02:00:00", name)


class FoldingDisk(FileDestination):
    """A folder on a disk that takes upper and lower case for the same, and shows a name as it was given first."""

    def _place(self, path: str) -> Path:
        place = self.root
        for part in PurePosixPath(path).parts:
            there = [one.name for one in place.iterdir()] if place.is_dir() else []
            place /= next((one for one in there if one.lower() == part.lower()), part)
        return place


def test_on_a_disk_that_folds_case_the_second_of_two_names_is_refused_and_the_first_kept(
    cloud: LocalCloud, store: ExportStore, tmp_path: Path
) -> None:
    try:
        put(cloud, 2, "data.csv", b"lower")
        put(cloud, 2, "DATA.csv", b"upper")
        for _ in range(2):
            error = take_in(Archive(FoldingDisk(tmp_path), max_workers=1), store)
            assert isinstance(error, AylaUnsafeNameError)
            assert "this disk takes" in str(error)
            assert "data.csv" in str(error)
            copies = {one.name: one.read_bytes() for one in tmp_path.rglob("*.csv")}
            assert copies == {"20240509T020000Z-DATA.csv": b"upper"}
            assert not (tmp_path / "_manifests").exists()
    finally:
        for name in ("data.csv", "DATA.csv"):
            cloud.delete_object("Datapoint", "2024-05-09 02:00:00", name)


# Listings

PREFIX = "1a2b3c4d/Datapoint/2024-05-09 02:00:00/"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
SOUND = {
    "name": st.just(PREFIX + "a.csv"),
    "size": st.just("4"),
    "crc32c": st.just("AAAAAA=="),
    "generation": st.just("17"),
    "timeCreated": st.just("2024-05-09T03:30:00.000Z"),
}
ENTRIES = st.fixed_dictionaries(
    {}, optional={field: st.one_of(sound, sound, JSON) for field, sound in SOUND.items()}
) | st.fixed_dictionaries(SOUND | {"size": st.sampled_from(["-1", "9" * 30, "1e3", -5, 2.5, True, "٣"])})
LISTINGS = st.one_of(
    st.fixed_dictionaries({"items": st.lists(ENTRIES, max_size=4)}, optional={"nextPageToken": JSON}),
    st.fixed_dictionaries({"items": JSON, "prefixes": JSON}),
    JSON,
)
SLOT = {"name": PREFIX + "a.csv", "crc32c": "AAAAAA==", "generation": "1", "timeCreated": "2024-05-09T03:30:00Z"}


@given(answer=LISTINGS.map(json.dumps) | st.text(max_size=50))
@example(answer="[" * 100_000)
@example(answer="<html>no bucket here</html>")
@example(answer=json.dumps({"items": [{**SLOT, "size": "4"}] * 2}))
@example(answer=json.dumps({"items": [{**SLOT, "size": "4"}], "nextPageToken": "x"}))
@example(answer=json.dumps({"items": [], "nextPageToken": "never ends"}))
@example(answer=json.dumps({"items": [{**SLOT, "name": f"{PREFIX}{n:06}.csv"} for n in range(20_000)]}))
@example(answer=json.dumps({"items": [{**SLOT, "size": "4", "timeCreated": "9999-12-31T23:59:59-23:59"}]}))
@LONG
def test_a_listing_of_any_content_is_read_or_told(
    cloud: LocalCloud, store: ExportStore, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(source, "_MOST_PAGES", 20)
    cloud.faults.clear()
    cloud.requests.clear()
    match = rf"{cloud.vendor.name}/o\?.*"
    cloud.faults.add(200, step="list", match=match, times=None, body=answer, content_type="application/json")
    with tempfile.TemporaryDirectory() as folder:
        take_in(Archive(FileDestination(folder)), store)
        assert list(Path(folder).rglob("*.csv")) == [], "nothing that isn't there"
    assert len(cloud.requests) < 100
    cloud.faults.clear()


# Answers to the sign-in and to the request for a token

SIGN_INS = st.fixed_dictionaries(
    {}, optional={"access_token": JSON | st.just("good"), "refresh_token": JSON | st.just("good"), "role": JSON}
)
TOKENS = st.fixed_dictionaries(
    {}, optional={"tokenValue": JSON | st.just("good"), "expirationTime": JSON | st.just("2199-01-01T00:00:00Z")}
)
ANY_BODY = JSON.map(json.dumps) | st.text(max_size=60)


@given(
    step=st.sampled_from(["sign_in", "acs"]),
    status=st.sampled_from([200, 201, 204, 301, 307, 400, 401, 403, 404, 410, 418, 500, 599]),
    body=ANY_BODY | SIGN_INS.map(json.dumps) | TOKENS.map(json.dumps),
    kind=st.sampled_from(["application/json", "text/html"]),
)
@example(step="sign_in", status=200, body="[" * 100_000, kind="application/json")
@example(step="acs", status=200, body="x" * 20_000_000, kind="application/json")
@example(step="sign_in", status=401, body='{"error": ' * 50_000, kind="application/json")
@example(
    step="acs", status=200, body='{"tokenValue": "a", "expirationTime": "9999-12-31T23:59:59-23:59"}', kind="text/html"
)
@example(step="acs", status=200, body='{"tokenValue": "a\\r\\nX: y", "expirationTime": "2199-01-01"}', kind="text/html")
@LONG
def test_an_answer_to_the_sign_in_of_any_content_gives_a_token_or_is_told(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, step: str, status: int, body: str, kind: str
) -> None:
    monkeypatch.setattr(auth, "_BACKOFF", 0.0)
    monkeypatch.setattr(auth, "_KILLED_WAIT", 0.0)
    monkeypatch.setattr(cloud.account, "email", f"{next(ACCOUNTS)}@example.com")  # of whom nothing is remembered
    cloud.faults.clear()
    cloud.requests.clear()
    cloud.faults.add(status, step=step, times=None, body=body, content_type=kind)
    provider = provider_of(settings_of(cloud))
    try:
        said = provider(None, None)[0] and "a token, which is something to go on with"
    except AylaError as error:
        said = str(error)
    assert len(said) > 20
    assert [secret for secret in cloud.secrets if secret in said] == []
    assert len(cloud.requests) <= 12
    cloud.faults.clear()


# Bytes of files, on their way into tables

LINES = st.one_of(
    st.just(CONNECTION),
    st.binary(max_size=60),
    st.builds(
        lambda at, byte: CONNECTION[:at] + byte + CONNECTION[at + 1 :], st.integers(0, 80), st.binary(max_size=3)
    ),
    st.sampled_from([b'"', b'"a""b', b",,,,,", b"\x00" * 9, b"\xff\xfe", b"\xef\xbb\xbf", b"x" * 70_000, b"=cmd()"]),
)
FILES = st.builds(
    lambda lines, end: end.join(lines), st.lists(LINES, max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"])
)


@given(data=FILES | st.builds(lambda rows, data: (CONNECTION + b"\n") * rows + data, st.integers(20, 60), FILES))
@settings(LONG, max_examples=20)
def test_a_file_of_any_bytes_is_loaded_with_every_line_counted_or_told(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = typed(Path(folder), "connection", data)
        except AylaError as error:
            said = str(error)
        else:
            said = "connection: all is loaded"
            assert made.lines == made.rows + made.duplicates + made.quarantined
        assert "connection" in said
        left = {one.relative_to(folder).parts[0] for one in Path(folder).rglob("*")}
        assert left <= {"archive", "rows"}


# Where credentials go


def customer_at(url: str) -> storage.Client:
    return storage.Client("-", credentials=Credentials(token="secret-token"), client_options={"api_endpoint": url})


def download(client: storage.Client, url: str) -> None:
    with closing(authorized_session(Credentials(token="secret-token"))) as session:
        session.get(f"{url}/download/storage/v1/b/a-bucket/o/x?alt=media")


WAYS: dict[str, Callable[[storage.Client, str], Any]] = {
    "download": download,
    "small upload": lambda client, url: write(GcsDestination(client, "a-bucket"), b"x"),
    "large upload": lambda client, url: write(GcsDestination(client, "a-bucket"), b"x" * 5 * MIB),
    "list of the destination": lambda client, url: GcsDestination(client, "a-bucket").folder("hour"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_byte_goes_to_a_server_whose_certificate_is_not_trusted(tmp_path: Path, way: str) -> None:
    with LocalCloud(tls=tls_of(trustme.CA(), tmp_path)) as untrusted, closing(customer_at(untrusted.url)) as client:
        with pytest.raises((AylaUnavailable, AylaDestinationError)) as refused:
            WAYS[way](client, untrusted.url)
        assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value)
        assert "secret-token" not in str(refused.value)
        assert untrusted.requests == []


def write(destination: GcsDestination, content: bytes) -> None:
    destination.write(
        "a.csv",
        io.BytesIO(content),
        size=len(content),
        crc32c=Crc32c(content).base64,
        replaces=None,
        content_type="text/csv",
    )


@pytest.mark.parametrize("status", [200, 301, 302, 307, 308])
@pytest.mark.parametrize("size", [10, 5 * MIB])
def test_an_upload_that_is_sent_elsewhere_takes_neither_token_nor_content_there(
    answering: Callable[..., Answering], status: int, size: int
) -> None:
    other = answering(200)
    server = answering(status, {}, Location=f"{other.url}/session")
    with closing(customer_at(server.url)) as client, pytest.raises(AylaDestinationError):
        write(GcsDestination(client, "bucket"), b"x" * size)
    assert server.received
    assert other.received == []

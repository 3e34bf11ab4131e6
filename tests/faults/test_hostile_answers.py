"""Listings, sign-ins, tokens and files of any content: nothing hangs, and each error is one of ours."""

from __future__ import annotations

import json
import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source import auth
from ayla_provider.source.export import Export
from ayla_provider.transport import cloud_storage
from tests.faults import hostile
from tests.faults.hostile import JSON, LONG, take_in
from tests.rows.test_expressions import CONNECTION, typed
from tests.support.client import provider_of, settings_of
from tests.support.proofs import scale

cloud, export = hostile.cloud, hostile.export
ACCOUNTS = count()

PREFIX = "1a2b3c4d/Datapoint/2024-05-09 02:00:00/"
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
def test_a_listing_of_any_content_is_read_or_reported(
    cloud: LocalCloud, export: Export, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(cloud_storage, "MOST_PAGES", 20)
    cloud.faults.clear()
    cloud.requests.clear()
    match = rf"{cloud.vendor.name}/o\?.*"
    cloud.faults.add(200, step="list", match=match, times=None, body=answer, content_type="application/json")
    with tempfile.TemporaryDirectory() as folder:
        take_in(Archive(FileDestination(folder)), export)
        assert list(Path(folder).rglob("*.csv")) == [], "nothing that isn't there"
    assert len(cloud.requests) < 100
    cloud.faults.clear()


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
def test_an_answer_to_the_sign_in_of_any_content_gives_a_token_or_is_reported(
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
@settings(LONG, max_examples=scale(20, 400))
def test_a_file_of_any_bytes_is_loaded_with_every_line_counted_or_reported(data: bytes) -> None:
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

"""A destination's URL: its parts, what opens it, its console and its name in OpenLineage."""

from __future__ import annotations

import sys

import pytest

from ayla_provider.archive.url import DestinationUrl
from ayla_provider.destinations import console_link, lineage_name, open_destination
from ayla_provider.errors import AylaConfigError
from tests.support.object_stores import quiet

pytestmark = quiet


@pytest.mark.parametrize("scheme", ["s3", "abfs", "nobodys"])
def test_for_an_unknown_scheme_the_message_says_what_to_install(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.io.fs._register_filesystems", dict)
    what = {"s3": r"amazon\[s3fs\]", "abfs": "microsoft-azure", "nobodys": "install the provider that knows it"}[scheme]
    with pytest.raises(AylaConfigError, match=what):
        open_destination(f"{scheme}://bucket/a", None)


def test_without_s3fs_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.amazon")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(AylaConfigError, match=r"pip install 'apache-airflow-providers-amazon\[s3fs\]'"):
        open_destination("s3://bucket/a", None)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("gs://bucket", ("gs", "bucket", "")),
        ("gs://bucket/", ("gs", "bucket", "")),
        ("gs://bucket/a/b c/", ("gs", "bucket", "a/b c")),
        ("gs://bucket/a%20b#c", ("gs", "bucket", "a%20b#c")),
        ("S3://Bucket/a", ("s3", "Bucket", "a")),
        *(
            (url, ("gs", "bucket", "x"))
            for url in (" gs://bucket/x", "gs://bucket/x \n", "GS://bucket/x", "gcs://bucket/x")
        ),
        ("abfs://container/a/", ("abfs", "container", "a")),
        ("memory://bucket/a", ("memory", "bucket", "a")),
        ("hdfs://host:8020/a", ("hdfs", "host:8020", "a")),
        ("file:///data/archive", ("file", "", "/data/archive")),
        ("file://localhost/data", ("file", "", "/data")),
        ("file:///data/a%20b", ("file", "", "/data/a b")),
    ],
)
def test_a_url_has_three_parts(url: str, parts: tuple[str, str, str]) -> None:
    assert DestinationUrl.parse(url) == DestinationUrl(*parts)


@pytest.mark.parametrize(
    "url",
    [
        *("", "/data", "data", "bucket/a", "gs://", "gs:///a", "s3://", "s3:///a", "file://data/archive", "file:data"),
        *("gs://bucket/../other", "gs://bucket/./a", "s3://bucket/../other", "file:///data/%2e%2e/etc"),
        *("gs://bucket/a?b=c", "s3://bucket/a?b=c", "s3://[bucket/a"),
        *("gs://b:80/x", "s3://b:80", "abfs://b:80/x", "gs://b/\0x", "gs://b/a\nb", "s3://b\r/a", "file:///a\tb"),
        *("file:///a%00b", "file:///a%0Ab"),
    ],
)
def test_a_malformed_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(AylaConfigError, match="expected a URL such as") as refused:
        open_destination(url, None)
    assert repr(url) in str(refused.value)


@pytest.mark.parametrize("url", ["gs://bucket", "gs://bucket/a/b", "s3://bucket/a", "file:///data/archive"])
def test_a_parsed_url_is_written_as_it_was(url: str) -> None:
    assert str(DestinationUrl.parse(url)) == url


@pytest.mark.parametrize(
    ("url", "folder", "an_object"),
    [
        (
            "gs://b/a/",
            "https://console.cloud.google.com/storage/browser/b/a/x/y%20z",
            "https://console.cloud.google.com/storage/browser/_details/b/a/x/y%20z",
        ),
        (
            "s3://b",
            "https://s3.console.aws.amazon.com/s3/buckets/b?prefix=x/y%20z/",
            "https://s3.console.aws.amazon.com/s3/object/b?prefix=x/y%20z",
        ),
        (
            "s3a://b/a",
            "https://s3.console.aws.amazon.com/s3/buckets/b?prefix=a/x/y%20z/",
            "https://s3.console.aws.amazon.com/s3/object/b?prefix=a/x/y%20z",
        ),
        ("abfs://c/a", "", ""),
        ("file:///data", "", ""),
        ("memory://b/a", "", ""),
    ],
)
def test_the_table_of_schemes_has_the_console(url: str, folder: str, an_object: str) -> None:
    assert console_link(url, "x/y z", is_object=False) == folder
    assert console_link(url, "x/y z", is_object=True) == an_object


@pytest.mark.parametrize(
    ("url", "namespace", "name"),
    [
        ("gs://b/a/", "gs://b", "a/event_type=location"),
        ("s3://b", "s3://b", "event_type=location"),
        ("abfss://c/a", "abfss://c", "a/event_type=location"),
        ("memory://b/a", "memory://b", "a/event_type=location"),
        ("file:///data/a%20b/", "file", "/data/a b/event_type=location"),
    ],
)
def test_the_table_of_schemes_has_the_name_in_openlineage(url: str, namespace: str, name: str) -> None:
    assert lineage_name(url, "event_type=location") == (namespace, name)


def test_credentials_in_a_url_are_refused_and_not_shown() -> None:
    with pytest.raises(AylaConfigError, match="belong in an Airflow connection") as refused:
        open_destination("s3://key:hidden@bucket/a", None)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["gs", "s3", "abfs"])
def test_a_connection_in_the_url_is_refused_with_where_it_belongs(scheme: str) -> None:
    with pytest.raises(AylaConfigError, match=r"remove everything up to and including the '@'.*Airflow connection"):
        open_destination(f"{scheme}://conn@bucket/x", None)

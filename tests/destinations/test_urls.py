"""Which destinations there are by their URL, and what is told of one that isn't."""

from __future__ import annotations

import sys

import pytest

from ayla_provider.destinations import object_storage_destination
from ayla_provider.errors import AylaConfigError
from tests.destinations.conftest import quiet

pytestmark = quiet


@pytest.mark.parametrize("scheme", ["s3", "abfs", "nobodys"])
def test_a_scheme_that_nothing_installed_knows_is_told_with_what_to_install(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow.sdk.io.fs._register_filesystems", dict)
    what = {"s3": r"amazon\[s3fs\]", "abfs": "microsoft-azure", "nobodys": "install the one"}[scheme]
    with pytest.raises(AylaConfigError, match=what):
        object_storage_destination(f"{scheme}://bucket/a", None)


def test_s3_without_s3fs_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.amazon")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(AylaConfigError, match=r"pip install 'apache-airflow-providers-amazon\[s3fs\]'"):
        object_storage_destination("s3://bucket/a", None)


@pytest.mark.parametrize(
    "url",
    ["", "s3://", "s3:///a", "bucket/a", "s3://bucket/../other", "s3://bucket/a?b=c"],
)
def test_a_url_of_no_destination_is_refused_by_name(url: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        object_storage_destination(url, None)
    assert repr(url) in str(refused.value)


def test_credentials_in_a_url_are_refused_and_not_shown() -> None:
    with pytest.raises(AylaConfigError, match="belong in an Airflow connection") as refused:
        object_storage_destination("s3://key:hidden@bucket/a", None)
    assert "hidden" not in str(refused.value)

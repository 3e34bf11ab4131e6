"""What the tests of hostile input share: a cloud, a copy that may fail with words alone, and JSON of any form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ayla_provider.archive.archive import Archive
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import NOW, RULE, client_of, export_of, hours_at, provider_of, settings_of
from tests.support.proofs import scale

LONG = settings(
    max_examples=scale(60, 1200),
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(now=NOW) as made:
        yield made


@pytest.fixture
def export(cloud: LocalCloud) -> Iterator[Export]:
    cloud.faults.clear()
    made = export_of(cloud, provider_of(settings_of(cloud)))
    with closing(client_of(made)):
        yield made


def take_in(archive: Archive, export: Export) -> AylaError | None:
    """Copy an hour; return what is said if that fails, which has to be an error of ours, with words."""
    error = None
    try:
        archive.take_in(export, hours_at(2), RULE, written_by={})
    except AylaError as raised:
        error = raised
    assert error is None or len(str(error)) > 20
    return error

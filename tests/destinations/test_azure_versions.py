"""Earlier versions of blobs are removed from a container of Azure that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.archive.destination import LOCKED, NOT_ALLOWED, NOT_ASKED, SOFT_DELETED, Destination
from ayla_provider.destinations import open_destination
from tests.support.azure_versions import Container, Version, versioned_container
from tests.support.object_stores import ACCOUNT, connect_azure, quiet

pytestmark = quiet

ROOT = "ayla/archive/"


@pytest.fixture
def container() -> Iterator[Container]:
    pytest.importorskip("adlfs", reason="pip install apache-airflow-providers-microsoft-azure")
    with versioned_container(ACCOUNT) as made:
        yield made


@pytest.fixture
def destination(container: Container, monkeypatch: pytest.MonkeyPatch) -> Destination:
    connect_azure(monkeypatch, container.url)
    return open_destination("abfs://container/ayla/archive", "azure_test")


def versions(name: str, count: int) -> list[Version]:
    """A blob with some earlier versions."""
    return [
        Version(f"{ROOT}{name}", f"2026-11-0{number + 1}T00:00:00.0000000Z", is_current=number == count)
        for number in range(count + 1)
    ]


def test_earlier_versions_below_a_prefix_go_and_current_ones_stay(
    container: Container, destination: Destination
) -> None:
    container.versions += versions("hour=07/a.csv", 3) + versions("hour=07/b c.csv", 2) + versions("hour=08/a.csv", 1)
    assert destination.remove_earlier_versions("hour=07/") == []
    left = [(one.name.removeprefix(ROOT), one.is_current) for one in container.versions]
    assert left == [
        ("hour=07/a.csv", True),
        ("hour=07/b c.csv", True),
        ("hour=08/a.csv", False),
        ("hour=08/a.csv", True),
    ]
    assert set(container.asked) == {"versions", "snapshots", "deleted"}


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((409, "BlobImmutableDueToPolicy"), LOCKED),
        ((409, "BlobImmutableDueToLegalHold"), LOCKED),
        ((403, "AuthorizationPermissionMismatch"), NOT_ALLOWED),
    ],
)
def test_a_version_that_cannot_be_removed_is_named_and_the_others_go(
    container: Container, destination: Destination, refusal: tuple[int, str], reason: str
) -> None:
    container.versions += versions("a.csv", 3)
    container.versions[1].refusal = refusal
    (left,) = destination.remove_earlier_versions("a.csv")
    assert (left.store, left.reason, left.gone_by) == (destination.url, reason, None)
    assert [one.id[8:10] for one in container.versions] == ["02", "04"]


def test_what_was_deleted_and_is_kept_is_named_with_its_date(container: Container, destination: Destination) -> None:
    container.versions += [*versions("a.csv", 0), Version(f"{ROOT}a.csv.old", "2026-11-01T00:00:00.0Z", days_left=6)]
    (left,) = destination.remove_earlier_versions("a.csv")
    assert left.reason == SOFT_DELETED
    assert left.gone_by is not None
    assert abs(left.gone_by - datetime.now(UTC) - timedelta(days=7)) < timedelta(hours=1)


def test_a_list_that_is_refused_is_said(container: Container, destination: Destination) -> None:
    container.versions += versions("a.csv", 1)
    container.refuses_lists_of = {"versions"}
    assert [left.reason for left in destination.remove_earlier_versions("a.csv")] == [NOT_ASKED]
    assert len(container.versions) == 2

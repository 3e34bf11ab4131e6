"""Which fields of a document are refused, and how a newer format is told from an unknown one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ayla_provider.domain.json_fields import refuse_newer, require_format, time_field, typed_field
from ayla_provider.errors import AylaNewerFormatError


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    with pytest.raises(AylaNewerFormatError) as caught:
        refuse_newer("ayla-x/10", "ayla-x/9", "gs://b/it.json")
    assert str(caught.value) == (
        "gs://b/it.json has the format ayla-x/10, and this version of the package reads ayla-x/9 at most. A newer "
        "version wrote it: upgrade airflow-provider-ayla here. Don't move or remove the file."
    )


@pytest.mark.parametrize("stated", ["ayla-x/9", "ayla-x/8", "ayla-y/10", "ayla-x/ten", "ayla-x", 10, None])
def test_another_format_is_not_called_newer(stated: object) -> None:
    refuse_newer(stated, "ayla-x/9", "it")
    if stated != "ayla-x/9":
        with pytest.raises(ValueError, match=f"^its format is {stated!r}$"):
            require_format(stated, "ayla-x/9", "it")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("é", str),
        ("", str),
        (2**63 - 1, int),
        (1 - 2**63, int),
        (True, bool),
        ([], list),
        ({}, dict),
        (1.5, float),
    ],
)
def test_a_field_of_its_type_is_returned(value: object, kind: type) -> None:
    assert typed_field({"name": value}, "name", kind) is value


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        (1, str, "name is int, not str"),
        (None, dict, "name is NoneType, not dict"),
        (True, int, "name is bool, not int"),
        (1, bool, "name is int, not bool"),
        (1.0, int, "name is float, not int"),
        (2**63, int, "name has more than 64 bits"),
        (-(2**63), int, "name has more than 64 bits"),
        ("a\nb", str, "name contains a control character"),
        ("\x7f", str, "name contains a control character"),
        ("\x9f", str, "name contains a control character"),
        ("\u2029", str, "name contains a control character"),
        ("\ud800", str, "name contains a control character"),
    ],
)
def test_another_field_is_refused_by_its_name(value: object, kind: type, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        typed_field({"name": value}, "name", kind)


def test_a_missing_field_is_named() -> None:
    for read in (lambda: typed_field({}, "name", str), lambda: time_field({}, "name")):
        with pytest.raises(KeyError, match=r"^'name'$"):
            read()


def test_a_time_is_read_in_utc_and_needs_a_zone() -> None:
    time = time_field({"at": "2026-11-01T02:30:00+02:00"}, "at")
    assert (time, time.tzinfo) == (datetime(2026, 11, 1, 0, 30, tzinfo=UTC), UTC)
    with pytest.raises(ValueError, match=r"^at has no time zone$"):
        time_field({"at": "2026-11-01T02:30:00"}, "at")
    with pytest.raises(ValueError, match=r"^at is int, not str$"):
        time_field({"at": 5}, "at")

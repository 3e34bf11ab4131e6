"""A document of a newer format is refused as such, and one of an unknown format isn't."""

from __future__ import annotations

import pytest

from ayla_provider.domain.json_fields import refuse_newer, require_format
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

"""A folder of requests has requests and nothing else, and an error shows no name that can be an identifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ayla_provider.archive.erasure_requests import waiting_requests
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.errors import AylaConfigError

DSN = "LC000X000000001"
KEYS = ErasureKeys.parse("a-key-of-sixteen-characters", "x")


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["t.JSON"], "1 object whose name doesn't end in .json, in lower case: t.JSON."),
        (["t.txt", "a.TXT"], "2 objects whose name doesn't end in .json, in lower case: a.TXT, t.txt."),
        (["TICKET-123"], "lower case: 1 whose name is not shown, to hide identifiers."),
        ([f"t.{DSN}"], "lower case: 1 whose name is not shown, to hide identifiers."),
        (["t.txt", DSN, f"{DSN}.txt"], "lower case: t.txt; 2 whose names are not shown, to hide identifiers."),
    ],
)
def test_an_object_that_is_no_request_is_an_error(tmp_path: Path, names: list[str], shown: str) -> None:
    for name in ("ticket-1.json", *names):
        (tmp_path / name).write_text(json.dumps({"dsn": DSN}))
    with pytest.raises(AylaConfigError) as caught:
        waiting_requests(FileDestination(tmp_path), KEYS)
    assert shown in str(caught.value)
    assert DSN not in str(caught.value)
    for name in names:
        (tmp_path / name).unlink()
    assert len(waiting_requests(FileDestination(tmp_path), KEYS)) == 1

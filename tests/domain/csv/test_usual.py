"""A usual file is recognised in a fraction of the time, as the same."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.csv.recognition import Recognised, recognise
from ayla_provider.domain.csv.sample import shape_of
from ayla_provider.domain.csv.usual import recognise_usual
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.errors import AylaLayoutError
from ayla_provider.local_cloud.fleet import Fleet
from harness import reference
from tests.warehouse.archive import HOUR
from tests.warehouse.odd_files import OddFiles

DATAPOINT = (
    b"1a2b3c4d,LC-THERMO-2,LC000X1,temperature,VGVtcA==,integer,0000000a-4697-11ea-8080-808080808080,,"
    b"Wed Feb 05 12:08:26 UTC 2020,Wed Feb 05 12:08:26 UTC 2020,a0b1c2d3-1111-2222-3333-abcdef000001,false,,false,user,"
    b"7,,,,,e30=,output"
)


def by_all_layouts(event_type: str, head: bytes, *, whole: bool) -> Recognised | None:
    try:
        return recognise(event_type, shape_of(head, whole=whole), COLUMN_LAYOUTS, file="f.csv")
    except (AylaLayoutError, ValueError):
        return None


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_usual_file_is_recognised(end: bytes) -> None:
    found = recognise_usual("datapoint", (DATAPOINT + end) * 3, COLUMN_LAYOUTS, whole=True)
    assert found
    assert found.layout.name == "datapoint-22"
    assert found == by_all_layouts("datapoint", (DATAPOINT + end) * 3, whole=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"0000000a-4697-11ea-8080-808080808080", b""),
        (b"0000000a-4697-11ea-8080-808080808080", b"null"),
        (b",integer,", b",temperature,"),
        (b"LC000X1", b"0000000a-4697-11ea-8080-808080808080"),
        (b"Wed Feb 05 12:08:26 UTC 2020,Wed", b"Wed Feb 05 12:08:26 UTC,2020 Wed"),
        (b",output", b",output,more"),
        (b"user", b"us\xffer"),
    ],
)
def test_another_row_is_not_usual(old: bytes, new: bytes) -> None:
    lines = (DATAPOINT + b"\n") * 3 + DATAPOINT.replace(old, new) + b"\n"
    assert recognise_usual("datapoint", lines, COLUMN_LAYOUTS, whole=True) is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(reference.LAYOUTS)), count=st.integers(0, 4))
def test_what_is_recognised_is_what_all_layouts_say(seed: int, name: str, count: int) -> None:
    random, layout = Random(seed), reference.LAYOUTS[name]
    head = OddFiles(layout, seed).file(count).removeprefix(b"\xef\xbb\xbf")
    cells = head.split(b",")
    for _ in range(random.randrange(3)):
        cells[random.randrange(len(cells))] = random.choice([b"", b"null", b"dsn", DATAPOINT[:8], b"2020-02-05T12:08Z"])
    head, whole = b",".join(cells), random.random() < 0.5
    found = recognise_usual(layout.event_type, head, COLUMN_LAYOUTS, whole=whole)
    assert found is None or found == by_all_layouts(layout.event_type, head, whole=whole)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_made_up_files_are_recognised_as_the_same(event_type: str) -> None:
    for file in Fleet(seed=3).files(event_type, HOUR):
        head = file.contents[-1][:100_000]
        found = recognise_usual(event_type, head, COLUMN_LAYOUTS, whole=False)
        assert found is None or found == by_all_layouts(event_type, head, whole=False)

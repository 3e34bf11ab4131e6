"""The pictures of the benchmarks, and the made-up buckets that are years old."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EVENT_TYPES
from benchmarks import aged_store, growth, picture, scaling
from benchmarks.aged_store import AgedStore, page
from benchmarks.picture import Panel
from benchmarks.store import SOURCE, TARGET

HOURS = 50

NAMES = st.lists(st.text("ab/", min_size=1, max_size=5), unique=True).map(sorted)


def drawn(path: Path, panel: Panel) -> tuple[list[str], dict[str, list[tuple[float, float]]]]:
    """Return the texts of a picture, and the corners of its lines by colour."""
    picture.write(path, [panel], "a picture <of> lines")
    root = ET.fromstring(path.read_text())
    texts = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]
    lines = {}
    for line in root.iter():
        if line.tag.endswith("polyline"):
            corners = [corner.split(",") for corner in line.attrib["points"].split()]
            lines[line.attrib["stroke"]] = [(float(x), float(y)) for x, y in corners]
    return texts, lines


@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_picture_has_units_and_higher_figures_are_higher(tmp_path: Path, logarithmic: bool) -> None:
    lines = {"disk": [1.0, 20.0, 400.0], "S3 & others": [2.0, None, 900.0]}
    panel = Panel("CPU <time>", "age, years", "seconds", ["1", "3", "10"], lines, logarithmic)
    texts, found = drawn(tmp_path / "picture.svg", panel)
    assert {"CPU <time>", "age, years", "seconds", "1", "3", "10", "1,000"} <= set(texts)
    first, second = found.values()
    assert [len(first), len(second)] == [3, 2]
    assert first[0][1] > first[1][1] > first[2][1] > second[1][1]
    assert [x for x, _ in second] == [first[0][0], first[2][0]]


@pytest.mark.parametrize("figures", [[0.0, 0.0], [5.0, 5.0], [0.07, 0.3], [100.0, 1000.0]])
def test_every_line_is_within_the_axes(tmp_path: Path, figures: list[float]) -> None:
    _, found = drawn(tmp_path / "picture.svg", Panel("t", "x", "y", ["a", "b"], {"line": figures}))
    for _, y in found.popitem()[1]:
        assert picture._TOP <= y <= picture._HEIGHT - picture._BOTTOM


@given(NAMES, st.text("ab/", max_size=2), st.sampled_from(["", "/"]), st.integers(1, 3))
def test_the_pages_of_a_listing_have_each_name_or_its_folder_once(
    names: list[str], prefix: str, delimiter: str, limit: int
) -> None:
    found: list[str] = []
    first = ""
    while True:
        files, folders, token = page(names, prefix, delimiter, first, "", limit)
        found += files + folders
        if not token:
            break
        first = token
    rests = [name[len(prefix) :] for name in names if name.startswith(prefix)]
    expected = {prefix + (rest[: rest.index("/") + 1] if delimiter and "/" in rest else rest) for rest in rests}
    assert sorted(found) == sorted(expected)


@given(NAMES, st.text("ab/", max_size=2), st.text("ab/", max_size=2))
def test_a_listing_keeps_its_bounds(names: list[str], first: str, end: str) -> None:
    expected = [name for name in names if first <= name and (not end or name < end)]
    assert page(names, "", "", first, end, 1000) == (expected, [], "")


def test_the_made_up_buckets_have_a_manifest_and_a_file_for_each_hour(tmp_path: Path) -> None:
    store = AgedStore(48)
    assert len(store.keys[SOURCE]) == len(EVENT_TYPES) * 48
    growth._write_archive(tmp_path, 24, 48)
    growth._write_archive(tmp_path, 0, 24)
    on_disk = {listed.stored.path for listed in FileDestination(tmp_path).tree("")}
    manifests = [name for name in store.keys[TARGET] if "/_manifests/" in name]
    assert {name.removeprefix(f"{aged_store.PREFIX}/") for name in manifests} == on_disk
    for name in manifests:
        assert store.content(name) == (tmp_path / name.removeprefix(f"{aged_store.PREFIX}/")).read_bytes()


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a store, and a folder with the same archive and a ledger."""
    folder = tmp_path_factory.mktemp("aged")
    growth._write_archive(folder / aged_store.PREFIX, 0, HOURS)
    growth._write_ledger(folder / "ledger.duckdb", HOURS)
    with growth._store(HOURS) as url:
        yield url, folder


@pytest.mark.parametrize("store", growth.STORES)
@pytest.mark.parametrize("task", [task for task in growth.TASKS if task != growth._WHOLE])
def test_each_task_finds_the_archive_complete_in_each_store(
    aged: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, task: str, store: str
) -> None:
    url, folder = aged
    monkeypatch.setenv("AIRFLOW_CONN_AWS_BENCH", "")
    export, destination = growth._open(store, url, folder)
    # Each raises an error if it finds anything else.
    growth.TASKS[task](export, destination, HOURS, folder)


def test_the_figures_of_copies_are_written_with_pictures(tmp_path: Path) -> None:
    workers = [
        scaling.Point(100, scaling.SMALL, delay, count, 2.0, 0.5, 70)
        for delay in scaling.DELAYS
        for count in scaling.WORKERS
    ]
    sizes = [scaling.Point(10, size, delay, 8, 2.0, 0.5, 70) for delay in scaling.SIZE_DELAYS for size in scaling.SIZES]
    scaling.write(workers, sizes, tmp_path, tmp_path)
    assert "| 100 | 100 kB | 40 ms | 16 | 50 | 5 | 5.00 ms | 70 MB |" in (tmp_path / "scaling.md").read_text()
    for name in ("speed-workers.svg", "speed-sizes.svg"):
        ET.parse(tmp_path / name)
        assert not re.search(r"nan|inf", (tmp_path / name).read_text())

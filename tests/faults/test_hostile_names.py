"""Objects of any name: nothing escapes the destination, nothing is taken for something else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.paths import Layout
from ayla_provider.errors import AylaUnsafeNameError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.faults import hostile
from tests.faults.hostile import LONG, take_in
from tests.support.client import put

cloud, export = hostile.cloud, hostile.export

ODD = [
    *("..", ".", "", "\\", "..\\..", "/etc", "~", "%2e%2e", "%00", "\x00", "\n", "\r", "\x7f", "\u2028", "\u202e", "*"),
    *("ü", "u\u0308", "\U0001d518", "a" * 200, "é" * 120, "CON", "?", "a:b", " ", "-rf", "$(id)", "a.csv", "A.CSV"),
    *("_manifests", "hour=02.json", "event_type=datapoint", ".0123456789abcdef.partial"),
]
PARTS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
NAMES = st.lists(PARTS, min_size=1, max_size=9).map("/".join).filter(lambda name: 0 < len(name.encode()) <= 980)


@given(names=st.lists(NAMES, min_size=1, max_size=3, unique=True), layout=st.sampled_from(list(Layout)))
@example(names=["x" * 980], layout=Layout.PARTITIONED)
@example(names=["é" * 490], layout=Layout.MIRROR)
@example(names=["/".join(["ab"] * 320), "a.csv"], layout=Layout.MIRROR)
@example(names=["a.csv", "A.csv", "a.CSV"], layout=Layout.PARTITIONED)
@LONG
def test_an_object_of_any_name_is_copied_below_the_destination_or_refused(
    cloud: LocalCloud, export: Export, names: list[str], layout: Layout
) -> None:
    contents = {put(cloud, 2, name, f"content {number}".encode()): number for number, name in enumerate(names)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "beside").write_bytes(b"as it was")
            root = Path(folder) / "deep" / "archive"
            error = take_in(Archive(FileDestination(root), layout=layout), export)
            outside = [one for one in Path(folder).rglob("*") if one.is_file() and not one.is_relative_to(root)]
            assert outside == [Path(folder) / "beside"]
            assert outside[0].read_bytes() == b"as it was"
            manifests = list((root / "_manifests").rglob("*.json"))
            assert len(manifests) == (error is None)
            if not error and any(not name.endswith("/") for name in names):
                entries = json.loads(manifests[0].read_text())["files"]
                assert {entry["source"] for entry in entries} == {name for name in contents if not name.endswith("/")}
                for entry in entries:
                    assert (root / entry["path"]).read_bytes() == f"content {contents[entry['source']]}".encode()
    finally:
        for name in names:
            cloud.delete_object("Datapoint", "2024-05-09 02:00:00", name)


class FoldingDisk(FileDestination):
    """A folder on a disk that takes upper and lower case for the same, and shows a name as it was given first."""

    def _place(self, path: str) -> Path:
        place = self.root
        for part in PurePosixPath(path).parts:
            there = [one.name for one in place.iterdir()] if place.is_dir() else []
            place /= next((one for one in there if one.lower() == part.lower()), part)
        return place


def test_on_a_disk_that_folds_case_the_second_of_two_names_is_refused_and_the_first_kept(
    cloud: LocalCloud, export: Export, tmp_path: Path
) -> None:
    try:
        put(cloud, 2, "data.csv", b"lower")
        put(cloud, 2, "DATA.csv", b"upper")
        for _ in range(2):
            error = take_in(Archive(FoldingDisk(tmp_path), max_workers=1), export)
            assert isinstance(error, AylaUnsafeNameError)
            assert "this disk takes" in str(error)
            assert "data.csv" in str(error)
            copies = {one.name: one.read_bytes() for one in tmp_path.rglob("*.csv")}
            assert copies == {"20240509T020000Z-DATA.csv": b"upper"}
            assert not (tmp_path / "_manifests").exists()
    finally:
        for name in ("data.csv", "DATA.csv"):
            cloud.delete_object("Datapoint", "2024-05-09 02:00:00", name)

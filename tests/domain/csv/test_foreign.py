"""Files that aren't export data: by their names, and by how they begin."""

from __future__ import annotations

import pytest

from ayla_provider.domain.csv.foreign import format_of, is_beside, is_ignored


@pytest.mark.parametrize(
    "name",
    [
        "_SUCCESS",
        ".part-0.crc",
        "manifest.json",
        "Metadata.JSON",
        "schema.json",
        "Datapoints.csv.md5",
        "a.SHA256",
        "a.csv.crc",
        "a.sha1",
        "a.sha512",
        "_",
        "oem/Datapoint/2024-05-09 02:00:00/_SUCCESS",
        "a\nb.md5",
    ],
)
def test_a_file_that_tools_put_beside_data_is_known_by_its_name(name: str) -> None:
    assert is_beside(name)


@pytest.mark.parametrize(
    "name",
    [
        "Datapoints.csv",
        "_.csv",
        "_late.CSV",
        ".csv",
        "datapoint.json",
        "my_manifest.json",
        "manifest.json.txt",
        "README",
        "md5",
        "_folder/a.txt",
        "",
    ],
)
def test_any_other_file_can_be_data(name: str) -> None:
    assert not is_beside(name)


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("README", True),
        ("README.txt", True),
        ("a/b/README", True),
        ("readme", False),
        ("a README", False),
        ("[draft].txt", True),
        ("d", False),
        ("README/x.txt", False),
        # Whatever a user says, this is data.
        ("README.csv", False),
        ("a/README.CSV", False),
    ],
)
def test_a_user_names_files_to_ignore_by_patterns(name: str, ignored: bool) -> None:
    assert is_ignored(name, ["README*", "[draft].txt"]) is ignored
    assert not is_ignored(name, [])


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"PAR1\x15\x04", "Parquet"),
        (b"Obj\x01", "Avro"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"PK\x03\x04...", "ZIP"),
        # A cell can begin like this.
        (b"PAR1,LC", ""),
        (b"PK,LC", ""),
        (b"1a2b,LC", ""),
        (b"", ""),
    ],
)
def test_another_format_is_known_by_its_first_bytes(data: bytes, name: str) -> None:
    assert format_of(data) == name

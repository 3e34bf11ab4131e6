"""Files that aren't CSV files of the export: what other tools put beside them, and other formats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

_BESIDE = re.compile(
    r"[_.].*|(manifest|metadata|schema)\.json|.*\.(crc|md5|sha1|sha256|sha512)", re.IGNORECASE | re.DOTALL
)

_FORMATS = {
    b"PAR1\x15": "Parquet",
    b"Obj\x01": "Avro",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PK\x03\x04": "ZIP",
}
"""The first bytes of files that no CSV file begins with."""


def is_beside(name: str) -> bool:
    """
    Return whether tools put a file of this name beside data.

    Such names are ``_SUCCESS``, ``manifest.json``, and ``Datapoints.csv.md5``.

    :param name: of an object, with or without its folders
    """
    file = name.rpartition("/")[2]
    return _BESIDE.fullmatch(file) is not None and not file.lower().endswith(".csv")


def is_ignored(name: str, patterns: Sequence[str]) -> bool:
    """
    Return whether a user says that a file isn't export data. A name that ends with ``.csv`` always counts as data.

    :param name: of an object, with or without its folders
    :param patterns: of names without folders, such as ``README*``
    """
    file = name.rpartition("/")[2]
    if file.lower().endswith(".csv"):
        return False
    return any(file == pattern or fnmatchcase(file, pattern) for pattern in patterns)


def format_of(data: bytes) -> str:
    """
    Return the format that a file has instead of CSV; empty if it can be CSV.

    :param data: the file's first bytes
    """
    return next((name for first, name in _FORMATS.items() if data.startswith(first)), "")

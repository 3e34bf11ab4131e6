"""Looks for identifiers in everything that stores have, without knowing how this package writes or erases anything."""

from __future__ import annotations

import gzip
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID


def spellings(identifier: str) -> set[bytes]:
    """Return each form in which bytes can have an identifier."""
    texts = {identifier, identifier.lower(), identifier.upper()}
    forms: set[bytes] = set()
    try:
        uuid = UUID(identifier)
    except ValueError:
        pass
    else:
        texts |= {text.replace("-", "") for text in texts}
        # DuckDB flips the top bit of a UUID, so that it can compare it as a number.
        flipped = bytes([uuid.bytes[0] ^ 0x80]) + uuid.bytes[1:]
        for binary in (uuid.bytes, flipped):
            forms |= {binary, binary[::-1], binary[8:][::-1] + binary[:8][::-1], binary[:8][::-1] + binary[8:][::-1]}
    for text in texts:
        forms.add(text.encode())
        for before in range(3):
            encoded = b64encode(b"\0" * before + text.encode() + b"\0" * 3)
            # Cut off what depends on the text around it.
            whole = (before + len(text)) * 8 // 6
            forms.add(encoded[-(-before * 8 // 6) : whole])
    return forms


def traces(content: bytes, identifiers: dict[str, str]) -> set[str]:
    """Return which identifiers bytes have, by their names."""
    return {
        name
        for name, identifier in identifiers.items()
        if any(spelling in content for spelling in spellings(identifier))
    }


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each file below a folder: as it is, and what is in it after decompression."""
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        content, name = path.read_bytes(), str(path.relative_to(root))
        yield name, content
        if name.endswith(".gz"):
            yield f"{name}: content", gzip.decompress(content)
        if name.endswith(".avro"):
            yield f"{name}: content", b"".join(_of_avro(content))
        if name.endswith(".parquet"):
            yield from _of_parquet(name, path)


def _of_avro(content: bytes) -> Iterator[bytes]:
    """Yield what is in the blocks of an Avro file, which end with the file's own marker."""
    marker = content[-16:]
    for block in content.split(marker)[1:-1]:
        # Two numbers of a few bytes each are in front of the compressed bytes.
        for begin in range(2, 16):
            try:
                yield zlib.decompress(block[begin:], wbits=-15)
            except zlib.error:
                continue
            break
        else:
            yield block


def _of_parquet(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    for row_group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.num_columns):
            statistics = file.metadata.row_group(row_group).column(column).statistics
            if statistics is not None and statistics.has_min_max:
                yield f"{name}: statistics", repr((statistics.min, statistics.max)).encode()
    for column in file.read().columns:
        values = [value if isinstance(value, bytes) else str(value).encode() for value in column.to_pylist()]
        yield f"{name}: rows", b"\n".join(values)


def layers_with(root: Path, identifiers: dict[str, str]) -> dict[str, set[str]]:
    """Return the layers below a folder that have an identifier, and which: ``parquet``, ``_quarantine``, ..."""
    found: dict[str, set[str]] = {}
    for name, content in contents(root):
        names = traces(content, identifiers)
        if names:
            found.setdefault(name.split("/")[0].partition("=")[0], set()).update(names)
    return found

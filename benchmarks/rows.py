"""A file with one hour of datapoints in the format of Ayla's export, with any number of rows."""

from __future__ import annotations

import random
from pathlib import Path

from ayla_provider.transport.checksum import Crc32c

REPEATED = 100
"""One row in this many occurs twice in the file."""

_BATCH = 20_000
_SECONDS = 3600


def make_file(path: Path, rows: int) -> int:
    """
    Write a file in the layout of 22 columns, and its checksum beside it; return how many lines it has.

    The rows are of the shape that real ones have: some 285 bytes, three kinds of properties, 23,000 devices, a UUID
    of their own each, and one in a hundred repeated within the next 20,000.
    """
    rng = random.Random(1)  # noqa: S311 (made-up data)
    times = [f"Wed Feb 05 12:{second // 60:02}:{second % 60:02} UTC 2020" for second in range(_SECONDS)]
    lines, checksum = 0, Crc32c()
    with path.open("wb") as file:
        for start in range(0, rows, _BATCH):
            numbers = range(start, min(start + _BATCH, rows))
            batch = [
                _line(number, times[number * _SECONDS // rows], f"{rng.getrandbits(128):032x}") for number in numbers
            ]
            batch += batch[::REPEATED]
            lines += len(batch)
            data = "".join(batch).encode()
            checksum.update(data)
            file.write(data)
    path.with_suffix(".crc32c").write_text(checksum.base64)
    return lines


def made_line(number: int) -> str:
    """Return a line whose id is its number."""
    return _line(number, "Wed Feb 05 12:08:26 UTC 2020", f"{number:032x}")


def _line(number: int, time: str, digits: str) -> str:
    kind = number % 3
    identity = f"{digits[:8]}-{digits[8:12]}-1{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
    cells = (
        "1a2b3c4d",
        "LC-THERMO-2",
        f"LC000X{number % 23_000:09}",
        ("room_temperature", "mode", "humidity")[kind],
        "Um9vbSB0ZW1wZXJhdHVyZQ==",
        ("decimal", "string", "integer")[kind],
        identity,
        time,
        time,
        time,
        f"6f1e7b7e-0000-4000-8000-{number % 50_000:012x}",
        "false,false,false,user",
        str(number % 100) if kind == 2 else "",
        str(number % 300 / 10) if kind == 0 else "",
        ",",
        "Y29vbA==" if kind == 1 else "",
        "",
        "output",
    )
    return ",".join(cells) + "\r\n"

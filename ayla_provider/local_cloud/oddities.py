"""Odd objects of an export: more, wider or later ones than any real export has."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, format_folder
from ayla_provider.local_cloud.contents import BytesContent

if TYPE_CHECKING:
    from datetime import datetime

    from ayla_provider.local_cloud.cloud import LocalCloud

ODDITIES = {"future": 365 * 24, "many": 10_000, "wide": 100_000}
"""Each oddity, and its amount unless another one is given."""


def put_oddity(cloud: LocalCloud, kind: str, event_folder: str, hour: datetime, amount: int | None = None) -> list[str]:
    """
    Put odd objects into an hour of Ayla's bucket, and return their names.

    :param kind: ``future`` (a file whose listed creation is ``amount`` hours ahead, and a file in the folder of the
        hour that is ``amount`` hours ahead), ``many`` (``amount`` files), or ``wide`` (two files of the hour's rows; a
        line of one has ``amount`` columns, a line of the other has a field of ``amount`` bytes)
    :param event_folder: for example ``Datapoint Ack``
    :param amount: None for the one in :data:`ODDITIES`
    :raises ValueError: for any other kind
    """
    if kind not in ODDITIES:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(ODDITIES)}")
    amount = ODDITIES[kind] if amount is None else amount
    # As with the files of the export, nothing exists before its hour is over.
    created = hour + ONE_HOUR

    def put(file: str, content: bytes, folder_time: datetime = hour, **attributes: Any) -> str:
        name = f"{cloud.oem_id}/{event_folder}/{format_folder(folder_time)}/{file}"
        return cloud.vendor.put(name, BytesContent(content), created, attributes).name

    rows = _rows(cloud, event_folder, hour)
    whole = b"".join(rows)
    if kind == "many":
        return [put(f"many-{number:06}.csv", b"".join(rows[:1])) for number in range(amount)]
    if kind == "wide":
        columns, field = b"," * (amount - 1) + b"\r\n", b"x" * amount + b"\r\n"
        return [put("wide-columns.csv", whole + columns), put("wide-field.csv", whole + field)]
    ahead = cloud.clock.now() + timedelta(hours=amount)
    stamp = ahead.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [put("future.csv", whole, timeCreated=stamp), put("future.csv", whole, folder_time=ahead)]


def _rows(cloud: LocalCloud, event_folder: str, hour: datetime) -> list[bytes]:
    """Return the lines of an hour of the made-up export, with their line ends."""
    files = cloud.fleet.files(parse_event_type(event_folder), hour)
    return [line for file in files for line in file.contents[-1].splitlines(keepends=True)]

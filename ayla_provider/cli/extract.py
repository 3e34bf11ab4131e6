"""Extracts the data of a person or a device into files, for a person at a shell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest, parse_request
from ayla_provider.errors import AylaConfigError
from ayla_provider.rows.access import Access, Found
from ayla_provider.rows.extract import write_extract

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.cli.connections import Connections


def extract(
    archive: Destination,
    rows: Destination,
    request: ErasureRequest,
    folder: Path,
    *,
    policy_key: str = "",
    layouts: Sequence[ColumnLayout] = COLUMN_LAYOUTS,
    erasure_keys: Callable[[], ErasureKeys] | None = None,
) -> Found:
    """
    Write what there is about a subject into a new folder, and return the counts.

    :raises AylaError: if it can't be found out, or the folder can't be made
    """
    if folder.exists():
        raise AylaConfigError(f"{folder} exists already: name a new folder")
    options: dict[str, Any] = {"policy_key": policy_key, "layouts": layouts, "erasure_keys": erasure_keys}
    with Access(archive, rows, request, **options) as access:
        found = access.find()
        try:
            write_extract(access, found, folder, made_at=datetime.now(UTC))
        except OSError as error:
            raise AylaConfigError(f"{folder} can't be written: {error.strerror or error}") from error
    return found


def read_request(where: str, connections: Connections, conn_id: str | None) -> ErasureRequest:
    """
    Return the request in a file on this machine, or in an object.

    :param where: a path, or a URL
    :param conn_id: the connection of the URL; None for the default one
    :raises AylaConfigError: if there is none, or it isn't valid; nothing of it is quoted
    """
    if "://" not in where:
        try:
            file = Path(where)
            content, modified = file.read_bytes(), datetime.fromtimestamp(file.stat().st_mtime, UTC)
        except OSError as error:
            raise AylaConfigError(f"{where} can't be read: {error.strerror or error}") from None
        return parse_request(content, where, modified)
    folder, _, name = where.rpartition("/")
    destination = connections.destination(folder, conn_id)
    modified_at = {listed.stored.path: listed.modified for listed in destination.tree(name)}
    record = destination.read(name)
    if record is None or name not in modified_at:
        raise AylaConfigError(f"{where}: this object doesn't exist")
    return parse_request(record[0], where, modified_at[name])


def declared_in(path: str | None) -> tuple[ColumnLayout, ...]:
    """
    Return the layouts that files may have, with those that are declared in a JSON file.

    :raises AylaConfigError: if the file can't be read, or a declaration isn't valid
    """
    if path is None:
        return COLUMN_LAYOUTS
    try:
        document = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AylaConfigError(f"{path} isn't a JSON file of layouts ({type(error).__name__})") from None
    return (*declared(document), *COLUMN_LAYOUTS)

"""Erases what requests name, or counts it, for a person."""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ayla_provider.archive.erasure_requests import remove_requests, waiting_requests
from ayla_provider.domain.paths import typed_rows_url
from ayla_provider.domain.units import counted, size_text
from ayla_provider.warehouse.erase import ErasureRun, layer_text

if TYPE_CHECKING:
    from ayla_provider.cli.connections import Connections
    from ayla_provider.warehouse.base import ErasableWarehouse


def erase(
    arguments: argparse.Namespace, connections: Connections, warehouses: Sequence[ErasableWarehouse]
) -> dict[str, Any]:
    """
    Erase, or count, and return what was done: ids and counts.

    :raises AylaError: if something can't be read or written
    """
    conn = arguments.destination_conn
    requests = connections.destination(arguments.requests, arguments.requests_conn or conn)
    keys = connections.erasure_keys(arguments.erasure_conn)
    waiting = waiting_requests(requests, keys)
    run = ErasureRun(
        connections.destination(arguments.destination, conn),
        connections.destination(typed_rows_url(arguments.destination, arguments.parquet or ""), conn),
        waiting,
        keys,
        warehouses=warehouses,
        policy_key=connections.password(arguments.privacy_conn) if arguments.privacy_conn else "",
        now=datetime.now(UTC),
        written_by={"command": "erase", "user": _user(), "process": str(os.getpid())},
    )
    report = run.erase() if arguments.apply else run.count()
    if arguments.apply:
        report.leftovers += remove_requests(requests, waiting)
    deadlines = [{"id": each.id, "deadline": each.request.deadline.isoformat()} for each in waiting]
    return report.document() | {"open": [] if arguments.apply else deadlines}


def text_of(document: dict[str, Any], *, applied: bool) -> Iterator[str]:
    """Yield lines for a person."""
    for each in document["open"]:
        yield f"request {each['id']}: to be answered by {each['deadline']}"
    if not document["requests"]:
        yield "there is no request"
        return
    verb = "erased" if applied else "would erase"
    for layer, count in document["erased"].items():
        yield f"{verb}: {layer_text(layer, count)}"
    hours = f"{document['hours']:,} of {counted(document['hours_looked_at'], 'hour', 'hours')}"
    objects = f"{counted(document['objects'], 'object', 'objects')}, {size_text(document['bytes'])}"
    yield f"{'wrote' if applied else 'would write'} again: {objects}, in {hours}"
    cost = document["cost"]
    reads, writes = counted(cost["reads"], "read", "reads"), counted(cost["writes"], "write", "writes")
    yield f"requests to a bucket: {reads}, {writes}, about ${cost['dollars']:.2f}"
    for each in document["left"]:
        yield f"left in {each['store']}: {each['reason']} (gone by: {each['gone_by'] or 'not known'})"
    if document["hours_to_load"]:
        yield f"the next load makes the rows of {counted(document['hours_to_load'], 'hour', 'hours')} again"
    if not applied:
        yield "nothing was changed; --apply erases"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

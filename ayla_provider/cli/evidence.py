"""``evidence``: a document for each month that an auditor can hold an archive to."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ayla_provider.archive.evidence import collect
from ayla_provider.domain.evidence import NO_MANIFEST, Evidence, Month, loads
from ayla_provider.domain.units import counted, size_text
from ayla_provider.errors import AylaConfigError, AylaDestinationError

if TYPE_CHECKING:
    from ayla_provider.cli.connections import Connections


def make(arguments: argparse.Namespace, connections: Connections) -> tuple[Evidence, Path]:
    """
    Make the evidence of a month, and write it beside that of earlier months.

    :returns: the evidence, and its file
    :raises AylaError: if the archive or an earlier document can't be read, or the month has another document already
    """
    month, folder = Month.parse(arguments.month), Path(arguments.folder)
    if not folder.is_dir():
        raise AylaConfigError(f"--folder is {folder}: there is no such folder")
    file = folder / f"{month}.json"
    if file.exists():
        raise AylaConfigError(f"{file} exists. A month has one document: what changes later is in those after it")
    earlier = [_read(path) for path in sorted(folder.glob("[0-9]*.json"))]
    archive = connections.destination(arguments.destination, arguments.destination_conn)
    evidence = collect(archive, month, earlier, datetime.now(UTC))
    text = evidence.dumps()
    # What was written can be read again, and says the same.
    loads(text, str(file))
    with file.open("x", encoding="utf-8") as document:
        document.write(text)
    return evidence, file


def _read(path: Path) -> Evidence:
    evidence = loads(path.read_bytes(), str(path))
    if path.stem != str(evidence.month):
        raise AylaDestinationError(f"{path} is the evidence of {evidence.month}. Give it the name of its month")
    return evidence


def text_of(evidence: Evidence, file: Path) -> Iterator[str]:
    """Yield the lines for a person."""
    states = Counter(str(entry["state"]) for entry in evidence.hours)
    files = [each for entry in evidence.hours for each in entry.get("files", ())]
    yield f"{file}: {evidence.month}, {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}"
    yield f"{counted(len(files), 'file', 'files')}, {size_text(sum(each['size'] for each in files))}"
    without = sum(each["sha256"] is None for each in files)
    if without:
        yield f"{counted(without, 'file has', 'files have')} no SHA-256: an earlier version copied them"
    missing = states[NO_MANIFEST]
    if missing:
        yield f"{counted(missing, 'hour has', 'hours have')} no manifest"
    reasons = Counter(reason for entry in evidence.changes for reason in entry["reasons"])
    for reason, count in sorted(reasons.items()):
        yield f"since the document before, in {counted(count, 'earlier hour', 'earlier hours')}: {reason}"
    for objection in evidence.objections:
        yield f"NOT EXPLAINED: {objection}"
    yield f"SHA-256 of this document and of all before it: {evidence.head}"

"""Inspects one file of an archive: its layout, what its columns hold, and a draft if no layout fits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath

from ayla_provider.cli.inspection import Inspection
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.csv.declaration_draft import draft
from ayla_provider.domain.csv.foreign import format_of
from ayla_provider.domain.csv.recognition import Recognised, recognise
from ayla_provider.domain.csv.sample import LONGEST_HEAD, Shape, head_of, shape_of
from ayla_provider.domain.events import EVENT_TYPES, EventType, parse_event_type
from ayla_provider.errors import AylaConfigError, AylaError, AylaLayoutError

SAMPLE_ROWS = 3
"""How many typed rows are shown."""


def look_into(file: str, *, event_type: str | None = None, layouts: str | None = None) -> Inspection:
    """
    Inspect a file.

    :param file: its path; a path as in the archive names the event type
    :param event_type: in any spelling; by default it comes from the path or, failing that, from the content
    :param layouts: the path of a JSON file with declarations: see :func:`.declared`
    :raises AylaConfigError: if a file can't be read, or an argument is wrong
    """
    own = _declared_in(layouts) if layouts else ()
    path, shape = _shape_in(file)
    known = (*own, *COLUMN_LAYOUTS)
    parsed = parse_event_type(event_type) if event_type else _event_type_in(path, known)
    if not shape.rows:
        return Inspection(path, parsed, shape, problem="There are no rows in it to recognise a layout by.")
    if not parsed:
        fitting = _fitting_event_types(shape, known, path)
        if len(fitting) != 1:
            fits = f"fits {' and '.join(fitting)}" if fitting else "fits no layout of any event type"
            return Inspection(path, None, shape, problem=f"The file {fits}. Name its event type: --event-type NAME.")
        (parsed,) = fitting
    try:
        recognised = recognise(parsed, shape, known, file=path.name)
    except AylaLayoutError as error:
        return Inspection(path, parsed, shape, problem=error.finding, declaration=draft(parsed, shape))
    sample, no_sample = _sample(path, recognised)
    return Inspection(path, parsed, shape, recognised, sample=sample, no_sample=no_sample)


def _fitting_event_types(shape: Shape, known: Sequence[ColumnLayout], path: Path) -> list[EventType]:
    """Return the event types that have a layout which fits."""
    fitting = []
    for event_type in dict.fromkeys(parse_event_type(layout.event_type) for layout in known):
        try:
            recognise(event_type, shape, known, file=path.name)
        except AylaLayoutError:
            continue
        fitting.append(event_type)
    return fitting


def _declared_in(file: str) -> tuple[ColumnLayout, ...]:
    try:
        value = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise AylaConfigError(f"{file} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise AylaConfigError(f"{file} isn't JSON: {error}") from None
    return declared(value)


def _shape_in(file: str) -> tuple[Path, Shape]:
    path = Path(file.removeprefix("file://"))
    if "://" in file and not file.startswith("file://"):
        raise AylaConfigError(f"{file} isn't on this machine: download it first, and keep its name")
    try:
        with path.open("rb") as opened:
            data = opened.read(LONGEST_HEAD)
    except OSError as error:
        raise AylaConfigError(f"{path} can't be read: {error.strerror}") from None
    other = format_of(data)
    if other == "gzip":
        raise AylaConfigError(f"{path} is packed with gzip: unpack it first")
    if other:
        raise AylaConfigError(f"{path} is a {other} file, and not plain CSV")
    head = head_of(data)
    return path, shape_of(head, whole=len(head) == len(data) < LONGEST_HEAD)


def _event_type_in(path: PurePath, known: Sequence[ColumnLayout]) -> str | None:
    """
    Return the event type that the innermost folder with such a name states; None if there is none.

    Both path layouts of the archive have such a folder: ``event_type=datapoint`` or ``Datapoint``.
    """
    types = {*EVENT_TYPES, *(layout.event_type for layout in known)}
    for part in reversed(path.parts[:-1]):
        name = part.removeprefix("event_type=")
        try:
            event_type = parse_event_type(name)
        except AylaConfigError:
            continue
        if name != part or event_type in types:
            return event_type
    return None


def _sample(path: Path, recognised: Recognised) -> tuple[list[dict[str, object]], str]:
    """Return the first rows, typed, and ""; or no rows, and why."""
    try:
        from ayla_provider.rows.parquet import sample

        return sample(path, recognised, SAMPLE_ROWS), ""
    except ModuleNotFoundError as error:
        if error.name != "duckdb":
            raise
        return [], "they need DuckDB, pip install 'airflow-provider-ayla[warehouse]'"
    except AylaError as error:
        return [], str(error)

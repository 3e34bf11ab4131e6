"""Writes what there is about a subject: a CSV file for each event type, one JSON file, and one HTML file to read."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ayla_provider.archive.private import make_private_folder, open_private
from ayla_provider.domain.hour import describe_hour
from ayla_provider.domain.tables import STREAM_TABLES
from ayla_provider.domain.units import counted
from ayla_provider.rows.access import Access, Events, Found

FORMAT = "ayla-access/1"

_RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet would run. The last four are the full-width forms of the first four."""

_ABOUT = (
    "These are the events that Ayla's cloud recorded. Times are UTC. Before you hand this out, look through free "
    "texts: data of other people can stand in them."
)

_STYLE = (
    "body{font:14px/1.4 sans-serif;margin:2em;max-width:100em}table{border-collapse:collapse;margin:1em 0}"
    "th,td{border:1px solid #bbb;padding:.2em .5em;text-align:left;vertical-align:top}th{background:#eee}"
    "td{white-space:pre-wrap;overflow-wrap:anywhere}"
)


def write_extract(access: Access, found: Found, folder: Path, *, made_at: datetime) -> list[Path]:
    """
    Write the files into a folder, which is made, and return their paths. Nobody else can read them.

    :raises OSError: if the folder or a file exists already, or can't be written
    """
    make_private_folder(folder)
    written = []
    for events in found.events.values():
        if events.rows:
            written.append(folder / f"{events.event_type}.csv")
            with _text(written[-1]) as file:
                _write_csv(file, access, events)
    if found.lines:
        written.append(folder / "unreadable_lines.csv")
        with _text(written[-1]) as file:
            rows = ([str(line.hour), line.number, line.reason, line.text] for line in found.lines)
            _write_rows(file, ["hour", "line", "reason", "text"], rows)
    written.append(folder / "events.json")
    with _text(written[-1]) as file:
        _write_json(file, access, found, made_at)
    written.append(folder / "index.html")
    with _text(written[-1]) as file:
        for part in _html(access, found, made_at):
            file.write(part)
    return written


def cell(value: Any) -> Any:
    """Return a value as a cell that no spreadsheet runs: text that begins like a formula gets an apostrophe."""
    text = text_of(value)
    # A number isn't text, and a spreadsheet doesn't run it.
    return f"'{text}" if isinstance(value, str) and text.startswith(_RUN) else text


def text_of(value: Any) -> str:
    """Return a value for people."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _text(path: Path) -> TextIO:
    return io.TextIOWrapper(open_private(path, "xb"), encoding="utf-8", newline="")


def _write_csv(file: TextIO, access: Access, events: Events) -> None:
    names = access.names(events)
    _write_rows(file, names, (list(row.values()) for row in access.rows_of(events)))


def _write_rows(file: TextIO, names: list[str], rows: Iterator[list[Any]]) -> None:
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    for row in rows:
        writer.writerow([cell(value) for value in row])


def _write_json(file: TextIO, access: Access, found: Found, made_at: datetime) -> None:
    head = {
        "format": FORMAT,
        "made_at": made_at.isoformat(),
        "about": _ABOUT,
        "hours_looked_at": found.hours_looked_at,
        "hours_not_readable": [str(hour) for hour in found.not_readable],
        "unreadable_lines": [
            {"hour": str(line.hour), "line": line.number, "reason": line.reason, "text": line.text}
            for line in found.lines
        ],
    }
    file.write(json.dumps(head, indent=1, ensure_ascii=False)[:-2] + ',\n "events": {')
    for number, events in enumerate(found.events.values()):
        file.write("," * bool(number) + f"\n  {json.dumps(events.event_type)}: " + "{\n")
        columns = {name: _described(events, name) for name in access.names(events)}
        file.write(f'   "columns": {json.dumps(columns, ensure_ascii=False)},\n   "rows": [')
        for place, row in enumerate(access.rows_of(events)):
            filled = {name: _json_value(value) for name, value in row.items() if value is not None}
            file.write("," * bool(place) + "\n    " + json.dumps(filled, ensure_ascii=False))
        file.write("\n   ]\n  }")
    file.write("\n }\n}\n")


def _json_value(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else text_of(value)


def _described(events: Events, name: str) -> str:
    return events.columns[name].description if name in events.columns else ""


def _html(access: Access, found: Found, made_at: datetime) -> Iterator[str]:
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Events</title><style>{_STYLE}</style>'
    # Nothing in the page may load or run anything.
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f"</head><body><h1>Events</h1><p>Made on {describe_hour(made_at)[:10]}. {html.escape(_ABOUT)}</p>\n"
    if not found.rows and not found.lines:
        yield f"<p>There is nothing in {counted(found.hours_looked_at, 'hour', 'hours')}.</p>\n"
    for events in found.events.values():
        if not events.rows:
            continue
        table = STREAM_TABLES.get(events.event_type)
        yield f"<h2>{html.escape(events.event_type)}: {counted(events.rows, 'event', 'events')}</h2>\n"
        yield f"<p>{html.escape(table.description if table else '')}</p>\n<table><tr>"
        for name in access.names(events):
            yield f'<th title="{html.escape(_described(events, name))}">{html.escape(name)}</th>'
        yield "</tr>\n"
        for row in access.rows_of(events):
            yield "<tr>" + "".join(f"<td>{html.escape(text_of(value))}</td>" for value in row.values()) + "</tr>\n"
        yield "</table>\n"
    if found.lines:
        yield "<h2>Lines that couldn't be read</h2>\n<table><tr><th>hour</th><th>reason</th><th>text</th></tr>\n"
        for line in found.lines:
            cells = (str(line.hour), line.reason, line.text)
            yield "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in cells) + "</tr>\n"
        yield "</table>\n"
    if found.not_readable:
        hours = ", ".join(map(str, found.not_readable))
        yield f"<h2>Hours that nobody can read any more</h2>\n<p>{html.escape(hours)}</p>\n"
    yield "</body></html>\n"

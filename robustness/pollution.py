"""
Makes polluted files, with the right outcome of each line.

A file is made line by line, and each line gets its outcome when it is made. Nothing here reads a file or asks the
package.
"""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from harness.reference import FLAGS, INTEGERS, LAYOUTS, NUMBERS, TIMES, UUIDS, Layout

BASE_TYPES = ("integer", "decimal", "float", "boolean", "string")


@dataclass(frozen=True)
class Line:
    """A line, and what is right for it."""

    text: bytes
    """Without its end."""
    reason: str = ""
    """A regular expression of the reasons for which it is malformed; empty if it is to be loaded."""
    duplicate: bool = False
    """Whether it is left out, because another line of the file is the same."""
    counts: bool = True
    """Whether it is a line of data, and not a header."""
    cells: bytes | None = None
    """What it means, if that isn't its text: of a row with a new column, the row without it."""


@dataclass(frozen=True)
class Polluted:
    """A file, and what is right for it."""

    name: str
    """The pollution."""
    layout: Layout
    lines: tuple[Line, ...]
    content: bytes
    refused: str = ""
    """A regular expression of the reasons for which the whole file is refused; empty if it must be read."""
    or_lines: bool = False
    """Whether it is also right to read the lines, instead of refusing the file."""


@dataclass
class Maker:
    """
    Makes the lines and the file of one layout.

    :param random: the same numbers make the same file
    """

    layout: Layout
    random: Random
    ends: Sequence[bytes] = (b"\n",)
    lines: list[Line] = field(default_factory=list)

    def cells(self, base_type: str = "") -> list[str]:
        """Return the cells of a row as Ayla writes it."""
        base_type = base_type or self.random.choice(BASE_TYPES)
        made = {name: self._cell(name, base_type) for name in self.layout.columns}
        if {"registered_at", "unregistered_at"} <= made.keys():
            # Of the two, a row has the one of its state.
            made["unregistered_at" if made["registered"] == "true" else "registered_at"] = ""
        return list(made.values())

    def _cell(self, name: str, base_type: str) -> str:
        number = self.random.randrange(10**6)
        if name in TIMES:
            return f"Wed Feb 05 12:{number % 60:02}:{number // 60 % 60:02} UTC 2020"
        if name in UUIDS:
            return f"a0b1c2d3-{number % 9999:04}-2222-3333-abcd{self.random.randrange(10**8):08}"
        if name == "value" or name.startswith("val_"):
            of = {"val_int": "integer", "val_string": "string"}.get(name, name.removeprefix("val_"))
            values = {"integer": str(number), "decimal": "5.5", "float": "7.25", "boolean": "1"}
            value = values.get(base_type, text64(f"text {number}"))
            return value if name == "value" or of == base_type else ""
        if name in self.layout.base64:
            return text64(f"made {number}")
        if name in FLAGS:
            return self.random.choice(["true", "false"])
        if name in INTEGERS | NUMBERS:
            return str(number % 90)
        words = {"base_type": base_type, "status": "Online", "direction": "output", "ip": "192.0.2.7"}
        words |= {"dsn": f"LC000X{number:09}", "oem_id": "1a2b3c4d", "event_type": self.layout.event_type}
        return words.get(name, f"{name}-{number % 7}")

    def row(self, cells: Sequence[str] | None = None) -> bytes:
        """Return a row as text."""
        return ",".join(self.cells() if cells is None else cells).encode()

    def rows(self, count: int) -> None:
        """Add good rows."""
        for number in range(count):
            self.lines.append(Line(self.row(self.cells(BASE_TYPES[number % len(BASE_TYPES)]))))

    def insert(self, line: Line, *, early: bool = False) -> None:
        """Add a line somewhere between the others, not among the first, by which the layout is found."""
        first = 0 if early else len(self.lines) // 2
        self.lines.insert(self.random.randint(first, len(self.lines)), line)

    @property
    def typed(self) -> list[int]:
        """The places of the columns whose cells can't be any text."""
        kinds = TIMES | UUIDS | FLAGS | INTEGERS | NUMBERS
        return [number for number, name in enumerate(self.layout.columns) if name in kinds]

    def file(self, name: str, **more: object) -> Polluted:
        """Return the file of the lines."""
        content = b"".join(line.text + self.random.choice(list(self.ends)) for line in self.lines)
        return replace(Polluted(name, self.layout, tuple(self.lines), content), **more)  # type: ignore[arg-type]


def text64(text: str) -> str:
    """Return a text in base64."""
    return base64.b64encode(text.encode()).decode()


def with_byte(row: bytes, byte: bytes) -> bytes:
    """Return a row with another byte within its first cell."""
    return row[:2] + byte + row[2:]


Pollution = Callable[[Maker], Polluted]
POLLUTIONS: dict[str, Pollution] = {}
"""Name to what makes such a file of a maker with some good rows."""

LAYOUT = "no known layout|fits? no|layout|columns|looks like"
"""Reasons to refuse a file whose layout isn't known."""


def pollution(function: Pollution) -> Pollution:
    """Add a pollution under the name of its function."""
    POLLUTIONS[function.__name__] = function
    return function


def wrong_count(columns: int, of: int) -> str:
    """Return the reason of a line with another number of columns."""
    return f"^{columns} columns instead of {of}$"


@pollution
def clean(make: Maker) -> Polluted:
    """Return a file without pollution."""
    return make.file("clean")


@pollution
def windows_ends(make: Maker) -> Polluted:
    """Return a file with the line ends of Windows."""
    make.ends = (b"\r\n",)
    return make.file("windows_ends")


@pollution
def mixed_ends(make: Maker) -> Polluted:
    """Return a file with two kinds of line ends."""
    make.ends = (b"\n", b"\r\n")
    return make.file("mixed_ends")


@pollution
def no_last_end(make: Maker) -> Polluted:
    """Return a file whose last line doesn't end."""
    made = make.file("no_last_end")
    return replace(made, content=made.content.rstrip(b"\r\n"))


@pollution
def mac_ends(make: Maker) -> Polluted:
    """Return a file whose lines end with a carriage return alone: it is one line."""
    make.ends = (b"\r",)
    made = make.file("mac_ends", refused=f"{LAYOUT}|carriage return|line ends?", or_lines=True)
    return replace(made, lines=(Line(made.content[:-1], "carriage return|columns instead"),))


@pollution
def byte_order_mark(make: Maker) -> Polluted:
    """Return a file with a byte order mark."""
    made = make.file("byte_order_mark")
    return replace(made, content=b"\xef\xbb\xbf" + made.content)


@pollution
def header(make: Maker) -> Polluted:
    """Return a file with a header."""
    names = ",".join(make.layout.columns)
    make.lines.insert(0, Line(make.random.choice([names, names.upper()]).encode(), counts=False))
    return make.file("header")


@pollution
def header_between(make: Maker) -> Polluted:
    """Return a file with its header once more between the rows."""
    make.insert(Line(",".join(make.layout.columns).encode(), " is no | names another"))
    return make.file("header_between")


@pollution
def empty_lines(make: Maker) -> Polluted:
    """Return a file with empty lines between the rows, and at the end."""
    for _ in range(make.random.randint(1, 3)):
        make.lines.insert(make.random.randint(1, len(make.lines) - 1), Line(b"", "an empty line"))
    make.lines.append(Line(b"", "an empty line"))
    return make.file("empty_lines")


@pollution
def footer(make: Maker) -> Polluted:
    """Return a file with a last line that counts the others."""
    make.lines.append(Line(b"Total: 20", wrong_count(1, len(make.layout.columns))))
    return make.file("footer")


@pollution
def preamble(make: Maker) -> Polluted:
    """Return a file with a line of another program in front."""
    make.lines.insert(0, Line(b"# exported 2026-11-01", wrong_count(1, len(make.layout.columns))))
    return make.file("preamble", refused=LAYOUT, or_lines=True)


@pollution
def missing_fields(make: Maker) -> Polluted:
    """Return a file in which rows lack cells."""
    for _ in range(make.random.randint(1, 4)):
        cells = make.cells()
        left = make.random.randint(1, len(cells) - 1)
        make.insert(Line(make.row(cells[:left]), wrong_count(left, len(cells))))
    return make.file("missing_fields")


@pollution
def extra_fields(make: Maker) -> Polluted:
    """Return a file in which rows have more cells."""
    for _ in range(make.random.randint(1, 4)):
        cells = [*make.cells(), *["x"] * make.random.randint(1, 3)]
        make.insert(Line(make.row(cells), wrong_count(len(cells), len(make.layout.columns))))
    return make.file("extra_fields")


@pollution
def delimiter_in_a_cell(make: Maker) -> Polluted:
    """Return a file in which a quoted cell has a comma: Ayla doesn't quote, so the row has too many cells."""
    cells = make.cells()
    cells[0] = '"1a,2b"'
    make.insert(Line(make.row(cells), wrong_count(len(cells) + 1, len(cells))))
    return make.file("delimiter_in_a_cell")


@pollution
def line_end_in_a_cell(make: Maker) -> Polluted:
    """Return a file in which a quoted cell has a line end: both halves are no rows."""
    cells = make.cells()
    at = make.random.randint(1, len(cells) - 2)
    first, second = [*cells[:at], '"two'], ['lines"', *cells[at + 1 :]]
    place = make.random.randint(len(make.lines) // 2, len(make.lines))
    halves = [Line(make.row(half), wrong_count(len(half), len(cells))) for half in (first, second)]
    make.lines[place:place] = halves
    return make.file("line_end_in_a_cell")


@pollution
def other_delimiter(make: Maker) -> Polluted:
    """Return a file with another delimiter."""
    by = make.random.choice([b";", b"\t", b"|", b" "])
    make.lines = [replace(line, text=line.text.replace(b",", by)) for line in make.lines]
    return make.file("other_delimiter", refused=LAYOUT)


@pollution
def quoted_cells(make: Maker) -> Polluted:
    """Return a file in which each cell has quotes around it."""
    make.lines = [Line(b'"' + line.text.replace(b",", b'","') + b'"', " is no ") for line in make.lines]
    return make.file("quoted_cells", refused=LAYOUT, or_lines=True)


@pollution
def quotes_in_text(make: Maker) -> Polluted:
    """Return a file in which a text has a quote, which is a character like any other."""
    cells = make.cells()
    cells[make.layout.columns.index("oem_model")] = make.random.choice(['"', 'a"b', "''", '""', "'a"])
    make.insert(Line(make.row(cells)))
    return make.file("quotes_in_text")


@pollution
def latin_1(make: Maker) -> Polluted:
    """Return a file in which a row isn't UTF-8."""
    cells = make.cells()
    cells[make.layout.columns.index("oem_model")] = "Küche"
    make.insert(Line(",".join(cells).encode("latin-1"), "not UTF-8"))
    return make.file("latin_1")


@pollution
def utf_16(make: Maker) -> Polluted:
    """Return a file in UTF-16."""
    coding = make.random.choice(["utf-16", "utf-16-le", "utf-16-be"])
    made = make.file("utf_16", refused=f"{LAYOUT}|UTF-16|UTF-8|NUL")
    return replace(made, content=made.content.decode().encode(coding))


@pollution
def unicode_text(make: Maker) -> Polluted:
    """Return a file with text of other scripts, and control characters."""
    for text in ("日本", "🌡️", "é", "\x01", "\u2028", "\x85", "\ufeff"):
        cells = make.cells()
        cells[make.layout.columns.index("oem_model")] = text
        make.insert(Line(make.row(cells)))
    return make.file("unicode_text")


@pollution
def nul(make: Maker) -> Polluted:
    """Return a file in which a row has a NUL."""
    make.insert(Line(with_byte(make.row(), b"\x00"), "holds a NUL|columns instead"))
    return make.file("nul")


@pollution
def carriage_return(make: Maker) -> Polluted:
    """Return a file in which a row has a carriage return."""
    make.insert(Line(with_byte(make.row(), b"\r"), "carriage return"))
    return make.file("carriage_return")


@pollution
def wrong_cells(make: Maker) -> Polluted:
    """Return a file in which cells are no values of their columns."""
    for _ in range(make.random.randint(1, 4)):
        cells = make.cells()
        at = make.random.choice(make.typed)
        cells[at] = make.random.choice(["n/a", "-", "?", "#N/A", "12:61", "0x1F", "1_000"])
        name = make.layout.columns[at]
        make.insert(Line(make.row(cells), f"^{'time_uuid|id' if name == 'id' else name} is no "))
    return make.file("wrong_cells")


@pollution
def null_cells(make: Maker) -> Polluted:
    """Return a file in which cells are empty."""
    for _ in range(make.random.randint(1, 4)):
        cells = make.cells()
        for at in make.random.sample(range(len(cells)), 2):
            if make.layout.columns[at] not in ("base_type", "registered", "registered_at", "unregistered_at"):
                cells[at] = make.random.choice(["", "null"])
        make.insert(Line(make.row(cells)))
    return make.file("null_cells")


@pollution
def repeated_lines(make: Maker) -> Polluted:
    """Return a file in which rows are there twice."""
    for line in make.random.sample(make.lines, 3):
        make.insert(replace(line, duplicate=True))
    return make.file("repeated_lines")


@pollution
def new_column(make: Maker) -> Polluted:
    """Return a file with a column that nobody knows at the end of each row."""
    make.lines = [Line(line.text + b",new", cells=line.text) for line in make.lines]
    return make.file("new_column", refused=LAYOUT, or_lines=True)


@pollution
def truncated(make: Maker) -> Polluted:
    """Return a file that ends within a row, in front of its last cell."""
    text = make.row()
    cut = make.random.randint(1, text.rindex(b",") - 1)
    make.lines.append(Line(text[:cut], wrong_count(text[:cut].count(b",") + 1, len(make.layout.columns))))
    made = make.file("truncated")
    return replace(made, content=made.content.rstrip(b"\r\n"))


@pollution
def very_long_line(make: Maker) -> Polluted:
    """Return a file with a line of more than 4 MiB."""
    cells = make.cells()
    cells[0] = "x" * (5 * 1024 * 1024)
    make.insert(Line(make.row(cells), "more than a row has"))
    return make.file("very_long_line")


@pollution
def swapped_columns(make: Maker) -> Polluted:
    """Return a file in which a time, number or flag has changed places with a text: no row is what it seems."""
    typed = [at for at in make.typed if make.layout.columns[at] in TIMES | FLAGS]
    at, to = make.random.choice(typed), make.layout.columns.index("dsn")

    def swapped(line: Line) -> Line:
        cells = line.text.split(b",")
        cells[at], cells[to] = cells[to], cells[at]
        return Line(b",".join(cells), " is no ")

    make.lines = [swapped(line) for line in make.lines]
    return make.file("swapped_columns", refused=LAYOUT, or_lines=True)


@pollution
def other_format(make: Maker) -> Polluted:
    """Return a file that isn't CSV."""
    made = make.file("other_format")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.csv", made.content)
    others = {
        "gzip": gzip.compress(made.content),
        "zip": archive.getvalue(),
        "JSON": b'[{"dsn": "a", "value": 1}]\n{"dsn": "b"}\n',
        "XML": b'<?xml version="1.0"?>\n<rows><row dsn="a"/></rows>\n',
        "HTML": b"<!DOCTYPE html>\n<html><body>Service unavailable</body></html>\n",
        "Parquet": b"PAR1" + bytes(range(256)) * 4 + b"PAR1",
    }
    kind = make.random.choice(sorted(others))
    return replace(made, content=others[kind], refused=f"{kind}|{LAYOUT}|CSV was expected")


@pollution
def nothing(make: Maker) -> Polluted:
    """Return a file without lines."""
    content = make.random.choice([b"", b"\n", b"\r\n", b"\xef\xbb\xbf"])
    make.lines = [Line(b"", "an empty line")] if content.endswith(b"\n") else []
    return replace(make.file("nothing"), content=content)


def files(count: int, seed: int) -> list[Polluted]:
    """Return polluted files over all layouts, each pollution equally often."""
    made = []
    names, layouts = list(POLLUTIONS), list(LAYOUTS.values())
    for number in range(count):
        random = Random(f"{seed} {number}")
        make = Maker(layouts[number // len(names) % len(layouts)], random)
        make.rows(random.randint(20, 40))
        made.append(POLLUTIONS[names[number % len(names)]](make))
    return made

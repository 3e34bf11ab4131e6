"""Files as nobody would wish for them: cells in odd but legal forms, wrong ones, and lines that are no rows."""

from __future__ import annotations

import base64
from random import Random

from harness.reference import BASE64, FLAGS, INTEGERS, NUMBERS, TIMES, UUIDS, Layout

EMPTY = ["", "null"]
TEXTS = [
    *['"', '"a', 'a"b', "''", '""', "'", "\\N", "\\", "#x", "NULL", " null", "nan", "é", "日本", "🌡️", "\u202eabc"],
    *[
        "\x01",
        "\x7f",
        "\x1c",
        "\x85",
        "\u2028",
        "\t",
        "  a  ",
        "\ufeff",
        "=cmd()",
        "%s{}$x",
        "--",
        ";",
        "0",
        "-",
        "\x0b",
    ],
]
TIMES_GOOD = [
    *["Wed Feb 05 12:08:26 UTC 2020", "Mon Feb 05 12:08:26 UTC 2020", "Wed Feb  5 12:08:26 UTC 2020"],
    *["2020-02-05T12:08:26Z", "2020-02-05 12:08:26", "2020-02-05 12:08:26 UTC", "2020-02-05 12:08:26 +0530"],
    *["2020-02-05T12:08:26.1234567-05:30", "2020-02-05T12:08", "2020-02-05", "2020-02-29T24:00:00Z"],
    *["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "wed feb 05 12:08:26 UTC 2020"],
]
TIMES_BAD = [
    *["Wed Feb 30 12:08:26 UTC 2020", "Wed Feb 05 12:08:26 PST 2020", "2021-02-29", "2020-13-01T00:00:00Z", "infinity"],
    *["epoch", "now", "today", "2020-02-05T25:00:00Z", "2020-02-05T12:60:00Z", "0000-01-01T00:00:00Z", "1580904506"],
    *[
        "2020-02-05T12:08:26+99:99",
        "9999-12-31T23:59:59-05:00",
        "0001-01-01T00:00:00+05:00",
        " ",
        "2020-2-5",
        "05/02/2020",
    ],
]
FLAGS_GOOD, FLAGS_BAD = (
    ["TRUE", "t", "1", "0", "f", "no", "Y", "False"],
    ["2", "tru", " true", "on", "-1", "1.0", "wahr"],
)
INTEGERS_GOOD = [" 7", "+7", "-0", "007", "9223372036854775807", "-9223372036854775808", "7 "]
INTEGERS_BAD = ["1_000", "0x1F", "1.0", "1e3", "9223372036854775808", "٣", "+ 1", "--1", "seven", "1 2", "\x0b1"]
NUMBERS_GOOD = [" 51.5", "-0", "1.", ".5", "+.5E+3", "1e308", "1e-400", "123456789012345678901234567890", "4.9e-324"]
NUMBERS_BAD = ["nan", "inf", "-Infinity", "1_000.5", "0x1F", "1e400", ".", "1e", "1;5", "½"]
UUID = "A0B1C2D3-1111-2222-3333-ABCDEF{:06}"
UUIDS_GOOD = [UUID.format(1), UUID.format(1).lower(), "00000000-0000-0000-0000-000000000000"]
UUIDS_BAD = [
    "a0b1c2d3111122223333abcdef000001",
    "{" + UUID.format(1) + "}",
    "x",
    UUID.format(1)[:-1],
    f" {UUID.format(1)}",
]
BASE_TYPES = ["integer", "decimal", "float", "boolean", "string"]
EVENT_TYPES = {"connection": ["Connection", "connectivity"], "datapoint_ack": ["Datapoint Ack", "datapoint-ack"]}


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


BASE64_ODD = [
    *[
        b64(b"\xff\xfe"),
        b64(b"a\0b"),
        b64("日本 🌡️"),
        b64('a,b\r\n"c"'),
        b64(""),
        "YQ",
        "YQ=",
        "YR==",
        "YQ==YQ==",
        "WiFi!",
    ],
    *["=", "é", " YQ==", "null", "", "-_-_", "WiFi"],
]


class OddFiles:
    """
    Makes files of a layout, the same for the same seed.

    Their first rows are as they should be, and so are most of the others: else no layout would be recognised.
    """

    def __init__(self, layout: Layout, seed: int) -> None:
        self.layout = layout
        self.random = Random(seed)
        self._lines: list[bytes] = []

    def cells(self, odd: float = 0.0, base_type: str = "") -> list[str]:
        base_type = base_type or self.random.choice(BASE_TYPES)
        cells = {
            name: self._odd(name, base_type) if self.random.random() < odd else self._usual(name, base_type)
            for name in self.layout.columns
        }
        if "registered_at" in cells:
            # Only these two dates show the order of the columns.
            registered = cells["registered"].lower() in ("true", "t", "1", "y")
            cells["unregistered_at" if registered else "registered_at"] = self.random.choice(EMPTY)
        return list(cells.values())

    def lines(self, rows: int) -> list[bytes]:
        """Return rows. Some are odd, malformed, the same as others, or others of the same id."""
        made = [self.line(self.cells(base_type=base_type)) for base_type in BASE_TYPES * 4]
        for _ in range(rows):
            kind = self.random.choice(["usual", "usual", "odd", "odd", "again", "newer", "wrong cell", "no row"])
            made.append(self._line(kind, [*self._lines, *made]))
        self._lines += made
        return made

    def file(self, rows: int) -> bytes:
        """Return a whole file."""
        lines = self.lines(rows)
        ends = self.random.choice([[b"\n"], [b"\r\n"], [b"\n", b"\r\n"], [b"\r\n", b"\r\n", b"\r\n", b"\n"]])
        if self.layout.header:
            lines.insert(0, ",".join(self.layout.columns).upper().encode())
        data = b"".join(line + self.random.choice(ends) for line in lines)
        if self.random.random() < 0.3:
            data = data.rstrip(b"\r\n")
        return (b"\xef\xbb\xbf" if self.random.random() < 0.3 else b"") + data

    def line(self, cells: list[str]) -> bytes:
        return ",".join(cells).encode()

    def _line(self, kind: str, made: list[bytes]) -> bytes:
        if kind == "odd":
            return self.line(self.cells(odd=0.3))
        if kind == "again":
            return self.random.choice(made)
        if kind == "newer":
            return self._newer(self.random.choice(made[:12]).decode().split(","))
        if kind == "wrong cell":
            return self.line(self._with_a_wrong_cell(self.cells()))
        return self._no_row() if kind == "no row" else self.line(self.cells())

    def _newer(self, cells: list[str]) -> bytes:
        """Return a row with the id of another one: newer, older, or of another text only."""
        for name in self.random.sample(["updated_at", "dsn", "user_uuid"], 2):
            if name in self.layout.columns:
                cells[self.layout.columns.index(name)] = self._usual(name, "string")
        if "updated_at" in self.layout.columns and self.random.random() < 0.3:
            cells[self.layout.columns.index("updated_at")] = self.random.choice(EMPTY)
        for name in ("time_uuid", "id"):
            if name in self.layout.columns and self.random.random() < 0.3:
                at = self.layout.columns.index(name)
                cells[at] = self.random.choice([cells[at].upper(), "", "null"])
        return self.line(cells)

    def _with_a_wrong_cell(self, cells: list[str]) -> list[str]:
        columns = self.layout.columns
        wrong = {name: self._bad(name) for name in columns}
        name = self.random.choice([name for name, cell in zip(columns, cells, strict=True) if wrong[name] and cell])
        cells[columns.index(name)] = self.random.choice(wrong[name])
        if name == "value":
            cells[columns.index("base_type")] = "integer"
        return cells

    def _no_row(self) -> bytes:
        line = self.line(self.cells())
        middle = len(line) // 2
        return self.random.choice(
            [
                *[
                    b"",
                    line + b",",
                    line.rpartition(b",")[0],
                    b",",
                    b"\xff" + line,
                    line[:middle] + b"\0" + line[middle:],
                ],
                *[
                    line + b"\rx",
                    line + b"\r\r",
                    line[:middle] + b"\r" + line[middle:],
                    line + b"\xed\xa0\x80",
                    b"\r\r",
                ],
                *[line + b"," + line, b'"' + line + b',"', b"a,b\0", line[:-1] + b"\xc3"],
            ]
        )

    def _usual(self, name: str, base_type: str) -> str:
        number = self.random.randrange(10**6)
        if name in TIMES or self.layout.kinds.get(name) == "timestamp":
            return f"Wed Feb 05 12:{number % 60:02}:{number // 60 % 60:02} UTC 2020"
        if name in UUIDS or self.layout.kinds.get(name) == "uuid":
            return UUID.format(number).lower()
        if name == "value":
            return self._value(base_type)
        if name.startswith("val_"):
            mine = {"val_int": "integer", "val_string": "string"}.get(name, name.removeprefix("val_"))
            return self._value(base_type) if mine == base_type else ""
        if name in self.layout.base64:
            return self.random.choice([b64(f"made {number}"), b64("{}"), ""])
        if name in FLAGS or self.layout.kinds.get(name) == "boolean":
            return self.random.choice(["true", "false"])
        if name in INTEGERS | NUMBERS or self.layout.kinds.get(name) in ("integer", "number"):
            return str(number)
        words = {"base_type": base_type, "status": "Online", "direction": "output", "ip": "192.0.2.7"}
        words |= {"dsn": f"LC000X{number:06}", "oem_id": "1a2b3c4d", "event_type": self.layout.event_type}
        return words.get(name, f"{name}-{number % 7}")

    def _value(self, base_type: str) -> str:
        number = self.random.randrange(1000)
        plain = {"integer": str(number), "decimal": f"{number}.5", "float": f"{number}.25", "boolean": "1"}
        return plain.get(base_type, b64(f"text {number}"))

    def _odd(self, name: str, base_type: str) -> str:
        kind = self._kind(name)
        if name == "value":
            usual = self._value(base_type)
            return self.random.choice([usual, b64(usual), *EMPTY])
        if name == "event_type":
            return self.random.choice([*EMPTY, *EVENT_TYPES.get(self.layout.event_type, [])])
        if name == "base_type":
            return base_type
        if name.startswith("val_") and not self._usual(name, base_type):
            return self.random.choice(EMPTY)
        odd = {"time": TIMES_GOOD, "flag": FLAGS_GOOD, "integer": INTEGERS_GOOD, "number": NUMBERS_GOOD}
        odd |= {"uuid": UUIDS_GOOD, "base64": BASE64_ODD, "text": [*TEXTS, self.random.choice(TEXTS) + "x" * 70_000]}
        return self.random.choice([*odd[kind], *EMPTY])

    def _bad(self, name: str) -> list[str]:
        bad = {"time": TIMES_BAD, "flag": FLAGS_BAD, "integer": INTEGERS_BAD, "number": NUMBERS_BAD, "uuid": UUIDS_BAD}
        special = {"event_type": ["location-ack", "x"], "value": [*INTEGERS_BAD, b64("1.5"), "x"]}
        return special.get(name) or bad.get(self._kind(name), [])

    def _kind(self, name: str) -> str:
        sets = {"time": TIMES, "flag": FLAGS, "integer": INTEGERS, "number": NUMBERS, "uuid": UUIDS}
        declared = {"timestamp": "time", "boolean": "flag"}
        own = self.layout.kinds.get(name, "")
        if name in self.layout.base64 and name in (*BASE64, *self.layout.base64):
            return "base64"
        return next((kind for kind, names in sets.items() if name in names), declared.get(own, own)) or "text"

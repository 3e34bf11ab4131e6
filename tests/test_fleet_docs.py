"""The examples of the page on the fleet's models are what the oracle says, which models are compared with."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet_oracle import Oracle, Span

PAGE = Path(__file__).parents[1] / "docs" / "fleet.md"
DAY = datetime(2026, 5, 4, tzinfo=UTC)
SINCE_1582 = datetime(1582, 10, 15, tzinfo=UTC)
USERS = {name: f"{number}" * 8 + "-2222-4333-8444-555555555555" for number, name in enumerate(("anna", "ben"), start=1)}
DEVICE = {"dsn": "a", "oem_model": "m", "oem_id": "o"}
EVENT_TYPES = ("connection", "datapoint", "datapoint_ack", "registration")


class Example:
    """A block of the page: what happens, and what the models say of it."""

    def __init__(self, block: str) -> None:
        self.sections: dict[str, list[str]] = {}
        section: list[str] = []
        for line in block.splitlines():
            name, colon, rest = line.partition(":")
            if line.startswith("  "):
                section.append(line.strip())
            else:
                assert colon, line
                section = self.sections.setdefault(name, [rest.strip()] if rest else [])

    def lines(self, name: str) -> list[str]:
        return self.sections.get(name, [])

    def rows(self) -> dict[str, list[dict[str, str]]]:
        return {
            "connection": [message(line) for line in self.lines("messages")],
            "datapoint": [datapoint(line) for line in self.lines("datapoints")],
            "datapoint_ack": [acknowledgment(line) for line in self.lines("acknowledgments")],
            "registration": [registration(line) for line in self.lines("registrations")],
        }

    def known(self) -> list[datetime]:
        spans = self.lines("hours")[0].split(", ")
        return [DAY + timedelta(hours=hour) for span in spans for hour in hours_of(span)]

    def oracle(self) -> Oracle:
        return Oracle(self.rows(), dict.fromkeys(EVENT_TYPES, self.known()))


def hours_of(span: str) -> range:
    first, last = map(int, span.split(" to "))
    # "00 to 24" is a day; "00 to 04" names hours.
    return range(first, last if last % 24 == 0 else last + 1)


def moment(text: str) -> datetime:
    days, _, clock = text.rpartition(" ")
    hours, minutes, seconds = clock.split(":")
    whole, _, fraction = seconds.partition(".")
    time = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(whole), milliseconds=int(fraction or 0))
    return DAY + timedelta(days=int(days or 0)) + time


def text_of(time: datetime) -> str:
    days = (time - DAY).days
    return (f"+{days} " if days else "") + f"{time:%H:%M:%S}"


def identity(time: datetime) -> str:
    ticks = (time - SINCE_1582) // timedelta(microseconds=1) * 10
    return f"{ticks & 0xFFFFFFFF:08x}-{ticks >> 32 & 0xFFFF:04x}-{ticks >> 48 | 0x1000:04x}-1261-67d251d3ec96"


def second(time: datetime) -> str:
    return time.replace(microsecond=0).isoformat()


def message(line: str) -> dict[str, str]:
    event, _, folder_hour = line.partition(", in hour ")
    time, status = event.rsplit(" ", 1)
    of_folder = {"folder_hour": second(moment(folder_hour))} if folder_hour else {}
    return {**DEVICE, "event_time": second(moment(time)), "status": status, **of_folder}


def datapoint(line: str) -> dict[str, str]:
    found = re.fullmatch(r"(\S+) (\S+) (.*?)(?:, updated (\S+))?", line)
    assert found, line
    time, value, words, updated = found.groups()
    flags = words.split()
    created = moment(time)
    is_message = "message" in flags
    text = {"first": "Zmlyc3Q=", "second": "c2Vjb25k"}.get(value, "")
    return {
        **DEVICE,
        "property_name": "p",
        "base_type": "message" if is_message else "integer",
        "time_uuid": identity(created),
        "created_at": second(created),
        "updated_at": second(moment(updated) if updated else created),
        "direction": "input" if "input" in flags else "output",
        "val_string" if is_message else "val_int": text if is_message else value,
        **{name: str(name in flags).lower() for name in ("echo", "closed", "discarded")},
    }


def acknowledgment(line: str) -> dict[str, str]:
    time, _, acked, _, status = line.split(" ")
    at = moment(acked)
    answer = {"acked_at": second(at), "ack_id": identity(at), "ack_status": status, "ack_message": "0"}
    # The file of acknowledgments has no direction.
    answered = {name: text for name, text in datapoint(f"{time} 0 input").items() if name != "direction"}
    return {**answered, **answer}


def registration(line: str) -> dict[str, str]:
    time, user, what = line.split(" ", 2)
    is_on = what == "registers"
    dates = {"registered_at" if is_on else "unregistered_at": second(moment(time))}
    return {**DEVICE, "user_uuid": USERS[user], "registered": str(is_on).lower(), **dates}


def sessions(spans: list[Span]) -> list[str]:
    """Return the sessions as the page writes them: states of one kind that follow each other are one."""
    merged: list[tuple[datetime, datetime, str]] = []
    for span in spans:
        if merged and merged[-1][2] == span.state and merged[-1][1] == span.start:
            merged[-1] = (merged[-1][0], span.end, span.state)
        else:
            merged.append((span.start, span.end, span.state))
    starts = {start for start, end, _ in merged if end > start}
    return [
        f"{text_of(start)} to {text_of(end)}" + ("" if end in starts else ", then unknown")
        for start, end, state in merged
        if state == "online"
    ]


def day(row: dict[str, Any], fields: str) -> str:
    """Return a row of ``device_day`` with the figures that the page shows."""
    names = [field.split(" ")[0] for field in fields.split(", ")]
    shown = [
        f"{name} {timedelta(seconds=row[f'{name}_seconds'])}" if f"{name}_seconds" in row else f"{name} {row[name]}"
        for name in names
    ]
    return ", ".join(shown)


def device(row: dict[str, Any], fields: str) -> str:
    users = {identifier: name for name, identifier in USERS.items()}
    names = [field.split(" ")[0] for field in fields.split(", ")]
    values = row | {"owner": users.get(row["user_uuid"] or "")}
    return ", ".join(
        f"{name} {text_of(values[name]) if isinstance(values[name], datetime) else values[name]}" for name in names
    )


def outcome(row: dict[str, Any]) -> str:
    after = f" after {row['latency_seconds']} s" if row["latency_seconds"] is not None else ""
    time = row["commanded_at"]
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03} {row['outcome']}{after}"


def value_at(oracle: Oracle, line: str) -> str:
    time = line.split(" ")[0]
    found = oracle.value_at("a", "p", moment(time))
    if found is None:
        return f"{time} unknown"
    number, text = found
    return f"{time} {text if number is None else int(number)}"


BLOCKS = re.findall(r"^```text\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_is_what_the_models_say(block: str) -> None:
    example = Example(block)
    oracle = example.oracle()
    if example.lines("sessions"):
        assert sessions(oracle.connected["a"]) == example.lines("sessions")
    days = {row["day"]: row for row in oracle.model("device_day")}
    for name, number in (("day", 0), ("next day", 1)):
        for line in example.lines(name):
            assert day(days[date(2026, 5, 4 + number)], line) == line
    for line in example.lines("values"):
        assert value_at(oracle, line) == line
    if example.lines("commands"):
        assert sorted(map(outcome, oracle.model("command"))) == example.lines("commands")
    if example.lines("owners"):
        users = {identifier: name for name, identifier in USERS.items()}
        owners = [
            f"{text_of(row['owned_from'])} to {text_of(row['owned_to']) if row['owned_to'] else 'now'} "
            f"{users[row['user_uuid']]}"
            for row in oracle.model("device_owner")
        ]
        assert owners == example.lines("owners")
    for line in example.lines("device"):
        (row,) = oracle.model("device")
        assert device(row, line) == line
    shown = {"sessions", "day", "next day", "values", "commands", "owners", "device"}
    happens = {"hours", "messages", "datapoints", "acknowledgments", "registrations"}
    assert example.sections.keys() <= shown | happens
    assert example.sections.keys() & shown


def test_the_page_has_an_example_of_each_rule() -> None:
    assert len(BLOCKS) == 16

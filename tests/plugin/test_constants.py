"""The page and the provider use the same facts, and the same word for the same state of an hour."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ayla_provider.operators
import ayla_provider.sensors
from ayla_provider.domain.arrival import PATIENCE, ArrivalRule, HourState, hour_state
from ayla_provider.domain.coverage import Coverage
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.paths import DIGESTS, FRESHNESS, VOLUMES
from ayla_provider.plugin.constants import SHORTEST_WAIT, STUCK_AFTER, as_module, constants
from tests.plugin.answers import HOUR, NOW, event, hour, millis, read
from tests.support.proofs import scale

Page = Callable[..., Any]
SOME = settings(max_examples=scale(60, 1200))
STATIC = Path(ayla_provider.__file__).parent / "plugin" / "static"
_COMMENT = re.compile(r"/\*.*?\*/|(?<!\S)//[^\n]*", re.DOTALL)
SOURCES = {file.name: _COMMENT.sub("", file.read_text()) for file in STATIC.glob("*.js")}
"""The page's modules by name, without their comments."""
REPORTED = {*HourState, *Coverage}
"""Every word that the sensor, the manifests and the reports have for a state."""
SHARED = {"landed", "empty", "open", "waiting", "lost", "missing", "changed", "unproven"}
OF_TASKS = {"delayed", "stuck", "failed", "never", "unasked", "planned"}
AFTER_THE_COPY = {"loading", "unloaded", "incomplete", "damaged"}
PAGE_ONLY = OF_TASKS | AFTER_THE_COPY


def states(page: Page) -> dict[str, dict[str, str]]:
    code = """
        const texts = (state) => ({label: page.labelOf(state), description: page.descriptionOf(state)});
        return Object.fromEntries(Object.keys(page.STATES).map((state) => [state, texts(state)]));
    """
    result: dict[str, dict[str, str]] = page(code)
    return result


def test_the_page_has_the_providers_constants(page: Page) -> None:
    found = page("return Object.fromEntries(args[0].map((name) => [name, page[name]]))", list(constants()))
    assert found == json.loads(json.dumps(constants()))
    assert found["EVENT_TYPES"] == list(EVENT_TYPES)
    assert timedelta(milliseconds=found["PATIENCE"]) == PATIENCE
    assert timedelta(milliseconds=found["STUCK_AFTER"]) == STUCK_AFTER
    assert timedelta(milliseconds=found["SHORTEST_WAIT"]) == SHORTEST_WAIT


def test_a_state_of_the_page_is_one_of_the_reports_or_has_a_word_of_its_own(page: Page) -> None:
    found = states(page)
    assert found.keys() == SHARED | PAGE_ONLY
    assert REPORTED >= SHARED
    for state in SHARED:
        assert found[state]["label"] == state
    own = PAGE_ONLY | {found[state]["label"] for state in PAGE_ONLY}
    assert own & REPORTED == set()


def test_the_page_uses_no_word_of_the_reports_for_another_state() -> None:
    # In the source, so that a machine without Chromium tests it, too.
    keys = set(re.findall(r"^  (\w+): \{", SOURCES["states.js"], re.MULTILINE))
    assert keys == PAGE_ONLY
    quoted = {word for text in SOURCES.values() for word in re.findall(r"""["'`](\w+)["'`]""", text)}
    assert quoted & (REPORTED - SHARED) == set()
    style = (STATIC / "style.css").read_text()
    classes = set(re.findall(r"\.ayla-(\w+)", style))
    assert classes >= PAGE_ONLY
    assert classes & (REPORTED - SHARED) == set()


def test_the_page_has_no_copy_of_an_event_type() -> None:
    # "connection" is also what Airflow calls a connection.
    types = set(EVENT_TYPES) - {"connection"}
    quoted = {word for text in SOURCES.values() for word in re.findall(r"""["'`](\w+)["'`]""", text)}
    assert quoted & types == set()


def test_the_page_has_no_copy_of_a_folder_of_the_archive() -> None:
    text = "".join(SOURCES.values())
    assert [folder for folder in (DIGESTS, FRESHNESS, VOLUMES) if folder in text] == []


def test_the_operators_and_sensors_that_the_page_asks_for_exist() -> None:
    named = set(re.findall(r"Ayla\w+(?:Operator|Sensor)\b", "".join(SOURCES.values())))
    assert named == {"AylaExportToBucketOperator", "AylaExportToParquetOperator", "AylaExportHourSensor"}
    assert all(hasattr(ayla_provider.operators, name) or hasattr(ayla_provider.sensors, name) for name in named)


@pytest.mark.parametrize("state", [state for state in HourState if state.settled])
def test_an_hour_that_was_committed_has_the_manifests_word(page: Page, state: HourState) -> None:
    files = 2 if state is HourState.LANDED else 0
    answers = read(events=[event("datapoint", hour(3), files=files, state=state.value)])
    code = """
        const [{rows: [row]}] = page.archives(args[0], {from: args[1], now: args[1] + 1});
        return page.hourFacts(row.cells[0], "UTC")[1];
    """
    text = page(code, answers, millis(hour(3)))
    assert re.split(r"[:,]", text)[0] == state.value


@SOME
@given(
    ended=st.timedeltas(-HOUR, 3 * HOUR).map(lambda since: timedelta(milliseconds=since // timedelta(milliseconds=1)))
)
def test_an_hour_without_files_is_waiting_on_the_page_as_long_as_the_provider_waits(
    page: Page, ended: timedelta
) -> None:
    start = NOW - ended - HOUR
    provider_waits = hour_state(start, [], ArrivalRule(), now=NOW, alive=True) in (HourState.OPEN, HourState.PENDING)
    state = page("return page.stateOf([], args[0], {now: args[1], first: args[0]}).state", millis(start), millis(NOW))
    assert state == ("waiting" if provider_waits else "never")


def test_the_page_stops_waiting_in_the_millisecond_in_which_the_patience_ends(page: Page) -> None:
    code = "return page.stateOf([], args[0], {now: args[1], first: args[0]}).state"
    end_of_patience = millis(hour(5)) + millis_of(HOUR + PATIENCE)
    assert page(code, millis(hour(5)), end_of_patience - 1) == "waiting"
    assert page(code, millis(hour(5)), end_of_patience) == "never"


def millis_of(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def test_the_texts_state_the_durations(page: Page) -> None:
    found = states(page)
    assert f"{PATIENCE // timedelta(minutes=1)} minutes after" in found["delayed"]["description"]
    assert f"{STUCK_AFTER // HOUR} hours after" in found["stuck"]["description"]


words = st.text("abcXYZ019", min_size=1, max_size=5)
names = st.one_of(
    st.builds(
        lambda parts, separator: separator.join(parts), st.lists(words, min_size=1, max_size=4), st.sampled_from(" _-")
    ),
    st.sampled_from(
        ["Datapoint Ack", "datapointack", "DATAPOINT-ACK", "Connection", "__location_", "data point", "constructor"]
    ),
)


@SOME
@given(names)
def test_a_name_of_an_event_type_means_the_same_on_the_page(page: Page, name: str) -> None:
    assert page("return page.eventTypeOf(args[0])", name) == parse_event_type(name)


def test_the_module_exports_plain_values() -> None:
    lines = as_module().splitlines()[1:]
    assert len(lines) == len(constants())
    for line, (name, value) in zip(lines, constants().items(), strict=True):
        text = line.removeprefix(f"export const {name} = ").removesuffix(";")
        assert json.loads(text) == json.loads(json.dumps(value))

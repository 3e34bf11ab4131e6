from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES, parse_event_type
from ayla_provider.errors import AylaConfigError

SEPARATORS = " _-"
WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=6)


@st.composite
def respelt(draw: st.DrawFn) -> tuple[str, str]:
    """A documented event type and some spelling of it: any case, separators between any two letters."""
    event_type = draw(st.sampled_from(EVENT_TYPES))
    letters = event_type.replace("_", "")
    spelling = ""
    for letter in letters:
        spelling += draw(st.sampled_from([letter.lower(), letter.upper()])) + draw(st.text(SEPARATORS, max_size=2))
    return event_type, draw(st.text(SEPARATORS, max_size=2)) + spelling


@pytest.mark.parametrize(
    ("folder", "event_type"),
    [
        ("Connection", "connection"),
        ("Datapoint", "datapoint"),
        ("Datapoint Ack", "datapoint_ack"),
        ("Location", "location"),
        ("Registration", "registration"),
        # As documents, and users, write the same.
        ("datapointack", "datapoint_ack"),
        ("DatapointAck", "datapoint_ack"),
        ("datapoint_ack", "datapoint_ack"),
        ("DATAPOINT-ACK", "datapoint_ack"),
    ],
)
def test_every_spelling_that_was_seen_means_its_event_type(folder: str, event_type: str) -> None:
    assert parse_event_type(folder) == event_type


def test_the_folders_are_spelt_as_in_exports_that_were_seen() -> None:
    assert set(EVENT_FOLDERS.values()) == {"Connection", "Datapoint", "Datapoint Ack", "Location", "Registration"}
    assert {event_type: parse_event_type(folder) for event_type, folder in EVENT_FOLDERS.items()} == {
        event_type: event_type for event_type in EVENT_TYPES
    }


@given(respelt())
def test_case_and_separators_do_not_count(case: tuple[str, str]) -> None:
    event_type, spelling = case
    assert parse_event_type(spelling) == event_type


@given(st.text(max_size=20))
def test_an_event_type_means_itself_and_is_fit_for_a_path(name: str) -> None:
    try:
        event_type = parse_event_type(name)
    except AylaConfigError:
        return
    assert re.fullmatch(r"[a-z0-9_]+", event_type, re.ASCII)
    assert parse_event_type(event_type) == event_type


@given(st.lists(WORD, min_size=1, max_size=3), st.text(SEPARATORS, min_size=1, max_size=3))
def test_an_unknown_event_type_gets_an_identifier_of_its_own(words: list[str], separator: str) -> None:
    if "".join(words) in {event_type.replace("_", "") for event_type in EVENT_TYPES}:
        return
    assert parse_event_type(separator.join(words).title()) == "_".join(words)


def test_the_sixth_event_type_of_the_stream_can_be_named() -> None:
    assert parse_event_type("activation") == "activation"
    assert parse_event_type("Device Activation") == "device_activation"
    assert parse_event_type(" -Activation_ ") == "activation"


@pytest.mark.parametrize("name", ["", " ", "_-_", "..", "a/b", "a\\b", "Datapoint/", "a\nb", "Größe", "a.b", "a=b"])
def test_a_name_that_can_not_stand_in_a_path_is_refused_and_named(name: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        parse_event_type(name)
    assert repr(name) in str(refused.value)
    # What would have been right.
    assert all(event_type in str(refused.value) for event_type in EVENT_TYPES)


@pytest.mark.parametrize("name", ["a/b", None, 5])
def test_a_refused_event_type_comes_with_what_is_expected(name: object) -> None:
    with pytest.raises(AylaConfigError) as refused:
        parse_event_type(name)
    assert str(refused.value) == (
        f"event type {name!r}: expected letters, digits, spaces, '_' or '-'. The documented event types are "
        "connection, datapoint, datapoint_ack, location, registration."
    )

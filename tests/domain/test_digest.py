from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.digest import LONGEST, MOST_ACTIVITIES, MOST_NOTES, Activity, Digest, Layer
from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from tests.support.proofs import scale

SOME = settings(max_examples=scale(60, 1200))
NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)
END = NOW.replace(minute=0)
DATAPOINT = EventType("datapoint")


def hour(ago: int, event_type: str = "datapoint") -> ExportHour:
    return ExportHour(EventType(event_type), END - ago * ONE_HOUR)


def facts_in(documents: list[dict[str, Any]]) -> dict[tuple[str, datetime], tuple[str, dict[str, int]]]:
    """Return what documents say, read in the simplest way: hour by hour."""
    found: dict[tuple[str, datetime], tuple[str, dict[str, int]]] = {}
    for document in json.loads(json.dumps(documents)):
        start = datetime.fromisoformat(document["start"])
        for event_type, columns in document["event_types"].items():
            states = [state for state, length in columns.pop("states") for _ in range(length)]
            assert len(states) == document["hours"]
            for number, state in enumerate(states):
                figures = {}
                for name, column in columns.items():
                    place = number - column["first"]
                    value = column["values"][place] if 0 <= place < len(column["values"]) else None
                    if value is not None:
                        figures[name] = value
                at = start + number * ONE_HOUR
                if state is not None:
                    assert (event_type, at) not in found
                    found[event_type, at] = state, figures
                else:
                    assert not figures
    return found


facts = st.dictionaries(
    st.tuples(st.sampled_from(EVENT_TYPES), st.integers(0, 24 * 70)),
    st.tuples(
        st.sampled_from(["landed", "empty", "missing"]),
        st.dictionaries(st.sampled_from(["files", "bytes", "lag"]), st.none() | st.integers(1, 9)),
    ),
    max_size=40,
)


@SOME
@given(facts, st.booleans())
def test_the_documents_say_what_was_added_once(
    added: dict[tuple[str, int], tuple[str, dict[str, int | None]]], by_month: bool
) -> None:
    digest = Digest(Layer.COPIED)
    wanted = {}
    for (event_type, ago), (state, figures) in added.items():
        digest.add(hour(ago, event_type), state, **figures)
        known = {name: value for name, value in figures.items() if value is not None}
        wanted[event_type, hour(ago).start] = state, known
    documents = digest.documents(NOW, by_month=by_month)
    assert facts_in(documents) == wanted
    starts = [document["start"] for document in documents]
    assert starts == sorted(starts)
    assert len(documents) <= (5 if by_month else 1)


def test_a_month_of_all_figures_has_some_tens_of_kilobytes() -> None:
    digest = Digest(Layer.COPIED)
    for event_type in EVENT_TYPES:
        for ago in range(365 * 24):
            state = "landed" if ago % 97 else "failed"
            digest.add(hour(ago, event_type), state, files=2, bytes=31_234_567, lines=301_234, revision=1, lag=26)
    documents = digest.documents(NOW, by_month=True)
    assert len(documents) == 13
    assert max(len(json.dumps(document)) for document in documents) < 160_000
    states_only = Digest(Layer.LOADED)
    for event_type in EVENT_TYPES:
        for ago in range(365 * 24):
            states_only.add(hour(ago, event_type), "loaded")
    (document,) = states_only.documents(NOW)
    assert len(json.dumps(document)) < 1000


def test_hours_of_more_than_a_year_ago_are_left_out() -> None:
    digest = Digest(Layer.VERIFIED)
    digest.add(ExportHour(DATAPOINT, datetime(2001, 1, 1, tzinfo=UTC)), "sound")
    digest.add(hour(3), "sound")
    assert [at for _, at in facts_in(digest.documents(NOW))] == [hour(3).start]
    assert digest.documents(NOW + LONGEST + timedelta(days=1)) == []


def test_hours_to_come_are_left_out() -> None:
    digest = Digest(Layer.VERIFIED)
    digest.add(ExportHour(DATAPOINT, datetime(2999, 1, 1, tzinfo=UTC)), "sound")
    assert digest.documents(NOW) == []
    digest.add(hour(3), "sound")
    assert [at for _, at in facts_in(digest.documents(NOW))] == [hour(3).start]


def test_what_each_run_publishes_has_no_older_hours() -> None:
    digest = Digest(Layer.COPIED)
    digest.facts = {"files": "https://a"}
    for ago in (3, 700):
        digest.add(hour(ago), "failed", bytes=5)
        digest.note(hour(ago), "why")
        digest.act(Activity.REPAIR, hour(ago))
    (document,) = digest.since(hour(3).start).documents(NOW)
    assert (document["hours"], len(document["notes"]), document["facts"]) == (1, 1, digest.facts)
    assert document["activity_count"] == 2
    assert digest.documents(NOW)[0]["hours"] == 698


def test_a_figure_that_is_0_everywhere_takes_no_room_except_a_lag() -> None:
    digest = Digest(Layer.TYPED)
    digest.add(hour(2), "typed", quarantined=0, duplicates=0, lag=0)
    (document,) = digest.documents(NOW)
    assert document["event_types"]["datapoint"].keys() == {"states", "lag"}


def test_notes_and_activities_are_bounded_and_of_the_newest_hours() -> None:
    digest = Digest(Layer.COPIED)
    for ago in range(300):
        digest.add(hour(ago), "failed")
        digest.note(hour(ago), "x" * 5000)
        digest.act(Activity.REPAIR, hour(ago), "y" * 5000)
    (document,) = digest.documents(NOW)
    assert [note["hour"] for note in document["notes"]] == [hour(ago).start.isoformat() for ago in range(MOST_NOTES)]
    assert len(document["activities"]) == MOST_ACTIVITIES
    assert document["activity_count"] == 300
    assert document["activities"][0]["hour"] == hour(0).start.isoformat()
    assert len(json.dumps(document)) < 60_000


@pytest.mark.parametrize("by_month", [False, True])
def test_nothing_is_said_of_nothing(by_month: bool) -> None:
    digest = Digest(Layer.COPIED)
    assert digest.documents(NOW, by_month=by_month) == []
    digest.act(Activity.LOSS, hour(3), "a file")
    (document,) = digest.documents(NOW, by_month=by_month)
    assert (document["hours"], document["event_types"], len(document["activities"])) == (0, {}, 1)


def test_a_document_has_what_the_page_reads() -> None:
    digest = Digest(Layer.LOADED, "postgres://host")
    digest.facts = {"link": "x"}
    digest.add(hour(3), "landed", files=2, lag=0, malformed=0)
    digest.add(hour(1), "landed", files=None, lag=5)
    digest.add(hour(1, "location"), "empty")
    digest.note(hour(3), "n" * 301)
    digest.note(hour(1), "newer")
    digest.act(Activity.REPAIR, hour(3), "t" * 301)
    digest.act(Activity.LOSS, hour(1))
    start, last = hour(3).start.isoformat(), hour(1).start.isoformat()
    assert digest.documents(NOW) == [
        {
            "format": "ayla-digest/1",
            "layer": "loaded",
            "where": "postgres://host",
            "start": start,
            "hours": 3,
            "event_types": {
                "datapoint": {
                    "states": [["landed", 1], [None, 1], ["landed", 1]],
                    "files": {"first": 0, "values": [2]},
                    "lag": {"first": 0, "values": [0, None, 5]},
                },
                "location": {"states": [[None, 2], ["empty", 1]]},
            },
            "notes": [
                {"event_type": "datapoint", "hour": last, "text": "newer"},
                {"event_type": "datapoint", "hour": start, "text": "n" * 300},
            ],
            "facts": {"link": "x"},
            "activities": [
                {"what": "loss", "event_type": "datapoint", "hour": last, "text": ""},
                {"what": "repair", "event_type": "datapoint", "hour": start, "text": "t" * 300},
            ],
            "activity_count": 2,
        }
    ]

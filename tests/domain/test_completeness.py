"""What the counts of a compared hour mean, and why an hour can't be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.completeness import (
    Completeness,
    CompletenessSummary,
    HourCompleteness,
    MissingEvent,
    Obstacle,
    StreamCoverage,
    by_event_type,
    export_obstacle,
    missing_path,
    obstacle_of,
    record_path,
    state_of,
    stream_obstacle,
    with_identities_judged,
)
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.stream import Gap

START = datetime(2026, 11, 28, 14, tzinfo=UTC)
HOUR = ExportHour(EventType("datapoint"), START)
SETTLED = START + timedelta(hours=28)
COVERAGE = StreamCoverage(START - ONE_HOUR, frozenset({EventType("datapoint")}))
LANDED = Manifest(HOUR, HourState.LANDED, 1, (), "2026-11-29T00:00:00+00:00")
FILE = ManifestFile("a", 1, 5, "AAAAAA==", "2026-11-28T15:00:00+00:00", "b")
LOST = replace(LANDED, files=(replace(FILE, lost="2026-11-30T00:00:00+00:00"),))
REMOVED = replace(LANDED, files=(replace(FILE, removed="2026-11-30T00:00:00+00:00"),))
OPEN = replace(LANDED, state=HourState.OPEN)
COMPARED = HourCompleteness(HOUR, Completeness.COMPLETE, export=100, stream=100, both=100)


@pytest.mark.parametrize(
    ("manifest", "now", "reason"),
    [
        (LANDED, SETTLED, None),
        (replace(LANDED, state=HourState.EMPTY), SETTLED, None),
        (LANDED, SETTLED - timedelta(microseconds=1), f"{HOUR} ended less than 27 hours ago, and files can come later"),
        (None, SETTLED, f"the export's archive has no manifest of {HOUR}"),
        (OPEN, SETTLED, f"the export's archive has {HOUR} as {HourState.OPEN.value}"),
        (LOST, SETTLED, f"the export's archive has lost 1 file of {HOUR}"),
        (REMOVED, SETTLED, f"a rule removed {HOUR} from the export's archive"),
    ],
)
def test_an_hour_of_the_export_is_compared_once_it_is_settled(
    manifest: Manifest | None, now: datetime, reason: str | None
) -> None:
    expected = None if reason is None else Obstacle(Completeness.NOT_SETTLED, reason)
    assert export_obstacle(HOUR, now, manifest) == expected
    assert obstacle_of(HOUR, now, manifest, LANDED, COVERAGE) == expected


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (LANDED, None),
        (replace(LANDED, state=HourState.EMPTY), None),
        (None, f"the stream's archive has no manifest of {HOUR}"),
        (OPEN, f"not every shard was read past the end of {HOUR}"),
        (REMOVED, f"a rule removed {HOUR} from the stream's archive"),
    ],
)
def test_an_hour_of_the_stream_is_compared_once_it_is_closed(manifest: Manifest | None, reason: str | None) -> None:
    expected = None if reason is None else Obstacle(Completeness.STREAM_OPEN, reason)
    assert stream_obstacle(HOUR, manifest) == expected
    assert obstacle_of(HOUR, SETTLED, LANDED, manifest, COVERAGE) == expected


GAP = Gap("shard-1", START - timedelta(hours=5), START - ONE_HOUR + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("coverage", "obstacle"),
    [
        (
            replace(COVERAGE, event_types=frozenset()),
            Obstacle(Completeness.TYPE_NOT_STREAMED, "the stream never had a record of datapoint"),
        ),
        (
            replace(COVERAGE, started_at=None),
            Obstacle(Completeness.BEFORE_STREAM, "the stream was read from no time, because nothing was read on"),
        ),
        (
            replace(COVERAGE, started_at=START),
            Obstacle(Completeness.BEFORE_STREAM, "the stream was read from 2026-11-28 14:00 UTC on"),
        ),
        (
            replace(COVERAGE, gaps=(GAP,)),
            Obstacle(Completeness.GAP, "records of the shard shard-1 expired before they were read"),
        ),
        (replace(COVERAGE, gaps=(replace(GAP, end=START - ONE_HOUR),)), None),
    ],
)
def test_an_hour_is_compared_where_the_stream_was_read(coverage: StreamCoverage, obstacle: Obstacle | None) -> None:
    assert obstacle_of(HOUR, SETTLED, LANDED, LANDED, coverage) == obstacle


@pytest.mark.parametrize(
    ("only_export", "only_stream", "state"),
    [
        (0, 0, Completeness.COMPLETE),
        (2, 0, Completeness.UNREADABLE),
        (0, 3, Completeness.UNREADABLE),
        (3, 3, Completeness.MISSING_IN_STREAM),
        (2, 4, Completeness.MISSING_IN_EXPORT),
        (3, 4, Completeness.BOTH_MISSING),
    ],
)
def test_what_could_not_be_read_excuses_as_many_events(only_export: int, only_stream: int, state: Completeness) -> None:
    hour = replace(COMPARED, only_export=only_export, only_stream=only_stream)
    assert state_of(hour, unreadable_export=3, unreadable_stream=2) is state


@pytest.mark.parametrize(
    ("both", "other_hour", "export", "stream", "differ"),
    [
        (1, 0, 100, 500, False),
        (0, 0, 1, 1, True),
        (0, 0, 0, 1, False),
        (0, 2, 200, 100, False),
        (0, 2, 200, 101, True),
        (9, 1, 1000, 951, True),
        (9, 2, 1000, 1000, False),
    ],
)
def test_sides_of_which_less_than_one_percent_matches_identify_events_differently(
    both: int, other_hour: int, export: int, stream: int, differ: bool
) -> None:
    hour = replace(
        COMPARED,
        state=Completeness.BOTH_MISSING,
        export=export,
        stream=stream,
        both=both,
        other_hour=other_hour,
        missing=(MissingEvent("export", "1", None),),
        missing_path="p",
    )
    gap = replace(COMPARED, state=Completeness.GAP, reason="a gap", both=1000)
    assert hour.has_few_matches is differ
    judged = with_identities_judged([hour, gap])
    reason = "less than 1 % of the events match, so the two sides identify them differently"
    other = replace(hour, state=Completeness.IDENTITIES_DIFFER, reason=reason, missing=(), missing_path="")
    assert judged == [other if differ else hour, gap]


def test_a_record_has_each_count_and_the_missing_events_last() -> None:
    missing = (MissingEvent("stream", "é", "2026-11-28T14:00:00+00:00"),)
    hour = replace(COMPARED, only_stream=1, missing=missing, missing_path=missing_path(HOUR))
    text = hour.dumps()
    assert json.loads(text) == {
        "format": "ayla-completeness/1",
        "event_type": "datapoint",
        "hour": "2026-11-28T14:00:00+00:00",
        "state": "complete",
        "reason": "",
        "export": 100,
        "stream": 100,
        "both": 100,
        "only_export": 0,
        "only_stream": 1,
        "other_hour": 0,
        "newer": 0,
        "differing": 0,
        "repeats": 0,
        "unreadable": 0,
        "missing_path": f"_completeness/{HOUR.partition}.parquet",
        "export_version": "",
        "stream_version": "",
        "missing": [{"only_in": "stream", "id": "é", "time": "2026-11-28T14:00:00+00:00"}],
    }
    assert "é" in text
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    assert record_path(HOUR) == f"_completeness/{HOUR.partition}.json"


def test_a_summary_counts_hours_and_the_events_of_compared_ones() -> None:
    summary = CompletenessSummary()
    assert (summary.text(), summary.is_incomplete) == ("no hour", False)
    lacking = replace(COMPARED, state=Completeness.MISSING_IN_EXPORT, only_stream=1234, both=50)
    not_compared = HourCompleteness(HOUR, Completeness.GAP, "a gap", export=7)
    for hour in (COMPARED, not_compared):
        summary.add(hour)
    assert (summary.is_incomplete, summary.lacking_in_export) == (False, 0)
    summary.add(lacking)
    summary.add(replace(COMPARED, state=Completeness.MISSING_IN_STREAM, both=0))
    assert (summary.hours, summary.compared, summary.lacking_in_export) == (4, 3, 1)
    assert summary.is_incomplete
    totals = dict.fromkeys(
        ("export", "stream", "both", "only_export", "only_stream", "other_hour", "newer", "differing", "repeats"), 0
    )
    totals |= {"unreadable": 0, "export": 300, "stream": 300, "both": 150, "only_stream": 1234}
    assert summary.document() == {
        "hours": 4,
        "compared": 3,
        "states": {"complete": 1, "missing_in_export": 1, "missing_in_stream": 1, "gap": 1},
        "totals": totals,
    }
    assert summary.text() == (
        "hours: 1 complete, 1 missing_in_export, 1 missing_in_stream, 1 gap\n"
        "events of the compared hours: 300 export, 300 stream, 150 both, 0 only_export, 1,234 only_stream, "
        "0 other_hour, 0 newer, 0 differing, 0 repeats, 0 unreadable"
    )
    of_types = by_event_type([COMPARED, replace(COMPARED, hour=ExportHour(EventType("connection"), START)), lacking])
    assert {str(name): one.hours for name, one in of_types.items()} == {"datapoint": 2, "connection": 1}

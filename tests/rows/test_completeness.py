"""What the comparison of an export with a stream says, against an oracle that knows what was injected."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream_coverage import read_coverage
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.completeness import Completeness, HourCompleteness, missing_path, record_path
from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.stream import Gap
from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.errors import AylaConfigError, AylaDestinationError
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.rows.completeness import CompletenessComparison
from ayla_provider.rows.typed_archive import TypedArchive
from tests.support.fleet import seed_with_all_event_types
from tests.support.proofs import scale
from tests.support.typed_sides import MadeSide
from tests.warehouse.archive import archive_fleet

FIRST = datetime(2026, 11, 1, 7, tzinfo=UTC)
NOW = FIRST + timedelta(days=20)
COUNTS = ("both", "only_export", "only_stream", "other_hour", "newer", "differing", "repeats")

DATAPOINT = tuple(
    column
    for column in TABLES["datapoint"].data
    if column.name in ("dsn", "property_name", "time_uuid", "updated_at", "created_at", "user_uuid", "val_int")
)
CONNECTION = TABLES["connection"].data


def hour_at(number: int, event_type: str = "datapoint") -> ExportHour:
    return ExportHour(EventType(event_type), FIRST + number * ONE_HOUR)


class Scene:
    """An export, a stream, and the comparison of both."""

    def __init__(self, root: Path) -> None:
        self.export = MadeSide(root / "export", is_stream=False)
        self.stream = MadeSide(root / "stream", is_stream=True)
        self.stream.put_position()

    def put(self, number: int, export: Any, stream: Any, event_type: str = "datapoint") -> None:
        """Write an hour of both sides, of rows."""
        columns, identity = (DATAPOINT, "time_uuid") if event_type == "datapoint" else (CONNECTION, None)
        hour = hour_at(number, event_type)
        self.export.put(hour, columns, export, identity=identity)
        self.stream.put(hour, columns, stream, identity=identity)

    def compare(
        self, first: int = 0, last: int = 0, event_type: str = "datapoint", now: datetime = NOW, memory: str = "512MB"
    ) -> list[HourCompleteness]:
        coverage = read_coverage(self.stream.archive)
        with CompletenessComparison(self.export.side, self.stream.side, coverage, now=now, memory=memory) as comparison:
            start, end = hour_at(first).start, hour_at(last).end
            return comparison.compare(EventType(event_type), start, end)

    def result(self, event_type: str = "datapoint", now: datetime = NOW) -> HourCompleteness:
        return self.compare(event_type=event_type, now=now)[0]

    def missing(self, number: int, event_type: str = "datapoint") -> list[tuple[str, str]]:
        path = self.stream.root / missing_path(hour_at(number, event_type))
        found = duckdb.execute(f"select only_in, id from read_parquet('{path}')").fetchall()
        return sorted(found)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def datapoint(number: int, hour: int = 0, **changes: Any) -> dict[str, Any]:
    time = hour_at(hour).start + timedelta(seconds=number % 3600)
    return {
        "dsn": f"AC{number:06}",
        "property_name": "temp",
        "time_uuid": str(uuid.UUID(int=number + 1)),
        "updated_at": time,
        "created_at": time,
        "val_int": number,
        **changes,
    }


def connection(number: int, hour: int = 0, **changes: Any) -> dict[str, Any]:
    time = hour_at(hour).start + timedelta(seconds=number % 3600)
    return {"dsn": f"AC{number:06}", "event_time": time, "status": "Online", "oem_id": "1a2b3c4d", **changes}


def full(scene: Scene, *, first: int = -1, last: int = 1, event_type: str = "datapoint") -> None:
    """Write hours that are equal on both sides, with three events each."""
    made = datapoint if event_type == "datapoint" else connection
    for number in range(first, last + 1):
        rows = [made(number * 10 + 100 + each, number) for each in range(3)]
        scene.put(number, rows, rows, event_type)


@dataclass
class Injected:
    """Rows of both sides, and what the comparison must say about them."""

    export: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    stream: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    expected: dict[int, Counter[str]] = field(default_factory=dict)
    lost: dict[int, list[tuple[str, str | None]]] = field(default_factory=dict)

    def add(self, fate: str, number: int, hour: int, place: int, event_type: str) -> None:
        made = datapoint if event_type == "datapoint" else connection
        row = made(number, hour)
        # What isn't a difference: milliseconds, and how a missing user is written.
        streamed = row | {"user_uuid": "00000000-0000-0000-0000-000000000000"}
        for name in ("created_at", "updated_at", "event_time"):
            if name in row:
                streamed[name] = row[name] + timedelta(milliseconds=number % 1000)
        expected, key = self.expected[hour], row.get("time_uuid")
        if fate == "lost in export":
            self.stream[hour].append(streamed)
            expected["only_stream"] += 1
            self.lost[hour].append(("stream", key))
            return
        self.export[hour].append(row)
        if fate == "lost in stream":
            expected["only_export"] += 1
            self.lost[hour].append(("export", key))
        elif fate == "moved":
            self.stream[hour + place].append(streamed)
            expected["other_hour"] += 1
            self.expected[hour + place]["other_hour"] += 1
        else:
            self.stream[hour].append(streamed)
            expected["both"] += 1
        if fate == "repeated in export":
            self.export[hour + place].append(row)
            self.expected[hour + place]["repeats"] += 1
        elif fate == "repeated in stream":
            self.stream[hour + place].append(streamed)
            self.expected[hour + place]["repeats"] += 1
        elif fate == "in one second":
            self.stream[hour].append(streamed | {"event_time": streamed.get("event_time"), "source_object": "other"})
            expected["repeats"] += 1
        elif fate == "changed":
            streamed["val_int"] += 1
            expected["differing"] += 1
        elif fate == "newer":
            streamed["val_int"] += 1
            streamed["updated_at"] += timedelta(minutes=1)
            expected["newer"] += 1


FATES = (
    *["kept"] * 6,
    "lost in export",
    "lost in stream",
    "moved",
    "repeated in export",
    "repeated in stream",
    "in one second",
    "changed",
    "newer",
)


@settings(max_examples=scale(8, 400), deadline=None)
@given(
    events=st.lists(
        st.tuples(st.sampled_from(FATES), st.integers(0, 1), st.sampled_from([-1, 1])), min_size=1, max_size=60
    ),
    event_type=st.sampled_from(["datapoint", "connection"]),
)
def test_all_that_was_injected_is_found_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, int]], event_type: str
) -> None:
    scene = Scene(tmp_path_factory.mktemp("scene"))
    injected = Injected()
    for number in range(-2, 4):
        injected.export[number], injected.stream[number] = [], []
        injected.expected[number], injected.lost[number] = Counter(), []
    for number, (fate, hour, place) in enumerate(events):
        if event_type == "connection" and fate in ("changed", "newer"):
            fate = "kept"
        injected.add(fate, number, hour, place, event_type)
    for number in injected.export:
        scene.put(number, injected.export[number], injected.stream[number], event_type)
    results = scene.compare(-1, 2, event_type)
    matches = sum(injected.expected[n]["both"] + injected.expected[n]["other_hour"] / 2 for n in range(-1, 3))
    smaller = min(sum(len(side[n]) for n in range(-1, 3)) for side in (injected.export, injected.stream))
    for number, result in zip(range(-1, 3), results, strict=True):
        expected = injected.expected[number]
        assert {name: getattr(result, name) for name in COUNTS} == {name: expected[name] for name in COUNTS}
        assert (result.export, result.stream) == (len(injected.export[number]), len(injected.stream[number]))
        assert result.export + result.stream == 2 * result.both + sum(
            (result.only_export, result.only_stream, result.other_hour, result.repeats)
        )
        lost = {side for side, _ in injected.lost[number]}
        if smaller and matches < smaller / 100:
            assert result.state is Completeness.IDENTITIES_DIFFER
            continue
        assert (
            result.state
            is {
                (): Completeness.COMPLETE,
                ("export",): Completeness.MISSING_IN_STREAM,
                ("stream",): Completeness.MISSING_IN_EXPORT,
                ("export", "stream"): Completeness.BOTH_MISSING,
            }[tuple(sorted(lost))]
        )
        named = sorted((event.only_in, event.id or "") for event in result.missing)
        assert named == sorted((side, key or "") for side, key in injected.lost[number])
        if lost:
            assert sorted((side, key or "") for side, key in scene.missing(number, event_type)) == named


def test_equal_sides_are_complete_and_the_record_says_so(scene: Scene) -> None:
    full(scene)
    result = scene.result()
    assert (result.state, result.both, result.export, result.stream) == (Completeness.COMPLETE, 3, 3, 3)
    record = (scene.stream.root / record_path(hour_at(0))).read_text()
    assert record == result.dumps()
    assert record.count("\n") == 1
    assert json.loads(record)["state"] == "complete"
    assert not (scene.stream.root / missing_path(hour_at(0))).exists()


def test_the_records_of_many_hours_are_a_table(scene: Scene) -> None:
    full(scene, first=-1, last=3)
    scene.compare(0, 2)
    folder = scene.stream.root / "_completeness"
    found = duckdb.execute(
        f"select event_type, count(*), sum(\"both\") from read_json('{folder}/*/*/*.json') group by all"
    ).fetchall()
    assert found == [("datapoint", 3, 9)]


def test_a_loss_that_is_repaired_leaves_no_missing_event(scene: Scene) -> None:
    full(scene)
    rows = [datapoint(number) for number in range(5)]
    scene.put(0, rows[:4], rows)
    assert scene.result().state is Completeness.MISSING_IN_EXPORT
    assert scene.missing(0) == [("stream", rows[4]["time_uuid"])]
    scene.put(0, rows, rows)
    result = scene.result()
    assert (result.state, result.missing, result.missing_path) == (Completeness.COMPLETE, (), "")
    assert scene.missing(0) == []


def test_a_record_that_is_right_is_not_written_again(scene: Scene) -> None:
    full(scene)
    scene.result()
    record = scene.stream.root / record_path(hour_at(0))
    written = record.stat()
    scene.result()
    assert (record.stat().st_ino, record.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_record_names_a_hundred_events_of_both_sides_and_the_file_all(scene: Scene) -> None:
    full(scene)
    both = [datapoint(number) for number in range(100)]
    scene.put(
        0, both + [datapoint(number) for number in range(200, 203)], both + [datapoint(n) for n in range(300, 500)]
    )
    result = scene.result()
    assert Counter(event.only_in for event in result.missing) == {"export": 3, "stream": 97}
    assert len(scene.missing(0)) == 203
    event = next(event for event in result.missing if event.only_in == "stream")
    assert event.time == datapoint(300)["created_at"].isoformat()


def test_identities_that_differ_are_not_missing_events(scene: Scene) -> None:
    full(scene)
    for number in range(-1, 3):
        rows = [datapoint(number * 1000 + each + 2000, number) for each in range(150)]
        scene.put(number, rows, [row | {"time_uuid": str(uuid.uuid4())} for row in rows])
    results = scene.compare(0, 1)
    assert {result.state for result in results} == {Completeness.IDENTITIES_DIFFER}
    assert {(result.only_export, result.missing, result.missing_path) for result in results} == {(150, (), "")}
    assert not (scene.stream.root / missing_path(hour_at(0))).exists()


def test_one_hour_without_matches_among_others_is_missing(scene: Scene) -> None:
    full(scene, last=4)
    rows = [datapoint(number + 500, 1) for number in range(3)]
    scene.put(1, rows, [datapoint(number + 700, 1) for number in range(2)])
    results = scene.compare(0, 3)
    assert [result.state for result in results] == [
        Completeness.COMPLETE,
        Completeness.BOTH_MISSING,
        Completeness.COMPLETE,
        Completeness.COMPLETE,
    ]
    assert len(scene.missing(1)) == 5


def test_a_registration_may_have_its_date_in_either_column(scene: Scene) -> None:
    columns = TABLES["registration"].data
    row = {"dsn": "AC000001", "registered": False}
    for number in (-1, 0, 1):
        hour, time = hour_at(number, "registration"), hour_at(number).start
        scene.export.put(hour, columns, [row | {"registered_at": time}])
        scene.stream.put(hour, columns, [row | {"registered_at": None, "unregistered_at": time}])
    assert scene.result("registration").state is Completeness.COMPLETE


def test_columns_that_one_side_has_and_raw_ones_are_no_difference(scene: Scene) -> None:
    full(scene)
    more = (*DATAPOINT, Column("metadata_raw", ColumnType.TEXT, ""), Column("own", ColumnType.TEXT, ""))
    raw = (*DATAPOINT, Column("metadata_raw", ColumnType.TEXT, ""))
    scene.export.put(hour_at(0), more, [datapoint(1, metadata_raw="e30=", own="x")], identity="time_uuid")
    scene.stream.put(hour_at(0), raw, [datapoint(1, metadata_raw="{}")], identity="time_uuid")
    result = scene.result()
    assert (result.state, result.both, result.differing) == (Completeness.COMPLETE, 1, 0)


def test_a_column_that_the_events_of_one_side_never_have_is_no_difference(scene: Scene) -> None:
    user = str(uuid.uuid4())
    for event_type in ("datapoint", "connection"):
        full(scene, event_type=event_type)
        made = datapoint if event_type == "datapoint" else connection
        rows = [made(number) for number in range(3)]
        scene.put(0, [row | {"user_uuid": user} for row in rows], rows, event_type)
        result = scene.result(event_type)
        assert (result.state, result.both, result.differing) == (Completeness.COMPLETE, 3, 0)
        # If one event has it, all are compared.
        scene.put(
            0, [row | {"user_uuid": user} for row in rows], [rows[0] | {"user_uuid": user}, *rows[1:]], event_type
        )
        result = scene.result(event_type)
        assert result.differing + result.only_stream == 2


def test_metadata_without_an_entry_is_no_value(scene: Scene) -> None:
    full(scene)
    columns = (*DATAPOINT, Column("metadata", ColumnType.TEXT, ""))
    for side, nothing in ((scene.export, None), (scene.stream, "{}")):
        rows = [datapoint(1, metadata=nothing), datapoint(2, metadata='{"a":1}')]
        side.put(hour_at(0), columns, rows, identity="time_uuid")
    assert scene.result().differing == 0


def test_rows_without_the_device_are_not_compared(scene: Scene) -> None:
    columns = tuple(column for column in CONNECTION if column.name != "dsn")
    for number in (-1, 0, 1):
        hour, row = hour_at(number, "connection"), connection(1, number)
        scene.export.put(hour, columns, [row])
        scene.stream.put(hour, CONNECTION, [row])
    result = scene.result("connection")
    assert result.state is Completeness.IDENTITIES_DIFFER
    assert "dsn" in result.reason


def test_an_empty_hour_needs_no_typed_rows(scene: Scene) -> None:
    full(scene)
    scene.export.put_manifest(hour_at(0), HourState.EMPTY)
    scene.stream.put_manifest(hour_at(0), HourState.EMPTY)
    assert scene.result().state is Completeness.COMPLETE
    full(scene)
    scene.export.put_manifest(hour_at(0), HourState.EMPTY)
    result = scene.result()
    assert (result.state, result.only_stream) == (Completeness.MISSING_IN_EXPORT, 3)


def test_an_hour_is_compared_when_it_ended_27_hours_ago(scene: Scene) -> None:
    full(scene)
    settled = hour_at(0).end + timedelta(hours=27)
    assert scene.result(now=settled).state is Completeness.COMPLETE
    result = scene.result(now=settled - timedelta(seconds=1))
    assert (result.state, result.export) == (Completeness.NOT_SETTLED, 0)
    assert "27 hours" in result.reason


def test_an_event_that_can_come_in_the_next_hour_is_not_missing_yet(scene: Scene) -> None:
    full(scene)
    rows = [datapoint(number) for number in range(5)]
    scene.put(0, rows[:4], rows)
    settled = hour_at(0).end + timedelta(hours=27)
    result = scene.result(now=settled)
    assert result.state is Completeness.NOT_SETTLED
    assert "in the hour after" in result.reason
    assert scene.result(now=settled + ONE_HOUR).state is Completeness.MISSING_IN_EXPORT


@pytest.mark.parametrize("state", [HourState.ARRIVING, HourState.EXPIRED])
def test_an_hour_that_the_archive_does_not_have_whole_is_not_settled(scene: Scene, state: HourState) -> None:
    full(scene)
    scene.export.put_manifest(hour_at(0), state)
    assert scene.result().state is Completeness.NOT_SETTLED


def test_an_hour_with_lost_files_is_not_settled(scene: Scene) -> None:
    full(scene)
    scene.export.lose(hour_at(0))
    result = scene.result()
    assert result.state is Completeness.NOT_SETTLED
    assert "has lost 1 file" in result.reason


def test_an_hour_without_manifest_says_on_which_side(scene: Scene) -> None:
    scene.export.put(hour_at(0), DATAPOINT, [], identity="time_uuid")
    assert scene.result().state is Completeness.STREAM_OPEN
    other = Scene(scene.export.root.parent / "other")
    other.stream.put(hour_at(0), DATAPOINT, [], identity="time_uuid")
    assert other.result().state is Completeness.NOT_SETTLED


def test_a_manifest_that_cannot_be_read_is_the_reason(scene: Scene) -> None:
    full(scene)
    path = scene.export.root / "_manifests" / f"{hour_at(0).partition}.json"
    path.write_text("no manifest")
    result = scene.result()
    assert result.state is Completeness.NOT_SETTLED
    assert "is not a valid manifest" in result.reason


def test_an_open_hour_of_the_stream_is_not_compared(scene: Scene) -> None:
    full(scene)
    scene.stream.put_manifest(hour_at(0), HourState.OPEN)
    assert scene.result().state is Completeness.STREAM_OPEN


@pytest.mark.parametrize(
    ("start", "end", "touches"),
    [
        (0.5, 0.6, True),
        (None, -0.9, True),
        (None, -1.0, False),
        (1.9, 3.0, True),
        (2.0, 3.0, False),
        (-3.0, -0.9, True),
        (-3.0, -1.0, False),
    ],
)
def test_a_gap_that_touches_the_hour_or_one_beside_it(
    scene: Scene, start: float | None, end: float, touches: bool
) -> None:
    full(scene)
    begin = None if start is None else FIRST + start * ONE_HOUR
    scene.stream.put_position(gaps=[Gap("shard-1", begin, FIRST + end * ONE_HOUR, 7)])
    result = scene.result()
    assert result.state is (Completeness.GAP if touches else Completeness.COMPLETE)
    assert ("shard-1" in result.reason) == touches


@pytest.mark.parametrize(("before", "state"), [(1, Completeness.COMPLETE), (0, Completeness.BEFORE_STREAM)])
def test_an_hour_before_the_stream_is_not_compared(scene: Scene, before: int, state: Completeness) -> None:
    full(scene)
    scene.stream.put_position(started_at=FIRST - before * ONE_HOUR)
    assert scene.result().state is state


def test_a_stream_of_which_nothing_was_read_compares_nothing(scene: Scene) -> None:
    full(scene)
    scene.stream.put_position(started_at=None)
    assert scene.result().state is Completeness.BEFORE_STREAM


def test_a_type_that_was_never_streamed_is_not_missing(scene: Scene) -> None:
    full(scene)
    scene.stream.put_position(event_types=["connection"])
    assert scene.result().state is Completeness.TYPE_NOT_STREAMED


def test_an_hour_whose_rows_are_not_typed_or_older_is_not_compared(scene: Scene) -> None:
    full(scene)
    scene.export.put(hour_at(2), DATAPOINT, [datapoint(1)], typed=False)
    scene.stream.put(hour_at(2), DATAPOINT, [datapoint(1)])
    (result,) = scene.compare(2, 2)
    assert result.state is Completeness.NOT_TYPED
    assert "type it first" in result.reason
    scene.stream.put_manifest(hour_at(0), revision=2)
    result = scene.result()
    assert result.state is Completeness.NOT_TYPED
    assert "are older than the stream's files" in result.reason


def test_what_could_not_be_read_may_be_what_is_missing(scene: Scene) -> None:
    full(scene)
    rows = [datapoint(number) for number in range(5)]
    scene.put(0, [], rows)
    for quarantined, state in ((1, Completeness.MISSING_IN_EXPORT), (2, Completeness.UNREADABLE)):
        scene.export.put(hour_at(0), DATAPOINT, rows[:3], identity="time_uuid", quarantined=quarantined)
        result = scene.result()
        assert (result.state, result.only_stream, result.unreadable) == (state, 2, quarantined)


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([b'half,"' + datapoint(4)["time_uuid"].encode()], Completeness.UNREADABLE),
        ([b"1a2b3c4d,model,ac000004,temp\xff"], Completeness.UNREADABLE),
        ([b"1a2b3c4d,model,AC000002,temp", b"garbage", b""], Completeness.MISSING_IN_EXPORT),
        # A copy of a row that could be read.
        ([b"AC000004," + datapoint(2)["time_uuid"].encode()], Completeness.MISSING_IN_EXPORT),
    ],
)
def test_only_a_line_of_the_same_event_explains_what_is_missing(
    scene: Scene, lines: list[bytes], state: Completeness
) -> None:
    full(scene)
    rows = [datapoint(number) for number in range(5)]
    scene.put(0, [], rows)
    scene.export.put(hour_at(0), DATAPOINT, rows[:4], identity="time_uuid", lines=lines)
    result = scene.result()
    assert (result.state, result.only_stream, result.unreadable) == (state, 1, len(lines))


def test_archives_that_are_exchanged_are_refused(scene: Scene) -> None:
    full(scene)
    scene.export, scene.stream = scene.stream, scene.export
    scene.stream.put_position()
    with pytest.raises(AylaConfigError, match=r"holds datapoint .* of a stream, and is given as .* an export"):
        scene.result()


def test_an_event_type_that_the_export_cannot_have_is_refused(scene: Scene) -> None:
    with pytest.raises(AylaConfigError, match="activation is an event type of streams alone"):
        scene.compare(event_type="activation")


def test_an_archive_without_a_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AylaConfigError, match="no stream was read into this archive"):
        read_coverage(FileDestination(tmp_path))


@pytest.mark.parametrize("text", ["{", "{}", '{"started_at": "2026-11-01", "event_types": [], "gaps": []}'])
def test_a_position_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "_stream").mkdir()
    (tmp_path / "_stream/position.json").write_text(text)
    with pytest.raises(AylaDestinationError, match="isn't a valid position of format"):
        read_coverage(FileDestination(tmp_path))


class CountingDestination(FileDestination):
    """Counts how often each file is read in blocks."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched: Counter[str] = Counter()

    def blocks(self, path: str) -> Any:
        self.fetched[path] += 1
        return super().blocks(path)


def test_each_file_is_fetched_once(scene: Scene) -> None:
    full(scene, last=6)
    for number in range(6):
        rows = [datapoint(number * 10 + 100 + each, number) for each in range(3)]
        scene.put(number, rows[:2], rows)
    scene.export.rows = CountingDestination(scene.export.root / "parquet")
    assert {result.state for result in scene.compare(0, 5)} == {Completeness.MISSING_IN_EXPORT}
    assert len(scene.export.rows.fetched) == 8
    assert set(scene.export.rows.fetched.values()) == {1}


def test_nothing_is_left_on_the_disk(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    full(scene)
    scene.result()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_the_typed_rows_of_a_fleet_match_those_of_its_stream(scene: Scene, event_type: str) -> None:
    hours = [FIRST + number * ONE_HOUR for number in (-1, 0, 1)]
    fleet = Fleet(seed=seed_with_all_event_types(hours))
    typed = TypedArchive(scene.export.archive, scene.export.rows)
    for start in hours:
        archive_fleet(scene.export.root, fleet, event_type, start)
        hour = ExportHour(EventType(event_type), start)
        made = typed.ensure(hour, {}).manifest
        columns = [column for column in made.columns if column.name not in ("folder_hour", *_SOURCE)]
        times = [column.name for column in columns if column.type is ColumnType.TIMESTAMP]
        later = ", ".join(f"{name} + interval 250 milliseconds as {name}" for name in times)
        typed_rows = f"read_parquet('{scene.export.root}/parquet/{made.path}', hive_partitioning = false)"
        query = f"select * replace ({later}) from {typed_rows}" if made.path else []
        scene.stream.put(hour, columns, query, identity=made.identity)
    results = scene.compare(-1, 1, event_type)
    assert {result.state for result in results} == {Completeness.COMPLETE}
    assert sum(result.export for result in results) > 0
    for result in results:
        assert (result.differing, result.newer) == (0, 0)
        assert result.both + result.repeats == result.export == result.stream


_SOURCE = ("source_object", "source_generation")


def test_a_record_changes_with_each_count() -> None:
    result = HourCompleteness(hour_at(0), Completeness.COMPLETE)
    texts = {replace(result, **{name: 1}).dumps() for name in COUNTS}
    assert len(texts) == len(COUNTS)


PAGE = (Path(__file__).parents[2] / "docs/completeness.md").read_text(encoding="utf-8")
(TABLE_OF_RECORDS,) = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_query_of_the_page_finds_the_hours_that_lack_events(scene: Scene) -> None:
    full(scene, last=3)
    rows = [datapoint(number, 1) for number in range(4)]
    scene.put(1, rows[:3], rows)
    scene.compare(0, 2)
    found = duckdb.execute(TABLE_OF_RECORDS.replace("/data/ayla-stream", str(scene.stream.root))).fetchall()
    assert [(row[0], *row[2:]) for row in found] == [("datapoint", "missing_in_export", 1, 0)]

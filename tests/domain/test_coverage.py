from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.arrival import PATIENCE, HourState, HourStatus
from ayla_provider.domain.coverage import Coverage, HourCoverage, describe_gap
from ayla_provider.domain.failure import note
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.unplaced import Unplaced
from ayla_provider.errors import AylaError

HOUR = datetime(2024, 5, 9, 2, tzinfo=UTC)
END = HOUR + ONE_HOUR
SOON = timedelta(minutes=30)
LATE = timedelta(hours=26.3)

Files = Mapping[str, tuple[int, timedelta]]
"""Name to generation, and how long after the hour's end that generation was created."""


def shown(name: str, generation: int, lag: timedelta) -> ExportFile:
    """A file at the source; every generation is a byte longer."""
    created = END + lag
    return ExportFile(
        "datapoint", HOUR, FolderStyle.SPACE, name, f"oem/{name}", 10 + generation, "AAAAAA==", generation, created
    )


def covered(
    source: Files, archive: Files | None, state: HourState | None = None, kept: HourState | None = None
) -> HourCoverage:
    """An hour of that source and that archive; None for an archive without a manifest of it."""
    status = HourStatus(
        ExportHour("datapoint", HOUR),
        state or (HourState.LANDED if source else HourState.EMPTY),
        tuple(shown(name, *facts) for name, facts in sorted(source.items())),
    )
    if archive is None:
        return HourCoverage(status, None)
    entries = tuple(
        ManifestFile.of(shown(name, *facts), f"copies/{name}", "AAAAAA==") for name, facts in archive.items()
    )
    landed = kept or (HourState.LANDED if archive else HourState.EMPTY)
    return HourCoverage(
        status, Manifest(ExportHour("datapoint", HOUR), landed, 1, entries, written_at="2024-05-09T05:00:00+00:00")
    )


lags = st.sampled_from([SOON, PATIENCE, PATIENCE + timedelta.resolution, LATE]) | st.timedeltas(
    timedelta(hours=-1), timedelta(days=3)
)
sources: st.SearchStrategy[Files] = st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(1, 3), lags))
archives = st.none() | sources
states = st.sampled_from(HourState)


@given(sources, archives, states)
def test_the_state_follows_from_source_and_archive(source: Files, archive: Files | None, at_source: HourState) -> None:
    hour = covered(source, archive, at_source)
    if archive is None:
        expected = {
            "landed": "missing",
            "empty": "missing",
            "overdue": "overdue",
            "expired": "expired",
            "open": "waiting",
            "arriving": "waiting",
            "pending": "waiting",
            "unproven": "unproven",
        }[at_source]
    elif at_source == "unproven" and (source or not archive):
        # Files that the archive has, and the source no longer, are proven.
        expected = "unproven"
    elif any(name not in archive or archive[name][0] != source[name][0] for name in source):
        expected = "changed"
    elif not archive:
        expected = "unproven" if at_source == "overdue" else "empty"
    elif any(lag > PATIENCE for _, lag in [*source.values(), *archive.values()]):
        expected = "late"
    else:
        expected = "landed"
    assert hour.state == expected
    assert hour.state.complete is (expected not in ("missing", "changed", "unproven"))
    settled = at_source in ("landed", "empty", "expired")
    assert hour.needs_repair is (expected in ("missing", "changed") and settled)


@given(sources, archives)
def test_new_and_replaced_files_are_those_of_the_source_that_the_archive_lacks(
    source: Files, archive: Files | None
) -> None:
    hour = covered(source, archive)
    held = archive or {}
    assert {file.file for file in hour.new_files} == source.keys() - held.keys()
    assert {file.file for file in hour.replaced_files} == {
        name for name in source.keys() & held.keys() if source[name][0] != held[name][0]
    }
    assert all(file.generation == source[file.file][0] for file in [*hour.new_files, *hour.replaced_files])


@given(sources, archives)
def test_files_bytes_and_lag_are_those_that_the_archive_has_or_would_have(source: Files, archive: Files | None) -> None:
    hour = covered(source, archive)
    after_a_copy = {**(archive or {}), **source}
    assert hour.files == len(after_a_copy)
    assert hour.bytes == sum(10 + generation for generation, _ in after_a_copy.values())
    every = [lag for _, lag in [*source.values(), *(archive or {}).values()]]
    assert hour.lag == max(every, default=None)


@given(sources, sources)
def test_a_file_that_has_expired_at_the_source_is_no_change(source: Files, gone: Files) -> None:
    before = covered({**gone, **source}, {**gone, **source})
    for state in (HourState.LANDED, HourState.EXPIRED):
        after = covered(source, {**gone, **source}, state)
        assert after.state == before.state
        assert (after.files, after.bytes) == (before.files, before.bytes)
        assert not after.needs_repair


@given(sources, st.sampled_from([state for state in HourState if state is not HourState.UNPROVEN]))
def test_what_was_copied_is_complete_and_a_copy_makes_it_so(source: Files, at_source: HourState) -> None:
    hour = covered(source, source, at_source)
    # No copy proves that an overdue hour had no events.
    assert hour.state.complete is (bool(source) or at_source is not HourState.OVERDUE)
    assert hour.new_files == hour.replaced_files == []


def test_a_file_after_an_empty_hour_is_a_change_however_young_it_is() -> None:
    late = {"a": (1, LATE)}
    assert covered(late, {}).state is Coverage.CHANGED
    assert covered(late, {}).needs_repair
    arriving = covered(late, {}, HourState.ARRIVING)
    assert arriving.state is Coverage.CHANGED
    assert not arriving.needs_repair, "until it is settled, the hour isn't copied again"


@pytest.mark.parametrize("at_source", HourState)
def test_a_manifest_that_cant_be_read_is_missing(at_source: HourState) -> None:
    status = covered({"a": (1, SOON)}, None, at_source).status
    hour = HourCoverage(status, None, "gs://archive/x.json is no manifest")
    assert hour.state is Coverage.MISSING
    assert hour.needs_repair is at_source.settled
    assert describe_gap(hour) == "its manifest can't be read"


@pytest.mark.parametrize(
    ("source", "archive", "gap_text"),
    [
        ({}, None, "never copied, no events"),
        ({"a": (1, SOON)}, None, "never copied, 1 file"),
        ({"a": (1, SOON), "b": (1, SOON), "c": (1, SOON)}, None, "never copied, 3 files"),
        ({"a": (1, SOON), "b": (1, LATE)}, None, "never copied, 2 files, 26.3 h late"),
        ({"a": (1, SOON)}, {}, "1 new file"),
        ({"a": (1, LATE)}, {}, "1 new file, 26.3 h late"),
        ({"a": (1, LATE), "b": (1, SOON)}, {"a": (1, LATE)}, "1 new file"),
        ({"a": (2, PATIENCE)}, {"a": (1, SOON)}, "1 replaced file"),
        ({"a": (2, SOON), "b": (3, SOON)}, {"a": (1, SOON), "b": (1, SOON)}, "2 replaced files"),
        ({"a": (2, SOON)}, {"a": (3, SOON)}, "1 replaced file"),
        ({"a": (1, SOON), "b": (2, LATE)}, {"b": (1, SOON)}, "1 new file and 1 replaced file, 26.3 h late"),
    ],
)
def test_what_an_hour_lacks_is_described_in_words(source: Files, archive: Files | None, gap_text: str) -> None:
    assert describe_gap(covered(source, archive)) == gap_text


@given(sources, archives)
def test_lateness_is_described_exactly_for_a_missing_file(source: Files, archive: Files | None) -> None:
    hour = covered(source, archive)
    if not hour.state.complete:
        held = archive or {}
        lacking = [facts for name, facts in source.items() if held.get(name, (None,))[0] != facts[0]]
        late = any(lag > PATIENCE for _, lag in lacking)
        assert describe_gap(hour).endswith(" h late") is late


def test_the_states_are_all_there_is() -> None:
    assert [state.value for state in Coverage if not state.complete] == ["missing", "changed", "unproven", "lost"]
    assert {state.value for state in Coverage} == {
        "landed", "late", "empty", "waiting", "overdue", "missing", "changed", "expired", "unproven", "lost",
    }  # fmt: skip


def test_a_note_counts_while_the_hour_lacks_something_and_the_source_shows_the_same() -> None:
    left = covered({"a": (1, SOON)}, None)
    noted = note(None, left.status, AylaError("why"), now=HOUR, written_by={})
    assert replace(left, note=noted).failure is noted
    more = covered({"a": (1, SOON), "b": (1, SOON)}, None)
    assert replace(more, note=noted).failure is None
    copied = covered({"a": (1, SOON)}, {"a": (1, SOON)})
    assert copied.state.complete
    assert replace(copied, note=noted).failure is None


@pytest.mark.parametrize("archive", [None, {}])
def test_an_hour_in_doubt_is_unproven_also_where_a_manifest_says_empty(archive: Files | None) -> None:
    made = covered({}, archive, HourState.UNPROVEN)
    object_ = Unplaced("oem/Datapoint/2024-05-09T02/a.csv", HOUR)
    hour = replace(made, status=replace(made.status, obstacle=object_))
    assert hour.state is Coverage.UNPROVEN
    assert not hour.needs_repair, "a copy can't help"
    assert "'oem/Datapoint/2024-05-09T02/a.csv' can't be placed in time" in describe_gap(hour)
    assert "ignored_objects" in describe_gap(hour)


@pytest.mark.parametrize(
    ("at_source", "recorded", "days", "expected"),
    [
        # What was recorded while the source kept the hour was proven.
        (HourState.EXPIRED, HourState.EMPTY, 29, Coverage.EMPTY),
        (HourState.EXPIRED, HourState.EMPTY, 31, Coverage.EXPIRED),
        (HourState.EXPIRED, HourState.EXPIRED, 31, Coverage.EXPIRED),
        (HourState.EMPTY, HourState.EXPIRED, 31, Coverage.EMPTY),
        (HourState.EMPTY, HourState.EMPTY, 31, Coverage.EMPTY),
        (HourState.PENDING, HourState.EMPTY, 1, Coverage.EMPTY),
        (HourState.OVERDUE, HourState.EMPTY, 1, Coverage.UNPROVEN),
    ],
)
def test_a_manifest_without_files_counts_as_far_as_it_was_proven(
    at_source: HourState, recorded: HourState, days: int, expected: Coverage
) -> None:
    made = covered({}, {}, at_source, recorded)
    assert made.manifest is not None
    written = (HOUR + timedelta(days=days)).isoformat()
    hour = replace(made, manifest=replace(made.manifest, written_at=written))
    assert hour.state is expected
    assert hour.state.complete is (expected is not Coverage.UNPROVEN)
    assert not hour.needs_repair


def test_what_proved_an_old_hour_may_have_been_removed() -> None:
    hour = covered({}, {}, HourState.OVERDUE)
    assert hour.state is Coverage.UNPROVEN
    assert "nothing proves that" in describe_gap(hour)
    assert replace(hour, may_have_expired=True).state is Coverage.EMPTY


@pytest.mark.parametrize("written", ["", "yesterday", "2024-05-09"])
def test_a_manifest_whose_time_somebody_changed_proves_nothing_of_an_expired_hour(written: str) -> None:
    made = covered({}, {}, HourState.EXPIRED)
    assert made.manifest is not None
    assert replace(made, manifest=replace(made.manifest, written_at=written)).state is Coverage.EXPIRED


def lost(hour: HourCoverage, *names: str) -> HourCoverage:
    """The same hour, whose manifest marks files as lost."""
    assert hour.manifest
    files = [
        replace(file, lost="2024-05-20T01:00:00+00:00") if file.source.removeprefix("oem/") in names else file
        for file in hour.manifest.files
    ]
    return replace(hour, manifest=replace(hour.manifest, files=tuple(files)))


@pytest.mark.parametrize("at_source", [HourState.EMPTY, HourState.EXPIRED, HourState.OVERDUE, HourState.PENDING])
def test_an_hour_with_a_lost_file_is_lost_and_not_repaired(at_source: HourState) -> None:
    held = {"a": (1, SOON), "b": (1, LATE), "c": (1, SOON)}
    hour = lost(covered({}, held, at_source), "b")
    assert hour.state is Coverage.LOST
    assert not hour.state.complete
    assert not hour.needs_repair
    assert (hour.files, hour.bytes) == (2, 22), "what the archive has"
    assert describe_gap(hour) == "1 of 3 files is lost, found on 2024-05-20"
    noted = note(None, hour.status, AylaError("why"), now=HOUR, written_by={})
    assert replace(hour, note=noted).failure is None, "its state says it"


def test_a_lost_file_that_the_source_shows_again_is_a_change() -> None:
    held = {"a": (1, SOON), "b": (1, SOON)}
    hour = lost(covered({"b": (1, SOON)}, held), "a", "b")
    assert hour.state is Coverage.CHANGED
    assert hour.needs_repair
    assert [file.file for file in hour.new_files] == ["b"]
    assert hour.files == 1


def test_a_lost_file_beside_files_that_the_source_still_shows_is_lost() -> None:
    hour = lost(covered({"a": (1, SOON)}, {"a": (1, SOON), "b": (1, SOON)}), "b")
    assert hour.state is Coverage.LOST
    assert not hour.needs_repair


@pytest.mark.parametrize(
    ("at_source", "expected"),
    [
        (HourState.OPEN, Coverage.WAITING),
        (HourState.ARRIVING, Coverage.WAITING),
        (HourState.PENDING, Coverage.WAITING),
        (HourState.LANDED, Coverage.MISSING),
        (HourState.EMPTY, Coverage.MISSING),
        (HourState.OVERDUE, Coverage.OVERDUE),
        (HourState.EXPIRED, Coverage.EXPIRED),
        (HourState.UNPROVEN, Coverage.UNPROVEN),
    ],
)
def test_without_a_manifest_the_source_decides(at_source: HourState, expected: Coverage) -> None:
    assert covered({}, None, at_source).state is expected


def test_an_hour_whose_copies_a_rule_removed_needs_no_copy() -> None:
    hour = covered({"a": (2, SOON), "b": (1, SOON)}, {"a": (1, SOON)})
    assert hour.manifest
    removed = tuple(replace(file, removed="2024-06-01T00:00:00+00:00") for file in hour.manifest.files)
    for at_source in (HourState.LANDED, HourState.UNPROVEN):
        status = replace(hour.status, state=at_source)
        gone = replace(hour, status=status, manifest=replace(hour.manifest, files=removed))
        assert (gone.state, gone.new_files, gone.replaced_files) == (Coverage.LANDED, [], [])


def test_a_gap_says_what_no_copy_can_mend() -> None:
    newer = replace(covered({}, None), problem="x", is_newer=True)
    assert describe_gap(newer) == "a newer version of this package wrote its manifest"
    assert describe_gap(covered({}, {}, HourState.OVERDUE)) == (
        "its manifest says that there were no events, and nothing proves that: Ayla's bucket has no file of a later "
        "hour"
    )
    two = lost(covered({}, {"a": (1, SOON), "b": (1, SOON)}, HourState.EMPTY), "a", "b")
    assert describe_gap(two) == "2 of 2 files are lost, found on 2024-05-20"

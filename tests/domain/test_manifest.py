from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.hours import ONE_HOUR, FolderStyle
from ayla_provider.domain.layout import ExportFile
from ayla_provider.domain.manifest import Manifest, ManifestFile, describe, loads, revise
from ayla_provider.domain.status import HourState
from ayla_provider.errors import AylaDestinationError

HOUR = datetime(2024, 5, 9, 2, tzinfo=UTC)
NOW = HOUR + 2 * ONE_HOUR
RUN = {"dag_id": "export", "run_id": "scheduled__1"}
WHERE = "gs://archive/_manifests/event_type=datapoint/date=2024-05-09/hour=02.json"

texts = st.text(st.characters(codec="utf-8"), max_size=20)
hours = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda time: time.replace(minute=0, second=0, microsecond=0)
)
counts = st.integers(0, 2**63 - 1)
paths = st.lists(texts.filter(lambda part: part not in ("", ".", "..") and "/" not in part), min_size=1).map("/".join)
entries = st.builds(ManifestFile, texts, counts, counts, texts, texts, paths)
manifests = st.builds(
    Manifest,
    event_type=texts,
    hour=hours,
    state=st.sampled_from(HourState),
    revision=st.integers(1),
    files=st.lists(entries, max_size=3).map(tuple),
    written_at=texts,
    written_by=st.dictionaries(texts, texts, max_size=3),
)
states = st.sampled_from([HourState.ARRIVING, HourState.LANDED, HourState.EMPTY])


def entry(name: str, generation: int = 1) -> ManifestFile:
    """A file of a made-up export, whose every generation is a byte longer."""
    return ManifestFile(f"oem/{name}", generation, 10 + generation, "AAAAAA==", NOW.isoformat(), f"copies/{name}")


# What a source shows: name to generation.
sources = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3))


def revised(previous: Manifest | None, source: dict[str, int], state: HourState = HourState.LANDED) -> Manifest:
    copied = [entry(name, generation) for name, generation in source.items()]
    return revise(previous, "datapoint", HOUR, state, copied, written_at=NOW, written_by=RUN)


def generations(manifest: Manifest) -> dict[str, int]:
    return {file.source.removeprefix("oem/"): file.generation for file in manifest.files}


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    text = manifest.dumps()
    assert loads(text, WHERE) == manifest
    assert loads(text.encode(), WHERE) == manifest


def test_a_manifest_tells_other_programs_what_it_proves() -> None:
    document = json.loads(revised(None, {"a": 1, "b": 2}).dumps())
    assert document == {
        "format": "ayla-export-manifest/1",
        "event_type": "datapoint",
        "hour": "2024-05-09T02:00:00+00:00",
        "state": "landed",
        "revision": 1,
        "total_files": 2,
        "total_bytes": 23,
        "written_at": "2024-05-09T04:00:00+00:00",
        "written_by": RUN,
        "files": [
            {
                "source": f"oem/{name}",
                "generation": generation,
                "size": 10 + generation,
                "crc32c": "AAAAAA==",
                "created": "2024-05-09T04:00:00+00:00",
                "path": f"copies/{name}",
            }
            for name, generation in (("a", 1), ("b", 2))
        ],
    }


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(revised(None, {"a": 1}).dumps()) | fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "42",
        b"\xff\xfe",
        revised(None, {"a": 1}).dumps()[:-20],
        changed(format="ayla-export-manifest/2"),
        changed(state="done"),
        changed(hour="yesterday"),
        changed(hour=None),
        changed(revision="first"),
        changed(files=None),
        changed(files=[{"source": "a"}]),
        changed(files=["a"]),
    ],
)
def test_a_text_that_is_no_manifest_is_refused_with_its_url(text: str | bytes) -> None:
    with pytest.raises(AylaDestinationError) as refused:
        loads(text, WHERE)
    assert WHERE in str(refused.value)


@pytest.mark.parametrize("key", ["format", "event_type", "hour", "state", "revision", "files", "written_at"])
def test_a_manifest_that_lacks_a_field_is_refused(key: str) -> None:
    document = json.loads(changed())
    del document[key]
    with pytest.raises(AylaDestinationError, match=key):
        loads(json.dumps(document), WHERE)


@given(sources, states, sources, states)
def test_the_manifest_lists_what_the_source_shows_and_keeps_what_expired_there(
    before: dict[str, int], state_before: HourState, now: dict[str, int], state: HourState
) -> None:
    manifest = revised(revised(None, before, state_before), now, state)
    assert generations(manifest) == before | now
    assert [file.source for file in manifest.files] == sorted(file.source for file in manifest.files)
    assert (manifest.event_type, manifest.hour) == ("datapoint", HOUR)


@given(sources, states, sources, states)
def test_the_revision_is_raised_exactly_when_files_were_added_or_replaced(
    before: dict[str, int], state_before: HourState, now: dict[str, int], state: HourState
) -> None:
    previous = revised(None, before, state_before)
    assert previous.revision == 1
    added_or_replaced = any(before.get(name) != generation for name, generation in now.items())
    assert revised(previous, now, state).revision == (2 if added_or_replaced else 1)


@given(sources, states, sources, states)
def test_to_revise_again_changes_nothing(
    before: dict[str, int], state_before: HourState, now: dict[str, int], state: HourState
) -> None:
    once = revised(revised(None, before, state_before), now, state)
    later = revise(
        once,
        "datapoint",
        HOUR,
        state,
        [entry(*file) for file in now.items()],
        written_at=NOW + timedelta(days=1),
        written_by={"dag_id": "another"},
    )
    assert later == once


@given(sources)
def test_a_manifest_that_was_stored_meanwhile_is_revised_the_same(source: dict[str, int]) -> None:
    stored = loads(revised(None, source).dumps(), WHERE)
    assert revised(stored, source) == stored


def test_an_hour_that_landed_after_it_was_copied_says_so_without_a_new_revision() -> None:
    arriving = revised(None, {"a": 1}, HourState.ARRIVING)
    landed = revise(
        arriving,
        "datapoint",
        HOUR,
        HourState.LANDED,
        arriving.files,
        written_at=NOW + ONE_HOUR,
        written_by={"dag_id": "later"},
    )
    assert landed == replace(
        arriving, state=HourState.LANDED, written_at="2024-05-09T05:00:00+00:00", written_by={"dag_id": "later"}
    )


def test_a_late_file_and_a_new_generation_each_raise_the_revision() -> None:
    first = revised(None, {"a": 1})
    late = revised(first, {"a": 1, "b": 1})
    replaced = revised(late, {"a": 2, "b": 1})
    assert [manifest.revision for manifest in (first, late, replaced)] == [1, 2, 3]
    assert generations(replaced) == {"a": 2, "b": 1}


def test_an_hour_without_files_gets_a_manifest_too() -> None:
    manifest = revised(None, {}, HourState.EMPTY)
    assert (manifest.state, manifest.files, manifest.size, manifest.revision) == (HourState.EMPTY, (), 0, 1)


def test_an_hour_whose_files_all_expired_is_not_called_empty() -> None:
    assert revised(revised(None, {"a": 1}), {}, HourState.EMPTY).state is HourState.LANDED
    assert revised(revised(None, {"a": 1}), {}, HourState.EXPIRED).state is HourState.LANDED


def test_an_hour_that_was_known_to_be_empty_stays_so_when_its_time_has_expired() -> None:
    known = revised(None, {}, HourState.EMPTY)
    assert revised(known, {}, HourState.EXPIRED) is known
    assert revised(None, {}, HourState.EXPIRED).state is HourState.EXPIRED


def test_an_empty_hour_that_got_a_file_is_landed_and_revised() -> None:
    manifest = revised(revised(None, {}, HourState.EMPTY), {"a": 1}, HourState.LANDED)
    assert (manifest.state, manifest.revision) == (HourState.LANDED, 2)


def test_an_entry_states_what_was_copied_and_where_it_stands() -> None:
    name = "oem/Datapoint/2024-05-09 02:00:00/a.csv"
    file = ExportFile("datapoint", HOUR, FolderStyle.SPACE, "a.csv", name, 3, "AAAAAA==", 7, NOW)
    known = ManifestFile.of(file, "copies/a.csv")
    assert known == ManifestFile(name, 7, 3, "AAAAAA==", "2024-05-09T04:00:00+00:00", "copies/a.csv")


def test_a_line_of_the_log_names_the_hour_and_its_totals() -> None:
    line = describe(revised(None, {"a": 1, "b": 2}))
    assert line.startswith("datapoint 2024-05-09 02:00 UTC: landed, 2 files, 23 ")
    assert line.endswith("revision 1")


@pytest.mark.parametrize(
    "damage",
    [
        {"revision": 1e999},
        {"revision": "1"},
        {"hour": "2024-05-09T02:00:00"},
        {"written_by": []},
        {"files": [{"source": "a", "generation": 1, "size": "12", "crc32c": "x", "created": "y", "path": "a"}]},
        {"files": [{"source": "a", "generation": 1, "size": -1, "crc32c": "x", "created": "y", "path": "a"}]},
        {"files": [{"source": "a", "generation": 1, "size": 1, "crc32c": "x", "created": "y", "path": "../a"}]},
        {"files": [{"source": "a", "generation": 1, "size": 1, "crc32c": "x", "created": "y", "path": "/a"}]},
        {"files": {}},
    ],
)
def test_a_manifest_with_a_value_that_cant_be_is_refused(damage: dict[str, object]) -> None:
    document = json.loads(revised(None, {"a": 1}).dumps()) | damage
    with pytest.raises(AylaDestinationError, match="is no manifest"):
        loads(json.dumps(document), WHERE)

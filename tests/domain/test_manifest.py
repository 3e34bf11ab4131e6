from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle
from ayla_provider.domain.manifest import Erased, Manifest, ManifestFile, after_removal, describe, loads, revise
from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import AylaConfigError, AylaDestinationError, AylaNewerFormatError

HOUR = datetime(2024, 5, 9, 2, tzinfo=UTC)
NOW = HOUR + 2 * ONE_HOUR
RUN = {"dag_id": "export", "run_id": "scheduled__1"}
WHERE = "gs://archive/_manifests/event_type=datapoint/date=2024-05-09/hour=02.json"

# A record has no control characters.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
hours = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda time: time.replace(minute=0, second=0, microsecond=0)
)
counts = st.integers(0, 2**63 - 1)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(datetime.isoformat)  # noqa: DTZ001
parts = texts.filter(lambda part: part not in ("", ".", "..") and not set("/\\") & set(part))
paths = st.lists(parts, min_size=1).map("/".join)
entries = st.builds(ManifestFile, texts, counts, counts, texts, times, paths, st.none() | counts)
manifests = st.builds(
    Manifest,
    hour=st.builds(ExportHour, texts, hours),
    state=st.sampled_from(HourState),
    revision=counts,
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
    return revise(previous, ExportHour("datapoint", HOUR), state, copied, written_at=NOW, written_by=RUN)


def generations(manifest: Manifest) -> dict[str, int]:
    return {file.source.removeprefix("oem/"): file.generation for file in manifest.files}


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    text = manifest.dumps()
    assert loads(text, WHERE) == manifest
    assert loads(text.encode(), WHERE) == manifest
    assert [file.lines for file in loads(text, WHERE).files] == [file.lines for file in manifest.files]


@given(manifests)
def test_a_manifest_of_an_earlier_version_is_read_without_its_lines(manifest: Manifest) -> None:
    document = json.loads(manifest.dumps())
    for file in document["files"]:
        del file["lines"]
    del document["total_lines"]
    earlier = loads(json.dumps(document), WHERE)
    assert earlier == manifest
    assert earlier.lines == (None if earlier.files else 0)


def test_a_manifest_tells_other_programs_what_it_proves() -> None:
    document = json.loads(revised(None, {"a": 1, "b": 2}).dumps())
    assert document == {
        "format": "ayla-export-manifest/1",
        "export": "",
        "event_type": "datapoint",
        "hour": "2024-05-09T02:00:00+00:00",
        "state": "landed",
        "revision": 1,
        "total_files": 2,
        "total_bytes": 23,
        "total_lines": None,
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
                "lines": None,
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
        changed(format="ayla-export-manifest/4"),
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
    assert manifest.hour == ExportHour("datapoint", HOUR)


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
        ExportHour("datapoint", HOUR),
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


counted = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(1, 2), st.none() | st.integers(0, 5)))


@given(counted, states, counted, states)
def test_what_was_counted_once_stays_known_and_is_no_change_by_itself(
    before: dict[str, tuple[int, int | None]],
    state_before: HourState,
    now: dict[str, tuple[int, int | None]],
    state: HourState,
) -> None:
    def take(previous: Manifest | None, source: dict[str, tuple[int, int | None]], state: HourState) -> Manifest:
        copied = [replace(entry(name, generation), lines=lines) for name, (generation, lines) in source.items()]
        return revise(previous, ExportHour("datapoint", HOUR), state, copied, written_at=NOW, written_by=RUN)

    first = take(None, before, state_before)
    second = take(first, now, state)
    # A generation of these has a size of its own, so that only the same one has the same bytes.
    lines = {name: lines for name, (_, lines) in before.items()}
    for name, (generation, counted_now) in now.items():
        same = name in before and before[name][0] == generation
        lines[name] = before[name][1] if same and counted_now is None else counted_now
    changed = any(name not in before or before[name][0] != generation for name, (generation, _) in now.items())
    assert second.revision == (2 if changed else 1)
    if second is first:
        assert {name: generation for name, (generation, _) in (before | now).items()} == generations(first)
    else:
        assert {file.source.removeprefix("oem/"): file.lines for file in second.files} == lines
        total = None if None in lines.values() else sum(number for number in lines.values() if number)
        assert second.lines == json.loads(second.dumps())["total_lines"] == total


def test_a_new_generation_of_the_same_bytes_has_the_same_lines() -> None:
    known = replace(entry("a"), lines=3)
    first = revise(None, ExportHour("datapoint", HOUR), HourState.LANDED, [known], written_at=NOW, written_by=RUN)
    again = replace(known, generation=9, lines=None)
    second = revise(first, ExportHour("datapoint", HOUR), HourState.LANDED, [again], written_at=NOW, written_by=RUN)
    assert (second.revision, second.lines) == (2, 3)


def test_the_manifest_states_the_newest_file() -> None:
    later = replace(entry("a"), created=(NOW + timedelta(microseconds=1)).isoformat())
    manifest = revise(
        None, ExportHour("datapoint", HOUR), HourState.LANDED, [later, entry("b")], written_at=NOW, written_by=RUN
    )
    assert manifest.newest == later.created
    assert revised(None, {}, HourState.EMPTY).newest is None


def test_an_hour_that_landed_after_it_was_copied_says_so_without_a_new_revision() -> None:
    arriving = revised(None, {"a": 1}, HourState.ARRIVING)
    landed = revise(
        arriving,
        ExportHour("datapoint", HOUR),
        HourState.LANDED,
        arriving.files,
        written_at=NOW + ONE_HOUR,
        written_by={"dag_id": "later"},
    )
    assert landed == replace(
        arriving, state=HourState.LANDED, written_at="2024-05-09T05:00:00+00:00", written_by={"dag_id": "later"}
    )


def test_lines_that_became_known_are_added_when_the_manifest_is_written_anyway() -> None:
    arriving = revised(None, {"a": 1}, HourState.ARRIVING)
    copied = [replace(entry("a"), lines=3)]
    landed = revise(arriving, ExportHour("datapoint", HOUR), HourState.LANDED, copied, written_at=NOW, written_by=RUN)
    assert (landed.revision, landed.lines) == (1, 3)
    assert describe(landed) == "datapoint 2024-05-09 02:00 UTC: landed, 1 file, 11 B, 3 lines, revision 1"


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


def test_an_entry_states_what_was_copied_and_where_it_is() -> None:
    name = "oem/Datapoint/2024-05-09 02:00:00/a.csv"
    file = ExportFile("datapoint", HOUR, FolderStyle.SPACE, "a.csv", name, 3, "AAAAAA==", 7, NOW)
    known = ManifestFile.of(file, "copies/a.csv", "AAAAAA==")
    assert known == ManifestFile(name, 7, 3, "AAAAAA==", "2024-05-09T04:00:00+00:00", "copies/a.csv")
    assert (known.lines, ManifestFile.of(file, "copies/a.csv", "AAAAAA==", 2).lines) == (None, 2)


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
        {"export": "gs://a/b\n2026-11-01 ERROR forged"},
        {"files": {}},
    ],
)
def test_a_manifest_with_a_value_that_cant_be_is_refused(damage: dict[str, object]) -> None:
    document = json.loads(revised(None, {"a": 1}).dumps()) | damage
    with pytest.raises(AylaDestinationError, match="is not a valid manifest"):
        loads(json.dumps(document), WHERE)


@pytest.mark.parametrize(
    "damage",
    [
        {"created": "x"},
        {"created": ""},
        {"created": "2024-05-09T04:00:00"},
        {"created": "9999-12-31T23:59:59-23:00"},
        {"path": "a\0b"},
        {"path": "a\x1b[2Jb"},
        {"path": "a\nb"},
        {"path": "a\u2028b"},
        {"path": "a\\..\\b"},
        {"source": "a\nb"},
        {"crc32c": "\x1b[2J"},
        {"path": "../a"},
        {"path": "/a"},
        {"size": "12"},
        {"size": -1},
        {"size": 10**400},
        {"lines": -1},
        {"lines": "1"},
        {"lines": 2**63},
    ],
)
def test_a_manifest_whose_file_has_a_value_that_cant_be_is_refused(damage: dict[str, object]) -> None:
    document = json.loads(revised(None, {"a": 1}).dumps())
    document["files"][0] |= damage
    with pytest.raises(AylaDestinationError, match=r"is not a valid manifest .* Move it away") as refused:
        loads(json.dumps(document), WHERE)
    assert str(refused.value).isprintable()


def test_a_long_value_is_not_quoted_in_full() -> None:
    with pytest.raises(AylaDestinationError, match="is not a valid manifest") as refused:
        loads(changed(state="x" * 10_000), WHERE)
    assert len(str(refused.value)) < 600


def marked(previous: Manifest, *names: str, **more: Any) -> Manifest:
    lost = [file for file in previous.files if file.source.removeprefix("oem/") in names]
    given = {"written_at": NOW + ONE_HOUR, "written_by": RUN, "lost": lost} | more
    return revise(previous, previous.hour, HourState.EMPTY, [], **given)


def marks(manifest: Manifest) -> dict[str, str]:
    return {file.source.removeprefix("oem/"): file.lost for file in manifest.files}


def test_an_hour_with_a_lost_file_has_a_format_of_its_own_and_keeps_its_revision() -> None:
    whole = revised(None, {"a": 1, "b": 1})
    manifest = marked(whole, "b")
    assert marks(manifest) == {"a": "", "b": "2024-05-09T05:00:00+00:00"}
    assert (manifest.revision, manifest.state, manifest.files) == (1, HourState.LANDED, whole.files)
    assert [file.source for file in manifest.present] == ["oem/a"]
    document = json.loads(manifest.dumps())
    assert (document["format"], document["total_files"], document["lost_files"]) == ("ayla-export-manifest/2", 2, 1)
    read = loads(manifest.dumps(), WHERE)
    assert (read, marks(read)) == (manifest, marks(manifest))
    assert "1 lost file" in describe(manifest)


def test_a_mark_stays_as_it_is_until_the_file_is_there_again() -> None:
    whole = revised(None, {"a": 1, "b": 1})
    manifest = marked(whole, "b")
    assert marked(manifest, "b", written_at=NOW + 9 * ONE_HOUR) is manifest
    both = marked(manifest, "a", "b", written_at=NOW + 9 * ONE_HOUR)
    assert marks(both) == {"a": "2024-05-09T13:00:00+00:00", "b": "2024-05-09T05:00:00+00:00"}
    restored = marked(both)
    assert json.loads(restored.dumps())["format"] == "ayla-export-manifest/1"
    assert (restored.files, restored.revision, marks(restored)) == (whole.files, 1, marks(whole))


def test_a_lost_file_that_is_copied_again_is_no_longer_lost() -> None:
    manifest = marked(revised(None, {"a": 1, "b": 1}), "a", "b")
    later = revised(manifest, {"b": 2})
    assert (marks(later), later.revision) == ({"a": "", "b": ""}, 2), "the copy says which files are still lost"
    assert generations(later) == {"a": 1, "b": 2}


@given(manifests)
def test_a_manifest_without_lost_files_is_written_as_before(manifest: Manifest) -> None:
    document = json.loads(manifest.dumps())
    assert document["format"] == "ayla-export-manifest/1"
    assert "lost_files" not in document
    assert all("lost" not in file for file in document["files"])


def test_a_mark_that_is_not_a_time_is_refused() -> None:
    text = marked(revised(None, {"a": 1}), "a").dumps().replace("2024-05-09T05:00:00+00:00", "yesterday")
    with pytest.raises(AylaDestinationError):
        loads(text, WHERE)


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ("gs://ayla/0a1b/", "gs://ayla/0a1b/"),
        ("gs://ayla/0a1b/", "gs://ayla-2/0a1b/"),
        ("gs://ayla/0a1b/", "gs://ayla/0a1b/export/"),
        ("gs://ayla/0a1b/", "gs://ayla/exports/0a1b/"),
        ("gs://ayla/0a1b/", "gs://ayla/"),
        ("s3://0a1b/", "s3://0a1b/export/"),
        ("s3://0a1b/", "gs://ayla/0a1b/"),
        ("s3://0a1b/", "gs://ayla/another/"),
    ],
)
def test_an_export_can_move_to_another_bucket_folder_or_cloud(known: str, asked: str) -> None:
    for before, after in ((known, asked), (asked, known)):
        replace(revised(None, {}, HourState.EMPTY), export=before).refuse_other(after)


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ("gs://ayla/0a1b/", "gs://ayla/0a1c/"),
        ("gs://ayla/0a1b/", "gs://ayla/0a1b0/"),
        ("gs://ayla/0a1b/export/", "gs://ayla/0a1c/export/"),
        ("gs://ayla/export/0a1b/", "gs://ayla/export/0a1c/"),
        ("gs://ayla/0a1b/", "gs://ayla-2/"),
        ("gs://ayla-1/", "gs://ayla-2/"),
        ("s3://0a1b/", "s3://0a1c/"),
        ("s3://0a1b/export/", "s3://0a1c/export/"),
    ],
)
def test_the_export_of_another_oem_is_refused(known: str, asked: str) -> None:
    for before, after in ((known, asked), (asked, known)):
        manifest = replace(revised(None, {}, HourState.EMPTY), export=before)
        with pytest.raises(AylaConfigError, match="Give each OEM its own destination"):
            manifest.refuse_other(after)


ERASED = Erased(
    lines=2, size=9, crc32c="BBBBBB==", by=("20240601T000000Z-0123456789ab", "20240602T000000Z-0123456789ab")
)


def full(**fields: Any) -> Manifest:
    """A manifest in which each optional field has a value."""
    file = replace(entry("a"), lines=5, version="7", lost="", erased=ERASED, sha256="0f" * 32)
    lost = replace(entry("b"), lost="2024-06-01T00:00:00+00:00")
    removed = replace(entry("c"), lines=4, removed="2024-06-02T00:00:00+00:00")
    whole = Manifest(
        hour=ExportHour("datapoint", HOUR),
        state=HourState.LANDED,
        revision=3,
        files=(file, lost, removed),
        written_at="2024-05-09T04:00:00+00:00",
        written_by=RUN,
        export="gs://ayla/é/",
    )
    return replace(whole, **fields)


def test_what_is_optional_is_written_where_it_has_a_value_and_read_again() -> None:
    manifest = full()
    document = json.loads(manifest.dumps())
    assert document | {"files": []} == {
        "format": "ayla-export-manifest/3",
        "export": "gs://ayla/é/",
        "event_type": "datapoint",
        "hour": "2024-05-09T02:00:00+00:00",
        "state": "landed",
        "revision": 3,
        "total_files": 3,
        "total_bytes": 33,
        "total_lines": None,
        "lost_files": 1,
        "removed_files": 1,
        "erased_lines": 2,
        "written_at": "2024-05-09T04:00:00+00:00",
        "written_by": RUN,
        "files": [],
    }
    first, lost, removed = document["files"]
    common = {"generation": 1, "size": 11, "crc32c": "AAAAAA==", "created": "2024-05-09T04:00:00+00:00"}
    assert first == common | {
        "source": "oem/a",
        "path": "copies/a",
        "lines": 5,
        "version": "7",
        "erased": {"lines": 2, "size": 9, "crc32c": "BBBBBB==", "by": list(ERASED.by)},
        "sha256": "0f" * 32,
    }
    assert lost == common | {"source": "oem/b", "path": "copies/b", "lines": None, "lost": "2024-06-01T00:00:00+00:00"}
    assert removed == common | {
        "source": "oem/c",
        "path": "copies/c",
        "lines": 4,
        "removed": "2024-06-02T00:00:00+00:00",
    }
    assert manifest.dumps() == json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    read = loads(manifest.dumps(), WHERE)
    assert read == manifest
    assert read.dumps() == manifest.dumps()


def test_a_manifest_tells_what_is_there_from_what_is_gone() -> None:
    manifest = full()
    first, lost, removed = manifest.files
    assert (manifest.present, manifest.lost, manifest.removed) == ((first,), (lost,), (removed,))
    assert manifest.copied == (first, removed)
    assert (manifest.erased_lines, manifest.lines, manifest.size) == (2, None, 33)
    assert (first.held_size, first.held_crc32c) == (9, "BBBBBB==")
    assert (lost.held_size, lost.held_crc32c) == (11, "AAAAAA==")
    assert full(files=(first, removed)).lines == 9


@pytest.mark.parametrize(
    ("is_stream", "files", "form"),
    [
        (False, "", "ayla-export-manifest/1"),
        (False, "b", "ayla-export-manifest/2"),
        (False, "c", "ayla-export-manifest/2"),
        (False, "ab", "ayla-export-manifest/3"),
        (True, "b", "ayla-stream-manifest/1"),
        (True, "a", "ayla-stream-manifest/2"),
    ],
)
def test_a_format_says_what_a_reader_must_know(is_stream: bool, files: str, form: str) -> None:
    of_name = dict(zip("abc", full().files, strict=True))
    manifest = full(is_stream=is_stream, files=tuple(of_name[name] for name in files))
    assert json.loads(manifest.dumps())["format"] == form
    assert loads(manifest.dumps(), WHERE).is_stream is is_stream


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "ayla-typed/1"}, "ValueError: its format is 'ayla-typed/1'"),
        ({"hour": "2024-05-09T02:00:00"}, "ValueError: its hour has no time zone"),
        ({"event_type": 5}, "ValueError: event_type is int, not str"),
        ({"revision": "1"}, "ValueError: revision is str, not int"),
        ({"written_at": None}, "ValueError: written_at is NoneType, not str"),
        ({"written_by": []}, "ValueError: written_by is list, not dict"),
        ({"export": None}, "ValueError: export is NoneType, not str"),
        ({"files": {}}, "ValueError: files is dict, not list"),
    ],
)
def test_a_refused_manifest_comes_with_the_reason_and_what_to_do(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(AylaDestinationError) as refused:
        loads(json.dumps(json.loads(full().dumps()) | change), WHERE)
    assert str(refused.value) == (
        f"{WHERE} is not a valid manifest of format ayla-export-manifest/1 ({reason}). Move it away and clear the "
        "task: it then verifies the hour's files and writes the manifest again."
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": -1}, "ValueError: a size is negative"),
        ({"lines": -1}, "ValueError: a size is negative"),
        ({"lines": "1"}, "ValueError: lines is str, not int"),
        ({"created": "2024-05-09T04:00:00"}, "ValueError: created has no time zone"),
        ({"lost": "2024-05-09T04:00:00"}, "ValueError: lost has no time zone"),
        ({"removed": "2024-05-09T04:00:00"}, "ValueError: removed has no time zone"),
        ({"sha256": "0F" * 32}, "ValueError: sha256 isn't one"),
        ({"sha256": 5}, "ValueError: sha256 is int, not str"),
        ({"version": 5}, "ValueError: version is int, not str"),
        ({"lost": 5}, "ValueError: lost is int, not str"),
        ({"removed": 5}, "ValueError: removed is int, not str"),
        ({"source": 5}, "ValueError: source is int, not str"),
        ({"crc32c": 5}, "ValueError: crc32c is int, not str"),
        ({"generation": "5"}, "ValueError: generation is str, not int"),
        ({"path": "a\\b"}, "ValueError: a path contains a backslash"),
        (
            {"erased": {"lines": 0, "size": 0, "crc32c": "", "by": []}},
            "ValueError: erased has a number that is too small",
        ),
        (
            {"erased": {"lines": 1, "size": -1, "crc32c": "", "by": []}},
            "ValueError: erased has a number that is too small",
        ),
        (
            {"erased": {"lines": 1, "size": 0, "crc32c": "", "by": [5]}},
            "ValueError: erased names something else than entries",
        ),
        ({"erased": {"lines": 1, "size": 0, "crc32c": 5, "by": []}}, "ValueError: crc32c is int, not str"),
        ({"erased": {"lines": 1, "size": "", "crc32c": "", "by": []}}, "ValueError: size is str, not int"),
        ({"erased": {"lines": 1, "size": 0, "crc32c": "", "by": ""}}, "ValueError: by is str, not list"),
        ({"erased": None}, "TypeError: 'NoneType' object is not subscriptable"),
    ],
)
def test_a_refused_file_comes_with_the_reason(change: dict[str, Any], reason: str) -> None:
    document = json.loads(revised(None, {"a": 1}).dumps())
    document["files"][0] |= change
    with pytest.raises(AylaDestinationError) as refused:
        loads(json.dumps(document), WHERE)
    assert f"manifest/1 ({reason}). Move" in str(refused.value)


def test_values_at_their_limits_are_read() -> None:
    document = json.loads(revised(None, {"a": 1}).dumps())
    least = {"lines": 1, "size": 0, "crc32c": "", "by": []}
    document["files"][0] |= {"size": 0, "lines": 0, "erased": least}
    (file,) = loads(json.dumps(document), WHERE).files
    assert (file.size, file.lines, file.erased) == (0, 0, Erased(1, 0, "", ()))


@pytest.mark.parametrize("form", ["ayla-export-manifest/4", "ayla-stream-manifest/3"])
def test_a_manifest_of_a_newer_version_is_called_newer(form: str) -> None:
    with pytest.raises(AylaNewerFormatError, match=f"^{WHERE} has the format {form}, "):
        loads(changed(format=form), WHERE)


def test_archives_are_not_mixed_and_the_message_names_both() -> None:
    with pytest.raises(AylaConfigError) as refused:
        full(export="gs://ayla/0a1b/").refuse_other("gs://ayla/0a1c/")
    assert str(refused.value) == (
        "datapoint 2024-05-09 02:00 UTC: the destination is the archive of the export 'gs://ayla/0a1b/', and the "
        "connection leads to gs://ayla/0a1c/. Give each OEM its own destination."
    )
    stream = full(is_stream=True, export="kinesis://eu/x")
    for refuse in (stream.refuse_stream, lambda: stream.refuse_other("kinesis://eu/x")):
        with pytest.raises(AylaConfigError) as refused:
            refuse()
        assert str(refused.value) == (
            "datapoint 2024-05-09 02:00 UTC: the destination is the archive of the stream kinesis://eu/x, and not of "
            "an export. Give the export a destination, or a prefix, of its own, or correct this task's destination."
        )
    full().refuse_stream()
    # Earlier versions didn't write the export.
    full(export="").refuse_other("gs://ayla/0a1c/")


def test_an_entry_is_of_exactly_one_generation_of_a_file_at_one_path() -> None:
    file = ExportFile("datapoint", HOUR, FolderStyle.SPACE, "a", "oem/a", 3, "AAAAAA==", 7, NOW)
    made = ManifestFile.of(file, "copies/a", "AAAAAA==", 2, "v", ERASED, "0f" * 32)
    assert (made.lines, made.version, made.erased, made.sha256, made.lost, made.removed) == (
        2,
        "v",
        ERASED,
        "0f" * 32,
        "",
        "",
    )
    assert made.is_of(file, "copies/a")
    assert made.is_of(replace(file, crc32c=None), "copies/a")
    for other in (
        replace(file, generation=8),
        replace(file, size=4),
        replace(file, crc32c="BBBBBB=="),
        replace(file, created=NOW + ONE_HOUR),
        replace(file, name="oem/b"),
    ):
        assert not made.is_of(other, "copies/a")
    assert not made.is_of(file, "copies/b")


def test_the_line_of_the_log_says_what_is_lost_erased_and_removed() -> None:
    assert describe(full()) == (
        "datapoint 2024-05-09 02:00 UTC: landed, 3 files, 33 B, revision 3, 1 lost file, 2 lines erased, "
        "1 removed file by rule"
    )
    one = replace(full().files[0], lines=1, erased=replace(ERASED, lines=1))
    assert describe(full(files=(one,))) == (
        "datapoint 2024-05-09 02:00 UTC: landed, 1 file, 11 B, 1 line, revision 3, 1 line erased"
    )
    many = replace(one, lines=1234, erased=None)
    assert (
        describe(full(files=(many,))) == "datapoint 2024-05-09 02:00 UTC: landed, 1 file, 11 B, 1,234 lines, revision 3"
    )


def test_a_rule_marks_what_it_removes_once_and_spares_what_is_lost() -> None:
    manifest, at = full(), datetime(2024, 7, 1, tzinfo=UTC)
    after = after_removal(manifest, at, {"run_id": "rule"})
    assert [file.removed for file in after.files] == ["2024-07-01T00:00:00+00:00", "", "2024-06-02T00:00:00+00:00"]
    assert after == replace(manifest, written_at="2024-07-01T00:00:00+00:00", written_by={"run_id": "rule"})
    assert after_removal(after, at + ONE_HOUR, {}) is after


def test_a_revision_says_which_run_wrote_it_and_of_which_export() -> None:
    previous = revised(None, {"a": 1})
    more = {"written_at": NOW + ONE_HOUR, "written_by": {"run_id": "2"}, "export": "gs://ayla/0a1b/"}
    later = revise(previous, previous.hour, HourState.ARRIVING, [entry("b")], **more)
    assert later == Manifest(
        previous.hour,
        HourState.ARRIVING,
        2,
        (entry("a"), entry("b")),
        "2024-05-09T05:00:00+00:00",
        {"run_id": "2"},
        "gs://ayla/0a1b/",
    )
    landed = revise(later, later.hour, HourState.LANDED, [], **more | {"export": "gs://ayla/0a1b/export/"})
    assert landed == replace(later, state=HourState.LANDED, export="gs://ayla/0a1b/export/")


def test_a_copy_that_was_written_again_has_its_new_version_in_the_manifest() -> None:
    known = replace(entry("a"), version="1", lines=3, sha256="0f" * 32)
    hour = ExportHour("datapoint", HOUR)
    first = revise(None, hour, HourState.LANDED, [known], written_at=NOW, written_by=RUN)
    # A version that nobody knows is no other version.
    unknown = replace(known, version="", lines=None, sha256="")
    assert revise(first, hour, HourState.LANDED, [unknown], written_at=NOW, written_by=RUN) is first
    again = replace(unknown, version="2")
    later = revise(first, hour, HourState.LANDED, [again], written_at=NOW + ONE_HOUR, written_by=RUN)
    (file,) = later.files
    assert (file.version, file.lines, file.sha256) == ("2", 3, "0f" * 32)
    assert (later.revision, later.written_at) == (1, "2024-05-09T05:00:00+00:00")


def test_a_file_with_other_erased_lines_raises_the_revision() -> None:
    hour = ExportHour("datapoint", HOUR)
    first = revise(None, hour, HourState.LANDED, [entry("a")], written_at=NOW, written_by=RUN)
    erased = replace(entry("a"), erased=ERASED)
    later = revise(first, hour, HourState.LANDED, [erased], written_at=NOW, written_by=RUN)
    assert (later.revision, later.files[0].erased) == (2, ERASED)
    assert revise(later, hour, HourState.LANDED, [erased], written_at=NOW, written_by=RUN) is later


def test_a_file_that_moved_to_another_bucket_has_one_entry() -> None:
    hour = ExportHour("datapoint", HOUR)
    first = revise(None, hour, HourState.LANDED, [entry("a"), entry("b")], written_at=NOW, written_by=RUN)
    moved = replace(entry("a"), source="other/a")
    later = revise(first, hour, HourState.LANDED, [moved], written_at=NOW, written_by=RUN)
    assert [file.source for file in later.files] == ["oem/b", "other/a"]

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES, parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle, format_folder
from ayla_provider.domain.paths import (
    MANIFESTS,
    ExportFile,
    Layout,
    destination_path,
    erased_path,
    failure_path,
    hour_of_path,
    is_private,
    layout_of,
    manifest_path,
    oldest_path,
    parse_manifest_path,
    parse_partitioned_path,
    parse_source,
    parse_stream_path,
    partitioned_path,
    position_path,
    source_prefix,
    source_window,
    stream_path,
    typed_rows_url,
    volumes_path,
)
from ayla_provider.errors import AylaUnsafeNameError

OEM = "0a1b2c3d"
TWO = datetime(2024, 5, 9, 2, tzinfo=UTC)

folder_times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=0)
)
# Years of four digits, and room for an interval before and after.
hours = st.datetimes(datetime(1000, 2, 1), datetime(9999, 11, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda time: time.replace(minute=0, second=0, microsecond=0)
)
styles = st.sampled_from(FolderStyle)
event_types = st.sampled_from([*EVENT_TYPES, "activation", "device_activation"])
# What an object may be called: any text that UTF-8 can say, slashes among it.
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
partitions = st.tuples(event_types, folder_times, styles, names)
# Few of each, so that two of them are likely to differ in one thing alone, or in nothing.
alike = st.tuples(
    st.sampled_from(["datapoint", "datapoint_ack"]),
    st.sampled_from([TWO, TWO + timedelta(seconds=1), TWO + ONE_HOUR]),
    styles,
    st.text("a/%2F", min_size=1, max_size=4),
)
UNSAFE = ["../a.csv", "a/../../b", "..", ".", "./a", "a//b", "/etc/passwd", "a/", "a\\..\\b", "a\x00b", "a\nb", "a\x7f"]


def file_named(name: str, *, folder_time: datetime = TWO, style: FolderStyle = FolderStyle.SPACE) -> ExportFile:
    whole = f"{OEM}/Datapoint/{format_folder(folder_time, style)}/{name}"
    return ExportFile("datapoint", folder_time, style, name, whole, 3, "AAAAAA==", 1, folder_time + ONE_HOUR)


@given(folder_times, styles, names.filter(lambda name: not name.endswith("/")), st.sampled_from(EVENT_TYPES))
def test_an_object_is_found_in_its_folder(time: datetime, style: FolderStyle, name: str, event_type: str) -> None:
    prefix = source_prefix(f"{OEM}/", EVENT_FOLDERS[event_type])
    assert parse_source(f"{prefix}{format_folder(time, style)}/{name}", prefix) == (time, style, name)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_no_event_type_is_taken_for_another_whose_name_begins_the_same(event_type: str) -> None:
    prefix = source_prefix(f"{OEM}/", EVENT_FOLDERS[event_type])
    for folder in [*EVENT_FOLDERS.values(), "Datapoint2", "Location History"]:
        name = f"{OEM}/{folder}/2024-05-09 02:00:00/file.csv"
        is_its_own = parse_event_type(folder) == event_type
        assert name.startswith(prefix) is is_its_own
        assert (parse_source(name, prefix) is not None) is is_its_own


@pytest.mark.parametrize(
    "below",
    [
        "",
        "file.csv",
        "2024-05-09 02:00:00",
        "2024-05-09 02:00:00/",
        "2024-05-09 02:00:00/sub/",
        "2024-05-09 02:00:00x/file.csv",
        "latest/file.csv",
        "latest/2024-05-09 02:00:00/file.csv",
        "/2024-05-09 02:00:00/file.csv",
    ],
)
def test_an_object_in_no_dated_folder_is_no_file(below: str) -> None:
    prefix = source_prefix(f"{OEM}/", "Datapoint")
    assert parse_source(prefix + below, prefix) is None


@given(hours, st.integers(1, 60), styles, st.integers(0, 3599), st.data())
def test_a_listing_window_holds_every_folder_of_its_interval(
    start: datetime, count: int, style: FolderStyle, seconds: int, data: st.DataObject
) -> None:
    prefix = source_prefix(f"{OEM}/", "Datapoint")
    hour = start + data.draw(st.integers(0, count - 1)) * ONE_HOUR
    name = f"{prefix}{format_folder(hour + timedelta(seconds=seconds), style)}/{data.draw(names)}"
    first, last = source_window(prefix, start, start + count * ONE_HOUR)
    # As Cloud Storage compares names.
    assert first.encode() <= name.encode() < last.encode()


@given(hours, st.integers(1, 60), styles, st.integers(1, 20 * 24 * 3600), st.data())
def test_a_listing_window_holds_nothing_of_other_dates(
    start: datetime, count: int, style: FolderStyle, seconds: int, data: st.DataObject
) -> None:
    prefix = source_prefix(f"{OEM}/", "Datapoint")
    end = start + count * ONE_HOUR
    before = start - timedelta(seconds=seconds)
    after = end - timedelta(seconds=1) + timedelta(seconds=seconds)
    window = [bound.encode() for bound in source_window(prefix, start, end)]
    for time in (before, after):
        name = f"{prefix}{format_folder(time, style)}/{data.draw(names)}".encode()
        if not start.date() <= time.date() <= (end - ONE_HOUR).date():
            assert not window[0] <= name < window[1]


@pytest.mark.parametrize("hour", [TWO, datetime(2024, 5, 9, 23, tzinfo=UTC), datetime(2024, 12, 31, 23, tzinfo=UTC)])
def test_a_listing_window_of_one_hour_leaves_out_its_neighbours_with_a_space(hour: datetime) -> None:
    first, last = source_window("p/", hour, hour + ONE_HOUR)
    assert not first <= f"p/{format_folder(hour - timedelta(seconds=1))}/a" < last
    assert not first <= f"p/{format_folder(hour + ONE_HOUR, FolderStyle.HYPHEN)}/a" < last


def test_a_listing_window_stays_within_its_event_type() -> None:
    first, last = source_window(source_prefix(f"{OEM}/", "Datapoint"), datetime.min.replace(year=1000, tzinfo=UTC), TWO)
    assert not first <= f"{OEM}/Datapoint Ack/2024-05-09 01:00:00/a.csv" < last


@given(partitions)
@example(("datapoint", datetime(1, 1, 1, tzinfo=UTC), FolderStyle.SPACE, "a.csv"))
@example(("datapoint", datetime(999, 1, 1, tzinfo=UTC), FolderStyle.HYPHEN, "../../a b:c.csv"))
def test_a_partitioned_path_is_read_as_it_was_written(partition: tuple[str, datetime, FolderStyle, str]) -> None:
    assert parse_partitioned_path(partitioned_path(*partition)) == partition


@given(alike, alike)
@example(("location", TWO, FolderStyle.SPACE, "a/b"), ("location", TWO, FolderStyle.SPACE, "a%2Fb"))
def test_two_files_never_share_a_partitioned_path(
    one: tuple[str, datetime, FolderStyle, str], other: tuple[str, datetime, FolderStyle, str]
) -> None:
    assert (partitioned_path(*one) == partitioned_path(*other)) is (one == other)


@given(partitions)
def test_a_partitioned_path_is_plain_and_stays_in_its_hour(partition: tuple[str, datetime, FolderStyle, str]) -> None:
    event_type, time, _, _ = partition
    path = partitioned_path(*partition)
    folder = f"event_type={event_type}/date={time.date().isoformat()}/hour={time.hour:02}"
    assert str(PurePosixPath(path).parent) == folder
    assert PurePosixPath(path).name not in (".", "..")
    assert set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~%=/")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "event_type=datapoint/date=2024-05-09/hour=02/",
        "event_type=datapoint/date=2024-05-09/hour=02/a.csv",
        "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-",
        "event_type=datapoint/date=2024-05-09/hour=03/20240509T020000Z-a.csv",
        "event_type=datapoint/date=2024-05-10/hour=02/20240509T020000Z-a.csv",
        "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-a/b.csv",
        "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-a b.csv",
        "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-a%2fb.csv",
        "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-%ff.csv",
        "event_type=datapoint/date=2024-05-09/hour=02/20240509T020061Z-a.csv",
        "event_type=Datapoint/date=2024-05-09/hour=02/20240509T020000Z-a.csv",
        "/event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-a.csv",
        # A file on a disk whose name isn't UTF-8.
        "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-a\udcb1.csv",
    ],
)
def test_a_path_that_would_be_written_otherwise_is_not_read(path: str) -> None:
    assert parse_partitioned_path(path) is None


def test_several_folders_of_an_hour_can_hold_the_same_file_name() -> None:
    quarters = [TWO + n * timedelta(minutes=15) for n in range(4)]
    files = [file_named("Datapoints.csv", folder_time=time, style=style) for time in quarters for style in FolderStyle]
    assert {file.hour for file in files} == {ExportHour("datapoint", TWO)}
    for layout in Layout:
        assert len({destination_path(file, layout) for file in files}) == 8


def test_the_default_path_is_as_documented() -> None:
    path = "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-Datapoints.csv"
    assert destination_path(file_named("Datapoints.csv"), Layout.PARTITIONED) == path


def test_a_mirrored_path_is_the_objects_own_name() -> None:
    file = file_named("sub/Data points.csv")
    assert destination_path(file, Layout.MIRROR) == f"{OEM}/Datapoint/2024-05-09 02:00:00/sub/Data points.csv"


@given(names, st.sampled_from(Layout))
def test_no_name_leads_out_of_the_destination(name: str, layout: Layout) -> None:
    try:
        path = destination_path(file_named(name), layout)
    except AylaUnsafeNameError as refused:
        assert repr(f"{OEM}/Datapoint/2024-05-09 02:00:00/{name}") in str(refused)  # noqa: PT017 - or it is a path
        return
    assert not {"", ".", ".."} & set(path.split("/"))
    assert "\\" not in path
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in path)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_could_lead_out_is_refused_and_named(name: str, layout: Layout) -> None:
    with pytest.raises(AylaUnsafeNameError) as refused:
        destination_path(file_named(name), layout)
    assert repr(f"{OEM}/Datapoint/2024-05-09 02:00:00/{name}") in str(refused.value)
    assert not refused.value.retryable


@given(st.builds(ExportHour, event_types, hours), st.builds(ExportHour, event_types, hours))
def test_every_hour_has_a_manifest_of_its_own_outside_the_event_types(one: ExportHour, other: ExportHour) -> None:
    assert (manifest_path(one) == manifest_path(other)) is (one == other)
    # A glob over an event type must read CSV files only.
    assert PurePosixPath(manifest_path(one)).parts[0] == MANIFESTS
    assert not partitioned_path(other.event_type, other.start, FolderStyle.SPACE, "a.csv").startswith(f"{MANIFESTS}/")


def test_a_manifest_is_under_its_utc_hour() -> None:
    assert manifest_path(ExportHour("datapoint", TWO)) == "_manifests/event_type=datapoint/date=2024-05-09/hour=02.json"


def test_a_file_is_described_by_its_event_type_its_folder_and_its_name() -> None:
    file = file_named("é.csv", style=FolderStyle.HYPHEN)
    assert file.description == (
        "datapoint, folder 2024-05-09-02:00:00, object '0a1b2c3d/Datapoint/2024-05-09-02:00:00/é.csv'"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a\x00b", "contains a control character"),
        ("a\\b", "contains a backslash"),
        ("../a.csv", "contains an empty part, '.' or '..', which could lead out of the destination"),
    ],
)
def test_a_refused_name_comes_with_the_reason_and_what_to_do(name: str, reason: str) -> None:
    file = file_named(name)
    with pytest.raises(AylaUnsafeNameError) as refused:
        destination_path(file, Layout.PARTITIONED)
    assert str(refused.value) == (
        f"datapoint, folder 2024-05-09 02:00:00: the object {file.name!r} {reason}, so it isn't copied. Ask Ayla "
        "support to rename or remove it."
    )


def test_a_listing_window_begins_and_ends_as_the_names_of_its_hours_do() -> None:
    assert source_window("p/", TWO, TWO + ONE_HOUR) == ("p/2024-05-09 02", "p/2024-05-09-03")
    assert source_window("p/", TWO, TWO + 22 * ONE_HOUR) == ("p/2024-05-09 02", "p/2024-05-09-24")


@given(partitions.filter(lambda partition: "/" not in partition[3]))
def test_the_layout_of_a_copy_follows_from_its_path(partition: tuple[str, datetime, FolderStyle, str]) -> None:
    assert layout_of(partitioned_path(*partition)) is Layout.PARTITIONED
    assert layout_of("oem/Datapoint/2024-05-09 02:00:00/a.csv") is Layout.MIRROR


HOUR = ExportHour("datapoint", TWO)
PARTITION = "event_type=datapoint/date=2024-05-09/hour=02"


def test_each_kind_of_record_has_a_folder_of_its_own() -> None:
    assert failure_path(HOUR) == f"_failures/{PARTITION}.json"
    assert erased_path(HOUR) == f"_erased/{PARTITION}.json"
    assert position_path("datapoint") == "_verify/event_type=datapoint.json"
    assert volumes_path("datapoint") == "_volumes/event_type=datapoint.json"
    assert oldest_path("datapoint") == "_oldest/event_type=datapoint.json"


@pytest.mark.parametrize(
    ("path", "hour"),
    [
        (f"_manifests/{PARTITION}.json", HOUR),
        (f"{PARTITION}.json", None),
        (f"_failures/{PARTITION}.json", None),
        (f"_manifests/_manifests/{PARTITION}.json", None),
        (f"_manifests/{PARTITION}.json.gz", None),
        ("_manifests/event_type=datapoint/date=2024-02-30/hour=02.json", None),
        ("_manifests/event_type=datapoint/date=2024-05-09/hour=24.json", None),
        ("_manifests/event_type=Datapoint/date=2024-05-09/hour=02.json", None),
    ],
)
def test_the_path_of_a_manifest_says_its_hour(path: str, hour: ExportHour | None) -> None:
    assert parse_manifest_path(path) == hour
    assert parse_manifest_path(path.replace("_manifests/", "_typed/", 1), "_typed") == (
        hour if path.startswith("_manifests") else None
    )


@pytest.mark.parametrize(
    ("path", "hour"),
    [
        (f"{PARTITION}/20240509T024500Z-a.csv", HOUR),
        ("oem/Datapoint/2024-05-09 02:45:00/a.csv", HOUR),
        ("oem/Datapoint/2024-05-09-02:45:00/sub/a.csv", HOUR),
        ("Datapoint Ack/2024-05-09 02:00:00/a.csv", ExportHour("datapoint_ack", TWO)),
        # The first folder that states an hour counts, if what is above it can be an event type.
        ("oem/Datapoint/2024-05-09 02:00:00/Location/2024-05-09 03:00:00/a.csv", HOUR),
        ("oem/%/2024-05-09 03:00:00/Datapoint/2024-05-09 02:00:00/a.csv", HOUR),
        # The file's own name states nothing, and neither does a folder with nothing above it.
        ("oem/Datapoint/2024-05-09 02:00:00", None),
        ("2024-05-09 02:00:00/a.csv", None),
        (f"{PARTITION}/a.csv", None),
        ("notes.txt", None),
    ],
)
def test_the_path_of_a_copy_says_its_hour(path: str, hour: ExportHour | None) -> None:
    assert hour_of_path(path) == hour


@pytest.mark.parametrize(
    ("archive", "parquet", "url"),
    [
        ("gs://b/ayla", "", "gs://b/ayla/parquet"),
        (" gs://b/ayla// ", "", "gs://b/ayla/parquet"),
        ("gs://b/ayla", "gs://c/rows/", "gs://c/rows/"),
    ],
)
def test_typed_rows_are_beside_the_archive_unless_somebody_says_otherwise(archive: str, parquet: str, url: str) -> None:
    assert typed_rows_url(archive, parquet) == url


@pytest.mark.parametrize(
    ("event_type", "batch", "path"),
    [
        ("datapoint", 7, f"{PARTITION}/0000000007.jsonl.gz"),
        ("datapoint", 12345678901, f"{PARTITION}/12345678901.jsonl.gz"),
        (None, 7, "_unreadable/date=2024-05-09/hour=02/0000000007.jsonl.gz"),
    ],
)
def test_a_file_of_a_stream_is_in_the_folder_of_its_hour(event_type: str | None, batch: int, path: str) -> None:
    berlin = timezone(timedelta(hours=2))
    assert stream_path(event_type, TWO.astimezone(berlin), batch) == path
    assert parse_stream_path(path) == (event_type, TWO, batch)


@pytest.mark.parametrize(
    "path",
    [
        f"{PARTITION}/000000007.jsonl.gz",
        f"{PARTITION}/00000000007.jsonl.gz",
        f"{PARTITION}/0000000007.jsonl",
        "event_type=datapoint/date=2024-05-09/hour=25/0000000007.jsonl.gz",
        "event_type=/date=2024-05-09/hour=02/0000000007.jsonl.gz",
        "_quarantine/date=2024-05-09/hour=02/0000000007.jsonl.gz",
    ],
)
def test_another_path_is_no_file_of_a_stream(path: str) -> None:
    assert parse_stream_path(path) is None


@pytest.mark.parametrize(
    ("path", "private"),
    [
        ("_parts/a", True),
        ("_quarantine/a/b.parquet", True),
        ("_unreadable/date=2024-05-09/a", True),
        ("_erasures/a.json", True),
        ("_extracts/a", True),
        ("_manifests/a.json", False),
        ("event_type=datapoint/_parts/a", False),
        ("_partsx/a", False),
    ],
)
def test_some_folders_have_personal_data_that_no_analyst_needs(path: str, private: bool) -> None:
    assert is_private(path) is private

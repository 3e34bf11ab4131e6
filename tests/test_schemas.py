"""The JSON Schemas of what the package writes: every document passes, and a damaged one doesn't."""

from __future__ import annotations

import copy
import io
import json
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain import stream as positions
from ayla_provider.domain import typed_manifest as receipts
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.erasure import parse_entry
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.errors import AylaError, AylaStreamLossError
from ayla_provider.rows.typed_archive import TypedArchive
from tests.support.erasing import erasure_run, hours, load, make_archive, request
from tests.support.memory_stream import START, live, made_stream
from tests.support.stream_archives import RUN
from tests.warehouse.archive import HOUR, archive_hour

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
NAMES = ("manifest", "receipt", "position", "erasure")
ROW = b"1a2b3c4d,LC-THERMO-2,LC000X%09d,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"


class KeepingDestination(FileDestination):
    """A folder on disk that keeps each version of each JSON object."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.kept: list[tuple[str, bytes]] = []

    def write(self, path: str, stream: Any, **arguments: Any) -> Any:
        if path.endswith(".json"):
            content = stream.read()
            self.kept.append((path, content))
            stream = io.BytesIO(content)
        return super().write(path, stream, **arguments)


def kind_of(path: str) -> str | None:
    """Return the schema for an object of an archive; None if it has none."""
    folders = {"_manifests": "manifest", "_typed": "receipt", "_stream": "position", "_erasures": "erasure"}
    return next((folders[part] for part in path.split("/") if part in folders), None)


def on_disk(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*.json")):
        yield str(path.relative_to(root)), path.read_bytes()


def of_earlier_versions(root: Path) -> Iterator[tuple[str, bytes]]:
    fixtures = Path(__file__).parent / "fixtures"
    for name in ("version_0_1/archive.tar.gz", "before_erasures.tar.xz"):
        with tarfile.open(fixtures / name) as tar:
            tar.extractall(root / name, filter="data")
        yield from on_disk(root / name)


def of_an_erasure(root: Path) -> Iterator[tuple[str, bytes]]:
    make_archive(root)
    load(root, DuckDB(root))
    yield from on_disk(root / "archive")
    request(root)
    archive = KeepingDestination(root / "archive")
    erasure_run(root, [DuckDB(root)], archive).erase()
    yield from archive.kept
    yield from on_disk(root / "archive")


def DuckDB(root: Path) -> Any:  # noqa: N802 - imported where it is used, because DuckDB takes time
    from tests.support.erasing import duckdb_of

    return duckdb_of(root)


def of_losses_and_removals(root: Path) -> Iterator[tuple[str, bytes]]:
    manifest = archive_hour(root, "connection", [ROW % 1, ROW % 2])
    lost = manifests.revise(
        manifest,
        manifest.hour,
        HourState.LANDED,
        manifest.files[1:],
        written_at=HOUR,
        written_by=RUN,
        lost=manifest.files[:1],
    )
    assert lost.lost
    yield "_manifests/lost.json", lost.dumps().encode()
    yield "_manifests/removed.json", manifests.after_removal(lost, HOUR, RUN).dumps().encode()
    for most in (10**12, 1):
        typed = TypedArchive(FileDestination(root), FileDestination(root / str(most)), max_bytes_per_task=most)
        made = typed.ensure(manifest.hour, RUN).manifest
        assert bool(made.parts) == (most == 1)
        for receipt in (made, replace(made, removed=HOUR.isoformat()), replace(made, lost=("a file",))):
            yield "_typed/made.json", receipt.dumps().encode()
    empty = archive_hour(root, "location", [])
    yield "_manifests/empty.json", empty.dumps().encode()
    typed = TypedArchive(FileDestination(root), FileDestination(root / "rows"))
    yield "_typed/empty.json", typed.ensure(empty.hour, RUN).manifest.dumps().encode()


def of_a_stream(root: Path) -> Iterator[tuple[str, bytes]]:
    stream = made_stream()
    destination = KeepingDestination(root)
    archive = StreamArchive(destination)
    chance = random.Random(5)
    for number in range(4):
        live(stream, chance, timedelta(hours=2), 40)
        archive.drain(stream, stream.now, written_by=RUN | {"run_id": f"run {number}"}, max_records=30)
    # What is in the stream by then expires unread.
    live(stream, chance, timedelta(hours=1), 20)
    stream.now = START + timedelta(hours=48)
    with pytest.raises(AylaStreamLossError):
        archive.drain(stream, stream.now, written_by=RUN | {"run_id": "later"}, max_records=30)
    yield from destination.kept


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Schema to all documents that there should be one of."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for make in (of_earlier_versions, of_an_erasure, of_losses_and_removals, of_a_stream):
        for path, content in make(tmp_path_factory.mktemp("documents")):
            kind = kind_of(path)
            if kind:
                found[kind].append(json.loads(content))
    return found


def schema_of(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_schema_is_one_and_refuses_names_that_it_does_not_know(name: str) -> None:
    schema = schema_of(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].endswith(f"/schemas/{name}.json")
    assert schema["additionalProperties"] is False


def test_every_document_that_is_written_is_valid(name: str, documents: dict[str, list[dict[str, Any]]]) -> None:
    validator = Draft202012Validator(schema_of(name))
    problems = [
        f"{error.json_path}: {error.message[:200]}"
        for document in documents[name]
        for error in validator.iter_errors(document)
    ]
    assert problems == []


FORMATS = {
    "manifest": {
        manifests.FORMAT,
        manifests.LOST_FORMAT,
        manifests.ERASED_FORMAT,
        manifests.STREAM_FORMAT,
    },
    "receipt": {receipts.FORMAT, receipts.FORMAT_OF_SETS, receipts.FORMAT_OF_REMOVED},
    "position": {positions.POSITION_FORMAT},
    "erasure": {"ayla-erasure/1"},
}


def test_there_is_a_document_of_each_format_and_with_each_field(
    name: str, documents: dict[str, list[dict[str, Any]]]
) -> None:
    assert {document["format"] for document in documents[name]} == FORMATS[name]
    fields = {field for document in documents[name] for field in document}
    assert fields == set(schema_of(name)["properties"])
    if name == "position":
        assert any(document["pending"] for document in documents[name])
        assert any(document["gaps"] for document in documents[name])
    if name == "erasure":
        assert {document["state"] for document in documents[name]} == {"begun", "done"}


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value within a document. Of a list, only the first item is looked into."""
    inside: list[Any] = []
    if isinstance(document, dict):
        inside = list(document)
    elif isinstance(document, list) and document:
        inside = [0]
    for key in inside:
        yield (*path, key)
        yield from places(document[key], (*path, key))


def changed(document: dict[str, Any], path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    """Return a document with a change of the value at a path."""
    other = copy.deepcopy(document)
    parent: Any = other
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return other


def removed(parent: Any, key: Any) -> None:
    del parent[key]


def of_another_type(parent: Any, key: Any) -> None:
    parent[key] = 1.5 if not isinstance(parent[key], dict) else "text"


def read(name: str, text: str, document: dict[str, Any]) -> None:
    """Read a document as the package does."""
    if name == "manifest":
        manifests.loads(text, "a test")
    elif name == "receipt":
        start = datetime.fromisoformat(document["hour"])
        receipts.parse_typed_manifest(text, "a test", ExportHour(EventType(document["event_type"]), start))
    elif name == "position":
        positions.loads(text, "a test")
    else:
        parse_entry(text.encode(), "a test")


def is_refused(name: str, document: dict[str, Any], original: dict[str, Any]) -> bool:
    try:
        read(name, json.dumps(document), original)
    except AylaError:
        return True
    return False


def test_a_schema_refuses_what_the_package_refuses(name: str, documents: dict[str, list[dict[str, Any]]]) -> None:
    validator = Draft202012Validator(schema_of(name))
    # One document of each form.
    of_form = {(document["format"], *sorted(document)): document for document in documents[name]}
    refused, passed = 0, []
    for document in of_form.values():
        assert not is_refused(name, document, document)
        for path in places(document):
            if isinstance(path[-1], int):
                continue
            for change in (removed, of_another_type):
                other = changed(document, path, change)
                if is_refused(name, other, document):
                    refused += 1
                    if validator.is_valid(other):
                        passed.append((path, change.__name__))
    assert refused > 20
    assert passed == []


DAMAGES = {
    "manifest": [
        {"format": "ayla-export-manifest/4"},
        {"state": "overdue"},
        {"revision": 0},
        {"hour": "2026-11-01T07:30:00+00:00"},
        {"hour": "2026-11-01T07:00:00+02:00"},
        {"event_type": "Datapoint Ack"},
        {"total_bytes": -1},
        {"lost_files": 1},
        {"unknown": 1},
        {"written_at": "yesterday"},
    ],
    "receipt": [
        {"format": "ayla-export-typed/9"},
        {"path": "../rows.parquet"},
        {"quarantine": "/etc/passwd"},
        {"removed": "2026-11-01T07:00:00+00:00"},
        {"rows": "7"},
        {"columns": [{"name": "drop table", "type": "text", "description": ""}]},
    ],
    "position": [
        {"batch": 0},
        {"since": "2026-11-01T07:10:00+00:00"},
        {"shards": {"shardId-000000000000": {"after": 12, "read_to": None, "closed": False}}},
        {"event_types": ["heartbeat"]},
    ],
    "erasure": [
        {"id": "20261130T033444Z"},
        {"state": "done", "done_at": None},
        {"state": "begun", "done_at": "2026-11-01T07:00:00+00:00"},
        {"subjects": []},
        {"erased": {"csv_lines": -1}},
        {"looked_at": [{"kind": "archive"}]},
        {"dsn": "LC000X000000001"},
    ],
}


@pytest.mark.parametrize(("name", "damage"), [(name, one) for name, damages in DAMAGES.items() for one in damages])
def test_a_damaged_document_is_refused(
    name: str, damage: dict[str, Any], documents: dict[str, list[dict[str, Any]]]
) -> None:
    validator = Draft202012Validator(schema_of(name))
    assert not validator.is_valid(documents[name][0] | damage)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up", "a/../b", "a//b", "a/", ".", "a\\b", "a\nb"], ids=lambda path: repr(path)
)
def test_a_path_that_leaves_the_destination_is_refused(path: str, documents: dict[str, list[dict[str, Any]]]) -> None:
    manifest = copy.deepcopy(next(each for each in documents["manifest"] if each["files"]))
    manifest["files"][0]["path"] = path
    assert not Draft202012Validator(schema_of("manifest")).is_valid(manifest)


def test_the_hours_of_these_tests_are_those_of_the_archive() -> None:
    assert hours()[0].start == HOUR.astimezone(UTC)


OLD_READER = """
import json, sys
from ayla_provider import __version__
from ayla_provider.domain import manifest, typed
from ayla_provider.errors import AylaDestinationError

assert __version__ == "0.1.0"
read = {"manifest": manifest.loads, "receipt": typed.loads}
answers = []
for kind, document in json.load(sys.stdin):
    try:
        one = read[kind](json.dumps(document), "a document")
        answers.append([one.event_type, one.hour.isoformat(), len(one.files)])
    except AylaDestinationError as error:
        answers.append(str(error))
json.dump(answers, sys.stdout)
"""


def test_version_0_1_refuses_newer_formats_and_misreads_nothing(
    documents: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    with tarfile.open(Path(__file__).parent / "fixtures/version_0_1/reader.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    given = [(kind, document) for kind in ("manifest", "receipt") for document in documents[kind]]
    command = [sys.executable, "-c", OLD_READER]
    run = subprocess.run(command, cwd=tmp_path, input=json.dumps(given), capture_output=True, text=True, check=True)
    read: set[str] = set()
    refused: set[str] = set()
    for (_, document), answer in zip(given, json.loads(run.stdout), strict=True):
        own = document["format"]
        if isinstance(answer, str):
            assert "format" in answer
            refused.add(own)
            continue
        assert answer == [document["event_type"], document["hour"], len(document["files"])]
        read.add(own)
    assert read == {"ayla-export-manifest/1", "ayla-export-typed/1"}
    newer = {f"ayla-export-{name}/{number}" for name in ("manifest", "typed") for number in (2, 3)}
    assert newer <= refused
    assert "ayla-stream-manifest/1" in refused

"""Requests for erasure as they wait in a folder: their order, their removal, and what is said of the others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.archive import erasure_requests
from ayla_provider.archive.destination import Listed
from ayla_provider.archive.erasure_requests import (
    refuse_no_folder,
    remove_requests,
    request_objects,
    waiting_requests,
)
from ayla_provider.archive.erasures import Erasures
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import write_json
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.errors import AylaConfigError

KEYS = ErasureKeys.parse("a-key-of-sixteen-characters", "x")
MADE = datetime(2026, 11, 30, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ask(root: Path, name: str, dsn: str, hours: int = 0) -> None:
    """Write a request that was made some hours after the first one."""
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"dsn": dsn}))
    written = (MADE + hours * HOUR).timestamp()
    os.utime(path, (written, written))


def test_requests_are_done_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    for name, hours in (("c.json", 0), ("a.json", 2), ("b.json", 1), ("d.json", 1)):
        ask(tmp_path, name, f"LC000X00000000{ord(name[0])}", hours)
    waiting = waiting_requests(FileDestination(tmp_path), KEYS)
    assert [each.stored.path for each in waiting] == ["c.json", "b.json", "d.json", "a.json"]
    assert [each.request.made_at for each in waiting] == [MADE + hours * HOUR for hours in (0, 1, 1, 2)]
    assert [each.id for each in waiting] == [each.request.id(KEYS) for each in waiting]
    assert waiting[0].request.identifiers == {"dsn": "LC000X0000000099"}
    wanted = [waiting[3].id, waiting[1].id]
    assert waiting_requests(FileDestination(tmp_path), KEYS, wanted) == [waiting[1], waiting[3]]
    assert waiting_requests(FileDestination(tmp_path), KEYS, []) == []


def test_requests_that_are_done_are_removed_and_the_others_stay(tmp_path: Path) -> None:
    for number in range(3):
        ask(tmp_path, f"{number}.json", f"LC000X00000000{number}", number)
    requests = FileDestination(tmp_path)
    first, _, last = waiting_requests(requests, KEYS)
    assert remove_requests(requests, [first, last]) == []
    assert [path.name for path in tmp_path.iterdir()] == ["1.json"]


def test_each_wrong_request_is_named_up_to_five(tmp_path: Path) -> None:
    ask(tmp_path, "right.json", "LC000X000000001")
    (tmp_path / "0.json").write_text("{")
    url = FileDestination(tmp_path).url
    reason = "isn't a valid request: it isn't JSON"
    with pytest.raises(AylaConfigError) as raised:
        waiting_requests(FileDestination(tmp_path), KEYS)
    assert str(raised.value) == (
        f"Nothing was erased, because of 1 request. {url}/0.json {reason}. Correct or remove it, and clear the task."
    )
    for number in range(1, 7):
        (tmp_path / f"{number}.json").write_text("{")
    with pytest.raises(AylaConfigError) as raised:
        waiting_requests(FileDestination(tmp_path), KEYS)
    begin, *_, last = str(raised.value).split(f" {reason}")
    assert begin.startswith(f"Nothing was erased, because of 7 requests. {url}/")
    assert last == ", and 2 more. Correct or remove them, and clear the task."
    assert str(raised.value).count(reason) == 5


def test_a_folder_that_does_not_exist_is_refused_and_nothing_else_is(tmp_path: Path) -> None:
    missing = FileDestination(tmp_path / "missing")
    for ask_for in (refuse_no_folder, lambda requests: waiting_requests(requests, KEYS)):
        with pytest.raises(AylaConfigError) as raised:
            ask_for(missing)
        assert str(raised.value) == (
            f"{missing.url}: this folder of the requests doesn't exist. Nothing was done. Correct its URL, or make it."
        )
    assert waiting_requests(FileDestination(tmp_path), KEYS) == []

    class Bucket(FileDestination):
        def local(self, path: str) -> Path | None:
            return None

    assert waiting_requests(Bucket(tmp_path / "missing"), KEYS) == []


def test_a_folder_of_very_many_objects_is_none_of_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure_requests, "_MOST", 3)
    requests = FileDestination(tmp_path)
    for number in range(3):
        ask(tmp_path, f"{number}.json", f"LC000X00000000{number}")
    assert len(request_objects(requests)) == 3
    ask(tmp_path, "3.json", "LC000X000000009")
    with pytest.raises(AylaConfigError) as raised:
        request_objects(requests)
    assert str(raised.value) == (
        f"{requests.url} has more than 3 objects. Is it the folder of the requests, and of nothing else?"
    )


def test_rests_of_uploads_and_what_consoles_show_as_folders_are_no_requests(tmp_path: Path) -> None:
    class Bucket(FileDestination):
        def tree(self, prefix: str) -> Iterator[Listed]:
            for listed in super().tree(prefix):
                yield replace(listed, unfinished=listed.stored.path == "rest.txt")
                for path in ("", "folder/"):
                    yield replace(listed, stored=replace(listed.stored, path=path))

    ask(tmp_path, "rest.txt", "LC000X000000001")
    ask(tmp_path, "right.json", "LC000X000000002")
    ((stored, content, modified),) = request_objects(Bucket(tmp_path))
    assert (stored.path, json.loads(content), modified) == ("right.json", {"dsn": "LC000X000000002"}, MADE)


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [("notes.txt", True), ("ticket.txt", False), ("a.b-c", False), ("NOTES", True), ("README", False)],
)
def test_a_name_that_can_be_an_identifier_is_not_shown(tmp_path: Path, name: str, is_shown: bool) -> None:
    (tmp_path / name).write_text("x")
    shown = name if is_shown else "1 whose name is not shown, to hide identifiers"
    url = FileDestination(tmp_path).url
    with pytest.raises(AylaConfigError) as raised:
        request_objects(FileDestination(tmp_path))
    assert str(raised.value) == (
        f"Nothing was done. {url} has 1 object whose name doesn't end in .json, in lower case: {shown}. If it is a "
        "request, rename it, such as to ticket-123.json. If it isn't, remove it. Then clear the task."
    )


def test_a_ledger_whose_key_nobody_gave_says_which(tmp_path: Path) -> None:
    archive = FileDestination(tmp_path)
    hour = ExportHour(EventType("datapoint"), MADE - HOUR)
    request = ErasureRequest({"dsn": "LC000X000000007"}, MADE - 3 * HOUR, MADE, MADE)
    entry = request.entry(KEYS, MADE, {})
    write_json(archive, entry.path, entry.dumps(), None)
    ledger = Erasures(archive)
    with pytest.raises(AylaConfigError) as raised:
        ledger.matcher(hour)
    assert str(raised.value) == (
        f"the archive {archive.url} has the erasure {entry.id}, which was made with the key {entry.key_id}, and this "
        "task has no key. Set its erasure_conn_id."
    )
    assert ledger.matcher(ExportHour(EventType("datapoint"), MADE - 5 * HOUR)) is None
    found = Erasures(archive, lambda: KEYS).matcher(hour)
    assert found is not None
    assert found.found(b"a,LC000X000000007,b") == {entry.id}
    assert found.words(b"a,lc000x000000007,LC000X000000008") == {b"lc000x000000007": {entry.id}}


def test_the_ledger_is_that_of_the_first_question_and_asks_once(tmp_path: Path) -> None:
    archive = FileDestination(tmp_path)
    hours = [ExportHour(EventType("datapoint"), MADE - number * HOUR) for number in (1, 2)]
    asked = []

    def keys() -> ErasureKeys:
        asked.append(1)
        return KEYS

    def write(dsn: str) -> str:
        entry = ErasureRequest({"dsn": dsn}, MADE - 3 * HOUR, MADE, MADE).entry(KEYS, MADE, {})
        write_json(archive, entry.path, entry.dumps(), None)
        return entry.id

    first = write("LC000X000000007")
    ledger = Erasures(archive, keys)
    ledger.begin()
    second = write("LC000X000000008")
    text = b"LC000X000000007 LC000X000000008"
    for hour in hours:
        matcher = ledger.matcher(hour)
        assert matcher is not None
        assert matcher.found(text) == {first}
    assert ledger.matcher(hours[0]) is ledger.matcher(hours[1])
    assert len(asked) == 1
    later = Erasures(archive, keys).matcher(hours[0])
    assert later is not None
    assert later.found(text) == {first, second}

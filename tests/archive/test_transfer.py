from __future__ import annotations

import dataclasses
import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ayla_provider.archive.destination import LeavesMd5, Stored
from ayla_provider.archive.erasures import Matcher
from ayla_provider.archive.gcs_upload import AT_ONCE
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.transfer import Copy, Transfer
from ayla_provider.domain.hour import hours_of
from ayla_provider.domain.manifest import Erased
from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import AylaAccessDenied, AylaConflictError, AylaError, AylaTransferError, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import Content, SeededContent
from ayla_provider.source import gcs, reader
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from ayla_provider.source.reader import CorruptedError
from ayla_provider.transport.checksum import CHUNK, Crc32c
from tests.support.client import age, at, bytes_of, client_of, export_of, put, requests_of
from tests.support.places import Place
from tests.support.web_server import Answering

PATH = "hour/copy.csv"

SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, AT_ONCE, AT_ONCE + 1, 17 * CHUNK + 5]


def listed(cloud: LocalCloud, export: Export, content: bytes | Content) -> ExportFile:
    """Put a file into the export, and return it as it is listed."""
    put(cloud, 2, "Datapoints.csv", content)
    (file,) = export.list_files(hours_of("datapoint", at(2), at(3)))
    return file


def transfer_of(export: Export, place: Place, on_bytes: Callable[[int], None] = lambda size: None) -> Transfer:
    return Transfer(export, place.destination, threading.Event(), on_bytes)


def lines_of(content: Content) -> int:
    return len(list(io.BytesIO(bytes_of(content))))


def downloads(cloud: LocalCloud) -> list[Any]:
    return requests_of(cloud, "download")


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_equals_its_source(cloud: LocalCloud, export: Export, place: Place, size: int) -> None:
    content = SeededContent(1, size)
    file, moved = listed(cloud, export, content), []
    copy = transfer_of(export, place, moved.append).copy(file, PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    stored = copy.stored
    assert (stored.path, stored.size, place.destination.crc32c(stored)) == (PATH, size, file.crc32c)
    assert (copy.crc32c, copy.lines) == (file.crc32c, lines_of(content))
    assert copy.sha256 == hashlib.sha256(bytes_of(content)).hexdigest()
    assert sum(moved) == size
    assert len(downloads(cloud)) == (1 if size else 0)


def test_a_name_is_asked_for_literally(cloud: LocalCloud, export: Export, place: Place) -> None:
    put(cloud, 2, "100% of ü #1?.csv", b"data", folder="Datapoint Ack")
    (file,) = export.list_files(hours_of("datapoint_ack", at(2), at(3)))
    transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: b"data"}


@pytest.mark.parametrize("cut", [0, 100, CHUNK, 2 * CHUNK + 77, 20 * CHUNK + 5])
@pytest.mark.parametrize("how", ["cut", "truncate"])
def test_a_download_that_breaks_is_continued_where_it_was(
    cloud: LocalCloud, export: Export, place: Place, how: str, cut: int
) -> None:
    content = SeededContent(2, 21 * CHUNK)
    file = listed(cloud, export, content)
    cloud.faults.add(how, step="download", after_bytes=cut)
    copy = transfer_of(export, place).copy(file, PATH, None)
    assert copy.lines == lines_of(content)
    assert copy.sha256 == hashlib.sha256(bytes_of(content)).hexdigest()
    assert place.everything() == {PATH: bytes_of(content)}
    first, second = downloads(cloud)
    known = content.size - second.sent
    assert cut - CHUNK < known <= cut
    assert (first.status, second.status) == (200, 206 if known else 200)


def test_a_download_that_breaks_again_and_again_is_continued_each_time(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    content = SeededContent(3, 12 * CHUNK)
    file = listed(cloud, export, content)
    cloud.faults.add("cut", step="download", after_bytes=CHUNK + 10, times=None)
    transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    assert [one.status for one in downloads(cloud)] == [200] + [206] * 11


def test_a_download_without_progress_ends_with_where_it_stopped(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    file = listed(cloud, export, SeededContent(3, 3 * CHUNK))
    cloud.faults.add("cut", step="download", after_bytes=2 * CHUNK)
    cloud.faults.add(503, step="download", times=None, nth=2)
    message = rf"02:00:00.*Datapoints\.csv.*byte {2 * CHUNK} of {3 * CHUNK}"
    with pytest.raises(AylaUnavailable, match=message) as failed:
        transfer_of(export, place).copy(file, PATH, None)
    assert failed.value.retryable
    assert place.everything() == {}
    assert len(downloads(cloud)) == 1 + reader._TRIES_WITHOUT_PROGRESS - 1


def test_a_corruption_after_an_interruption_is_noticed_and_the_file_copied_again(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    content = SeededContent(4, 3 * CHUNK)
    file = listed(cloud, export, content)
    cloud.faults.add("cut", step="download", after_bytes=CHUNK + 9)
    cloud.faults.add("corrupt", step="download", nth=2, after_bytes=5)
    transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    assert [one.status for one in downloads(cloud)] == [200, 206, 200]


@pytest.mark.parametrize("size", [10, 10 * CHUNK])
def test_a_file_that_arrives_corrupted_once_is_copied_again(
    cloud: LocalCloud, export: Export, place: Place, size: int
) -> None:
    content = SeededContent(5, size)
    file = listed(cloud, export, content)
    cloud.faults.add("corrupt", step="download", after_bytes=size - 1)
    transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    assert len(downloads(cloud)) == 2


@pytest.mark.parametrize("size", [10, 10 * CHUNK])
def test_a_file_that_arrives_corrupted_always_is_an_error_and_not_stored(
    cloud: LocalCloud, export: Export, place: Place, size: int
) -> None:
    file = listed(cloud, export, SeededContent(5, size))
    cloud.faults.add("corrupt", step="download", times=None)
    with pytest.raises(AylaTransferError, match=rf"Datapoints\.csv.*{file.crc32c.replace('+', '.')}.*Nothing was"):
        transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {}
    assert len(downloads(cloud)) == 2


def test_a_failed_copy_keeps_the_old_object(cloud: LocalCloud, export: Export, place: Place) -> None:
    old = transfer_of(export, place).copy(listed(cloud, export, b"old"), PATH, None).stored
    cloud.clock.set(at(13))
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "Datapoints.csv", b"new", at(12, 30))
    (file,) = export.list_files(hours_of("datapoint", at(2), at(3)))
    cloud.faults.add("corrupt", step="download", times=None)
    with pytest.raises(AylaTransferError):
        transfer_of(export, place).copy(file, PATH, old)
    assert place.everything() == {PATH: b"old"}


def test_a_file_that_vanished_is_an_error_that_names_it(cloud: LocalCloud, export: Export, place: Place) -> None:
    file = listed(cloud, export, b"data")
    cloud.delete_object("Datapoint", "2024-05-09 02:00:00", "Datapoints.csv")
    with pytest.raises(AylaTransferError, match=r"datapoint.*2024-05-09 02:00:00.*Datapoints\.csv.*vanished"):
        transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {}


@pytest.mark.parametrize("same", [True, False], ids=["same bytes", "other bytes"])
def test_a_file_that_was_replaced_is_an_error_that_names_it(
    cloud: LocalCloud, export: Export, place: Place, same: bool
) -> None:
    file = listed(cloud, export, b"data")
    put(cloud, 2, "Datapoints.csv", b"data" if same else b"mine")
    with pytest.raises(AylaTransferError, match=rf"Datapoints\.csv.*generation {file.generation}.*replaced"):
        transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {}


def test_a_file_that_was_replaced_after_a_break_is_not_continued_with_the_other(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    file = listed(cloud, export, SeededContent(6, 4 * CHUNK))
    cloud.faults.add("cut", step="download", after_bytes=2 * CHUNK)
    slow = cloud.faults.add("slow", step="download", nth=2, delay=0.4)
    with ThreadPoolExecutor(1) as pool:
        copy = pool.submit(transfer_of(export, place).copy, file, PATH, None)
        while not slow.fired and not copy.done():
            threading.Event().wait(0.01)
        put(cloud, 2, "Datapoints.csv", SeededContent(7, 4 * CHUNK))
        with pytest.raises(AylaTransferError, match="replaced"):
            copy.result()
    assert place.everything() == {}


def test_a_token_that_dies_in_the_middle_is_replaced(
    cloud: LocalCloud, export: Export, provider: TokenProvider, place: Place
) -> None:
    content = SeededContent(8, 3 * CHUNK)
    file = listed(cloud, export, content)
    age(provider)
    cloud.faults.add("cut", step="download", after_bytes=CHUNK)
    ended: list[int] = []

    def end_the_token(_: int) -> None:
        if not ended:
            ended.append(1)
            cloud.revoke("storage")

    transfer_of(export, place, end_the_token).copy(file, PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    assert [one.status for one in downloads(cloud)] == [200, 401, 206]
    assert cloud.sign_ins == 1


@pytest.mark.parametrize("fault", [{"kind": 503}, {"kind": 429}, {"kind": 500}, {"kind": "slow", "delay": 0.05}])
def test_a_temporary_fault_of_a_download_is_retried(
    cloud: LocalCloud, export: Export, place: Place, fault: dict[str, Any]
) -> None:
    file = listed(cloud, export, b"data")
    cloud.faults.add(**fault, step="download")
    transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: b"data"}


@pytest.mark.parametrize(("status", "kind"), [(403, AylaAccessDenied), (418, AylaUnavailable)])
def test_a_download_that_is_refused_names_the_file_at_once(
    cloud: LocalCloud, export: Export, place: Place, status: int, kind: type[AylaError]
) -> None:
    file = listed(cloud, export, b"data")
    cloud.faults.add(status, step="download", times=None)
    with pytest.raises(kind, match=rf"Datapoints\.csv.*{status}"):
        transfer_of(export, place).copy(file, PATH, None)
    assert len(downloads(cloud)) == 1
    assert place.everything() == {}


def test_a_refused_download_quotes_the_reason_and_blames_neither_oem_id_nor_bucket(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    file = listed(cloud, export, b"data")
    body = '{"error": {"code": 403, "message": "The object is under a hold."}}'
    cloud.faults.add(403, step="download", times=None, body=body, content_type="application/json")
    with pytest.raises(AylaAccessDenied) as error:
        transfer_of(export, place).copy(file, PATH, None)
    said = str(error.value)
    assert 'refuses the download (403), "The object is under a hold.". The bucket could be listed' in said
    assert "oem_id and bucket in the connection are most likely right" in said
    assert "Check oem_id" not in said


@pytest.mark.parametrize("status", [200, 206])
def test_an_answer_that_starts_at_another_byte_is_not_taken(
    cloud: LocalCloud, export: Export, place: Place, status: int
) -> None:
    content = SeededContent(9, 3 * CHUNK)
    file = listed(cloud, export, content)
    cloud.faults.add("cut", step="download", after_bytes=CHUNK)
    cloud.faults.add(status, step="download", nth=2, body="not the right bytes")
    transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    assert [one.status for one in downloads(cloud)] == [200, status, 206]


def test_a_download_is_continued_also_where_the_whole_is_sent_again(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    text = "".join(f"row {number}\r\n" for number in range(200_000))
    file = listed(cloud, export, text.encode())
    cloud.faults.add("cut", step="download", after_bytes=CHUNK)
    cloud.faults.add(200, step="download", nth=2, body=text)
    transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: text.encode()}
    assert [one.status for one in downloads(cloud)] == [200, 200]


def test_a_stopped_copy_leaves_nothing(cloud: LocalCloud, export: Export, place: Place) -> None:
    file, stop = listed(cloud, export, SeededContent(10, 20 * CHUNK)), threading.Event()
    transfer = Transfer(export, place.destination, stop, lambda size: stop.set())
    with pytest.raises(AylaTransferError, match="stopped at byte"):
        transfer.copy(file, PATH, None)
    assert place.everything() == {}


def test_somebody_elses_other_content_is_not_replaced(cloud: LocalCloud, export: Export, place: Place) -> None:
    file = listed(cloud, export, b"data")
    place.spoil(PATH, b"theirs")
    with pytest.raises(AylaConflictError):
        transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: b"theirs"}


def test_equal_content_from_someone_else_is_accepted(cloud: LocalCloud, export: Export, place: Place) -> None:
    file = listed(cloud, export, b"data")
    place.spoil(PATH, b"data")
    transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: b"data"}


@pytest.mark.parametrize("place", ["gcs"], indirect=True)
@pytest.mark.parametrize("size", [10, 20 * CHUNK])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("kind", ["cut", "truncate", 200])
def test_an_upload_whose_answer_is_lost_is_a_good_one(
    cloud: LocalCloud, export: Export, place: Place, size: int, nth: int, kind: int | str
) -> None:
    content = SeededContent(11, size)
    file = listed(cloud, export, content)
    cloud.faults.add(kind, step="upload", nth=nth)
    copy = transfer_of(export, place).copy(file, PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    assert (copy.stored.crc32c, copy.lines) == (file.crc32c, lines_of(content))


@pytest.mark.parametrize("place", ["gcs"], indirect=True)
@pytest.mark.parametrize("kept", [0, 1, 3 * CHUNK + 77, 20 * CHUNK - 1])
def test_an_upload_that_breaks_gets_the_rest_from_the_source(
    cloud: LocalCloud, export: Export, place: Place, kept: int
) -> None:
    content = SeededContent(12, 20 * CHUNK)
    file, moved = listed(cloud, export, content), []
    cloud.faults.add("cut_request", step="upload", method="PUT", after_bytes=kept)
    copy = transfer_of(export, place, moved.append).copy(file, PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    assert (copy.crc32c, copy.lines) == (file.crc32c, lines_of(content))
    assert copy.sha256 == hashlib.sha256(bytes_of(content)).hexdigest()
    assert sum(moved) == content.size, "what is read again doesn't count again"


@pytest.mark.parametrize("place", ["gcs"], indirect=True)
def test_what_arrives_corrupted_when_it_is_read_again_is_not_stored(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    file = listed(cloud, export, SeededContent(13, 20 * CHUNK))
    cloud.faults.add("cut_request", step="upload", method="PUT", after_bytes=CHUNK)
    cloud.faults.add("corrupt", step="download", nth=2, after_bytes=5)
    with pytest.raises(AylaError) as failed:
        transfer_of(export, place).copy(file, PATH, None)
    assert failed.value.retryable
    assert place.everything() == {}


def test_a_redirect_of_a_download_takes_the_token_nowhere(
    cloud: LocalCloud,
    export: Export,
    provider: TokenProvider,
    place: Place,
    answering: Callable[..., Answering],
) -> None:
    file = listed(cloud, export, b"data")
    other = answering(200)
    server = answering(302, Location=f"{other.url}PATH")
    redirected = export_of(cloud, provider, endpoint=server.url)
    with closing(client_of(redirected)), pytest.raises(AylaUnavailable):
        transfer_of(redirected, place).copy(file, PATH, None)
    assert server.received
    assert other.received == []
    assert place.everything() == {}


# Where the listing has no checksum, as in S3


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_of_a_file_without_a_checksum_equals_its_source(
    cloud: LocalCloud, export: Export, place: Place, size: int
) -> None:
    content = SeededContent(1, size)
    file = listed(cloud, export, content)
    copy = transfer_of(export, place).copy(dataclasses.replace(file, crc32c=None), PATH, None)
    assert place.everything() == {PATH: bytes_of(content)}
    assert place.destination.crc32c(copy.stored) == copy.crc32c == file.crc32c
    assert copy.lines == lines_of(content)
    assert len(downloads(cloud)) == (1 if size else 0)


@pytest.mark.parametrize("size", [10, 10 * CHUNK])
def test_a_file_without_a_checksum_that_is_there_already_is_taken(
    cloud: LocalCloud, export: Export, place: Place, size: int
) -> None:
    file = dataclasses.replace(listed(cloud, export, SeededContent(1, size)), crc32c=None)
    first = transfer_of(export, place).copy(file, PATH, None)
    # As after a write whose answer got lost.
    assert transfer_of(export, place).copy(file, PATH, None).stored == first.stored
    other = dataclasses.replace(listed(cloud, export, SeededContent(2, size)), crc32c=None)
    with pytest.raises(AylaConflictError):
        transfer_of(export, place).copy(other, PATH, None)
    assert place.everything() == {PATH: bytes_of(SeededContent(1, size))}
    assert transfer_of(export, place).copy(other, PATH, first.stored).stored != first.stored
    assert place.everything() == {PATH: bytes_of(SeededContent(2, size))}


# What the destination is given, and what is known of the copy

DSN = "LC000X000000007"


class Watched(FileDestination):
    """A folder that notes what it is told of each file."""

    def __init__(self, root: Path, *, takes_unknown: bool = True) -> None:
        super().__init__(root)
        self.takes_unknown = takes_unknown
        self.told: list[tuple[str | None, int, str]] = []

    def write(self, path: str, stream: BinaryIO, **more: Any) -> Stored:
        self.told.append((more["crc32c"], more["size"], more["content_type"]))
        return super().write(path, stream, **more)


def transfer_to(export: Export, destination: FileDestination) -> Transfer:
    return Transfer(export, destination, threading.Event())


@pytest.mark.parametrize("size", [10, CHUNK + 5])
@pytest.mark.parametrize("takes_unknown", [True, False])
def test_a_checksum_is_known_before_the_write_unless_the_destination_can_wait_for_it(
    cloud: LocalCloud, export: Export, tmp_path: Path, size: int, takes_unknown: bool
) -> None:
    file = listed(cloud, export, SeededContent(1, size))
    other = listed(cloud, export, SeededContent(2, size))
    destination = Watched(tmp_path, takes_unknown=takes_unknown)
    transfer = transfer_to(export, destination)
    transfer.copy(other, "known.csv", None)
    transfer.copy(dataclasses.replace(other, crc32c=None), "new.csv", None)
    theirs = destination.write("there.csv", io.BytesIO(b"x"), size=1, crc32c=None, replaces=None, content_type="x")
    transfer.copy(dataclasses.replace(other, crc32c=None), "there.csv", theirs)
    waits = takes_unknown and size > 1024 * 1024
    expected = [other.crc32c, None if waits else other.crc32c, other.crc32c]
    assert [told for told in destination.told if told[2] != "x"] == [(crc32c, size, "text/csv") for crc32c in expected]
    assert other.crc32c != file.crc32c


@pytest.mark.parametrize("size", [10, CHUNK + 5])
def test_what_is_there_already_is_written_again_only_if_it_is_not_trusted(
    cloud: LocalCloud, export: Export, tmp_path: Path, size: int
) -> None:
    content = SeededContent(1, size)
    listed_file = listed(cloud, export, content)
    file = dataclasses.replace(listed_file, crc32c=None)
    destination = Watched(tmp_path)
    transfer = transfer_to(export, destination)
    first = transfer.copy(file, PATH, None)
    sha256 = hashlib.sha256(bytes_of(content)).hexdigest()
    assert first == Copy(first.stored, str(listed_file.crc32c), lines_of(content), None, sha256)
    assert transfer.copy(file, PATH, first.stored) == first
    assert len(destination.told) == 1
    # As after a write whose answer got lost.
    assert transfer.copy(file, PATH, None) == first
    again = transfer.copy(file, PATH, first.stored, trusted=False)
    assert again == dataclasses.replace(first, stored=again.stored)
    assert again.stored == destination.find(PATH) != first.stored
    # Another file of the same size isn't the one that is there.
    other = dataclasses.replace(listed(cloud, export, SeededContent(2, size)), crc32c=None)
    assert transfer.copy(other, PATH, again.stored).stored != again.stored
    assert (tmp_path / PATH).read_bytes() == bytes_of(SeededContent(2, size))


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("states_checksum", [True, False])
def test_a_copy_without_erased_lines_says_what_both_files_are(
    cloud: LocalCloud, export: Export, tmp_path: Path, is_long: bool, states_checksum: bool
) -> None:
    others = b"of somebody else\n" * (100_000 if is_long else 1)
    whole = others + f"of {DSN}\n".encode() + others + f"{DSN} of LC000X000000008\n".encode() + others
    file = listed(cloud, export, whole)
    crc32c = str(file.crc32c)
    file = file if states_checksum else dataclasses.replace(file, crc32c=None)
    destination = Watched(tmp_path)
    transfer = transfer_to(export, destination)
    matcher = Matcher.of_known([(DSN, "second"), ("LC000X000000008", "first")])
    copy = transfer.copy(file, PATH, None, matcher=matcher)
    left = Crc32c(others * 3).base64
    erased = Erased(2, 3 * len(others), left, ("first", "second"))
    lines = len(whole.splitlines())
    assert copy == Copy(copy.stored, crc32c, lines, erased, hashlib.sha256(whole).hexdigest())
    assert (tmp_path / PATH).read_bytes() == others * 3
    assert destination.told == [(left, 3 * len(others), "text/csv")]
    # The same again isn't written again.
    assert transfer.copy(file, PATH, copy.stored, matcher=matcher) == copy
    # As after a write whose answer got lost.
    assert transfer.copy(file, PATH, None, matcher=matcher) == copy
    nobody = Matcher.of_known([("LC000X000000009", "third")])
    untouched = transfer.copy(file, "other.csv", None, matcher=nobody)
    assert (untouched.erased, untouched.stored.size) == (None, len(whole))


def test_a_copy_that_arrives_corrupted_is_compared_here_the_second_time(
    cloud: LocalCloud, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = SeededContent(1, CHUNK + 5)
    file = dataclasses.replace(listed(cloud, export, content), crc32c=None)
    md5 = hashlib.md5(bytes_of(content), usedforsecurity=False).hexdigest()
    left: list[str | None] = []

    class Refusing(FileDestination):
        """A store that compares the MD5 itself, and finds another one in the first upload."""

        def write(self, path: str, stream: BinaryIO, **more: Any) -> Stored:
            assert isinstance(stream, LeavesMd5)
            to_compare = stream.leave_md5()
            stream.read(1)
            left.append(to_compare())
            if len(left) == 1:
                raise CorruptedError("the MD5 is another one")
            stream.seek(0)
            return super().write(path, stream, **more)

    monkeypatch.setattr(gcs._GcsDownload, "md5", md5)
    transfer_to(export, Refusing(tmp_path)).copy(file, PATH, None)
    assert left == [md5, None]
    assert (tmp_path / PATH).read_bytes() == bytes_of(content)
    # In the second time, a wrong MD5 is noticed here.
    left.clear()
    monkeypatch.setattr(gcs._GcsDownload, "md5", "0" * 32)
    with pytest.raises(CorruptedError, match="have MD5"):
        transfer_to(export, Refusing(tmp_path)).copy(file, "other.csv", None)
    assert not (tmp_path / "other.csv").exists()

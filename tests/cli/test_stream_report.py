"""``report`` on the archive of a stream."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.__main__ import main
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import read_position
from ayla_provider.cli.stream_report import StreamArchiveReport
from ayla_provider.domain.hour import hour_of
from ayla_provider.domain.paths import STREAM_POSITION
from ayla_provider.errors import AylaStreamLossError
from tests.support.memory_stream import START, MemoryStream, connection, datapoint, made_stream
from tests.support.stream_archives import drain, manifests_of, position_of

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FIRST = hour_of(START)

pytestmark = pytest.mark.usefixtures("airflow_db")


def put_at(stream: MemoryStream, minutes: int) -> None:
    stream.now = START + minutes * MINUTE
    stream.put("shardId-000000000000", datapoint(stream.now, minutes))


def drain_later(root: Path, stream: MemoryStream, **changes: Any) -> None:
    """Drain a stream a minute later: a run reads what arrived before it begins."""
    stream.now += MINUTE
    drain(root, stream, **changes)


def lose(root: Path, stream: MemoryStream) -> None:
    """Drain a stream again after its retention."""
    put_at(stream, 300)
    stream.now += stream.retention + HOUR
    stream.put("shardId-000000000000", datapoint(stream.now))
    with pytest.raises(AylaStreamLossError):
        drain_later(root, stream)


def command(root: Path, *more: str, hours: int = 6) -> list[str]:
    times = ["--since", FIRST.isoformat(), "--until", (FIRST + hours * HOUR).isoformat()]
    # No connection to Ayla is needed, not even a defined one.
    return ["report", "--conn", "nobody", "--destination", f"file://{root}", *times, *more]


def report_of(root: Path, now: datetime, *event_types: str) -> dict[str, Any]:
    position, _ = read_position(FileDestination(root))
    assert position
    report = StreamArchiveReport(
        FileDestination(root),
        position,
        destination_conn_id=None,
        event_types=event_types,
        since=FIRST,
        until=FIRST + 6 * HOUR,
        now=now,
    )
    report.read()
    return report.document()


def test_hours_are_counted_by_event_type_and_state(tmp_path: Path) -> None:
    stream = made_stream(2)
    put_at(stream, 5)
    put_at(stream, 200)
    stream.put("shardId-000000000001", connection(stream.now))
    drain_later(tmp_path, stream)
    stream.now += 59 * MINUTE
    drain(tmp_path, stream)
    document = report_of(tmp_path, stream.now + 7 * MINUTE)
    sums = {
        event_type: {state: counts[state] for state in ("landed", "empty", "open", "files")}
        for event_type, counts in document["event_types"].items()
    }
    # The time is 10:50, so all shards were read past 09:00 and one hour further.
    assert document["complete_to"] == "2026-11-29T09:00:00+00:00"
    assert sums == {
        "connection": {"landed": 0, "empty": 2, "open": 3, "files": 1},
        "datapoint": {"landed": 1, "empty": 2, "open": 3, "files": 2},
    }
    sizes = [file["size"] for manifest in manifests_of(tmp_path).values() for file in manifest["files"]]
    assert sum(counts["bytes"] for counts in document["event_types"].values()) == sum(sizes)
    assert document["lag_seconds"] == 7 * 60


def test_only_the_event_types_that_are_asked_for_are_shown(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 5)
    drain_later(tmp_path, stream)
    assert list(report_of(tmp_path, stream.now, "Datapoint Ack")["event_types"]) == ["datapoint_ack"]


def test_a_shard_shows_how_far_it_was_read_and_a_closed_one_is_only_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = made_stream(1)
    put_at(stream, 5)
    drain_later(tmp_path, stream)
    stream.open("shardId-000000000001", ("shardId-000000000000",))
    stream.now += 10 * MINUTE
    drain(tmp_path, stream)
    (shard,) = report_of(tmp_path, stream.now + 2 * HOUR)["shards"]
    assert shard == {
        "shard": "shardId-000000000001",
        "after": None,
        "read_to": stream.now.isoformat(),
        "lag_seconds": 7200,
    }
    assert main(command(tmp_path)) == 0
    assert "\n1 closed shard was read to the end\n" in capsys.readouterr().out


def test_a_gap_ends_with_1_until_it_is_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = made_stream(1)
    stream.counts = True
    put_at(stream, 5)
    drain_later(tmp_path, stream)
    assert main(command(tmp_path, "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    summary = {"complete": True, "verdict": "No records were lost."}
    assert (document["gaps"], document["summary"]) == ([], summary)
    lose(tmp_path, stream)
    # A later run succeeds, and the gap is still there.
    drain(tmp_path, stream)
    begin, end = "2026-11-29T06:36:00+00:00", (stream.now - stream.retention).isoformat()
    assert main(command(tmp_path, "--json")) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["gaps"] == [{"shard": "shardId-000000000000", "from": begin, "to": end, "lost": 1}]
    assert not document["summary"]["complete"]
    assert main(command(tmp_path)) == 1
    out = capsys.readouterr().out
    assert f"\ngaps:\n  shard shardId-000000000000, from {begin} to {end}, 1 record\n\n1 gap isn't ack" in out
    drain(tmp_path, stream, accept_loss=True)
    assert main(command(tmp_path)) == 0
    assert capsys.readouterr().out.endswith("\n\nAll gaps are acknowledged.\n")


def test_an_hour_of_which_records_are_lost_is_neither_landed_nor_empty(tmp_path: Path) -> None:
    stream = made_stream(1)
    put_at(stream, 5)
    drain_later(tmp_path, stream)
    lose(tmp_path, stream)
    drain(tmp_path, stream, accept_loss=True)
    counts = report_of(tmp_path, stream.now)["event_types"]["datapoint"]
    assert [counts[state] for state in ("landed", "empty", "open", "gap")] == [0, 0, 0, 6]


def test_the_text_has_a_line_for_each_event_type_and_shard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = made_stream(1)
    put_at(stream, 5)
    drain_later(tmp_path, stream)
    assert main(command(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{stream.url} in file://{tmp_path}, 2026-11-29 06:00 UTC to 2026-11-29 12:00 UTC"
    assert lines[2].split() == ["event", "type", "landed", "empty", "open", "gap", "files", "bytes"]
    assert lines[3].split()[:6] == ["datapoint", "0", "0", "6", "0", "1"]
    assert lines[5] == "hours are complete up to: none yet"
    assert lines[8].split() == ["shard", "read", "up", "to", "lag"]
    assert lines[9].startswith("shardId-000000000000  2026-11-29T06:36:00+00:00  ")


def test_a_batch_that_is_not_finished_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = made_stream(1)
    put_at(stream, 5)
    drain_later(tmp_path, stream)
    document = position_of(tmp_path)
    document["pending"] = {"until": START.isoformat(), "oem_id": "", "ranges": {}, "files": [], "gaps": []}
    (tmp_path / STREAM_POSITION).write_text(json.dumps(document))
    assert main(command(tmp_path)) == 0
    assert "\na batch was begun, and isn't finished: the next run finishes it\n" in capsys.readouterr().out


def test_what_cannot_be_read_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = made_stream(1)
    put_at(stream, 5)
    drain_later(tmp_path, stream)
    assert main(command(tmp_path, hours=0)) == 2
    assert "no hour is between" in capsys.readouterr().err
    (manifest,) = tmp_path.glob("_manifests/**/*.json")
    manifest.write_text("{")
    assert main(command(tmp_path)) == 2
    assert manifest.name in capsys.readouterr().err
    (tmp_path / STREAM_POSITION).write_text("{")
    assert main(command(tmp_path)) == 2
    assert STREAM_POSITION in capsys.readouterr().err


def test_a_duration_reaches_to_now(tmp_path: Path) -> None:
    stream = made_stream(1)
    stream.now = datetime.now(UTC)
    drain(tmp_path, stream)
    assert main(["report", "--destination", f"file://{tmp_path}"]) == 0

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ayla_provider.cli.main import main
from ayla_provider.errors import AylaConfigError
from ayla_provider.stream.base import Stream
from tests.stream.test_check import STEPS, MemoryStream, fleet_records


class OneStream:
    """Connections that lead to a stream in memory."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    def stream(self, url: str, conn_id: str | None) -> Stream:
        if url != "kinesis://events":
            raise AylaConfigError(f"stream {url!r}: expected kinesis://NAME")
        self._stream.url = f"kinesis://of-{conn_id}/events"
        return self._stream


def run(*arguments: str) -> int:
    @contextlib.contextmanager
    def open_connections() -> Iterator[Any]:
        yield OneStream(MemoryStream(records=fleet_records(), begins_at_times=False))

    return main(["check-stream", *arguments], open_connections=open_connections)


def test_people_read_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("kinesis://events", "--conn", "aws_of_ayla") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[8:32].strip() for line in lines if not line.startswith(" ")] == STEPS
    assert (
        lines[0] == "ok      connection              kinesis://of-aws_of_ayla/events, with the connection aws_of_ayla"
    )


def test_programs_read_a_list_of_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("kinesis://events", "--json") == 0
    steps = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in steps] == STEPS
    assert steps[0]["detail"].endswith(", with the credentials of this machine")


def test_a_step_that_failed_is_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("kinesis:events") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAILED  connection              stream 'kinesis:events'")
    assert lines[1] == "          what to do: Correct the URL or the connection as the message says."

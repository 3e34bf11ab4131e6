"""
Two doubles of Amazon Kinesis, on loopback.

kinesalite takes thousands of records a second, but doesn't say how far a reader is behind. kinesis-local says so, and
which shards continue another one, but takes long for more than some thousand records.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, cast

_FOLDER = Path(__file__).parents[1] / ".kinesis" / "node_modules"

KINESALITE = _FOLDER / "kinesalite" / "cli.js"
KINESIS_LOCAL = _FOLDER / "kinesis-local" / "main.js"
"""What ``make test`` installs with npm."""

REGION = "us-east-1"

_PORTS = {KINESALITE: "port_4567", KINESIS_LOCAL: "port_4568"}
"""The one without TLS, as the double would name it."""

_PRELOAD = Path(__file__).with_suffix(".js")
_QUICKLY = ["--createStreamMs", "0", "--deleteStreamMs", "0", "--updateStreamMs", "0", "--shardLimit", "100"]
_DURATIONS = ("CREATE_STREAM", "DELETE_STREAM", "MERGE_SHARDS", "SPLIT_SHARD", "UPDATE_SHARD_COUNT")


class KinesisDouble:
    """
    A double of Kinesis in a process of its own. It ends with this process.

    :param program: :data:`KINESALITE` or :data:`KINESIS_LOCAL`
    """

    def __init__(self, program: Path) -> None:
        arguments = _QUICKLY if program == KINESALITE else []
        environment = dict(os.environ) | {f"{name}_DURATION": "0ms" for name in _DURATIONS}
        environment |= {"SHARD_LIMIT": "100", "LOG_LEVEL": "ERROR"}
        self._process = subprocess.Popen(
            ["node", "-r", str(_PRELOAD), str(program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=program.parent,
            text=True,
        )
        self._input, self._output = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        self.url = f"http://127.0.0.1:{self._answer(_PORTS[program])}"

    def move(self, ahead: timedelta) -> None:
        """Let the double's time be ahead of the real one, until the next move."""
        self._input.write(f"{int(ahead.total_seconds() * 1000)}\n")
        self._input.flush()
        self._answer("ahead")

    def _answer(self, name: str) -> int:
        for line in self._output:
            if line.startswith("{") and name in (said := json.loads(line)):
                return int(said[name])
        raise RuntimeError(f"the double ended with status {self._process.wait()}")

    def client(self, **arguments: Any) -> Any:
        """Return boto3's client, with made-up credentials."""
        import boto3

        keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
        return boto3.client("kinesis", endpoint_url=self.url, region_name=REGION, **keys, **arguments)

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()

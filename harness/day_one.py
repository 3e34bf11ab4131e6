"""
From an empty Airflow to the first verified hour: what a new user does, against a local Ayla cloud.

It types what it is asked for, and runs the commands of the README that ``init`` wrote. Then it compares the hour with
its source, byte for byte and row for row. As a program, it prints what that took as JSON.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.local_cloud import LocalCloud
from harness.check import differences, not_loaded
from harness.processes import cleaned

_BLOCK = re.compile(r"^## (\d)\. (?:(?!^## ).)*?^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
"""The first commands of a step of the README."""

_LONGEST = 1800
"""Seconds for the commands of a step, also on a busy machine."""


class DayOneError(Exception):
    """A step failed, or the hour isn't there. The message has the output."""


@dataclass
class DayOne:
    """What it took."""

    inputs: int = 0
    """What a person has typed, without commands."""
    seconds: float = 0
    """From the first command after the installation to the verified hour."""
    hour: str = ""
    """The hour that is verified."""
    rows: int = 0
    """The rows of its tables."""


def day_one(folder: Path, python: str = sys.executable) -> DayOne:
    """
    Make a project, and bring its first hour into an archive on disk and into DuckDB.

    :param folder: an empty folder
    :param python: an interpreter with Airflow and the package
    :raises DayOneError: if a command fails, or the hour differs from its source
    """
    import duckdb

    took, started = DayOne(), time.monotonic()
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    project, archive = folder / "project", folder / "archive"
    # A run that begins before midnight asks for the day before.
    with LocalCloud(start=yesterday - timedelta(days=1), max_lag=timedelta(minutes=40)) as cloud:
        environment = _environment(folder, project, python)
        connection = cloud.ayla_connection()
        extra = connection["extra"]
        typed = [f"file://{archive}", connection["login"], extra["app_id"], extra["oem_id"], extra["bucket"]]
        typed += [extra["acs_url"]]
        init = [python, "-m", "ayla_provider", "init", str(project)]
        # Only for a test server: users leave these out.
        init += ["--field", f"host={connection['host']}", "--field", f"storage_endpoint={extra['storage_endpoint']}"]
        _run(init, typed, environment, folder)
        steps = dict(_BLOCK.findall((project / "README.md").read_text()))
        _run(["airflow", "db", "migrate"], [], environment, folder)
        secrets = [connection["password"], extra["app_secret"]]
        printed = _run(["bash", "-euc", steps["3"]], secrets, environment, folder)
        printed += _run(["bash", "-euc", steps["4"]], [], environment, folder)
        took.inputs = len(typed) + len(secrets)
        hour = datetime.fromisoformat(json.loads((project / "answers.json").read_text())["start"])
        database = project / "ayla.duckdb"
        problems = differences(cloud, archive, [hour]) + not_loaded(cloud, database, [hour])
    if problems:
        raise DayOneError("\n".join(problems))
    with duckdb.connect(database, read_only=True) as duck:
        ((took.rows,),) = duck.execute("select sum(rows) from ayla_loads").fetchall()
    took.seconds, took.hour = round(time.monotonic() - started, 1), hour.isoformat()
    files = [path for path in project.rglob("*") if path.is_file()]
    if any(_has_one(secrets, text) for text in [printed.encode(), *(path.read_bytes() for path in files)]):
        raise DayOneError("a secret was printed, or is in a file of the project")
    return took


def _environment(folder: Path, project: Path, python: str) -> dict[str, str]:
    return {
        **cleaned(os.environ),
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)]),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _run(command: Sequence[str], typed: Sequence[str], environment: Mapping[str, str], folder: Path) -> str:
    """
    Run a command at a terminal, type an answer to each question, and return what it printed.

    :raises DayOneError: if the command fails, or doesn't ask for each answer
    """
    left, printed = list(typed), ""
    with (
        _terminal() as (mine, other),
        subprocess.Popen(
            command, stdin=other, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=folder
        ) as process,
    ):
        limit = threading.Timer(_LONGEST, process.kill)
        limit.start()
        while process.stdout and (chunk := os.read(process.stdout.fileno(), 65536)):
            printed += chunk.decode(errors="replace")
            if left and printed.endswith(": "):
                os.write(mine, f"{left.pop(0)}\n".encode())
        status = process.wait()
        limit.cancel()
    if status or left:
        raise DayOneError(f"{' '.join(command)}: ended with {status}, {len(left)} answers were left\n{printed}")
    return printed


@contextmanager
def _terminal() -> Iterator[tuple[int, int]]:
    """Make a terminal: the end where a person types, and the end of the program."""
    mine, other = pty.openpty()
    try:
        yield mine, other
    finally:
        os.close(mine)
        os.close(other)


def _has_one(secrets: Sequence[str], data: bytes) -> bool:
    return any(secret.encode() in data for secret in secrets)


def main() -> int:
    """Run it in a temporary folder, and print what it took."""
    with tempfile.TemporaryDirectory(prefix="ayla-day-one-") as folder:
        print(json.dumps(asdict(day_one(Path(folder).resolve()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

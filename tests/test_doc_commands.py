"""
Each command of the documents runs, or its page says which test runs it, or why none can.

A comment in front of a block says so: ``<!-- Run by tests/test_x.py -->``, ``<!-- Not run by a test: the reason -->``.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ayla_provider.archive.freshness import FreshnessLooks, FreshnessStore
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.freshness import COPIED
from ayla_provider.domain.hour import hour_of
from ayla_provider.domain.tables import TABLES
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.support.fleet import connect
from tests.support.memory_stream import live, made_stream
from tests.support.stream_archives import RUN
from tests.test_docs import PAGES, ROOT, read
from tests.warehouse.archive import archive_fleet, archive_hour

BLOCK = re.compile(r"^(?:[ ]*<!-- ([^\n]*) -->\n)?^([ ]*)```bash\n(.*?)^[ ]*```", re.DOTALL | re.MULTILINE)
OF_A_TEST = re.compile(r"Run by `?(tests/[\w/]+\.py)`?")
NOT_RUN = re.compile(r"Not run by a test: (.{10,})")


class Block(NamedTuple):
    """A block of commands in a page."""

    page: str
    mark: str
    commands: str

    @property
    def is_marked(self) -> bool:
        return bool(OF_A_TEST.match(self.mark) or NOT_RUN.match(self.mark))


def all_blocks() -> Iterator[tuple[str, Block]]:
    for page in PAGES:
        for number, (mark, _, commands) in enumerate(BLOCK.findall(read(page)), start=1):
            name = str(page.relative_to(ROOT))
            yield f"{name}-{number}", Block(name, mark, textwrap.dedent(commands))


BLOCKS = dict(all_blocks())
TO_RUN = {name: block for name, block in BLOCKS.items() if not block.is_marked}

STUB = """#!/usr/bin/env bash
# Notes the command in place of running it: its name, then its arguments.
printf '%s\\0' "${0##*/}" "$@" >> "$COMMANDS"
printf '\\n\\0' >> "$COMMANDS"
"""
"""Commands are noted by the shell that reads them, so that quotes, variables and loops mean what they mean to users."""

STUBS = ("airflow", "python", "pip")
HOURS = 3


def recorded(commands: str, folder: Path) -> tuple[list[list[str]], dict[str, str]]:
    """Return what a shell makes of commands: those of Airflow, Python, and pip, and the variables that it exports."""
    bin_folder = folder / "stubs"
    bin_folder.mkdir()
    for name in STUBS:
        (bin_folder / name).write_text(STUB)
        (bin_folder / name).chmod(0o755)
    work = folder / "work"
    work.mkdir()
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "COMMANDS": str(folder / "commands")}
    script = f"{commands}\nenv -0 > {folder}/environment"
    subprocess.run(["bash", "-euc", script], check=True, cwd=work, env=environment, capture_output=True)
    noted = (folder / "commands").read_text() if (folder / "commands").exists() else ""
    found = [command.split("\0")[:-1] for command in noted.split("\n\0") if command]
    exported = dict(one.split("=", 1) for one in (folder / "environment").read_text().split("\0") if one)
    return found, {name: value for name, value in exported.items() if name.startswith(("AIRFLOW", "STORAGE"))}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_mark_names_a_test_that_exists_or_a_reason(name: str) -> None:
    mark = BLOCKS[name].mark
    if mark:
        assert BLOCKS[name].is_marked, f"the comment in front of a block says something else: {mark}"
    named = OF_A_TEST.match(mark)
    if named:
        text = read(named[1])
        commands = re.findall(r"python -m ayla_provider ([\w-]+)", BLOCKS[name].commands)
        assert [command for command in commands if f'"{command}"' not in text] == []


def test_only_commands_that_can_run_are_without_a_mark() -> None:
    assert len(TO_RUN) > 20
    first_words = {
        re.sub(r"^(\w+=\S+ )+", "", line).split()[0]
        for block in TO_RUN.values()
        for line in block.commands.replace("\\\n", " ").splitlines()
        if line and not line.startswith((" ", "#"))
    }
    # A word of the shell begins a loop, and "(" a subshell.
    assert first_words <= {*STUBS, "(umask", "for", "done", "export", "cat", "chmod", "END", '{"ayla_default":'}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with archives and a DuckDB file as the documents have them, and Airflow's settings."""
    root = tmp_path_factory.mktemp("documented")
    now = hour_of(datetime.now(UTC))
    fleet = Fleet(seed=1)
    for number in range(2, 2 + HOURS):
        for event_type in EVENT_TYPES:
            archive_fleet(root / "ayla", fleet, event_type, now - timedelta(hours=number))
    row = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
    archive_hour(root / "ayla", "connection", [row * 20 + b"half,a row\r\n"], now - timedelta(days=3))
    look_at(FileDestination(root / "ayla"))
    stream = made_stream()
    live(stream, random.Random(1), timedelta(hours=2), 20)
    StreamArchive(FileDestination(root / "ayla-stream")).drain(stream, stream.now, written_by=RUN)
    (root / "requests").mkdir()
    (root / "requests" / "one.json").write_text('{"dsn": "LC000X000000009"}')
    home = root / "airflow"
    home.mkdir()
    environment = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW_CONN_AYLA_PRIVACY": json.dumps({"conn_type": "generic", "password": "a-key-of-sixteen-chars"}),
        "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{root}/ayla",
        "AYLA_EXPORT_START": (now - timedelta(days=4)).isoformat(),
    }
    with LocalCloud() as cloud:
        monkeypatch = pytest.MonkeyPatch()
        connect(monkeypatch, cloud)
        environment["AIRFLOW_CONN_AYLA_DEFAULT"] = os.environ["AIRFLOW_CONN_AYLA_DEFAULT"]
        monkeypatch.undo()
        yield root, environment


def look_at(archive: FileDestination) -> None:
    """Check the freshness of an archive once, because only layers that were checked can be muted."""
    store = FreshnessStore(archive)
    record = store.read()
    layers = {(event_type, COPIED): timedelta(hours=3) for event_type in EVENT_TYPES}
    FreshnessLooks(Records(archive), layers).look(record, datetime.now(UTC))
    store.write(record)


def with_places(commands: str, root: Path) -> str:
    """Return commands with what a test has: folders in place of buckets, and a time that is still to come."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    replaced = {
        "gs://your-bucket": f"file://{root}",
        "/data/ayla.duckdb": f"{root}/ayla.duckdb",
        "2026-12-01T06:00": f"{tomorrow:%Y-%m-%dT%H:%M}",
    }
    for documented, tested in replaced.items():
        commands = commands.replace(documented, tested)
    return commands


@pytest.fixture(scope="module")
def results(prepared: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Block to the commands that it has, each with exit status and output."""
    root, environment = prepared
    environment = os.environ | environment
    airflow = [sys.executable, "-m", "airflow"]
    for arguments in (["db", "migrate"], ["dags", "reserialize"]):
        subprocess.run([*airflow, *arguments], check=True, capture_output=True, env=environment)
    database, empty = root / "airflow" / "airflow.db", root / "empty.db"
    shutil.copy(database, empty)
    with DuckDBWarehouse(root / "ayla.duckdb") as warehouse:
        for table in TABLES.values():
            warehouse.prepare(table)
    given: dict[str, Any] = {}
    for name, block in TO_RUN.items():
        folder = tmp_path_factory.mktemp("block")
        commands, exported = recorded(with_places(block.commands, root), folder)
        shutil.copy(ROOT / "docs" / "contract.json", folder / "work")
        (folder / "work" / "subject.json").write_text('{"dsn": ["LC000X000000009"]}')
        of_airflow = [command for command in commands if command[0] != "pip"]
        given[name] = {"commands": of_airflow, "environment": exported, "folder": str(folder / "work"), "all": commands}
    (root / "given.json").write_text(json.dumps(given))
    program = ROOT / "tests" / "support" / "documented_commands.py"
    arguments = [root / "given.json", root / "taken.json", database, empty]
    subprocess.run([sys.executable, program, *arguments], check=True, env=environment, cwd=ROOT, timeout=600)
    taken = json.loads((root / "taken.json").read_text())
    return {name: {"all": given[name]["all"], "ran": taken[name]} for name in given}


@pytest.mark.ci
@pytest.mark.parametrize("name", TO_RUN)
def test_the_commands_of_a_block_run(name: str, results: dict[str, Any]) -> None:
    commands, ran = results[name]["all"], results[name]["ran"]
    assert commands, "the block has no command that this test knows: mark it"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in commands:
        if command[0] == "pip":
            named = re.fullmatch(r"airflow-provider-ayla(?:\[([\w,]+)\])?", command[-1])
            assert named
            assert set((named[1] or "").split(",")) - {""} <= set(extras)
    of_airflow = [command for command in commands if command[0] != "pip"]
    for command, (status, output) in zip(of_airflow, ran, strict=True):
        # 1 is an answer of the provider's own commands: something is missing, or differs.
        answers = (0,) if command[0] == "airflow" else (0, 1)
        assert status in answers, f"{command}: {output}"

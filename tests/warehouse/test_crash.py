"""A worker that is killed anywhere between the CSV and the tables: a retry leaves what there would be without it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.typed_manifest import quarantine_path, typed_manifest_path
from tests.rows.test_expressions import CONNECTION
from tests.rows.test_typed_archive import rows_of
from tests.support.proofs import scale
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.loading import everything

Run = Callable[..., tuple[int, str]]

CHILD = """
import json, os, signal, sys, tempfile, traceback
from datetime import datetime
from pathlib import Path

# Killed at the given one of the moments at which something is opened to be written, written, renamed, removed, or
# asked of DuckDB: as if the machine lost power, without a chance to tidy up.
moments = dies_at = 0

def moment():
    global moments
    moments += 1
    if moments == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)

WATCHED = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.rmtree", "tempfile.mkdtemp"}

def watch(event, arguments):
    if event in WATCHED or (event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa")):
        moment()

import duckdb
import ayla_provider.warehouse.duckdb, ayla_provider.rows.parquet
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.warehouse.loading import archive_of, load

class Watched:
    def __init__(self, connection):
        self._connection = connection

    def execute(self, *arguments):
        moment()
        found = self._connection.execute(*arguments)
        moment()
        return found

    def __getattr__(self, name):
        return getattr(self._connection, name)

connect = duckdb.connect
duckdb.connect = lambda *arguments: Watched(connect(*arguments))
sys.addaudithook(watch)

def work(folder, hour):
    tempfile.tempdir = str(folder / "tmp")
    with DuckDBWarehouse(folder / "d.duckdb") as warehouse:
        load(warehouse, archive_of(folder), "connection", [datetime.fromisoformat(hour)])

# Each worker is a fork: to import all this again takes longer than to load an hour.
for line in sys.stdin:
    folder, dies, hour = json.loads(line)
    said, says = os.pipe()
    pid = os.fork()
    if not pid:
        moments, dies_at = 0, dies
        try:
            work(Path(folder), hour)
            os.write(says, str(moments).encode())
        except BaseException:
            dies_at = 0
            os.write(says, traceback.format_exc()[-2000:].encode())
            os._exit(1)
        os._exit(0)
    os.close(says)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps([status, os.read(said, 4000).decode()]), flush=True)
    os.close(said)
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Load an hour in a process of its own, and return its exit code and what it said: how many moments it had."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def run(folder: Path, dies_at: int = 0) -> tuple[int, str]:
            (folder / "tmp").mkdir(exist_ok=True)
            print(json.dumps([str(folder), dies_at, HOUR.isoformat()]), file=stdin, flush=True)
            code, said = json.loads(stdout.readline())
            return code, said

        yield run
        stdin.close()


def put(folder: Path, revision: int) -> None:
    """Put an hour into the archive; in its second revision with other rows."""
    minutes = range(10 * revision, 10 * revision + 9)
    rows = [CONNECTION.replace(b":45", b":%d" % minute) for minute in minutes]
    files = [b"\n".join([*rows, rows[0], b"%d,wrong" % revision]), b"\xef\xbb\xbf" + b"\r\n".join(rows[:3])]
    archive_hour(folder / "archive", "connection", files, generation=revision, revision=revision)


def facts(folder: Path) -> dict[str, Any]:
    """Return the content, without what differs between runs."""
    receipt = json.loads((folder / "rows" / typed_manifest_path(ExportHour("connection", HOUR))).read_text())
    rows = rows_of(folder / "rows" / receipt["path"])
    return {
        "receipt": {name: value for name, value in receipt.items() if name not in ("written_at", "size", "crc32c")},
        "rows": sorted(map(repr, rows)),
        "quarantine": rows_of(folder / "archive" / quarantine_path(ExportHour("connection", HOUR))),
        "tables": everything(folder / "d.duckdb"),
        "files": sorted(
            str(path.relative_to(folder))
            for top in ("archive", "rows")
            for path in (folder / top).rglob("*")
            # What an ended process leaves is passed over by its name, and removed after a day. What is known of the
            # layouts comes last: if it is missing, the next hour makes up for it.
            if path.is_file() and not path.name.startswith(".") and "_layouts" not in path.parts
        ),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, run: Run) -> dict[str, Any]:
    """What there is without a crash, after each revision of the hour; and how many moments each load has."""
    folder, found = tmp_path_factory.mktemp("undisturbed"), {}
    for revision in (1, 2):
        put(folder, revision)
        code, moments = run(folder)
        assert code == 0, moments
        found[revision] = (facts(folder), int(moments))
    return found


@pytest.mark.proof("SIGKILL at 100 moments of each of two loads")
@pytest.mark.parametrize("share", scale([number / 4 for number in range(5)], [number / 99 for number in range(100)]))
@pytest.mark.parametrize("revision", [1, 2])
def test_a_crash_at_any_moment_and_a_retry_leave_what_there_would_be_without_it(
    tmp_path: Path, undisturbed: dict[int, Any], run: Run, revision: int, share: float
) -> None:
    wanted, moments = undisturbed[revision]
    if revision == 2:
        put(tmp_path, 1)
        assert run(tmp_path)[0] == 0
    put(tmp_path, revision)
    assert run(tmp_path, dies_at=1 + round(share * (moments - 1))) == (-9, "")
    for left in (tmp_path / "rows").rglob("*.parquet"):
        if not left.name.startswith("."):
            # Under its own name a file is whole, with or without a receipt.
            assert sorted(map(repr, rows_of(left))) in [undisturbed[one][0]["rows"] for one in (1, 2)]
    if (tmp_path / "d.duckdb").exists():
        tables = everything(tmp_path / "d.duckdb")
        assert tables.get("ayla_connection", []) in [
            [],
            *(undisturbed[one][0]["tables"]["ayla_connection"] for one in (1, 2)),
        ]
    code, said = run(tmp_path)
    assert code == 0, said
    assert facts(tmp_path) == wanted

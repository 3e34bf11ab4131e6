"""Memory doesn't grow with the files: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.events import EVENT_FOLDERS
from ayla_provider.local_cloud import LocalCloud, SeededContent
from ayla_provider.local_cloud.contents import BytesContent
from tests.support.proofs import scale

HOUR = datetime(2024, 5, 9, 2, tzinfo=UTC)
MIB = 1024 * 1024

SCENE = """
import json, re, sys
from datetime import datetime, timedelta
from pathlib import Path
from google.cloud import storage
from google.oauth2 import service_account
from ayla_provider.archive import compare
from ayla_provider.archive.archive import Archive
from ayla_provider.source.auth import TokenProvider
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.local import FileDestination
from ayla_provider.source.gcs import GcsSource
from ayla_provider.source.guard import SignInGuard
from ayla_provider.archive.compare import reconcile
from ayla_provider.source.settings import AylaSettings
from ayla_provider.source.export import Export
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ExportHour

def peak():
    # Not what getrusage says, which counts the parent's memory at the start.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

scene = json.loads(sys.stdin.read())
connection = scene["connection"]
settings = AylaSettings.from_fields(
    conn_id="x", login=connection["login"], password=connection["password"], host=connection["host"], port=None,
    extra=connection["extra"],
)
tokens = TokenProvider(settings, SignInGuard("x", settings.fingerprint))
now = datetime.fromisoformat(scene["now"])
source = GcsSource(tokens.credentials(), settings.bucket, endpoint=settings.storage_endpoint)
export = Export(source, f"{settings.oem_id}/", now=lambda: now)
before = peak()
"""

COPY = """
if scene["folder"]:
    destination = FileDestination(Path(scene["folder"]))
else:
    credentials = service_account.Credentials.from_service_account_info(
        scene["key"], scopes=["https://www.googleapis.com/auth/devstorage.read_write"]
    )
    destination = GcsDestination(connection["host"], scene["bucket"], credentials=credentials)
hour = ExportHour("datapoint", datetime.fromisoformat(scene["hour"]))
report = Archive(destination, max_workers=8).take_in(export, [hour], export.rule, written_by={})
print(json.dumps({"bytes": report.copied_bytes, "grown": peak() - before}))
"""

SWEEP = """
compare._PROGRESS_EVERY = 0
archive = Archive(FileDestination(Path(scene["folder"])))
found = reconcile(export, archive.records, EVENT_TYPES, now - timedelta(days=int(scene["days"])), now, export.rule)
print(json.dumps({"hours": found.hours, "gaps": len(found.gaps), "grown": peak() - before}))
"""


def run(program: str, cloud: LocalCloud, **scene: str) -> tuple[dict[str, Any], str]:
    """Return what the program found, and its log."""
    logged = "import logging\nlogging.basicConfig(level=logging.INFO)\n"
    task_input = scene | {"connection": cloud.ayla_connection(), "now": cloud.clock.now().isoformat()}
    done = subprocess.run(
        [sys.executable, "-c", logged + SCENE + program],
        input=json.dumps(task_input),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["file", "gs"])
def test_memory_does_not_grow_with_the_size_of_the_files(tmp_path: Path, kind: str) -> None:
    with LocalCloud(now=HOUR + timedelta(hours=6)) as cloud:
        for number in range(8):
            content = SeededContent(number, 48 * MIB)
            cloud.put_object(
                "Datapoint", f"{HOUR:%Y-%m-%d %H:%M:%S}", f"{number}.csv", content, HOUR + timedelta(hours=2)
            )
        seen, _ = run(
            COPY,
            cloud,
            key=cloud.service_account_key(),  # type: ignore[arg-type]
            bucket=cloud.customer.name,
            folder=str(tmp_path) if kind == "file" else "",
            hour=HOUR.isoformat(),
        )
    assert seen["bytes"] == 8 * 48 * MIB
    assert seen["grown"] < 80 * MIB, seen


@pytest.mark.ci
@pytest.mark.proof("a year")
def test_a_sweep_is_bounded_in_memory_and_requests_and_shows_progress(tmp_path: Path) -> None:
    objects, days = scale(5_000, 20_000), scale(92, 366)
    span = timedelta(days=days)
    content = BytesContent(b"x")
    with LocalCloud(now=HOUR) as cloud:
        for folder in EVENT_FOLDERS.values():
            for number in range(objects):
                time = HOUR - span + number * (span / objects)
                created = min(time + timedelta(minutes=80), HOUR - timedelta(minutes=20))
                cloud.put_object(folder, f"{time:%Y-%m-%d %H:%M:%S}", "f.csv", content, created)
        seen, log = run(SWEEP, cloud, folder=str(tmp_path), days=str(days))
        listings = sum(request.step == "list" for request in cloud.requests)
    hours = span // timedelta(hours=1) * len(EVENT_FOLDERS)
    assert seen["hours"] == {"missing": hours}
    assert seen["gaps"] == hours
    assert f"Compared {hours} of {hours} hours, back to {HOUR - span:%Y-%m-%d %H}:00 UTC" in log
    # What a page of 1,000 holds, beside a page that isn't full for each month and event type.
    assert listings < objects * len(EVENT_FOLDERS) / 1000 * 1.5
    assert seen["grown"] < 40 * MIB

"""Memory doesn't grow with the files: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.local_cloud import LocalCloud, SeededContent

HOUR = datetime(2024, 5, 9, 2, tzinfo=UTC)
MIB = 1024 * 1024

COPY = """
import json, resource, sys
from datetime import datetime, timedelta
from pathlib import Path
from google.cloud import storage
from google.oauth2 import service_account
from ayla_provider.cloud.archive import Archive
from ayla_provider.cloud.auth import TokenProvider
from ayla_provider.cloud.destination import FileDestination, GcsDestination
from ayla_provider.cloud.guard import SignInGuard
from ayla_provider.cloud.settings import AylaSettings
from ayla_provider.cloud.storage import ExportStore

scene = json.loads(sys.stdin.read())
connection = scene["connection"]
settings = AylaSettings.from_fields(
    conn_id="x", login=connection["login"], password=connection["password"], host=connection["host"], port=None,
    extra=connection["extra"],
)
tokens = TokenProvider(settings, SignInGuard("x", settings.fingerprint))
store = ExportStore(tokens.credentials(), settings.bucket, settings.oem_id, endpoint=settings.storage_endpoint)
if scene["folder"]:
    destination = FileDestination(Path(scene["folder"]))
else:
    credentials = service_account.Credentials.from_service_account_info(
        scene["key"], scopes=["https://www.googleapis.com/auth/devstorage.read_write"]
    )
    client = storage.Client("-", credentials, client_options={"api_endpoint": connection["host"]})
    destination = GcsDestination(client, scene["bucket"])
hour = datetime.fromisoformat(scene["hour"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = Archive(destination, max_workers=8).take_in(
    store, "datapoint", [hour], quiet_period=timedelta(minutes=15), patience=timedelta(minutes=90), written_by={}
)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scale = 1 if sys.platform == "darwin" else 1024
print(json.dumps({"bytes": report.copied_bytes, "grown": (after - before) * scale}))
"""


@pytest.mark.parametrize("kind", ["file", "gs"])
def test_memory_is_bounded_whatever_the_size_of_the_files(tmp_path: Path, kind: str) -> None:
    with LocalCloud(now=HOUR + timedelta(hours=6)) as cloud:
        for number in range(8):
            content = SeededContent(number, 96 * MIB)
            cloud.put_object(
                "Datapoint", f"{HOUR:%Y-%m-%d %H:%M:%S}", f"{number}.csv", content, HOUR + timedelta(hours=2)
            )
        scene = {
            "connection": cloud.ayla_connection(),
            "key": cloud.service_account_key(),
            "bucket": cloud.customer.name,
            "folder": str(tmp_path) if kind == "file" else "",
            "hour": HOUR.isoformat(),
        }
        done = subprocess.run(
            [sys.executable, "-c", COPY], input=json.dumps(scene), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["bytes"] == 8 * 96 * MIB
    assert seen["grown"] < 200 * MIB

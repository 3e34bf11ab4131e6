"""An hour with a small and a large file, and what must be true of its copy."""

from __future__ import annotations

import json
import re

from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import SeededContent
from tests.support.client import bytes_of
from tests.support.fleet import HOUR

QUARTER = 256 * 1024
SIZE = 2 * QUARTER + QUARTER // 2
"""Bytes of the large file, which is uploaded in three pieces."""

FILES = {"a-small.csv": SeededContent("small", 1000), "b-large.csv": SeededContent("large", SIZE)}
FOLDER = f"event_type=datapoint/date={HOUR:%Y-%m-%d}/hour={HOUR:%H}"
SOURCE = {f"{FOLDER}/{HOUR:%Y%m%dT%H}0000Z-{name}": bytes_of(content) for name, content in FILES.items()}
"""What the archive must contain, by path."""
MANIFEST = manifest_path(ExportHour("datapoint", HOUR))

_ADVICE = re.compile(
    r"Airflow retries|next (try|attempt)|[Cc]heck |Change the|Allow the|[Cc]lear the task|[Aa]sk Ayla support|"
    r"report it|again",
    re.DOTALL,
)


def put_files(cloud: LocalCloud) -> None:
    for name, content in FILES.items():
        cloud.put_object("Datapoint", f"{HOUR:%Y-%m-%d %H:%M:%S}", name, content, HOUR + 2 * ONE_HOUR)


def check_nothing_half(archive: dict[str, bytes]) -> None:
    """Check that each object with a final name is complete, and that a manifest exists only if all files exist."""
    files = {path: data for path, data in archive.items() if path != MANIFEST}
    assert files.items() <= SOURCE.items()
    if MANIFEST in archive:
        check_complete(archive)


def check_complete(archive: dict[str, bytes]) -> None:
    """Make sure that the archive is the source, byte for byte, with a manifest of just that."""
    assert set(archive) == {*SOURCE, MANIFEST}
    manifest = json.loads(archive[MANIFEST])
    assert {entry["path"]: entry["size"] for entry in manifest["files"]} == {
        path: len(data) for path, data in SOURCE.items()
    }
    assert {path: data for path, data in archive.items() if path != MANIFEST} == SOURCE


def check_told(error: BaseException, step: str) -> None:
    """Make sure that a message names what failed, and says what to do."""
    message = str(error)
    assert _ADVICE.search(message), f"doesn't say what to do: {message}"
    if step in ("sign-in", "acs"):  # which are of no hour
        assert "http://127.0.0.1:" in message or "127.0.0.1:" in message, message
        return
    assert "datapoint" in message, message
    assert f"{HOUR:%Y-%m-%d}" in message, message
    if not step.startswith(("list", "page", "manifest")):
        assert "b-large.csv" in message, message


def check_secret(output: str, cloud: LocalCloud) -> None:
    """Make sure that no password, key or token shows."""
    assert [secret for secret in cloud.secrets if secret in output] == []

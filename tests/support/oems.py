"""Two OEMs, each with a cloud, an account and a destination of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.identity import Account

OEM_IDS = {"acme_us": "11111111", "globex_eu": "22222222"}
"""The entries of the sample DAG file, each with an id as Ayla gives it."""


@contextlib.contextmanager
def clouds_of_oems(monkeypatch: pytest.MonkeyPatch, folder: Path, **made: Any) -> Iterator[dict[str, LocalCloud]]:
    """Run a cloud for each, and let connections and Variables lead there; ``made`` is for all of them."""
    with contextlib.ExitStack() as stack:
        clouds = {}
        for seed, (name, oem_id) in enumerate(OEM_IDS.items()):
            account = Account(f"export@{name}.example.com", f"the-password-of-{name}", app_secret=f"secret-of-{name}")
            cloud = stack.enter_context(LocalCloud(seed=seed, oem_id=oem_id, account=account, **made))
            monkeypatch.setenv(f"AIRFLOW_CONN_AYLA_{name.upper()}", json.dumps(cloud.ayla_connection()))
            monkeypatch.setenv(f"AIRFLOW_VAR_AYLA_EXPORT_DESTINATION_{name.upper()}", f"file://{folder}/{name}")
            clouds[name] = cloud
        yield clouds

"""The hour, copied by the operator into the customer's bucket, and what came of it."""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors
from google.cloud.storage.retry import DEFAULT_RETRY

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive import gcs as gcs_archive
from ayla_provider.archive import gcs_upload as upload
from ayla_provider.archive import local
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import AylaExportToBucketOperator
from ayla_provider.source import auth, reader
from ayla_provider.source import gcs as gcs_source
from ayla_provider.transport import cloud_storage, deadline, http, network
from tests.faults.hour import QUARTER
from tests.faults.tcp_gate import Gate
from tests.support.client import bytes_of
from tests.support.fleet import HOUR, connect

GENEROUS = 30.0
PATIENCE = 0.4
"""Seconds that a client waits for an answer: if no answer is late, and if one is."""


def shorten(
    put: Callable[[Any, str, Any], None],
    patience: float,
    limit: float = 2 * GENEROUS,
    archive_limit: float = 2 * GENEROUS,
) -> None:
    """
    Lower the constants that set how long is waited and how large a piece is; nothing else is changed.

    :param put: sets an attribute
    :param patience: seconds that a client waits for an answer, or for its next bytes
    :param limit: seconds that an answer as a whole may take
    :param archive_limit: the same, where only the archive is asked
    """
    timeout = (patience, patience)
    for module, name, value in (
        (auth, "TIMEOUT", timeout),
        (auth, "_BACKOFF", 0.05),
        (auth, "_KILLED_WAIT", 0.01),
        (auth, "_JUST_FETCHED", 0.0),
        (gcs_source, "TIMEOUT", timeout),
        (gcs_source, "SLOWEST", gcs_source._BLOCK / limit),
        (http, "SLOWEST", gcs_source._BLOCK / limit),
        (cloud_storage, "MOST_PAGES", 20),
        (deadline, "_TICK", 0.02),
        (http, "DEADLINE", limit),
        (network, "DEADLINE", limit),
        (reader, "_BACKOFF", 0.01),
        (reader, "CHUNK", QUARTER // 4),
        (local, "CHUNK", QUARTER // 4),
        (upload, "_TIMEOUT", timeout),
        (gcs_archive, "DEADLINE", archive_limit),
        (gcs_archive, "SLOWEST", gcs_archive._PIECE / archive_limit),
        (upload, "AT_ONCE", QUARTER),
        (upload, "_READ", QUARTER // 4),
    ):
        put(module, name, value)
    # google-cloud-storage's own. There is time for another try after an answer that took too long.
    total = 0.5 if patience < limit else 3 * limit
    for name, seconds in {"_initial": 0.02, "_maximum": 0.05, "_timeout": total, "_deadline": total}.items():
        put(DEFAULT_RETRY, name, seconds)


def operator_of(url: str, hour: datetime = HOUR) -> AylaExportToBucketOperator:
    # One after the other, so that the n-th request is always the same one.
    return AylaExportToBucketOperator(
        task_id="copy",
        event_type="datapoint",
        start=hour.isoformat(),
        end=(hour + ONE_HOUR).isoformat(),
        destination=url,
        max_workers=1,
    )


def context() -> Any:
    ti = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="copy", try_number=1, max_tries=4)
    return {"ti": ti, "outlet_events": OutletEventAccessors()}


@dataclass
class Try:
    """What came of one try of the task."""

    error: BaseException | None
    output: str
    """The exception with all that belongs to it, and the log."""

    @property
    def outcome(self) -> str:
        """A letter of the table, or what it is instead."""
        if self.error is None:
            return "r"
        if isinstance(self.error, AylaError):
            return "t" if self.error.retryable else f"not for Airflow: {self.error!r}"
        if isinstance(self.error, AirflowFailException) and isinstance(self.error.__cause__, AylaError):
            return "x"
        return f"none of ours: {self.error!r}"


class Scene:
    """A cell's own folder in the customer's bucket, with an account of its own: nothing is known of the cell before."""

    def __init__(
        self,
        cloud: LocalCloud,
        gate: Gate,
        name: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.cloud = cloud
        self.gate = gate
        self.url = f"gs://{cloud.customer.name}/{name}"
        self._prefix = name
        self._monkeypatch = monkeypatch
        self.put = monkeypatch.setattr
        self._caplog = caplog
        self._capsys = capsys
        cloud.faults.clear()
        cloud.requests.clear()
        gate.open()
        cloud.account.email, cloud.account.password = f"{name}@example.com", f"first-password-{name}"
        self._signed_in = cloud.sign_ins
        self.connect()
        caplog.set_level("INFO")

    def connect(self) -> None:
        """Let the connections lead through the gate."""
        connect(self._monkeypatch, self.cloud)
        connection = json.loads(json.dumps(self.cloud.ayla_connection()).replace(self.cloud.url, self.gate.url))
        self._monkeypatch.setenv("AIRFLOW_CONN_AYLA_DEFAULT", json.dumps(connection))
        self._monkeypatch.setenv("STORAGE_EMULATOR_HOST", self.gate.url)

    def change_password(self) -> None:
        """Repair a connection whose sign-in was refused, as its message says."""
        self.cloud.account.password += "-changed"
        self.connect()

    def run(self) -> Try:
        """Run the task once, in a process of its own as it were."""
        auth._PROVIDERS.clear()
        self._caplog.clear()
        self._capsys.readouterr()
        error: BaseException | None = None
        try:
            operator_of(self.url).execute(context())
        except Exception as raised:  # noqa: BLE001 - an outcome like any other
            error = raised
        output = "".join(traceback.format_exception(error)) if error else ""
        captured = self._capsys.readouterr()
        return Try(error, output + self._caplog.text + captured.out + captured.err)

    @contextlib.contextmanager
    def when(self, fired: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
        """Do something once, from another thread, when something has happened."""
        over = Event()

        def watch() -> None:
            while not over.is_set():
                if fired():
                    act()
                    return
                over.wait(0.005)

        thread = Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def settle(self) -> None:
        """Wait until the cloud has answered what clients no longer wait for."""
        fired = sum(fault.fired for fault in self.cloud.faults.all())
        deadline = time.monotonic() + 10
        while sum(one.fault is not None for one in list(self.cloud.requests)) < fired and time.monotonic() < deadline:
            time.sleep(0.02)

    @property
    def sign_ins(self) -> int:
        """Sign-ins that succeeded, since the beginning of the cell."""
        return self.cloud.sign_ins - self._signed_in

    def asked(self, step: str, text: str = "") -> list[Any]:
        return [one for one in list(self.cloud.requests) if one.step == step and text in one.path]

    def archive(self) -> dict[str, bytes]:
        """What the bucket contains, without notes on failures."""
        prefix = f"{self._prefix}/"
        names = [name for name in list(self.cloud.customer.names) if name.startswith(prefix)]
        found = {name.removeprefix(prefix): self.cloud.customer.live(name) for name in names}
        return {path: bytes_of(one.content) for path, one in found.items() if one and not path.startswith("_failures/")}

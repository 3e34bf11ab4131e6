"""What all tests share. Airflow reads its settings when it is first imported, so they must be set here, before that."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine

# make test-dates: another date, which modules see when they are imported. The tests run an hour later, as if another
# hour had begun since the import.
if "TEST_DATE" in os.environ:
    _date = datetime.fromisoformat(os.environ["TEST_DATE"])
    _clock = time_machine.travel(_date, tick=True)
    _clock.start()
    _later = time_machine.travel(_date + timedelta(hours=1), tick=True)

_IMPORTED = datetime.now(UTC)
_HOME = Path(tempfile.mkdtemp(prefix="ayla-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
# The DAGs of the project, and those that tests write.
_FOLDERS = {"dags": Path(__file__).parent.parent / "dags", "scratch": _HOME / "scratch"}
_FOLDERS["scratch"].mkdir()
_BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"

for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=str(_HOME),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(
        [{"name": name, "classpath": _BUNDLE, "kwargs": {"path": str(path)}} for name, path in _FOLDERS.items()]
    ),
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
)

import asyncio  # noqa: E402 - Airflow's home is set above
import functools  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Awaitable, Iterator  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
import uvicorn.server  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from hypothesis import settings  # noqa: E402

from ayla_provider.domain.hour import ONE_HOUR  # noqa: E402
from ayla_provider.local_cloud import LocalCloud  # noqa: E402
from tests.support.fleet import HOUR, connect, put_hour  # noqa: E402
from tests.support.proofs import IN_CI, PROVING  # noqa: E402
from tests.support.tools import missing_tools_line  # noqa: E402

# Before any test imports them.
pytest.register_assert_rewrite("tests.warehouse.contract", "tests.warehouse.erasure_contract")

# Whoever reads a private key also checks it, for 0.08 s of a core. Most tests read the local cloud's own, twice.
serialization.load_pem_private_key = functools.cache(serialization.load_pem_private_key)


class _Hurried:
    """asyncio for uvicorn, which pauses twice before it ends. Most tests wait for the end of a local cloud."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    def sleep(self, seconds: float) -> Awaitable[None]:
        return asyncio.sleep(seconds / 10)


uvicorn.server.asyncio = _Hurried()  # type: ignore[assignment]

# How long an example takes says nothing of whether it is right.
settings.register_profile("project", deadline=None, max_examples=25 if IN_CI else 10)
settings.register_profile("proof", deadline=None, max_examples=1000)
# make test-dates: the date matters there, and make test has tried many values.
settings.register_profile("date", deadline=None, max_examples=10)
if PROVING:
    settings.load_profile("proof")
elif "TEST_DATE" in os.environ:
    settings.load_profile("date")
else:
    settings.load_profile("project")


@pytest.fixture(scope="session")
def airflow_db(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Airflow's own database: for variables outside of tasks, and for ``dag.test()``."""
    database = _HOME / "airflow.db"
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    migrated = shared / "migrated.db"
    # The first process migrates a database, and the others copy it.
    with (shared / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not migrated.exists():
            subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
            shutil.copy(database, migrated)
    if not database.exists():
        shutil.copy(migrated, database)


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A server that speaks S3, at this address."""
    moto = pytest.importorskip("moto.server", reason="pip install 'moto[server,s3crc32c]'")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Iterator[LocalCloud]:
    """A local cloud where datapoint and connection have a file in HOUR, and the connections that lead to it."""
    with LocalCloud() as cloud:
        put_hour(cloud, "Datapoint", data=b"datapoints of an hour\r\n")
        put_hour(cloud, "Connection", data=b"connections of an hour\r\n")
        put_hour(cloud, "Connection", HOUR + 2 * ONE_HOUR)
        connect(monkeypatch, cloud)
        yield cloud


@pytest.fixture
def hour_of_import() -> Iterator[None]:
    """The time at which the test modules were imported, because another hour may have begun since."""
    with time_machine.travel(_IMPORTED, tick=True):
        yield


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Waits that matter between processes alone are short, and nothing is remembered from one test to the next."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.setattr("ayla_provider.source.guard._SETTLE", 0.01)
    # What is on the disk doesn't have to survive the machine.
    monkeypatch.setattr("os.fsync", lambda handle: None)
    # Each test is a process of its own, as a task would be.
    monkeypatch.setattr("ayla_provider.source.auth._PROVIDERS", {})
    monkeypatch.setattr("ayla_provider.transport.redaction._known", {})
    for name in ("airflow.sdk._shared.secrets_masker", "airflow._shared.secrets_masker"):
        # With each new secret, Airflow compiles the pattern of all secrets again. Half of a test's time went there.
        if name in sys.modules:
            sys.modules[name]._secrets_masker().reset_masker()


# The files that take longest, the longest first: most start an Airflow of their own, and mostly wait for it.
_LONGEST = (
    "test_retrigger.py",
    "test_pipeline.py",
    "test_scenarios.py",
    "test_refused_sign_in.py",
    "test_load_dags.py",
    "test_load_event_dags.py",
    "test_lake_dags.py",
    "test_connection_form.py",
    "test_coverage_page.py",
    "test_alert_dag.py",
    "test_freshness_dag.py",
    "test_deadline_dag.py",
    "test_reconcile_dag.py",
    "test_erase_dag.py",
    "test_standalone_harness.py",
    "test_celery.py",
    "test_airflow_faults.py",
    "test_partitioned_dags.py",
    "test_links.py",
    "test_simulation.py",
    "test_damaged_archive.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no process is left with a long one at the end; leave out the others."""
    order = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            own = getattr(item.obj, "_hypothesis_internal_use_settings", settings.default)  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.proof(f"{own.max_examples:,} examples"))
    if not PROVING:
        left_out = [item for item in items if _is_left_out(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_left_out(item: pytest.Item) -> bool:
    """Return whether a test runs in CI or in ``make prove`` alone."""
    proof = item.get_closest_marker("proof")
    if proof and proof.kwargs.get("alone"):
        return True
    return not IN_CI and item.get_closest_marker("ci") is not None


def pytest_collection_finish() -> None:
    """Let the tests of ``make test-dates`` run an hour later than their import."""
    if "TEST_DATE" in os.environ:
        _clock.stop()
        _later.start()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note what a proof is of, for ``make prove``."""
    if proof := item.get_closest_marker("proof"):
        item.user_properties.append(("proof", proof.args[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line which tests were skipped because a program is missing. "-rs" lists them."""
    skipped = terminalreporter.stats.get("skipped", [])
    if line := missing_tools_line(report.longrepr[2] for report in skipped):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture
def scratch_dags() -> Iterator[Path]:
    """A folder for DAG files of a test's own, which Airflow reads."""
    yield _FOLDERS["scratch"]
    for file in _FOLDERS["scratch"].glob("*.py"):
        file.unlink()

"""What import-linter can't see: which modules a fresh interpreter loads. The layers are in pyproject.toml."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ayla_provider"

# What costs a DAG file time, and what an operator needs only when it runs.
HEAVY = {
    "google.cloud.storage",
    "google.cloud.bigquery",
    "google.auth",
    "google_crc32c",
    "requests",
    "urllib3",
    "duckdb",
    "psycopg",
    "ayla_provider.source.export",
}
# What a DAG file or an operator loads anyway, of Airflow itself.
OF_AIRFLOW = (
    "from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, PokeReturnValue, TaskGroup\n"
    "from airflow.timetables.interval import CronDataIntervalTimetable\n"
    "from airflow.triggers.base import BaseTrigger, TriggerEvent"
)
# What a DAG file imports of ours.
IMPORTED = [f"ayla_provider.{name}" for name in ("sensors", "operators", "hooks", "triggers")]
CLIENTS = (
    "ayla_provider.source.gcs, ayla_provider.source.export, ayla_provider.transport.checksum, duckdb, psycopg, "
    "google.cloud.storage, google.cloud.bigquery"
)
DAGS = sorted((ROOT / "dags").glob("*.py"))


def modules_of(*packages: str) -> list[str]:
    """The names of all modules of some packages of ours."""
    files = [file for package in packages for file in (PACKAGE / package).rglob("*.py")]
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files]
    return sorted(".".join(part for part in parts if part != "__init__") for parts in parts)


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


def loaded_by(airflow_home: Path, *codes: str) -> list[set[str]]:
    """The modules that a fresh interpreter holds after each of some pieces of code, which it runs one after another."""
    looks = [f"{code}\nimport sys\nprint('LOADED', *sys.modules)" for code in codes]
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(looks)],
        env=os.environ | {"AIRFLOW_HOME": str(airflow_home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = [line for line in run.stdout.splitlines() if line.startswith("LOADED ")]
    assert len(lines) == len(codes)
    return [set(line.split()[1:]) for line in lines]


@pytest.fixture(scope="module")
def loaded_after_each(airflow_home: Path) -> dict[str, set[str]]:
    """What one interpreter holds after Airflow, after each module of ours that a DAG imports, and after the clients."""
    codes = [OF_AIRFLOW, *(f"import {module}" for module in IMPORTED), f"import {CLIENTS}"]
    return dict(zip(["airflow", *IMPORTED, "clients"], loaded_by(airflow_home, *codes), strict=True))


def of(loaded: set[str], *packages: str) -> set[str]:
    return {name for name in loaded if name in packages or name.startswith(tuple(f"{name}." for name in packages))}


def test_the_domain_loads_no_client_and_no_network(airflow_home: Path) -> None:
    modules = modules_of("domain")
    assert len(modules) > 1
    (loaded,) = loaded_by(airflow_home, "\n".join(f"import {name}" for name in modules))
    assert set(modules) <= loaded
    assert of(loaded, *HEAVY, "socket", "http") == set()


def test_what_airflow_discovers_loads_neither_airflow_nor_the_rest(airflow_home: Path) -> None:
    (loaded,) = loaded_by(airflow_home, "import ayla_provider.provider_info")
    assert of(loaded, "airflow", *HEAVY, "socket", "http") == set()
    # The package itself exports the event types, which the domain holds.
    ours = {"ayla_provider", "ayla_provider.provider_info", "ayla_provider.errors"}
    assert of(loaded, "ayla_provider") - of(loaded, "ayla_provider.domain") == ours


def test_the_plugin_that_workers_load_too_loads_no_server_and_no_client(airflow_home: Path) -> None:
    before = "import airflow.plugins_manager\nimport ayla_provider._airflow.compat"
    of_airflow, of_plugin = loaded_by(airflow_home, before, "import ayla_provider.plugin")
    loaded = of_plugin - of_airflow
    assert "ayla_provider.plugin" in loaded
    assert of(loaded, "ayla_provider") - of(loaded, "ayla_provider.domain") == {"ayla_provider.plugin"}
    assert of(loaded, *HEAVY, "starlette", "fastapi", "uvicorn") == set()


def test_what_a_dag_imports_loads_no_client(loaded_after_each: dict[str, set[str]]) -> None:
    for module in IMPORTED:
        loaded = loaded_after_each[module]
        assert module in loaded
        assert of(loaded - loaded_after_each["airflow"], *HEAVY) == set(), module


def test_the_client_is_loaded_when_it_is_asked_for(loaded_after_each: dict[str, set[str]]) -> None:
    # Else what the test above looks for could have got another name.
    assert loaded_after_each["clients"] - loaded_after_each["airflow"] >= HEAVY


@pytest.mark.ci
def test_a_sample_dag_loads_no_client_when_it_is_parsed(airflow_home: Path) -> None:
    assert DAGS
    codes = [f"import runpy\nrunpy.run_path({str(dag)!r})" for dag in DAGS]
    of_airflow, *after_each = loaded_by(airflow_home, OF_AIRFLOW, *codes)
    for dag, loaded in zip(DAGS, after_each, strict=True):
        assert of(loaded, "ayla_provider")
        assert of(loaded - of_airflow, *HEAVY) == set(), dag.name


def test_no_other_test_imports_those_with_a_real_airflow() -> None:
    # looker-sdk, which Google's provider installs, has a package tests.integration. Python takes that one, unless
    # pytest has imported a module of ours before.
    imports = re.compile(r"^\s*(from|import) tests\.integration", re.MULTILINE)
    others = [path for path in (ROOT / "tests").rglob("*.py") if path.parent.name != "integration"]
    assert [path.name for path in others if imports.search(path.read_text())] == []

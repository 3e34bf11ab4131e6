from __future__ import annotations

import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

import ayla_provider

ROOT = Path(__file__).parents[1]
INFO = f"airflow_provider_ayla-{ayla_provider.__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The wheel that this checkout makes, its files by their names."""
    folder = tmp_path_factory.mktemp("wheel")
    run = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (path,) = folder.iterdir()
    assert path.name == f"airflow_provider_ayla-{ayla_provider.__version__}-py3-none-any.whl"
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_every_module_and_that_it_is_typed(wheel: dict[str, bytes]) -> None:
    sources = [file for file in (ROOT / "ayla_provider").rglob("*") if file.is_file() and file.suffix != ".pyc"]
    expected = {str(file.relative_to(ROOT)) for file in sources}
    assert {"ayla_provider/py.typed", "ayla_provider/plugin/static/page.js"} <= expected
    assert {name for name in wheel if not name.startswith(f"{INFO}/")} == expected


def test_the_wheel_holds_nothing_but_the_package(wheel: dict[str, bytes]) -> None:
    assert {name.partition("/")[0] for name in wheel} == {"ayla_provider", INFO}
    assert [name for name in wheel if "__pycache__" in name or name.endswith((".pyc", ".csv", ".db", ".log"))] == []


def test_the_wheel_holds_the_licence(wheel: dict[str, bytes]) -> None:
    assert wheel[f"{INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"Apache License" in wheel[f"{INFO}/licenses/LICENSE"]


def test_airflow_finds_the_provider_and_its_page_by_the_wheels_entry_points(wheel: dict[str, bytes]) -> None:
    assert wheel[f"{INFO}/entry_points.txt"].decode().split("\n") == [
        "[airflow.plugins]",
        "ayla_export = ayla_provider.plugin:AylaExportPlugin",
        "",
        "[apache_airflow_provider]",
        "provider_info = ayla_provider.provider_info:get_provider_info",
        "",
    ]


def test_the_wheel_says_what_it_is_and_needs(wheel: dict[str, bytes]) -> None:
    metadata = message_from_bytes(wheel[f"{INFO}/METADATA"])
    assert metadata["Name"] == "airflow-provider-ayla"
    assert metadata["Version"] == ayla_provider.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    requirements = metadata.get_all("Requires-Dist", [])
    needed = {requirement for requirement in requirements if "extra ==" not in requirement}
    assert "apache-airflow<4,>=3.1" in needed
    assert {"google-cloud-storage", "requests"} <= {requirement.partition(">")[0] for requirement in needed}
    # What only some users need is an extra; what the tests need is neither.
    assert not any(requirement.startswith("apache-airflow-providers") for requirement in needed)
    assert not any(requirement.startswith(("pytest", "ruff", "mypy", "hypothesis")) for requirement in requirements)


def test_the_readme_is_the_description(wheel: dict[str, bytes]) -> None:
    metadata = message_from_bytes(wheel[f"{INFO}/METADATA"])
    assert metadata["Description-Content-Type"] == "text/markdown"
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()

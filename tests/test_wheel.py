from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import ayla_provider
from tests.support.tools import GIT

ROOT = Path(__file__).parents[1]
NAME = f"airflow_provider_ayla-{ayla_provider.__version__}"
INFO = f"{NAME}.dist-info"
SAMPLES = "ayla_provider/example_dags"


def build(source: Path, into: Path, *what: str) -> Path:
    """Build as at a tag's time; alone, sdist and the wheel from it; else what is asked for from the source itself."""
    command = [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", str(into), str(source)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1764000000"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    return into


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what this checkout makes: the wheel not by way of the sdist."""
    return build(ROOT, tmp_path_factory.mktemp("built"), "--sdist", "--wheel")


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    """The wheel, its files by their names."""
    with ZipFile(built / f"{NAME}-py3-none-any.whl") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    return message_from_bytes(wheel[f"{INFO}/METADATA"])


@pytest.mark.ci
def test_the_sdist_of_another_day_and_place_makes_the_same_bytes(built: Path, tmp_path: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        archive.extractall(tmp_path / "elsewhere", filter="data")
    source = tmp_path / "elsewhere" / NAME
    for number, file in enumerate(sorted(source.rglob("*"))):
        file.chmod(file.stat().st_mode & 0o700)
        os.utime(file, (1_700_000_000 + number, 1_700_000_000 + number))
    again = build(source, tmp_path / "again")
    made = {file.name: file.read_bytes() for file in built.iterdir()}
    assert len(made) == 2
    assert {file.name: file.read_bytes() for file in again.iterdir()} == made


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not in a clone")
@GIT.needed()
def test_the_sdist_holds_all_of_the_repository(built: Path) -> None:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {member.name.removeprefix(f"{NAME}/") for member in archive if member.isfile()}
    assert names - {"PKG-INFO"} == {name for name in files if (ROOT / name).is_file()}


def test_the_wheel_holds_every_module_and_that_it_is_typed(wheel: dict[str, bytes]) -> None:
    sources = [file for file in (ROOT / "ayla_provider").rglob("*") if file.is_file() and file.suffix != ".pyc"]
    expected = {str(file.relative_to(ROOT)) for file in sources}
    assert {"ayla_provider/py.typed", "ayla_provider/plugin/static/page.js"} <= expected
    assert {name for name in wheel if not name.startswith((f"{INFO}/", f"{SAMPLES}/"))} == expected


def test_the_wheel_holds_the_sample_dags_where_registries_look_for_them(wheel: dict[str, bytes]) -> None:
    samples = {f"{SAMPLES}/{file.name}": file.read_bytes() for file in (ROOT / "dags").glob("*.py")}
    assert f"{SAMPLES}/ayla_export_to_bucket.py" in samples
    assert {name: content for name, content in wheel.items() if name.startswith(f"{SAMPLES}/")} == samples


def test_the_wheel_holds_nothing_but_the_package(wheel: dict[str, bytes]) -> None:
    assert {name.partition("/")[0] for name in wheel} == {"ayla_provider", INFO}
    assert [name for name in wheel if "__pycache__" in name or name.endswith((".pyc", ".csv", ".db", ".log"))] == []


def test_the_wheel_has_a_bill_of_materials_of_what_it_asks_for(wheel: dict[str, bytes], metadata: Message) -> None:
    (name,) = [name for name in wheel if "/sboms/" in name]
    assert name == f"{INFO}/sboms/airflow-provider-ayla.cdx.json"
    document = json.loads(wheel[name])
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    # No random number, and the time of the commit.
    assert "serialNumber" not in document
    assert document["metadata"]["timestamp"] == "2025-11-24T16:00:00Z"
    assert document["metadata"]["component"]["purl"] == f"pkg:pypi/airflow-provider-ayla@{ayla_provider.__version__}"
    asked = {Requirement(text).name.lower() for text in metadata.get_all("Requires-Dist") or []}
    components = {component["name"]: component for component in document["components"]}
    assert set(components) == asked
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints/dev.txt").read_text(), re.MULTILINE))
    assert components["duckdb"]["version"] == pins["duckdb"]
    assert [name for name, one in components.items() if one.get("version") not in (None, pins.get(name))] == []
    assert components["certifi"]["scope"] == "required"
    assert components["deltalake"]["scope"] == "optional"


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
        "[fsspec.specs]",
        "ayla = ayla_provider.filesystem:AylaFileSystem",
        "",
        "[universal_pathlib.implementations]",
        "ayla = ayla_provider.object_path:AylaPath",
        "",
    ]


def test_the_wheel_says_what_it_is_and_needs(metadata: Message) -> None:
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


def test_the_wheel_says_where_to_go_on(metadata: Message) -> None:
    urls = dict(entry.split(", ") for entry in metadata.get_all("Project-URL", []))
    assert {"Homepage", "Documentation", "Source", "Changelog", "Issues"} <= set(urls)
    assert all(url.startswith("https://") for url in urls.values())
    classifiers = metadata.get_all("Classifier", [])
    assert {"Framework :: Apache Airflow", "Framework :: Apache Airflow :: Provider"} <= set(classifiers)
    assert {"airflow", "airflow-provider", "ayla"} <= set(metadata["Keywords"].split(","))


def test_the_readme_is_the_description_with_links_that_lead_somewhere_from_anywhere(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    links, readme = re.compile(r"(!?)\[[^\]]*\]\(([^)]*)\)"), (ROOT / "README.md").read_text(encoding="utf-8")
    described = payload.decode()
    assert links.sub("", described).strip() == links.sub("", readme).strip()

    source = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]
    raw = source.replace("https://github.com/", "https://raw.githubusercontent.com/")
    tag = f"v{ayla_provider.__version__}"
    whole = [
        target if ":" in target else f"{raw}/{tag}/{target}" if image else f"{source}/blob/{tag}/{target}"
        for image, target in links.findall(readme)
    ]
    assert [target for _, target in links.findall(described)] == whole
    assert sum("raw.githubusercontent" in target for target in whole) >= 2

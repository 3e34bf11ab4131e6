"""What can be held true of GitHub's workflows and of the site without GitHub."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]


def jobs(workflow: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / workflow).read_text())["jobs"]
    return loaded


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(workflow.name).values() for step in job.get("steps", [])]


def test_they_are_workflows_by_githubs_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    run = subprocess.run([*command, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_no_more_unless_a_job_says_so(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_has_a_version_and_a_checkout_leaves_no_token(workflow: Path) -> None:
    used = [step for step in steps(workflow) if "uses" in step]
    by_tag = {step["uses"] for step in used if not re.search(r"@[0-9a-f]{40}$", step["uses"])}
    listed = re.findall(r"^\| `([\w-]+/[\w-]+)` \| `([\w./-]+)` \|$", (ROOT / "RELEASING.md").read_text(), re.MULTILINE)
    assert by_tag <= {f"{action}@{tag}" for action, tag in listed}
    checkouts = [step for step in used if step["uses"].startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_a_digest_has_the_version_behind_it_and_is_the_same_everywhere() -> None:
    text = "".join(workflow.read_text() for workflow in WORKFLOWS)
    pinned = re.findall(r"uses: ([\w-]+/[\w-]+)[\w/-]*@([0-9a-f]{40})(.*)", text)
    assert len(pinned) > 10
    assert [version for _, _, version in pinned if not re.fullmatch(r" # v\d+\.\d+\.\d+", version)] == []
    assert len({action for action, _, _ in pinned}) == len(set(pinned))


def test_the_actions_without_a_digest_are_those_that_the_pages_and_zizmor_name() -> None:
    policies = yaml.safe_load((ROOT / ".github" / "zizmor.yml").read_text())["rules"]["unpinned-uses"]["config"][
        "policies"
    ]
    accepted = {action for action, policy in policies.items() if policy == "ref-pin"}
    listed = re.findall(r"^\| `([\w-]+/[\w-]+)` \|", (ROOT / "RELEASING.md").read_text(), re.MULTILINE)
    used = {step["uses"] for workflow in WORKFLOWS for step in steps(workflow) if "uses" in step}
    by_tag = {each.partition("@")[0] for each in used if not re.search(r"@[0-9a-f]{40}$", each)}
    assert accepted == set(listed) == by_tag
    assert policies["*"] == "hash-pin"


def test_dependabot_looks_after_what_is_pinned() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "docker-compose", "pip"}
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.dependabot"]
    run = subprocess.run([*command, ".github/dependabot.yml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_job_that_may_say_who_it_is_runs_nothing_of_the_repository() -> None:
    trusted = {
        name: job
        for workflow in WORKFLOWS
        for name, job in jobs(workflow.name).items()
        if "id-token" in job.get("permissions", {})
    }
    assert {name: job["environment"]["name"] for name, job in trusted.items()} == {
        "publish": "pypi",
        "pages": "github-pages",
    }
    assert [
        step for job in trusted.values() for step in job["steps"] if "run" in step or "checkout" in step["uses"]
    ] == []


def test_what_is_published_is_what_was_built_once_and_tested() -> None:
    publish = jobs("publish.yml")["publish"]
    assert publish["needs"] == "wheel"
    assert jobs("publish.yml")["wheel"]["uses"] == jobs("ci.yml")["wheel"]["uses"]
    built = [step for step in jobs("wheel.yml")["build"]["steps"] if step.get("run") == "make dist"]
    assert len(built) == 1
    assert jobs("wheel.yml")["install"]["needs"] == "build"


def test_a_workflow_runs_what_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for workflow in WORKFLOWS for step in steps(workflow) if "run" in step]
    made = {target for command in commands for target in re.findall(r"^make ([a-z-]+)$", command, re.MULTILINE)}
    made |= set(jobs("ci.yml")["test"]["strategy"]["matrix"]["target"])
    assert {"dist", "docs", "lint", "release", "test"} <= made <= targets


def test_the_tests_for_the_oldest_airflow_exist() -> None:
    command = ["make", "--silent", "--eval=print-tests: ; @echo $(OF_AIRFLOW)", "print-tests"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "tests/integration/test_coverage_page.py" in printed.split()
    for test in printed.split():
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / path).read_text(), test


def test_each_minor_of_airflow_and_each_python_that_is_claimed_is_tried() -> None:
    matrix = jobs("wheel.yml")["install"]["strategy"]["matrix"]
    pinned = {
        re.search(r"^apache-airflow==(\S+)$", (ROOT / name).read_text(), re.MULTILINE)[1]  # type: ignore[index]
        for name in ("constraints/oldest.txt", "constraints/3.2.txt", "constraints/dev.txt")
    }
    assert set(matrix["airflow"]) == pinned
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    claimed = {
        version for one in classifiers for version in re.findall(r"^Programming Language :: Python :: (3\.\d+)$", one)
    }
    assert set(matrix["python"]) == claimed


def test_the_site_has_every_page_of_the_documents_in_its_menu() -> None:
    menu = set(re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = (ROOT / "docs").rglob("*.md")
    assert {str(page.relative_to(ROOT / "docs")) for page in pages} <= menu


def test_all_addresses_of_the_project_are_of_one_repository() -> None:
    owner = URLS["Source"].removeprefix("https://github.com/")
    pages = "https://{}.github.io/{}/".format(*owner.split("/"))
    assert URLS["Documentation"] == pages
    assert f"site_url: {pages}\n" in (ROOT / "mkdocs.yml").read_text()
    for name in ("README.md", "SECURITY.md", "RELEASING.md", "CONTRIBUTING.md", "pyproject.toml", "mkdocs.yml"):
        text = (ROOT / name).read_text()
        ours = re.findall(r"(?:github\.com|githubusercontent\.com|--repo)[/ ]([\w-]+/airflow-provider-[\w-]+)", text)
        assert set(ours) <= {owner}, name


@pytest.mark.parametrize("name", ["pip.txt", "release.txt"])
def test_each_package_that_builds_a_release_has_hashes(name: str) -> None:
    text = (ROOT / "constraints" / name).read_text()
    packages = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(packages) >= 2
    for package in packages:
        assert re.match(r"[\w.-]+==\S+ \\\n", package), package
        assert re.search(r"--hash=sha256:[0-9a-f]{64}$", package.strip()), package
    # Where a package comes from is up to the machine.
    assert "://" not in text


def test_what_builds_a_release_is_what_installs_it() -> None:
    pins = {
        name: dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints" / name).read_text(), re.MULTILINE))
        for name in ("pip.txt", "release.txt")
    }
    assert set(pins["pip.txt"]) == {"pip", "uv"}
    assert pins["pip.txt"].items() <= pins["release.txt"].items()
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    asked = {re.match(r"[\w-]+", one)[0] for group in ("dist", "docs", "workflows") for one in groups[group]}  # type: ignore[index]
    assert asked <= set(pins["release.txt"])

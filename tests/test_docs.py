"""What can be held true of the documents: links, code, and that nothing that a user meets is left out."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from ayla_provider import errors
from ayla_provider.cloud.settings import REGIONS
from ayla_provider.domain import manifest
from ayla_provider.domain.coverage import Coverage
from ayla_provider.domain.status import PATIENCE, QUIET_PERIOD, HourState
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud.faults import KINDS, STEPS
from ayla_provider.operators import AylaExportReconcileOperator, AylaExportToBucketOperator
from ayla_provider.provider_info import CONNECTION_FIELDS
from ayla_provider.sensors import AylaExportAliveSensor, AylaExportHourSensor

ROOT = Path(__file__).parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")), *sorted(ROOT.glob("docs/*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def read(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its code."""
    return INLINE_CODE.sub("", FENCED.sub("", read(page)))


def links() -> list[tuple[str, str]]:
    found = [(page, target) for page in PAGES for target in LINK.findall(prose(page))]
    relative = [(page, target) for page, target in found if not re.match(r"[a-z]+:", target)]
    return [(str(page.relative_to(ROOT)), target) for page, target in relative]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = HEADING.findall(FENCED.sub("", read(page)))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, (found, code) in enumerate(FENCED.findall(read(page)), start=1)
        if found == language
    ]


def arguments_of(made: type) -> list[str]:
    parameters = inspect.signature(made).parameters.values()
    return [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]


def mentions(page: str, name: str) -> bool:
    """Whether a page has a name as code, alone or with more."""
    code = [*INLINE_CODE.findall(FENCED.sub("", read(page))), *(text for _, text in FENCED.findall(read(page)))]
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", one) for one in code)


def test_there_is_something_to_look_at() -> None:
    assert len(PAGES) > 8
    assert len(links()) > 20
    assert len(blocks("python")) > 5


@pytest.mark.parametrize(("page", "target"), links())
def test_a_relative_link_leads_to_a_file_and_to_a_heading_in_it(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = ((ROOT / page).parent / unquote(path)).resolve() if path else ROOT / page
    assert file.exists()
    assert file.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(file)


@pytest.mark.parametrize("code", blocks("python"))
def test_a_block_of_python_compiles(code: str) -> None:
    compile(code, "a page", "exec")


@pytest.mark.parametrize("code", blocks("json"))
def test_a_block_of_json_is_json(code: str) -> None:
    json.loads(code)


def test_the_manifest_of_the_example_is_one() -> None:
    (document,) = [block.values[0] for block in blocks("json") if block.id.startswith("docs/manifest.md")]
    example = manifest.loads(document, "the example")
    assert example.dumps() == document
    fields = {*json.loads(document), *(f"files[].{name}" for name in json.loads(document)["files"][0])} - {"files"}
    assert {name for name in fields if not mentions("docs/manifest.md", name)} == set()


@pytest.mark.parametrize("name", [*CONNECTION_FIELDS, *REGIONS])
def test_each_field_and_region_of_a_connection_is_told(name: str) -> None:
    assert mentions("docs/connect.md", name)


@pytest.mark.parametrize("label", [field["label"] for field in CONNECTION_FIELDS.values()])
def test_each_field_is_told_by_its_name_in_the_form(label: str) -> None:
    assert f"| {label} |" in read("docs/connect.md")


@pytest.mark.parametrize("name", arguments_of(AylaExportHourSensor))
def test_each_argument_of_the_sensor_is_told(name: str) -> None:
    assert mentions("docs/wait.md", name)


@pytest.mark.parametrize("name", arguments_of(AylaExportAliveSensor))
def test_each_argument_of_the_alive_sensor_is_told(name: str) -> None:
    assert mentions("docs/alerts.md", name)


@pytest.mark.parametrize("name", arguments_of(AylaExportToBucketOperator))
def test_each_argument_of_the_copy_is_told(name: str) -> None:
    assert mentions("docs/copy.md", name)


@pytest.mark.parametrize("name", arguments_of(AylaExportReconcileOperator))
def test_each_argument_of_the_comparison_is_told(name: str) -> None:
    assert mentions("docs/reconcile.md", name)


@pytest.mark.parametrize("state", Coverage)
def test_each_state_of_the_report_is_told(state: Coverage) -> None:
    assert mentions("docs/report.md", state.value)


@pytest.mark.parametrize("state", HourState)
def test_each_state_has_its_rule_and_what_to_do(state: HourState) -> None:
    rule, what_to_do = re.findall(rf"^\|.*`{state.value}` \|.*$", read("docs/states.md"), re.MULTILINE)
    assert ("**yes**" in rule) == state.settled
    assert what_to_do.startswith(f"| `{state.value}` |")


def test_the_defaults_that_are_told_are_the_real_ones() -> None:
    for name, default in (("quiet_period", QUIET_PERIOD), ("patience", PATIENCE)):
        told = f"| `{name}` | {default.total_seconds() / 60:.0f} minutes |"
        assert told in read("docs/wait.md")
        assert told in read("docs/states.md")


def test_each_error_is_told_and_whether_it_is_retried() -> None:
    known = {one.__name__: one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, AylaError)}
    rows = dict(re.findall(r"^\| `(Ayla\w+)` \| ([^|]*) \|", read("docs/errors.md"), re.MULTILINE))
    assert set(rows) == set(known)
    for name, retries in rows.items():
        if known[name] is not AylaError:
            assert retries.startswith("yes" if known[name].retryable else "no"), name


@pytest.mark.parametrize("name", [*STEPS, *KINDS])
def test_each_fault_of_the_local_cloud_is_told(name: str) -> None:
    assert mentions("docs/local-cloud.md", name)

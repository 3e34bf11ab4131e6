"""What can be held true of the documents: links, code, and that nothing that a user meets is left out."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pytest
from airflow.sdk import BaseOperator

from ayla_provider import errors, operators
from ayla_provider.__main__ import airflow_connections
from ayla_provider.archive.findings import Damage
from ayla_provider.cli.main import command_parser
from ayla_provider.domain import manifest
from ayla_provider.domain import typed_manifest as typed
from ayla_provider.domain.arrival import PATIENCE, QUIET_PERIOD, HourState
from ayla_provider.domain.completeness import Completeness
from ayla_provider.domain.coverage import Coverage
from ayla_provider.domain.csv.columns import RESOURCE_TAGS
from ayla_provider.domain.erasure import parse_entry
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.freshness import FreshnessState
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.privacy import Treatment
from ayla_provider.domain.tables import STREAM_TABLES, TABLES, Table
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud.faults import KINDS, STEPS
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.oddities import ODDITIES
from ayla_provider.operators import (
    AylaExportAccessOperator,
    AylaExportCompletenessOperator,
    AylaExportCountdownOperator,
    AylaExportEraseOperator,
    AylaExportFreshnessOperator,
    AylaExportPartsOperator,
    AylaExportPartToBucketOperator,
    AylaExportPartToParquetOperator,
    AylaExportReconcileOperator,
    AylaExportRetentionOperator,
    AylaExportToBucketOperator,
    AylaExportVerifyOperator,
    AylaExportVolumeOperator,
    AylaFleetModelsOperator,
    AylaStreamToBucketOperator,
)
from ayla_provider.provider_info import CONNECTION_FIELDS
from ayla_provider.sensors import AylaExportAliveSensor, AylaExportHourSensor
from ayla_provider.source.settings import REGIONS
from ayla_provider.warehouse.base import HOURS, LEDGER
from ayla_provider.warehouse.duckdb import DIALECT
from ayla_provider.warehouse.sql import views_of
from tests.support.fleet import seed_with_all_event_types
from tests.test_load_operators import HOUR, load, plan
from tests.warehouse.archive import archive_fleet, archive_hour

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
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


def all_arguments_of(made: type) -> set[str]:
    """The arguments of a class, and of the classes above it that are ours."""
    ours = [one for one in made.__mro__ if issubclass(one, BaseOperator) and one.__module__.startswith("ayla_provider")]
    # Airflow gives a class without a constructor of its own a copy of an inherited one.
    with_constructor = [one for one in ours if one.__init__.__qualname__.startswith(f"{one.__name__}.")]
    return {name for one in with_constructor for name in arguments_of(one)}


OF_PARTS = (AylaExportPartsOperator, AylaExportPartToBucketOperator, AylaExportPartToParquetOperator)
OF_RETENTION = [
    AylaExportRetentionOperator,
    *(getattr(operators, name) for name in operators.__all__ if re.fullmatch(r"AylaExport\w+RetentionOperator", name)),
]
TO_TABLES = [
    one
    for one in (getattr(operators, name) for name in operators.__all__)
    if one
    not in (
        AylaExportAccessOperator,
        AylaExportCompletenessOperator,
        AylaExportCountdownOperator,
        AylaExportEraseOperator,
        AylaExportFreshnessOperator,
        AylaExportToBucketOperator,
        *OF_PARTS,
        *OF_RETENTION,
        AylaExportReconcileOperator,
        AylaExportVerifyOperator,
        AylaExportVolumeOperator,
        AylaFleetModelsOperator,
        AylaStreamToBucketOperator,
    )
]


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


@pytest.mark.ci
@pytest.mark.parametrize("code", [block for block in blocks("python") if "def test_" in block.values[0]])
def test_a_test_in_the_documents_passes(code: str, airflow_db: None, tmp_path: Path) -> None:
    (tmp_path / "test_of_a_document.py").write_text(code, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("dag", sorted(ROOT.glob("dags/*.py")), ids=lambda path: path.stem)
def test_airflow_shows_each_command_of_a_dag_on_a_line_of_its_own(dag: Path) -> None:
    # Airflow shows an indented block as one paragraph, and only a fenced one as code.
    doc = ast.get_docstring(ast.parse(read(dag)), clean=False) or ""
    assert not re.search(r"^    ", FENCED.sub("", doc), re.MULTILINE)


@pytest.mark.parametrize("code", blocks("bash"))
def test_a_command_of_the_provider_takes_the_documented_arguments(code: str, airflow_db: None) -> None:
    for command in re.findall(
        r"python -m ayla_provider (.*?)(?:`|$|\||>|;|&)", code.replace("\\\n", " "), re.MULTILINE
    ):
        command_parser(airflow_connections).parse_args(shlex.split(command, comments=True))


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
def test_each_field_and_region_of_a_connection_is_described(name: str) -> None:
    assert mentions("docs/connect.md", name)


@pytest.mark.parametrize("label", [field["label"] for field in CONNECTION_FIELDS.values()])
def test_each_field_is_described_by_its_name_in_the_form(label: str) -> None:
    assert f"| {label} |" in read("docs/connect.md")


@pytest.mark.parametrize("name", arguments_of(AylaExportHourSensor))
def test_each_argument_of_the_sensor_is_described(name: str) -> None:
    assert mentions("docs/wait.md", name)


@pytest.mark.parametrize("name", arguments_of(AylaExportAliveSensor))
def test_each_argument_of_the_alive_sensor_is_described(name: str) -> None:
    assert mentions("docs/alerts.md", name)


@pytest.mark.parametrize("name", arguments_of(AylaExportToBucketOperator))
def test_each_argument_of_the_copy_is_described(name: str) -> None:
    assert mentions("docs/copy.md", name)


@pytest.mark.parametrize("name", arguments_of(AylaExportReconcileOperator))
def test_each_argument_of_the_comparison_is_described(name: str) -> None:
    assert mentions("docs/reconcile.md", name)


@pytest.mark.parametrize("name", [*arguments_of(AylaExportVerifyOperator), *Damage])
def test_each_argument_and_finding_of_the_verification_is_described(name: str) -> None:
    assert mentions("docs/verify.md", str(name))


@pytest.mark.parametrize("name", arguments_of(AylaStreamToBucketOperator))
def test_each_argument_of_the_drain_is_described(name: str) -> None:
    assert mentions("docs/stream.md", name)


@pytest.mark.parametrize("name", arguments_of(AylaExportCountdownOperator))
def test_each_argument_of_the_countdown_is_described(name: str) -> None:
    assert mentions("docs/alerts.md", name)


@pytest.mark.parametrize("name", [*arguments_of(AylaExportFreshnessOperator), *FreshnessState])
def test_each_argument_and_state_of_the_freshness_is_described(name: str) -> None:
    assert mentions("docs/freshness.md", str(name))


@pytest.mark.parametrize("name", arguments_of(AylaExportVolumeOperator))
def test_each_argument_of_the_volumes_is_described(name: str) -> None:
    assert mentions("docs/anomalies.md", name)


@pytest.mark.parametrize("name", arguments_of(AylaExportEraseOperator))
def test_each_argument_of_the_erasure_is_described(name: str) -> None:
    assert mentions("docs/erasure.md", name)


def test_the_certificate_of_the_example_is_one() -> None:
    (document,) = [
        block.values[0]
        for block in blocks("json")
        if block.id.startswith("docs/erasure.md") and "ayla-erasure" in str(block.values[0])
    ]
    assert parse_entry(str(document).encode(), "the example").dumps() == document


@pytest.mark.parametrize("name", arguments_of(AylaFleetModelsOperator))
def test_each_argument_of_the_fleet_models_is_described(name: str) -> None:
    assert mentions("docs/fleet-models.md", name)


@pytest.mark.parametrize("name", [*arguments_of(AylaExportCompletenessOperator), *Completeness])
def test_each_argument_and_state_of_the_completeness_is_described(name: str) -> None:
    assert mentions("docs/completeness.md", str(name))


@pytest.mark.parametrize("state", Coverage)
def test_each_state_of_the_report_is_described(state: Coverage) -> None:
    assert mentions("docs/report.md", state.value)


@pytest.mark.parametrize("state", HourState)
def test_each_state_has_its_rule_and_what_to_do(state: HourState) -> None:
    rule, what_to_do = re.findall(rf"^\|.*`{state.value}` \|.*$", read("docs/states.md"), re.MULTILINE)
    assert ("**yes**" in rule) == state.settled
    assert what_to_do.startswith(f"| `{state.value}` |")


def test_the_documented_defaults_are_the_real_ones() -> None:
    for name, default in (("quiet_period", QUIET_PERIOD), ("patience", PATIENCE)):
        minutes = default.total_seconds() / 60
        assert f"| `{name}` | {minutes:.0f} minutes |" in read("docs/wait.md")
        assert f"| `{name}` | {minutes:.0f} minutes |" in read("docs/states.md")
        (field,) = re.findall(rf"^\|.*\| `{name}` \|.*$", read("docs/connect.md"), re.MULTILINE)
        assert f"Default: {minutes:.0f}." in field
        assert f"Minutes, {minutes:.0f} by default." in CONNECTION_FIELDS[name]["description"]


def test_each_error_is_described_and_whether_it_is_retried() -> None:
    known = {one.__name__: one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, AylaError)}
    rows = dict(re.findall(r"^\| `(Ayla\w+)` \| ([^|]*) \|", read("docs/errors.md"), re.MULTILINE))
    assert set(rows) == set(known)
    for name, retries in rows.items():
        if known[name] is not AylaError:
            assert retries.startswith("yes" if known[name].retryable else "no"), name


@pytest.mark.parametrize("name", [*STEPS, *KINDS, *ODDITIES])
def test_each_fault_of_the_local_cloud_is_described(name: str) -> None:
    assert mentions("docs/local-cloud.md", name)


@pytest.mark.parametrize("made", TO_TABLES, ids=lambda made: made.__name__)
def test_each_argument_of_the_operators_to_tables_is_described(made: type) -> None:
    described = read("docs/warehouse.md")
    assert mentions("docs/warehouse.md", made.__name__)
    names = all_arguments_of(made)
    assert len(names) > 5
    assert {name for name in names if not re.search(rf"^\|.*`{name}`.*\|", described, re.MULTILINE)} == set()


@pytest.mark.parametrize("made", OF_PARTS, ids=lambda made: made.__name__)
def test_each_argument_of_the_operators_of_parts_is_described(made: type) -> None:
    described = read("docs/large-hours.md")
    assert mentions("docs/large-hours.md", made.__name__)
    names = arguments_of(made)
    assert names
    assert {name for name in names if not re.search(rf"^\|.*`{name}`.*\|", described, re.MULTILINE)} == set()


@pytest.mark.parametrize("made", OF_RETENTION, ids=lambda made: made.__name__)
def test_each_argument_of_the_operators_of_retention_is_described(made: type) -> None:
    assert mentions("docs/retention.md", made.__name__)
    described = read("docs/retention.md") + read("docs/warehouse.md").partition("## Arguments of a load")[2]
    names = all_arguments_of(made)
    assert len(names) > 5
    assert {name for name in names if not re.search(rf"^\|.*`{name}`.*\|", described, re.MULTILINE)} == set()


def test_each_argument_of_the_operator_of_access_is_described() -> None:
    described = read("docs/access.md")
    names = arguments_of(AylaExportAccessOperator)
    assert len(names) > 5
    assert {name for name in names if not re.search(rf"^\|.*`{name}`.*\|", described, re.MULTILINE)} == set()


def test_each_described_argument_of_the_operators_to_tables_exists() -> None:
    sections = read("docs/warehouse.md").partition("## Arguments of a load")[2].partition("## Result")[0]
    cells = [cell for row in re.findall(r"^\|.*$", sections, re.MULTILINE) for cell in row.split("|")[1:3]]
    described = {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}
    assert described == {name for made in TO_TABLES for name in all_arguments_of(made)}


@pytest.mark.parametrize("table", [LEDGER, HOURS, *STREAM_TABLES.values()], ids=lambda table: table.event_type)
def test_each_column_of_a_table_is_described_in_its_place(table: Table) -> None:
    section = read("docs/tables.md").partition(f"## `ayla_{table.event_type}`\n")[2].partition("\n## ")[0]
    assert table.description.partition(":")[0] in section
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(column.name, column.type.value, column.description) for column in table.columns]
    if table.identity:
        assert f"A row is identified by `{table.identity}`." in section


@pytest.mark.parametrize("name", [view.name for table in TABLES.values() for view in views_of(table, str, DIALECT)])
def test_each_view_is_described_and_has_a_query(name: str) -> None:
    assert mentions("docs/tables.md", f"ayla_{name}")
    queries = [block.values[0] for block in blocks("sql") if block.id.startswith("docs/tables.md")]
    assert any(f"ayla_{name}" in query for query in queries)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive and a DuckDB file, of some made-up hours with a malformed line."""
    root = tmp_path_factory.mktemp("loaded")
    hours = [HOUR - number * ONE_HOUR for number in range(6)]
    fleet = Fleet(seed=seed_with_all_event_types(hours))
    for hour in hours:
        for event_type in EVENT_TYPES:
            archive_fleet(root / "archive", fleet, event_type, hour)
    row = b"1a2b3c4d,LC-THERMO-2,LC000X%09d,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
    lines = b"".join(row % number for number in range(30)) + b"half,a row\r\n"
    archive_hour(root / "archive", "connection", [lines], HOUR - timedelta(days=1))
    for item in plan(root)[0]:
        load(root, item)
    return root


QUERIED = ("README.md", *(f"docs/{name}.md" for name in ("warehouse", "tables", "duckdb", "parquet", "quarantine")))


@pytest.mark.parametrize("query", [block for block in blocks("sql") if str(block.id).startswith(QUERIED)])
def test_a_query_of_a_page_about_tables_runs_and_finds_rows(query: str, loaded: Path, tmp_path: Path) -> None:
    shutil.copy(loaded / "ayla.duckdb", tmp_path)
    with duckdb.connect(str(tmp_path / "ayla.duckdb")) as duck:
        found = duck.execute(query.replace("/data/ayla", f"{loaded}/archive")).fetchall()
    assert found
    if not query.startswith("delete"):
        assert any(value for row in found for value in row)


def test_the_receipt_of_the_example_is_one() -> None:
    (document,) = [block.values[0] for block in blocks("json") if block.id.startswith("docs/parquet.md")]
    example = json.loads(document)
    hour = ExportHour(example["event_type"], datetime.fromisoformat(example["hour"]))
    assert typed.parse_typed_manifest(document, "the example", hour).dumps() == document
    fields = {*example, *(f"files[].{name}" for name in example["files"][0])} - {"files"}
    assert {name for name in fields if not mentions("docs/parquet.md", name)} == set()


def test_each_personal_column_and_each_treatment_is_described() -> None:
    known = [*(column for table in TABLES.values() for column in table.columns), RESOURCE_TAGS]
    personal = {column.name for column in known if column.personal}
    section = read("docs/privacy.md").partition("## What can identify a person")[2].partition("\n## ")[0]
    described = {
        name for cell in re.findall(r"^\| (.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert personal <= described
    assert described <= {column.name for column in known}
    assert {one for one in Treatment if f"| `{one.value}` |" not in read("docs/privacy.md")} == set()


def messages() -> list[str]:
    """The texts of the package's code, with ... in place of what is put into them."""
    found = []
    for file in (ROOT / "ayla_provider").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [one.value if isinstance(one, ast.Constant) else "..." for one in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[sd]", "...", node.value))
    return found


def quoted_messages() -> list[str]:
    """The messages in the first column of docs/errors.md, without those of Python and Airflow."""
    ours, _, rest = read("docs/errors.md").partition("## Airflow's own")
    tables = ours.partition("## Connection")[2] + rest.partition("\n## ")[2]
    cells = [cell for cell in re.findall(r"^\| (.*?) \|", tables, re.MULTILINE) if "``" not in cell]
    of_ours = [re.sub(r"`[^`]+` \(a `ValueError`\)|\(.*only\)", "", cell) for cell in cells]
    return [quote for cell in of_ours for quote in re.findall(r"`([^`]+)`", cell)]


def is_message_of_the_code(quote: str, texts: list[str]) -> bool:
    """Whether a quote is part of a text of the code, with or without the field or argument that it begins with."""

    def pattern(part: str) -> str:
        return re.sub(r"\d+", lambda number: rf"(?:{number[0]}|\.\.\.)", re.escape(part))

    without_name = re.sub(r"^\w+ ", "", quote)
    patterns = [".*".join(map(pattern, form.split("..."))) for form in (quote, without_name)]
    return any(re.search(one, text, re.DOTALL) for one in patterns for text in texts)


def test_each_message_of_the_errors_page_is_one_that_the_code_has() -> None:
    quotes = quoted_messages()
    assert len(quotes) > 120
    texts = messages()
    assert [quote for quote in quotes if not is_message_of_the_code(quote, texts)] == []


def test_no_message_names_a_file_of_the_documents() -> None:
    assert [text for text in messages() if re.search(r"docs/\w+\.md", text)] == []


IMPORT = re.compile(r"^ *from (ayla_provider[\w.]*) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)
DOTTED_NAME = re.compile(r"\bayla_provider(?:\.[A-Za-z_]\w*)+")
OF_A_USER = [*(page for page in PAGES if page.name != "CONTRIBUTING.md"), *sorted(ROOT.glob("dags/*.py"))]
FACE = {"ayla_provider", *(f"ayla_provider.{name}" for name in ("assets", "destinations", "errors", "hooks", "links"))}
FACE |= {f"ayla_provider.{name}" for name in ("local_cloud", "operators", "sensors", "triggers")}


def imported_names() -> list[tuple[str, str, str]]:
    """Page or DAG, module, and name of each import that a user may copy."""
    return [
        (str(page.relative_to(ROOT)), module, name.split()[0])
        for page in OF_A_USER
        for module, in_parentheses, in_line in IMPORT.findall(read(page))
        for name in (in_parentheses or in_line).split(",")
        if name.strip()
    ]


@pytest.mark.parametrize(("page", "module", "name"), imported_names())
def test_an_import_that_a_user_may_copy_is_of_a_public_name(page: str, module: str, name: str) -> None:
    assert module in FACE
    assert name in importlib.import_module(module).__all__


@pytest.mark.parametrize("module", sorted(FACE | {"ayla_provider.lineage"}))
def test_each_public_name_exists(module: str) -> None:
    loaded = importlib.import_module(module)
    assert loaded.__all__
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


def test_the_reference_has_a_page_for_each_public_module() -> None:
    in_reference = {f"ayla_provider.{module}" for module in re.findall(r"api/(\w+)\.md", read("mkdocs.yml"))}
    assert in_reference == {*FACE, "ayla_provider.index"} - {"ayla_provider"}


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of the package, or an attribute of one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("dags/*.py"))], ids=lambda page: page.name)
def test_each_dotted_name_and_path_of_a_page_exists(page: Path) -> None:
    unknown = [name for name in sorted(set(DOTTED_NAME.findall(read(page)))) if not resolves(name)]
    assert unknown == []
    code = {text.strip("`") for text in INLINE_CODE.findall(FENCED.sub("", read(page)))}
    paths = {text for text in code if re.fullmatch(r"(?:[\w.-]+/)+[\w.-]+\.(?:py|js|toml|md)", text)}
    roots = (ROOT, ROOT / "ayla_provider", page.parent)
    assert [path for path in sorted(paths) if not any((root / path).exists() for root in roots)] == []


def test_the_tested_versions_are_those_of_the_constraints() -> None:
    rows = re.findall(
        r"^\| `(apache-airflow[\w-]*)` \| (.+) \| (.+) \| (.+) \|$", read("docs/getting-started.md"), re.MULTILINE
    )
    documented = {package: versions for package, *versions in rows}
    files = ("constraints/oldest.txt", "constraints/3.2.txt", "constraints/dev.txt")
    pins = [dict(re.findall(r"^([\w.-]+)==(\S+)$", read(file), re.MULTILINE)) for file in files]
    assert documented == {package: [of.get(package, "not tested") for of in pins] for package in documented}
    optional = set(re.findall(r"apache-airflow-providers-[\w-]+", read("pyproject.toml")))
    assert documented.keys() == {"apache-airflow"} | optional
    heads = re.findall(r"Airflow (3\.\d) \|", read("docs/getting-started.md"))
    assert [pin["apache-airflow"].rpartition(".")[0] for pin in pins] == heads

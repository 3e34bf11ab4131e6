from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.__main__ import main
from ayla_provider.cli.init import FIELDS, QUESTIONS
from ayla_provider.cli.project import NO_WAREHOUSE, WAREHOUSES, samples
from ayla_provider.cli.project_policies import POLICIES
from ayla_provider.provider_info import CONNECTION_FIELDS
from ayla_provider.source.settings import REQUIRED_FIELDS
from tests.support.dag_bag import dags_of

FACTS = {
    "login": "export@example.com",
    "app_id": "an-app-id",
    "oem_id": "1a2b3c4d",
    "bucket": "ayla-bucket",
    "acs_url": "https://acs.example.com/token",
}
FLAGS = [
    *("--email", "export@example.com", "--app-id", "an-app-id", "--oem-id", "1a2b3c4d"),
    *("--bucket", "ayla-bucket", "--acs-url", "https://acs.example.com/token"),
]


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def init(folder: Path, *arguments: str, destination: str = "gs://a-bucket/ayla") -> int:
    return main(["init", str(folder), "--destination", destination, *FLAGS, *arguments])


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_project_has_all_that_a_new_airflow_needs(tmp_path: Path) -> None:
    assert init(tmp_path, "--start", "2026-11-20T07:30") == 0
    files = texts(tmp_path)
    assert {name for name in files if not name.startswith("dags/")} == {
        "README.md",
        "answers.json",
        "airflow/connection.json",
        "airflow/connection.sh",
        "airflow/pools.json",
        "airflow/variables.json",
        "policies/gcs-lifecycle.json",
        "policies/gcs-readers.json",
        "policies/gcs-worker-role.json",
    }
    assert json.loads(files["airflow/variables.json"]) == {
        "ayla_export_destination": "gs://a-bucket/ayla",
        "ayla_duckdb": str(tmp_path / "ayla.duckdb"),
    }
    pools = json.loads(files["airflow/pools.json"])
    assert {name: pool["slots"] for name, pool in pools.items()} == {"ayla_export": 8, "ayla_duckdb": 1}
    assert json.loads(files["airflow/connection.json"]) == {
        "ayla_default": {
            "conn_type": "ayla",
            "login": FACTS["login"],
            "extra": {"region": "us", **{name: value for name, value in FACTS.items() if name != "login"}},
        }
    }
    # The samples, from the first hour on.
    assert "2026-11-20T07:00:00+00:00" in files["dags/ayla_export_to_bucket.py"]
    assert "WITH_DUCKDB = True" in files["dags/ayla_export_verify.py"]
    reset = {}
    for name in [name for name in files if name.startswith("dags/")]:
        text = files[name].replace("2026-11-20T07:00:00+00:00", "2026-11-01T00:00:00+00:00")
        reset[name] = text.replace("\nWITH_DUCKDB = True", "\nWITH_DUCKDB = False")
    assert reset == {name: (samples() / Path(name).name).read_text() for name in reset}
    assert len(reset) == 5


def test_the_readme_has_commands_for_this_project(tmp_path: Path) -> None:
    init(tmp_path, "--start", "2026-11-20T07:00")
    readme = (tmp_path / "README.md").read_text()
    assert "pip install 'airflow-provider-ayla[google,warehouse]'" in readme
    assert "airflow dags test ayla_export_to_bucket 2026-11-20T08:00:00+00:00" in readme
    verify = f"verify --since 2026-11-20T07:00 --until 2026-11-20T08:00 --duckdb {tmp_path}/ayla.duckdb"
    assert verify in readme
    # Each file that it names is there, and each block is valid bash.
    named = set(re.findall(r"(?:airflow|policies|dags)/[\w-]+\.[a-z]+", readme))
    assert {name for name in named if not (tmp_path / name).is_file()} == set()
    assert {f"policies/{path.name}" for path in (tmp_path / "policies").iterdir()} <= named
    for block in re.findall(r"```bash\n(.*?)```", readme, re.DOTALL):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_a_second_run_changes_nothing_and_asks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path, "--start", "2026-11-20", "--warehouse", "postgres", "--region", "eu", "--field", "patience=120")
    before = texts(tmp_path)
    capsys.readouterr()
    assert main(["init", str(tmp_path)]) == 0
    assert texts(tmp_path) == before
    assert capsys.readouterr().out == f"The next steps are in {tmp_path}/README.md\n"
    assert json.loads(before["airflow/connection.json"])["ayla_default"]["extra"]["patience"] == "120"


def test_a_file_that_was_changed_is_kept_unless_it_is_to_be_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(tmp_path)
    dag = tmp_path / "dags/ayla_export_to_bucket.py"
    made = dag.read_text()
    dag.write_text("# mine\n")
    (tmp_path / "README.md").unlink()
    capsys.readouterr()
    assert main(["init", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "written  README.md\n" in out
    assert "KEPT     dags/ayla_export_to_bucket.py" in out
    assert dag.read_text() == "# mine\n"
    assert main(["init", str(tmp_path), "--overwrite"]) == 0
    assert "OVERWRITTEN  dags/ayla_export_to_bucket.py" in capsys.readouterr().out
    assert dag.read_text() == made


def test_a_person_is_asked_for_what_has_no_default_and_again_after_a_wrong_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [
        *("a-bucket", "gs://user:pw@a-bucket", "gs://a-bucket/ayla"),
        *("nobody", FACTS["login"]),
        *("", FACTS["app_id"]),
        *("1a2b/3c4d", FACTS["oem_id"]),
        FACTS["bucket"],
        *("http://acs.example.com", "https://acs.example.com/token?key=abc", FACTS["acs_url"]),
    ]
    monkeypatch.setattr("sys.stdin", Terminal("".join(f"{line}\n" for line in typed)))
    assert main(["init", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert {question.name: out.count(question.text) for question in QUESTIONS} == {
        "destination": 3,
        "login": 2,
        "app_id": 2,
        "oem_id": 2,
        "bucket": 1,
        "acs_url": 3,
    }
    assert "pw" not in out
    assert json.loads((tmp_path / "answers.json").read_text())["connection"] == FACTS | {"region": "us"}
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    start = datetime.fromisoformat(json.loads((tmp_path / "answers.json").read_text())["start"])
    assert timedelta(0) <= start - yesterday <= timedelta(days=1)


def test_answers_and_secrets_are_at_most_eight_inputs() -> None:
    secrets = {"password", "app_secret"}
    # What isn't asked for here, the script asks for, which saves the connection.
    assert {question.name for question in QUESTIONS} - {"destination"} == set(REQUIRED_FIELDS) - secrets
    assert len(QUESTIONS) + len(secrets) == 8


def test_each_field_of_the_connections_form_can_be_given() -> None:
    asked = {question.name for question in QUESTIONS} - {"destination"}
    assert {*FIELDS, *asked, "region"} >= set(CONNECTION_FIELDS) - {"app_secret"}


STUB = """#!/usr/bin/env bash
# Notes what Airflow's command would read.
echo "$@" > "$NOTED/arguments"
stat -c %a "${!#}" > "$NOTED/mode"
cp "${!#}" "$NOTED/connections.json"
"""


def test_the_script_gives_airflow_the_secrets_and_leaves_them_nowhere(tmp_path: Path) -> None:
    init(tmp_path / "project")
    noted, folder = tmp_path / "noted", tmp_path / "tmp"
    for made in (noted, folder, tmp_path / "bin"):
        made.mkdir()
    (tmp_path / "bin/airflow").write_text(STUB)
    (tmp_path / "bin/airflow").chmod(0o755)
    (tmp_path / "bin/python").symlink_to(sys.executable)
    secrets = {"AYLA_PASSWORD": "a 'quoted\" $word", "AYLA_APP_SECRET": "an-app-secret-\\n"}
    environment = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "NOTED": str(noted),
        **secrets,
    }
    script = ["bash", str(tmp_path / "project/airflow/connection.sh")]
    run = subprocess.run(script, env=environment, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    connection = json.loads((noted / "connections.json").read_text())["ayla_default"]
    assert connection["password"] == secrets["AYLA_PASSWORD"]
    assert connection["extra"]["app_secret"] == secrets["AYLA_APP_SECRET"]
    assert (noted / "mode").read_text() == "600\n"
    assert list(folder.iterdir()) == []
    seen = [run.stdout, run.stderr, (noted / "arguments").read_text(), *texts(tmp_path / "project").values()]
    assert not [text for text in seen for secret in secrets.values() if secret in text]


def test_what_was_for_other_answers_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "--destination", "s3://a-bucket/ayla", "--warehouse", "duckdb") == 0
    capsys.readouterr()
    assert init(tmp_path, "--destination", "gs://a-bucket/ayla", "--warehouse", "postgres", "--overwrite") == 0
    left = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("LEFT")]
    assert left == [
        "dags/ayla_export_to_duckdb.py:",
        "policies/s3-lifecycle.json:",
        "policies/s3-readers.json:",
        "policies/s3-worker.json:",
    ]


def test_a_file_is_no_folder_of_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert init(tmp_path / "file") == 2
    assert "is a file. Give a folder" in capsys.readouterr().err


def test_delta_tables_have_the_connection_of_their_store(tmp_path: Path) -> None:
    assert init(tmp_path, "--destination", "abfs://container/ayla", "--warehouse", "delta") == 0
    assert 'TABLES_CONN_ID = "wasb_default"\n' in (tmp_path / "dags" / "ayla_export_to_delta.py").read_text()


@pytest.mark.parametrize("name", sorted(WAREHOUSES))
def test_the_names_of_all_policies_are_known(tmp_path: Path, name: str) -> None:
    for number, destination in enumerate(("gs://a-bucket/ayla", "s3://a-bucket", "abfs://container/ayla")):
        init(tmp_path / str(number), "--destination", destination, "--warehouse", name)
        assert {path.name for path in (tmp_path / str(number) / "policies").iterdir()} <= set(POLICIES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--destination", "nowhere"], "--destination: destination 'nowhere': expected a URL"),
        (["--destination", "gs://$(id)/ayla"], "the name of a bucket or container has only letters"),
        (["--destination", "s3://bucket/*"], "a prefix can't have any of * ? $ here"),
        (["--destination", "ftp://bucket/a"], "expected file:/// or one of gs://, s3://"),
        (["--start", "soon"], "--start: 'soon' isn't a time"),
        (["--start", "2999-01-01"], "--start: 2999-01-01 is in the future"),
        (["--warehouse", "oracle"], "--warehouse: 'oracle' isn't one of duckdb, postgres"),
        (["--region", "moon"], "region is 'moon': expected one of us, eu"),
        (["--field", "app_secret=abc"], "--field app_secret: expected NAME=VALUE, where NAME is one of host"),
        (["--field", "proxy=http://u:abc@proxy:1"], "--field proxy: leave out its password"),
        (["--field", "patience=never"], "patience is 'never': expected minutes"),
    ],
)
def test_a_wrong_flag_is_refused_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path / "new", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "abc" not in error
    assert not (tmp_path / "new").exists()


def test_without_a_terminal_the_flags_that_are_missing_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("gs://a-bucket/ayla\n"))
    assert main(["init", str(tmp_path / "new"), *FLAGS[:4]]) == 2
    assert "these flags are needed: --destination, --oem-id, --bucket, --acs-url\n" in capsys.readouterr().err
    # The input ends before all is answered.
    monkeypatch.setattr("sys.stdin", Terminal("gs://a-bucket/ayla\n"))
    assert main(["init", str(tmp_path / "new")]) == 2
    assert "the input ended before --email was answered" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_answers_that_can_not_be_read_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "answers.json").write_text("[1]")
    assert init(tmp_path) == 2
    assert "answers.json can't be read" in capsys.readouterr().err
    assert texts(tmp_path) == {"answers.json": "[1]"}


def in_ci(warehouse: str) -> Any:
    return pytest.param(warehouse, marks=() if warehouse == "duckdb" else pytest.mark.ci)


@pytest.mark.parametrize("warehouse", [in_ci(each) for each in (*WAREHOUSES, NO_WAREHOUSE)])
def test_the_dags_of_a_project_are_read_and_each_task_has_the_archives_connection(
    warehouse: str, tmp_path: Path
) -> None:
    init(tmp_path, "--warehouse", warehouse, destination="abfs://container/ayla")
    dags = dags_of(tmp_path / "dags")
    names = {"ayla_export_to_bucket", "ayla_export_reconcile", "ayla_export_verify", "ayla_export_freshness"}
    assert names | ({f"ayla_export_to_{warehouse}"} if warehouse in WAREHOUSES else set()) <= set(dags)
    pools = {"default_pool", *json.loads((tmp_path / "airflow/pools.json").read_text())}
    for task in [task for dag in dags.values() for task in dag.tasks]:
        assert task.pool in pools
        arguments: dict[str, Any] = getattr(task, "partial_kwargs", vars(task))
        for name in ("archive", "destination"):
            if name in arguments:
                assert arguments[f"{name}_conn_id"] == "wasb_default", task


def test_what_the_store_grants_is_about_the_folders_of_the_archive(tmp_path: Path) -> None:
    init(tmp_path / "azure", "--warehouse", "delta", destination="abfs://container/ayla")
    policies = {path.name: path.read_text() for path in (tmp_path / "azure/policies").iterdir()}
    worker = json.loads(policies["azure-worker-role.json"])
    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    assert worker["DataActions"] == [f"{blobs}/read", f"{blobs}/write", f"{blobs}/delete"]
    assert json.loads(policies["azure-readers-role.json"])["DataActions"] == [f"{blobs}/read"]
    readable = re.findall(r"StringLike '([^']*)'", policies["azure-readers-condition.txt"])
    assert {"ayla/parquet/*", "ayla/_manifests/*", "ayla/event_type=datapoint/*", "ayla-delta/*"} <= set(readable)
    assert not [path for path in readable if "_quarantine" in path or path == "*"]
    (rule,) = json.loads(policies["azure-lifecycle.json"])["rules"]
    assert rule["definition"]["filters"]["prefixMatch"] == ["container/ayla/", "container/ayla-delta/"]
    # A rule removes old versions, and never a blob.
    assert list(rule["definition"]["actions"]) == ["version"]

    init(tmp_path / "google", destination="gs://a-bucket")
    google = {path.name: json.loads(path.read_text()) for path in (tmp_path / "google/policies").iterdir()}
    assert google["gcs-lifecycle.json"] == {
        "rule": [{"action": {"type": "Delete"}, "condition": {"daysSinceNoncurrentTime": 30}}]
    }
    assert google["gcs-worker-role.json"]["includedPermissions"] == [
        f"storage.objects.{each}" for each in ("create", "delete", "get", "list")
    ]
    init(tmp_path / "disk", destination=f"file://{tmp_path}/archive")
    assert not (tmp_path / "disk/policies").exists()


def test_the_documented_policy_is_the_one_that_is_written(tmp_path: Path) -> None:
    init(tmp_path, destination="s3://your-bucket/ayla")
    page = (Path(__file__).parents[2] / "docs/deploy.md").read_text()
    (documented,) = re.findall(r'```json\n(\{"Version": "2012.*?)```', page, re.DOTALL)
    assert json.loads((tmp_path / "policies/s3-worker.json").read_text()) == json.loads(documented)

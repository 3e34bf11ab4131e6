"""docker-compose.yaml, as far as it can be looked at without containers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from airflow.configuration import conf
from cryptography.fernet import Fernet

from ayla_provider.cloud.settings import AylaSettings
from ayla_provider.hooks import open_destination
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.__main__ import _parser

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yaml").read_text()
VARIABLE = re.compile(r"(?<!\$)\$\{([^}]*)\}")
OF_THE_IMAGE = {"/usr/bin/dumb-init", "/entrypoint", "/bin/bash", "curl", "pg_isready", "chown"}
AIRFLOW = ("init", "ayla-cloud", "airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")


def resolved(text: str) -> Any:
    """Return the file as Compose reads it when no variable is set."""
    filled = VARIABLE.sub(lambda match: match[1].partition(":-")[2], text)
    return yaml.safe_load(filled)


FILE = resolved(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]


def words(service: str) -> list[str]:
    """Return all words of a service's entrypoint, command and health check, as a shell would get them."""
    found: list[str] = []
    one = SERVICES[service]
    for part in (one.get("entrypoint", []), one.get("command", []), one.get("healthcheck", {}).get("test", [])):
        found += part if isinstance(part, list) else part.split()
    return [word.replace("$$", "$") for word in found]


def test_it_is_valid_by_the_official_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema: it holds compose-spec's schema")
    import jsonschema

    schema = json.loads((resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(yaml.safe_load(TEXT))] == []
    assert [error.message for error in validator.iter_errors(FILE)] == []
    assert list(validator.iter_errors({"services": {"a": {"imagee": "b"}}}))


def test_every_variable_has_a_default() -> None:
    code = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    variables = VARIABLE.findall(code)
    assert len(variables) > 8
    assert [one for one in variables if not re.fullmatch(r"[A-Z_]+:-[^$}]+", one)] == []
    assert not re.search(r"(?<!\$)\$(?![\${])", code)  # else Compose would look for a variable


def test_a_variable_has_one_default() -> None:
    defaults: dict[str, set[str]] = {}
    for one in VARIABLE.findall(TEXT):
        defaults.setdefault(one.partition(":-")[0], set()).add(one.partition(":-")[2])
    assert {name: values for name, values in defaults.items() if len(values) > 1} == {}


@pytest.mark.parametrize("service", AIRFLOW)
def test_its_options_are_options_of_airflow(service: str) -> None:
    options = [name for name in SERVICES[service]["environment"] if name.startswith("AIRFLOW__")]
    assert len(options) > 10
    known = conf.configuration_description
    for option in options:
        _, section, key = option.lower().split("__")
        assert key in known.get(section, {"options": {}})["options"], option
        assert "deprecat" not in (known[section]["options"][key]["description"] or "").lower()[:60]


def test_all_of_airflow_shares_its_settings() -> None:
    kinds = [{k: v for k, v in SERVICES[one]["environment"].items() if k.startswith("AIRFLOW")} for one in AIRFLOW]
    assert all(kind == kinds[0] for kind in kinds)
    assert {SERVICES[one]["image"] for one in AIRFLOW} == {"apache/airflow:3.3.2"}


def test_the_keys_are_good_ones_and_say_what_they_are() -> None:
    environment = SERVICES["airflow-apiserver"]["environment"]
    Fernet(environment["AIRFLOW__CORE__FERNET_KEY"])
    jwt = environment["AIRFLOW__API_AUTH__JWT_SECRET"]
    assert len(jwt) >= 64  # what HS512 asks for
    for value in (
        jwt,
        environment["AIRFLOW__API__SECRET_KEY"],
        SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"],
    ):
        assert value.startswith("development-only")


def test_the_connection_is_the_local_clouds_by_the_services_name() -> None:
    connection = json.loads(SERVICES["airflow-scheduler"]["environment"]["AIRFLOW_CONN_AYLA_DEFAULT"])
    assert connection.pop("conn_type") == "ayla"
    settings = AylaSettings.from_fields(conn_id="ayla_default", port=None, **connection)
    script = next(word for word in words("ayla-cloud") if "--port" in word)
    port = script.partition("--port ")[2].split()[0]
    base = f"http://ayla-cloud:{port}"
    assert (settings.user_url, settings.storage_endpoint) == (base, base)
    with LocalCloud() as cloud:
        made = json.loads(json.dumps(cloud.ayla_connection()).replace(cloud.url, base))
    made.pop("conn_type")
    made["extra"].pop("region")  # the host goes before it
    assert connection["extra"].pop("allow_http") is True
    assert connection == made


def test_the_local_cloud_gets_arguments_that_it_knows() -> None:
    script = words("ayla-cloud")
    command = next(word for word in script if "local_cloud" in word).split()
    at = command.index("ayla_provider.local_cloud")
    arguments = [
        word.strip('"').replace("$AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00") for word in command[at + 1 :]
    ]
    parsed = _parser().parse_args(arguments)
    assert (parsed.host, str(parsed.port)) == ("0.0.0.0", "8099")
    assert "('localhost', 8099)" in script[-1]


def test_hosts_and_ports_are_those_of_the_services() -> None:
    environment = SERVICES["airflow-scheduler"]["environment"]
    database = urlsplit(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    postgres = SERVICES["postgres"]["environment"]
    assert (database.hostname, database.port) == ("postgres", 5432)
    assert (database.username, database.password, database.path[1:]) == tuple(
        postgres[f"POSTGRES_{name}"] for name in ("USER", "PASSWORD", "DB")
    )
    execution = urlsplit(environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"])
    assert (execution.hostname, str(execution.port)) == ("airflow-apiserver", conf.get("api", "port"))
    (published,) = SERVICES["airflow-apiserver"]["ports"]
    address, host_port, container_port = published.split(":")
    assert (address, container_port) == ("127.0.0.1", conf.get("api", "port"))
    assert environment["AIRFLOW__API__BASE_URL"] == f"http://localhost:{host_port}"
    health = next(word for word in words("airflow-scheduler") if word.startswith("http"))
    assert str(urlsplit(health).port) == conf.get("scheduler", "scheduler_health_check_server_port")
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["airflow-apiserver"]


def test_who_is_waited_for_is_there_and_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert SERVICES[other]["restart"] == "no"


def test_volumes_are_declared_and_folders_are_there() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {name for name in used if not name.startswith(".")} == set(FILE["volumes"])
    assert all((ROOT / name).is_dir() for name in used if name.startswith("."))


@pytest.mark.parametrize("service", AIRFLOW)
def test_the_programs_of_its_commands_are_there(service: str) -> None:
    one = SERVICES[service]
    command = one["command"]
    if isinstance(command, str):
        run = subprocess.run(
            [sys.executable, "-m", "airflow", command, "--help"], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
    for script in [word for word in words(service) if " " in word and not word.startswith("import ")]:
        assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
        for module in re.findall(r"python -m ([\w.]+)", script):
            assert importlib.util.find_spec(module)
    for program in (one["entrypoint"][0], one.get("healthcheck", {}).get("test", ["", "python"])[1].split()[0]):
        assert program in OF_THE_IMAGE or program == "airflow" or shutil.which(program), program


def test_the_subcommands_of_airflow_are_those_of_its_command_line() -> None:
    script = SERVICES["init"]["command"][0]
    checks = " ".join(word for service in AIRFLOW for word in words(service) if word.startswith("airflow "))
    commands = re.findall(r"^airflow (\w+) (\w+)", script, re.MULTILINE) + re.findall(r"airflow (\w+) (\w+)", checks)
    assert set(commands) == {("db", "migrate"), ("pools", "set"), ("variables", "set"), ("jobs", "check")}
    for group, command in set(commands):
        run = subprocess.run(
            [sys.executable, "-m", "airflow", group, command, "--help"], capture_output=True, check=False
        )
        assert run.returncode == 0


def test_the_init_step_leaves_what_the_others_read(tmp_path: Path) -> None:
    script = SERVICES["init"]["command"][0].replace("$$", "$")
    program = script.partition("<<'END'\n")[2].partition("\nEND")[0]
    environment = {k: str(v) for k, v in SERVICES["init"]["environment"].items() if k.startswith("AYLA")}
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | environment | {"AYLA_SHARED": str(tmp_path)}, check=True
        )
    assert json.loads((tmp_path / "passwords.json").read_text()) == {"admin": "admin"}
    parsed = _parser().parse_args(["--start", (tmp_path / "export_start").read_text()])
    assert parsed.start.minute == 0
    users = SERVICES["airflow-apiserver"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
    assert users.partition(":")[0] == "admin"
    assert "/opt/ayla/shared/export_start" in SERVICES["airflow-scheduler"]["entrypoint"][-2]


def test_the_archive_is_where_the_variable_says() -> None:
    destination = open_destination(SERVICES["init"]["environment"]["AYLA_EXPORT_DESTINATION"], None)
    assert destination.url == "file:///archive"
    assert "archive:/archive" in SERVICES["airflow-scheduler"]["volumes"]


def test_the_names_are_those_that_the_sample_dag_uses() -> None:
    dag = (ROOT / "dags/ayla_export_to_bucket.py").read_text()
    script = SERVICES["init"]["command"][0]
    for name in ("ayla_export_destination", "ayla_export"):
        assert name in dag
        assert f"set {name} " in script
    assert "AYLA_EXPORT_START" in dag

"""
docker-compose.yaml, as far as it can be looked at without running it.

Its commands, health checks and the order of start run in tests/integration/test_celery.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from airflow.configuration import conf

from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.__main__ import _parser
from ayla_provider.source.settings import AylaSettings
from harness.processes import free_ports
from tests.support import compose
from tests.support.compose import ROOT, SECRETS, TEXT, command_of, health_check_of
from tests.support.tools import REDIS

SERVICES = compose.services()
AIRFLOW = [name for name, service in SERVICES.items() if "AIRFLOW__CORE__EXECUTOR" in service["environment"]]


def words(service: str) -> list[str]:
    """Return all words of a service's command and health check."""
    one = SERVICES[service]
    return " ".join([*command_of(one), *(health_check_of(one) if "healthcheck" in one else [])]).split()


def test_it_is_valid_by_the_official_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema: it holds compose-spec's schema")
    import jsonschema

    schema = json.loads((resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(yaml.safe_load(TEXT))] == []
    assert [error.message for error in validator.iter_errors({"services": SERVICES})] == []
    assert list(validator.iter_errors({"services": {"a": {"imagee": "b"}}}))


def test_it_has_the_parts_of_a_deployment() -> None:
    once = {"init", "volumes"}
    parts = {"apiserver", "scheduler", "dag-processor", "triggerer", "worker"}
    assert set(SERVICES) == {"postgres", "redis", "ayla-cloud"} | once | {f"airflow-{part}" for part in parts}
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in once else "unless-stopped")
        assert ("healthcheck" in service) == (name not in once)


@pytest.mark.parametrize("secret", SECRETS)
def test_without_a_secret_it_does_not_start(secret: str) -> None:
    with pytest.raises(KeyError, match=secret):
        compose.services({name: value for name, value in SECRETS.items() if name != secret})


def test_the_file_contains_no_secret() -> None:
    holders = re.findall(r"^ *\w*(?:PASSWORD|SECRET|_KEY|CLI_AUTH|BROKER_URL|ALCHEMY_CONN): .*", TEXT, re.MULTILINE)
    assert len(holders) >= len(SECRETS)
    assert [line for line in holders if ":?see docs/docker-compose.md}" not in line] == []


def test_a_variable_has_one_default() -> None:
    found = compose.VARIABLE.findall(TEXT)
    assert len({name for name, *_ in found}) == len(set(found)) > 10
    code = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    assert "${" not in compose.VARIABLE.sub("", code)
    assert not re.search(r"(?<!\$)\$(?![\${])", code)  # else Compose would look for a variable


def test_the_lines_of_the_page_make_all_secrets() -> None:
    page = (ROOT / "docs" / "docker-compose.md").read_text()
    lines = re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0]
    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", lines)) == set(SECRETS)


@pytest.mark.parametrize("service", AIRFLOW)
def test_its_options_are_options_of_airflow(service: str) -> None:
    options = [name for name in SERVICES[service]["environment"] if name.startswith("AIRFLOW__")]
    assert len(options) > 10
    known = conf.configuration_description
    for option in options:
        _, section, key = option.lower().split("__")
        if not section.startswith("celery"):  # of a provider
            assert key in known.get(section, {"options": {}})["options"], option
            assert "deprecat" not in (known[section]["options"][key]["description"] or "").lower()[:60]


def test_all_of_airflow_shares_its_settings() -> None:
    kinds = [{k: v for k, v in SERVICES[one]["environment"].items() if k.startswith("AIRFLOW")} for one in AIRFLOW]
    assert all(kind == kinds[0] for kind in kinds)
    images = {SERVICES[one]["image"] for one in (*AIRFLOW, "ayla-cloud", "volumes")}
    assert images == {"apache/airflow:3.3.2"}


def test_your_own_ayla_and_bucket_go_before_the_local_cloud() -> None:
    own = {
        "AIRFLOW_CONN_AYLA_DEFAULT": '{"conn_type": "ayla"}',
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": "google-cloud-platform://",
        "AYLA_EXPORT_DESTINATION": "gs://your-bucket/ayla",
        "STORAGE_EMULATOR_HOST": "",
    }
    environment = compose.services(SECRETS | own)["airflow-worker"]["environment"]
    assert environment.pop("AIRFLOW_VAR_AYLA_EXPORT_DESTINATION") == own.pop("AYLA_EXPORT_DESTINATION")
    assert own.items() <= environment.items()
    assert not own.keys() & SERVICES["airflow-worker"]["environment"].keys() - {"STORAGE_EMULATOR_HOST"}


def test_hosts_and_ports_are_those_of_the_services() -> None:
    environment = SERVICES["airflow-worker"]["environment"]
    database = urlsplit(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    postgres = SERVICES["postgres"]["environment"]
    assert (database.hostname, database.port) == ("postgres", 5432)
    assert [database.username, database.password, database.path[1:]] == [
        postgres[f"POSTGRES_{name}"] for name in ("USER", "PASSWORD", "DB")
    ]
    broker = urlsplit(environment["AIRFLOW__CELERY__BROKER_URL"])
    assert (broker.hostname, broker.port) == ("redis", 6379)
    assert broker.password == SERVICES["redis"]["environment"]["REDISCLI_AUTH"]
    execution = urlsplit(environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"])
    assert (execution.hostname, str(execution.port)) == ("airflow-apiserver", conf.get("api", "port"))
    (published,) = SERVICES["airflow-apiserver"]["ports"]
    address, host_port, container_port = published.split(":")
    assert (address, container_port) == ("127.0.0.1", conf.get("api", "port"))
    assert environment["AIRFLOW__API__BASE_URL"] == f"http://localhost:{host_port}"
    health = next(word for word in words("airflow-scheduler") if word.startswith("http"))
    assert str(urlsplit(health).port) == conf.get("scheduler", "scheduler_health_check_server_port")
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["airflow-apiserver"]


def test_the_local_cloud_answers_where_its_name_says() -> None:
    command = " ".join(command_of(SERVICES["ayla-cloud"])).partition("local_cloud ")[2]
    parsed = _parser().parse_args(command.replace('"$AYLA_EXPORT_HOURS"', "8").split())
    assert parsed.host == SERVICES["ayla-cloud"]["hostname"] == "ayla-cloud"
    base = f"http://{parsed.host}:{parsed.port}"
    assert SERVICES["airflow-worker"]["environment"]["STORAGE_EMULATOR_HOST"] == base
    assert f"{base}/_local/stats" in words("ayla-cloud")
    with LocalCloud() as cloud:
        made = json.loads(json.dumps(cloud.ayla_connection()).replace(cloud.url, base))
        bucket = cloud.customer.name
    made.pop("conn_type")
    made["extra"]["allow_http"] = True  # as the init service does
    settings = AylaSettings.from_fields(conn_id="ayla_default", port=None, **made)
    assert (settings.user_url, settings.storage_endpoint) == (base, base)
    assert SERVICES["airflow-worker"]["environment"]["AIRFLOW_VAR_AYLA_EXPORT_DESTINATION"] == f"gs://{bucket}/ayla"


def test_who_is_waited_for_is_there_and_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert SERVICES[other]["restart"] == "no"


def test_volumes_are_declared_and_given_to_airflows_user() -> None:
    mounts = [volume.split(":")[:2] for service in SERVICES.values() for volume in service.get("volumes", [])]
    names = {name for name, _ in mounts if not name.startswith(".")}
    assert names == set(yaml.safe_load(TEXT)["volumes"])
    assert all((ROOT / name).exists() for name, _ in mounts if name.startswith("."))
    of_airflow = {place for name, place in mounts if name in names - {"broker", "database"}}
    assert of_airflow == {word for word in words("volumes") if word.startswith("/opt")}


def test_no_service_sees_the_file_with_the_secrets() -> None:
    of_host = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    folders = [(ROOT / name).resolve() for name in of_host if name.startswith(".")]
    assert len(folders) >= 5
    assert [folder for folder in folders if (ROOT / ".env").is_relative_to(folder)] == []


@pytest.mark.parametrize("service", sorted(set(AIRFLOW) - {"init"}))
def test_a_task_cannot_change_what_other_services_run(service: str) -> None:
    writable = [volume for volume in SERVICES[service]["volumes"] if not volume.endswith(":ro")]
    places = [volume.split(":")[1] for volume in writable]
    one = SERVICES[service]["environment"]
    code = (one["PYTHONPATH"], one["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    own = ["/opt/ayla/passwords"] if service == "airflow-apiserver" else []
    assert [place for place in places if any(path.startswith(place) for path in code)] == own


def test_no_service_gets_more_rights() -> None:
    assert [name for name, one in SERVICES.items() if one["security_opt"] != ["no-new-privileges:true"]] == []


def test_the_names_are_those_that_the_sample_dags_use() -> None:
    dags = "".join(path.read_text() for path in (ROOT / "dags").glob("*.py"))
    script = command_of(SERVICES["init"])[-1]
    for pool in ("ayla_export", "ayla_history"):
        assert f'"{pool}"' in dags
        assert f'"{pool}": {{"slots"' in script
    assert "var.value.ayla_export_destination" in dags
    assert "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION" in SERVICES["airflow-worker"]["environment"]
    assert "AYLA_EXPORT_START" in dags
    assert "AYLA_EXPORT_START" in " ".join(SERVICES["airflow-worker"]["entrypoint"])


def test_a_service_that_begins_as_an_ordinary_user_has_no_capability() -> None:
    begin_as_root = {"postgres", "redis", "volumes"}
    ordinary = SERVICES.keys() - begin_as_root
    assert set(AIRFLOW) < ordinary
    assert [name for name in ordinary if SERVICES[name].get("cap_drop") != ["ALL"]] == []
    assert [name for name in ordinary if SERVICES[name].get("user", "50000") == "0:0"] == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_command_shows_a_secret(service: str) -> None:
    shown = " ".join(words(service))
    assert [name for name, secret in SECRETS.items() if secret in shown] == []


@REDIS.needed()
def test_redis_takes_its_password_from_its_environment(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    redis = SERVICES["redis"]
    # The image's entrypoint changes the user, and runs what follows.
    start = [part.replace("docker-entrypoint.sh ", "") for part in command_of(redis)]
    check = [part.replace("redis:6379", f"127.0.0.1:{port}") for part in health_check_of(redis)]
    environment = {"PATH": os.environ["PATH"], **redis["environment"]}
    process = subprocess.Popen(
        [*start, "--port", str(port), "--bind", "127.0.0.1", "--save", ""], cwd=tmp_path, env=environment
    )
    try:
        deadline = time.monotonic() + 120
        while subprocess.run(check, env=environment, check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        without = subprocess.run(check, env={"PATH": os.environ["PATH"]}, check=False, capture_output=True)
        assert without.returncode != 0
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0

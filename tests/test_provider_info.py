from __future__ import annotations

import json
import os
import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest

import ayla_provider
from ayla_provider.hooks import AylaHook
from ayla_provider.provider_info import CONNECTION_FIELDS, get_provider_info
from ayla_provider.source.settings import REGIONS, AylaSettings

DISTRIBUTION = "airflow-provider-ayla"

# What Airflow's own manager makes of all providers that are installed here.
AS_AIRFLOW_SEES_IT = """
import json
from airflow.providers_manager import ProvidersManager

manager = ProvidersManager()
hook = manager.hooks["ayla"]
print("RESULT", json.dumps({
    "version": manager.providers["airflow-provider-ayla"].version,
    "hook": [hook.hook_class_name, hook.hook_name, hook.connection_type, hook.package_name, hook.connection_testable],
    "connection_id": hook.connection_id_attribute_name,
}))
"""


@pytest.fixture(scope="module")
def airflow_sees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    run = subprocess.run(
        [sys.executable, "-c", AS_AIRFLOW_SEES_IT],
        env=os.environ | {"AIRFLOW_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    # Airflow leaves out what it doesn't understand, and warns.
    assert [line for line in (run.stdout + run.stderr).splitlines() if "[warn" in line and "ayla" in line] == []
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return result


def texts(value: object) -> list[str]:
    """Every text in a nest of dicts and lists."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


def dotted_paths() -> list[str]:
    return sorted({text for text in texts(get_provider_info()) if re.fullmatch(r"ayla_provider(\.\w+)+", text)})


@pytest.mark.parametrize("path", dotted_paths())
def test_every_dotted_path_leads_somewhere(path: str) -> None:
    assert pkgutil.resolve_name(path) is not None


@pytest.mark.parametrize("kind", ["hooks", "sensors", "operators", "triggers"])
def test_every_module_of_a_kind_is_listed(kind: str) -> None:
    there = [module.name for module in pkgutil.iter_modules(ayla_provider.__path__) if module.name == kind]
    listed = [module for entry in get_provider_info()[kind] for module in entry["python-modules"]]
    assert listed == [f"ayla_provider.{name}" for name in there]


def test_the_entry_point_of_the_distribution_leads_to_the_info() -> None:
    entries = metadata.entry_points(group="apache_airflow_provider")
    (found,) = [entry for entry in entries if entry.module == "ayla_provider.provider_info"]
    assert found.dist is not None
    assert found.dist.name == DISTRIBUTION
    assert found.load() is get_provider_info


def test_the_package_name_is_the_canonical_name_of_the_distribution() -> None:
    name = get_provider_info()["package-name"]
    assert name == re.sub(r"[-_.]+", "-", metadata.distribution(DISTRIBUTION).name).lower()


def test_the_version_is_the_packages() -> None:
    assert get_provider_info()["versions"] == [ayla_provider.__version__]


def test_the_info_can_be_sent_as_json() -> None:
    assert json.loads(json.dumps(get_provider_info())) == get_provider_info()


def test_the_form_offers_the_regions_that_have_a_user_service() -> None:
    schema = CONNECTION_FIELDS["region"]["schema"]
    assert [region for region in schema["enum"] if region is not None] == list(REGIONS)
    assert schema["default"] in REGIONS


def test_the_form_has_every_field_that_a_connection_needs() -> None:
    with pytest.raises(Exception, match="missing") as refused:
        AylaSettings.from_fields(conn_id="c", login=None, password=None, host=None, port=None, extra={})
    _, _, fields = str(refused.value).partition(" are missing")[0].partition(": ")
    # A field has its name in the form, and its key where that is another word: App ID (app_id).
    named = {field.partition(" (")[0] for field in fields.split(", ")}
    # Login and password are columns of every connection; the rest is in the form of this one.
    assert named > {"E-mail", "Password"}
    in_form = {name for name, field in CONNECTION_FIELDS.items() if field["label"] in named}
    assert in_form == {"app_id", "app_secret", "oem_id", "bucket", "acs_url"}
    assert len(named) == len(in_form) + 2


def test_every_field_of_the_form_has_a_description_and_may_be_left_empty() -> None:
    for name, field in CONNECTION_FIELDS.items():
        assert field["label"], name
        assert field["description"], name
        assert "null" in field["schema"]["type"], name


def test_the_hook_says_what_the_info_says() -> None:
    (connection_type,) = get_provider_info()["connection-types"]
    assert pkgutil.resolve_name(connection_type["hook-class-name"]) is AylaHook
    assert connection_type["connection-type"] == AylaHook.conn_type == "ayla"
    assert connection_type["hook-name"] == AylaHook.hook_name
    assert AylaHook.default_conn_name == "ayla_default"


def test_airflow_finds_the_connection_type_with_its_hook(airflow_sees: dict[str, Any]) -> None:
    assert airflow_sees["version"] == ayla_provider.__version__
    # The last: that the form has a button that tests it.
    assert airflow_sees["hook"] == ["ayla_provider.hooks.AylaHook", "Ayla Networks", "ayla", DISTRIBUTION, True]
    assert airflow_sees["connection_id"] == "ayla_conn_id"

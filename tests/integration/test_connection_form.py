"""A connection made in each way that docs/connect.md tells, the form and its Test button in a browser among them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_FOLDERS
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud import Account, LocalCloud
from ayla_provider.provider_info import CONNECTION_FIELDS, get_provider_info
from harness.browser import browser, open_blank, sign_in_by_cookie, wait_for
from harness.connection_form import add, control, edit, fields, fill, press_test, save
from harness.forked import ForkedStandalone
from harness.standalone import Standalone
from tests.support.tools import CHROMIUM

pytestmark = [
    pytest.mark.integration,
    pytest.mark.ci,
    CHROMIUM.needed(),
]

PAGE = Path(__file__).parents[2] / "docs" / "connect.md"
HOUR = hour_of(datetime.now(UTC) - PATIENCE) - ONE_HOUR
BLOCKS = {  # connection id to a text that marks its block of commands
    "ayla_fields": "--conn-extra",
    "ayla_json": "--conn-json",
    "ayla_uri": "--conn-uri",
    "ayla_variable": "export AIRFLOW_CONN_",
    "ayla_backend": "LocalFilesystemBackend",
}
LOOK = f"""
from airflow.sdk import dag, task
from ayla_provider.hooks import AylaHook

@dag(schedule=None)
def look():
    @task
    def files(conn_id):
        return [file.name for file in AylaHook(conn_id).list_files("datapoint", "{HOUR.isoformat()}")]

    files.expand(conn_id={["ayla_form", *BLOCKS]})

look()
"""


def command_of_page(conn_id: str, cloud: LocalCloud, folder: Path) -> str:
    """Return the page's commands for a connection, under another id, for the local cloud, which doesn't use https."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = [one for one in blocks if BLOCKS[conn_id] in one]
    connection = cloud.ayla_connection()
    for written, meant in {
        "ayla_default": conn_id,
        "AYLA_DEFAULT": conn_id.upper(),
        "/opt/airflow": str(folder),
        "ayla-bucket": cloud.vendor.name,
        "https://acs.example.com/token": connection["extra"]["acs_url"],
        quote("https://acs.example.com/token", ""): quote(connection["extra"]["acs_url"], ""),
        '"region": "eu"': f'"storage_endpoint": "{cloud.url}"',
        "?region=eu": f"?storage_endpoint={quote(cloud.url, '')}",
        '"conn_type": "ayla"': f'"conn_type": "ayla", "host": "{cloud.url}"',
        "--conn-type ayla": f"--conn-type ayla --conn-host {cloud.url}",
        "@/?": f"@{quote(cloud.url, '')}/?",
    }.items():
        block = block.replace(written, meant)
    return block


def exported(commands: str) -> dict[str, str]:
    """Run commands in a shell and return the variables that they set for Airflow."""
    shell = subprocess.run(
        ["bash", "-euc", f"{commands}\nenv -0"], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True
    )
    variables = dict(one.split("=", 1) for one in shell.stdout.decode().split("\0") if one)
    return {name: value for name, value in variables.items() if name.startswith("AIRFLOW")}


@dataclass
class Form:
    """Airflow's form in a browser, and the cloud that its connections lead to."""

    cloud: LocalCloud
    airflow: Standalone
    driver: Chrome
    port: str

    def values(self) -> dict[str, str]:
        """Return what a person types in, by the labels."""
        made = self.cloud.ayla_connection()
        typed = {"User service": made["host"], "E-mail": made["login"], "Password": made["password"], "Port": self.port}
        return typed | {CONNECTION_FIELDS[name]["label"]: value for name, value in made["extra"].items()}

    def change(self, **values: str) -> None:
        """Type other values into the form of the connection that is saved."""
        edit(self.driver, self.airflow, "ayla_form")
        fill(self.driver, {label.replace("_", " "): value for label, value in values.items()})
        save(self.driver)

    def answer(self) -> tuple[bool, str]:
        """Press the Test button and return what it says; no secret may be in it."""
        title, text = press_test(self.driver, self.airflow, "ayla_form")
        assert self.secrets_in(text) == []
        return {"Test Connection Successful": True, "Test Connection Failed": False}[title], text

    def answer_to(self, **changes: str) -> tuple[bool, str]:
        """Return what the Test button would say if some values were other ones, by the request that it sends."""
        made = self.cloud.ayla_connection()
        extra = json.dumps(made["extra"] | changes)
        body = {**made, "connection_id": "ayla_form", "port": int(self.port), "extra": extra}
        answer = self.airflow.api("POST", "connections/test", json=body)
        assert self.secrets_in(answer["message"]) == []
        return answer["status"], answer["message"]

    def secrets_in(self, text: str) -> list[str]:
        return [secret for secret in ("wrong-password", *self.cloud.secrets) if secret in text]


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    folder = tmp_path_factory.mktemp("form")
    (folder / "dags").mkdir()
    (folder / "dags" / "look.py").write_text(LOOK)
    account = Account(password="your-password", app_id="your-app-id", app_secret="your-app-secret")
    with LocalCloud(start=HOUR, end=HOUR + ONE_HOUR, max_lag=timedelta(minutes=30), account=account) as cloud:
        environment = exported(
            command_of_page("ayla_variable", cloud, folder) + command_of_page("ayla_backend", cloud, folder)
        )
        with (
            ForkedStandalone(folder / "airflow", folder / "dags", environment=environment) as airflow,
            browser(1200, 1000) as driver,
        ):
            sign_in_by_cookie(driver, airflow)
            yield Form(cloud, airflow, driver, port="443")
            log = airflow.log_file.read_text()
        assert "/api/v2/connections" in log
        assert [secret for secret in ("wrong-password", *cloud.secrets) if secret in log] == []


def test_each_field_has_its_label_help_text_and_default_and_secrets_hide(form: Form) -> None:
    add(form.driver, form.airflow)
    fill(form.driver, {"Connection Type": "Ayla Networks", "Region": "eu"})
    shown = fields(form.driver)
    (connection_type,) = get_provider_info()["connection-types"]
    own = connection_type["ui-field-behaviour"]
    labels = [
        own["relabeling"].get(name, name.title()) for name in ("description", "host", "login", "password", "port")
    ]
    expected = ["Connection ID", "Connection Type", *labels, *(field["label"] for field in CONNECTION_FIELDS.values())]
    assert sorted(shown) == sorted(expected)
    for name, example in own["placeholders"].items():
        label = own["relabeling"].get(name, name.title())
        assert control(shown[label]).get_attribute("placeholder") == example
    for field in CONNECTION_FIELDS.values():
        assert field["description"] in shown[field["label"]].text
        kind = control(shown[field["label"]]).get_attribute("type")
        # Airflow 3.1 has no extra fields that hide.
        hides = field["schema"].get("format") == "password" and not version("apache-airflow").startswith("3.1.")
        assert (kind == "password") == hides, field["label"]
    assert control(shown["Password"]).get_attribute("type") == "password"
    assert control(shown["Allow plain http"]).get_property("checked") is False


def test_the_region_is_a_list_with_a_default(form: Form) -> None:
    add(form.driver, form.airflow)
    fill(form.driver, {"Connection Type": "Ayla Networks", "App ID": "x"})
    region = fields(form.driver)["Region"]
    regions = CONNECTION_FIELDS["region"]["schema"]["enum"]
    assert CONNECTION_FIELDS["region"]["schema"]["default"] in region.text.split()
    control(region).click()
    wait_for(form.driver, "[role=dialog] [role=option]", count=len(regions))
    assert [one.text for one in region.find_elements(By.CSS_SELECTOR, "[role=option]")] == regions


def test_a_connection_made_in_the_form_is_good_and_its_secrets_arent_shown_again(form: Form) -> None:
    add(form.driver, form.airflow)
    fill(form.driver, {"Connection ID": "ayla_form", "Connection Type": "Ayla Networks", **form.values()})
    save(form.driver)
    good, said = form.answer()
    assert good
    there = sorted({EVENT_FOLDERS[hour.event_type] for hour in form.cloud.answer_key() if hour.files})
    found = re.search(f"gs://{form.cloud.vendor.name}/{form.cloud.oem_id}/: found (.*?)[;.]", said)
    assert found
    assert sorted(re.findall(r"'(.*?)'", found[1])) == there

    edit(form.driver, form.airflow, "ayla_form")
    shown = fields(form.driver)
    for label in ("Password", "App secret"):
        assert control(shown[label]).get_property("value") == "***"
    entered = [one.get_property("value") for one in form.driver.find_elements(By.CSS_SELECTOR, "input, textarea")]
    assert form.secrets_in(form.driver.page_source + str(entered)) == []
    assert form.cloud.oem_id in entered
    # Saved as it is shown, it is what it was.
    form.change(Description="made by a test")
    assert form.answer() == (good, said)


@pytest.mark.any_airflow
def test_a_wrong_password_is_named_with_the_lockout_and_tried_once(form: Form) -> None:
    refusals = form.cloud.refusals
    form.change(Password="wrong-password")
    for words in ("lock the account for everyone", "Nothing signs in again before"):
        good, said = form.answer()
        assert not good
        assert "User service: " in said
        assert f"password of {form.cloud.account.email} is wrong" in said
        assert words in said
    assert form.cloud.refusals == refusals + 1
    form.change(Password=form.cloud.account.password)
    assert form.answer()[0]


@pytest.mark.any_airflow
def test_a_second_factor_is_named_and_forgotten_with_the_variable(form: Form) -> None:
    form.cloud.account.mfa = True
    good, said = form.answer()
    assert not good
    assert "second factor (MFA)" in said
    assert "an app_id without MFA" in said
    # Repaired at Ayla, where Airflow can't notice it.
    form.cloud.account.mfa = False
    assert "Nothing signs in again before" in form.answer()[1]
    (variable,) = re.findall(r"Variable (ayla_sign_in_\w+)", said)
    form.airflow.api("DELETE", f"variables/{variable}")
    assert form.answer()[0]


def acs_down(cloud: LocalCloud) -> None:
    cloud.faults.add("refused", step="acs", times=None)


def another_role(cloud: LocalCloud) -> None:
    cloud.account.role = "OEM::Staff"


@pytest.mark.any_airflow
@pytest.mark.parametrize(
    ("changes", "happens", "step", "wrong", "to_do"),
    [
        ({"app_id": "wrong-app"}, None, "User service", "app_id or app_secret are unknown", "Correct the connection"),
        ({}, another_role, "Role", "the account's role is OEM::Staff, OEM::Admin is needed", "Ask an administrator"),
        ({}, acs_down, "Credentials service", "no answer from http", r"Compare .* \(acs_url\)"),
        (
            {"bucket": "another-bucket"},
            None,
            "Bucket",
            "gs://another-bucket/1a2b3c4d/",
            "Compare bucket, oem_id, and prefix",
        ),
        (
            {"oem_id": "9z8y7x6w"},
            None,
            "Bucket",
            "gs://ayla-data-export/9z8y7x6w/",
            "Compare bucket, oem_id, and prefix",
        ),
        (
            {"acs_url": "acs.example.com"},
            None,
            "Connection",
            "acs_url is not a valid URL",
            "Correct the connection",
        ),
    ],
    ids=["app-id", "role", "acs-down", "bucket", "oem-id", "malformed"],
)
def test_what_is_wrong_is_named_and_what_to_do(
    form: Form,
    changes: dict[str, str],
    happens: Callable[[LocalCloud], None] | None,
    step: str,
    wrong: str,
    to_do: str,
) -> None:
    if happens:
        happens(form.cloud)
    try:
        good, said = form.answer_to(**changes)
    finally:
        form.cloud.faults.clear()
        form.cloud.account.role = "OEM::Admin"
    assert not good
    assert said.startswith(f"{step}: ")
    assert re.search(f"{wrong}.*{to_do}", said)


@pytest.mark.any_airflow
def test_the_button_gives_the_answer_of_the_request(form: Form) -> None:
    assert form.answer() == form.answer_to()


def test_a_connection_made_in_any_way_lists_an_hour(form: Form, tmp_path: Path) -> None:
    for conn_id in ("ayla_fields", "ayla_json", "ayla_uri"):
        form.airflow.command(*shlex.split(command_of_page(conn_id, form.cloud, tmp_path).replace("\\\n", ""))[1:])
    (answer,) = [one for one in form.cloud.answer_key() if one.event_type == "datapoint"]
    files = [file.object_name for file in answer.files]
    assert files
    form.airflow.wait_for_dag("look")
    form.airflow.unpause("look")
    open_blank(form.driver, form.airflow)
    run_id = form.airflow.trigger("look")["dag_run_id"]
    form.airflow.wait_for_runs("look", run_ids=[run_id])
    for index, conn_id in enumerate(["ayla_form", *BLOCKS]):
        found = form.airflow.xcoms("look", run_id, "files", map_index=index)["return_value"]
        assert found == files, conn_id
        log = form.airflow.task_log("look", run_id, "files", map_index=index)
        assert form.secrets_in(log) == [], conn_id

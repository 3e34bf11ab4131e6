"""The connection's form: Airflow 3.1 asks the hook for it, newer versions read the metadata, and it is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ayla_provider.hooks import AylaHook
from ayla_provider.provider_info import CONNECTION_FIELDS, get_provider_info

# What the API server of the Airflow that is installed here sends to the browser.
AS_THE_BROWSER_SEES_IT = """
import json, warnings

with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
    from airflow.providers_manager import ProvidersManager

    (form,) = [form for form in HookMetaService.hook_meta_data() if form.connection_type == "ayla"]
    assert ProvidersManager().hooks["ayla"]

about_us = [str(warning.message) for warning in warned if "ayla" in f"{warning.message} {warning.filename}".lower()]
print("RESULT", json.dumps([form.model_dump(mode="json"), about_us]))
"""


@pytest.fixture(scope="module")
def browser_sees(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    run = subprocess.run(
        [sys.executable, "-c", AS_THE_BROWSER_SEES_IT],
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    form, warned = json.loads(line.removeprefix("RESULT "))
    return form, warned


def behaviour() -> dict[str, Any]:
    (connection_type,) = get_provider_info()["connection-types"]
    result: dict[str, Any] = connection_type["ui-field-behaviour"]
    return result


def test_the_browser_gets_the_fields_in_their_order(browser_sees: tuple[dict[str, Any], list[str]]) -> None:
    fields = browser_sees[0]["extra_fields"]
    assert list(fields) == list(CONNECTION_FIELDS)
    assert fields["app_secret"]["schema"]["format"] == "password"
    for name, field in CONNECTION_FIELDS.items():
        shown, schema = fields[name], field["schema"]
        # Some versions say null where others say nothing, or the default here too.
        described = {key: value for key, value in shown["schema"].items() if value is not None and key != "default"}
        expected = {"title": field["label"]} | {key: value for key, value in schema.items() if key != "default"}
        assert described == expected, name
        assert shown["value"] == schema.get("default"), name
        assert shown["description"] == field["description"], name


def test_the_browser_gets_what_is_hidden_relabelled_and_exemplified(
    browser_sees: tuple[dict[str, Any], list[str]],
) -> None:
    described = behaviour()
    columns = {"description": "description", "schema": "url_schema", "host": "host", "port": "port"}
    for column, key in (columns | {"login": "login", "password": "password"}).items():
        expected = {
            "hidden": column in described["hidden-fields"],
            "title": described["relabeling"].get(column),
            "placeholder": described["placeholders"].get(column),
        }
        shown = browser_sees[0]["standard_fields"][key]
        assert shown == (expected if any(expected.values()) else None), column


def test_airflow_warns_of_nothing_of_ours(browser_sees: tuple[dict[str, Any], list[str]]) -> None:
    assert browser_sees[1] == []


class Field:
    """A field of wtforms, which only an Airflow with the old user interface has."""

    def __init__(self, label: str, validators: list[Any], description: str, default: object) -> None:
        self.label, self.choices, self.description, self.default = label, validators, description, default


@pytest.fixture
def wtforms(monkeypatch: pytest.MonkeyPatch) -> dict[str, type[Field]]:
    # Airflow 3.1 refuses the whole form if it has fields of other classes than these and IntegerField.
    classes = {name: type(name, (Field,), {}) for name in ("StringField", "PasswordField", "BooleanField")}
    modules = {"wtforms": classes, "wtforms.validators": {"any_of": lambda values: ("any of", values)}}
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return classes


def test_the_hook_says_what_the_metadata_says(wtforms: dict[str, type[Field]]) -> None:
    widgets = AylaHook.get_connection_form_widgets()
    assert list(widgets) == list(CONNECTION_FIELDS)
    for name, field in CONNECTION_FIELDS.items():
        widget, schema = widgets[name], field["schema"]
        kind = "PasswordField" if schema.get("format") == "password" else "StringField"
        assert type(widget) is wtforms["BooleanField" if "boolean" in schema["type"] else kind]
        assert (widget.label, widget.description) == (field["label"], field["description"])
        assert widget.default == schema.get("default")
        assert widget.choices == ([("any of", schema["enum"])] if "enum" in schema else [])
    # Nothing of a field's schema is lost on the way.
    assert {key for field in CONNECTION_FIELDS.values() for key in field["schema"]} <= {
        "type",
        "format",
        "enum",
        "default",
    }
    assert {schema_type for field in CONNECTION_FIELDS.values() for schema_type in field["schema"]["type"]} <= {
        "string",
        "boolean",
        "null",
    }


def test_the_hook_says_how_the_form_looks_as_the_metadata_does() -> None:
    described = AylaHook.get_ui_field_behaviour()
    assert described == {
        "hidden_fields": behaviour()["hidden-fields"],
        "relabeling": behaviour()["relabeling"],
        "placeholders": behaviour()["placeholders"],
    }
    # Airflow changes what it is given.
    described["placeholders"].clear()
    assert AylaHook.get_ui_field_behaviour()["placeholders"]

"""The connection's form for Airflow 3.1, which gets it from the hook. Newer versions read the provider's metadata."""

from __future__ import annotations

from typing import Any

from ayla_provider.provider_info import CONNECTION_FIELDS, get_provider_info


def widgets() -> dict[str, Any]:
    """
    Return the form's fields, made from ``CONNECTION_FIELDS``.

    :raises ImportError: if wtforms isn't installed; Airflow's API server has a replacement for it
    """
    # Imported here, because Airflow's API server replaces wtforms only while it builds the form.
    from wtforms import BooleanField, PasswordField, StringField  # type: ignore[import-untyped]
    from wtforms.validators import any_of  # type: ignore[import-untyped]

    def widget(label: str, description: str, schema: dict[str, Any]) -> Any:
        if "boolean" in schema["type"]:
            field = BooleanField
        elif schema.get("format") == "password":
            field = PasswordField
        else:
            field = StringField
        # Airflow doesn't admit SelectField. It takes the choices of a list from this validator.
        validators = [any_of(schema["enum"])] if "enum" in schema else []
        return field(label, validators=validators, description=description, default=schema.get("default"))

    return {name: widget(**field) for name, field in CONNECTION_FIELDS.items()}


def behaviour() -> dict[str, Any]:
    """Return which of a connection's own fields are hidden, relabeled or have an example, as Airflow 3.1 spells it."""
    (connection_type,) = get_provider_info()["connection-types"]
    return {name.replace("-", "_"): value for name, value in connection_type["ui-field-behaviour"].items()}

"""The connection's form for Airflow 3.1, which asks the hook for it. Newer versions read the provider's metadata."""

from __future__ import annotations

from typing import Any

from ayla_provider.provider_info import CONNECTION_FIELDS, get_provider_info


def widgets() -> dict[str, Any]:
    """
    Return the form's fields, made from ``CONNECTION_FIELDS``.

    :raises ImportError: without wtforms; Airflow's API server brings a stand-in for it
    """
    # Inside, since they are Airflow's stand-ins for as long as its API server asks for the form.
    from wtforms import BooleanField, PasswordField, StringField  # type: ignore[import-untyped]
    from wtforms.validators import any_of  # type: ignore[import-untyped]

    def widget(label: str, description: str, schema: dict[str, Any]) -> Any:
        if "boolean" in schema["type"]:
            kind = BooleanField
        else:
            kind = PasswordField if schema.get("format") == "password" else StringField
        # A list to choose from: Airflow admits no SelectField, and reads the choices from this validator.
        choices = [any_of(schema["enum"])] if "enum" in schema else []
        return kind(label, validators=choices, description=description, default=schema.get("default"))

    return {name: widget(**field) for name, field in CONNECTION_FIELDS.items()}


def behaviour() -> dict[str, Any]:
    """Return which of a connection's own fields are hidden, have another label, or an example, in 3.1's spelling."""
    (connection_type,) = get_provider_info()["connection-types"]
    return {name.replace("-", "_"): value for name, value in connection_type["ui-field-behaviour"].items()}

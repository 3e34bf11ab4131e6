"""docker-compose.yaml as Compose reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text()
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)(:-|-|:\?)([^}]*)\}")

SECRETS = {
    "AIRFLOW_ADMIN_PASSWORD": "made-up-admin-password",
    "AIRFLOW_FERNET_KEY": "bWFkZS11cC1mZXJuZXQta2V5LW9mLTMyLWJ5dGVzLi4=",
    "AIRFLOW_JWT_SECRET": "made-up-jwt-secret-that-is-as-long-as-what-openssl-makes-of-32-bytes",
    "AIRFLOW_SECRET_KEY": "made-up-secret-key-of-the-api-server",
    "POSTGRES_PASSWORD": "made-up-password-of-the-database",
    "REDIS_PASSWORD": "made-up-password-of-the-broker",
}
"""What the file ``.env`` must have."""


def services(environment: Mapping[str, str] = SECRETS) -> dict[str, dict[str, Any]]:
    """
    Return the services by name, with every ``${VARIABLE}`` filled in.

    :param environment: the variables that are set, in the shell or in ``.env``
    :raises KeyError: for one that must be set and isn't
    """

    def fill(match: re.Match[str]) -> str:
        name, operator, default = match.groups()
        given = environment.get(name, "")
        if given or (operator == "-" and name in environment):
            return given
        if operator == ":?":
            raise KeyError(name)
        return default

    found: dict[str, dict[str, Any]] = yaml.safe_load(VARIABLE.sub(fill, TEXT))["services"]
    for service in found.values():
        # A variable without a value is handed on, if it is set.
        written = service.get("environment", {}).items()
        given = {name: environment.get(name) if value is None else str(value) for name, value in written}
        service["environment"] = {name: value for name, value in given.items() if value is not None}
    return found


def command_of(service: Mapping[str, Any]) -> list[str]:
    """Return what a service's container is started with: its entrypoint and its command."""
    command = service.get("command", [])
    parts = [*service.get("entrypoint", []), *(command.split() if isinstance(command, str) else command)]
    return [part.replace("$$", "$") for part in parts]


def health_check_of(service: Mapping[str, Any]) -> list[str]:
    """Return the command that says whether a service is healthy."""
    kind, *command = (part.replace("$$", "$") for part in service["healthcheck"]["test"])
    return ["/bin/sh", "-c", *command] if kind == "CMD-SHELL" else command

"""What Airflow discovers about this package. Importing it loads almost nothing else."""

from __future__ import annotations

from typing import Any

from ayla_provider import __version__

_TEXT = ["string", "null"]

CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "region": {
        "label": "Region",
        "description": "The region of your OEM account. A user service, if set, takes precedence (dedicated tenants).",
        "schema": {"type": _TEXT, "enum": ["us", "eu", "cn", "us-dev", "cn-dev"], "default": "us"},
    },
    "app_id": {
        "label": "App ID",
        "description": "Required. The ID of an application without multi-factor authentication.",
        "schema": {"type": _TEXT},
    },
    "app_secret": {
        "label": "App secret",
        "description": "Required. The secret of that application.",
        "schema": {"type": _TEXT, "format": "password"},
    },
    "oem_id": {
        "label": "OEM ID",
        "description": "Required. The folder in the bucket that holds your export.",
        "schema": {"type": _TEXT},
    },
    "bucket": {
        "label": "Bucket",
        "description": "Required. Ayla's bucket, without gs://. In the Ayla dashboard: OEM Profile, Data Export.",
        "schema": {"type": _TEXT},
    },
    "acs_url": {
        "label": "Credentials service URL",
        "description": "Required. The Ayla Credentials Service, https://.... In the Ayla dashboard: OEM Profile, Data "
        "Export.",
        "schema": {"type": _TEXT},
    },
    "prefix": {
        "label": "Prefix",
        "description": "Only if the event folders aren't directly below the OEM ID: the folder that contains them, "
        "such as 1a2b3c4d/export, or / for the top of the bucket.",
        "schema": {"type": _TEXT},
    },
    "storage_endpoint": {
        "label": "Storage endpoint",
        "description": "Only if the address of Cloud Storage isn't https://storage.googleapis.com.",
        "schema": {"type": _TEXT},
    },
    "event_folders": {
        "label": "Event folders",
        "description": 'Only if a folder\'s name differs from its event type: JSON such as {"datapoint_ack": "DPA"}. '
        "A list names several folders, the present one first.",
        "schema": {"type": _TEXT},
    },
    "hour_pattern": {
        "label": "Hour pattern",
        "description": "Only if folders write their time in another way than 2026-11-01 07:00:00, such as "
        "%Y-%m-%dT%H:%M:%SZ or %Y/%m/%d/%H, in UTC. Folders in the known ways are read as well.",
        "schema": {"type": _TEXT},
    },
    "ignored_objects": {
        "label": "Ignored objects",
        "description": "Only for objects that aren't export data: a JSON list of names or patterns below the OEM "
        'id, such as ["Datapoint/README*", "backup/*"].',
        "schema": {"type": _TEXT},
    },
    "retention": {
        "label": "Retention",
        "description": "Days after which Ayla removes files, if you know it. The report and the alert then count down.",
        "schema": {"type": _TEXT},
    },
    "proxy": {
        "label": "Proxy",
        "description": "Only if HTTPS_PROXY doesn't name it: http://host:port or http://user:password@host:port, with "
        "special characters percent-encoded. Not used for hosts in NO_PROXY.",
        "schema": {"type": _TEXT, "format": "password"},
    },
    "ca_file": {
        "label": "CA file",
        "description": "Only for a private CA that isn't in REQUESTS_CA_BUNDLE: the path of a PEM file on each "
        "machine that runs tasks. It replaces the public CAs.",
        "schema": {"type": _TEXT},
    },
    "quiet_period": {
        "label": "Quiet period",
        "description": "Minutes, 15 by default. An hour has landed when its newest file is at least this old.",
        "schema": {"type": _TEXT},
    },
    "patience": {
        "label": "Patience",
        "description": "Minutes, 90 by default. How long after its end to wait for an hour without files.",
        "schema": {"type": _TEXT},
    },
    "allow_http": {
        "label": "Allow plain http",
        "description": "Only for your own test server: http doesn't encrypt secrets. Loopback addresses don't need it.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
}
"""The fields of a connection's extra in Airflow's form."""


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata: the entry point ``apache_airflow_provider``."""
    return {
        "package-name": "airflow-provider-ayla",
        "name": "Ayla Networks",
        "description": "The Ayla Networks data export and DataStream Service: every event, in your own bucket.",
        "versions": [__version__],
        "connection-types": [
            {
                "connection-type": "ayla",
                "hook-class-name": "ayla_provider.hooks.AylaHook",
                "hook-name": "Ayla Networks",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    # Airflow 3.1 needs a label for each field that has a placeholder.
                    "relabeling": {"login": "E-mail", "host": "User service", "password": "Password", "port": "Port"},
                    "placeholders": {
                        "login": "required: an account with the role OEM::Admin",
                        "password": "required",
                        # apache/airflow#73298
                        "port": "443, for Airflow 3.3.1 and 3.3.2 to test the connection",
                        "host": "only for a dedicated tenant, user-field-....aylanetworks.com",
                    },
                },
                "conn-fields": CONNECTION_FIELDS,
            }
        ],
        "hooks": [{"integration-name": "Ayla Networks", "python-modules": ["ayla_provider.hooks"]}],
        "sensors": [{"integration-name": "Ayla Networks", "python-modules": ["ayla_provider.sensors"]}],
        "operators": [{"integration-name": "Ayla Networks", "python-modules": ["ayla_provider.operators"]}],
        "triggers": [{"integration-name": "Ayla Networks", "python-modules": ["ayla_provider.triggers"]}],
        "filesystems": ["ayla_provider.filesystem"],
        "extra-links": [
            "ayla_provider.links.AylaDestinationLink",
            "ayla_provider.links.AylaManifestLink",
            "ayla_provider.links.AylaParquetLink",
            "ayla_provider.links.AylaQuarantineLink",
            "ayla_provider.links.AylaStreamDestinationLink",
            "ayla_provider.links.AylaTableLink",
        ],
        "integrations": [
            {
                "integration-name": "Ayla Networks",
                "external-doc-url": "https://docs.aylanetworks.com",
                "tags": ["service"],
            }
        ],
    }

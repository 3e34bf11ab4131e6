"""A new project: the files that ``init`` writes, made from a few answers. It asks nobody and writes nothing."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import ayla_provider
from ayla_provider.archive.url import DestinationUrl
from ayla_provider.cli.project_policies import READABLE, folders, policies
from ayla_provider.domain.hour import ONE_HOUR

ANSWERS = "answers.json"
"""The file of a project that has the answers from which it was made, without the secrets."""

DEFAULT_WAREHOUSE = "duckdb"

NO_WAREHOUSE = "none"

_AZURE = ("abfs", "abfss")

_SAMPLES = ("ayla_export_to_bucket", "ayla_export_reconcile", "ayla_export_verify", "ayla_export_freshness")
"""The sample DAGs that each project has."""

_SAMPLE_START = '"2026-11-01T00:00:00+00:00"'
"""What the sample DAGs have in place of the first hour."""

_ARCHIVE_ARGUMENT = re.compile(r"^( +)(destination|archive)=(.+),$", re.MULTILINE)
"""The argument of a sample DAG's task that names the archive, on a line of its own."""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """What a project with tables of some kind needs."""

    name: str
    """For people."""
    pool: tuple[int, str]
    """How many loads run at once, and why."""
    commands: tuple[str, ...] = ()
    """The commands that a person has to complete and run."""
    extra: str = ""
    """The extra of this package to install."""


WAREHOUSES = {
    "duckdb": Warehouse("a DuckDB file", (1, "A DuckDB file allows one process at a time"), extra="warehouse"),
    "postgres": Warehouse(
        "PostgreSQL",
        (4, "Loads into PostgreSQL at once"),
        (
            "airflow connections add postgres_default --conn-type postgres \\\n"
            "    --conn-host YOUR-HOST --conn-login YOUR-USER --conn-schema YOUR-DATABASE",
        ),
        "postgres",
    ),
    "bigquery": Warehouse(
        "BigQuery",
        (4, "Loads into BigQuery at once"),
        ("bq mk --dataset --location=YOUR-LOCATION YOUR-PROJECT:ayla",),
        "bigquery",
    ),
    "snowflake": Warehouse(
        "Snowflake",
        (4, "Loads into Snowflake at once"),
        (
            "airflow connections add snowflake_default --conn-type snowflake \\\n"
            "    --conn-login YOUR-USER --conn-extra '{...}'",
        ),
        "snowflake",
    ),
    "iceberg": Warehouse(
        "Iceberg tables",
        (4, "Loads into Iceberg at once"),
        (
            "airflow connections add iceberg_default --conn-type iceberg \\\n"
            '    --conn-extra \'{"type": "glue", "glue.region": "YOUR-REGION", "warehouse": "s3://YOUR-BUCKET/lake"}\'',
        ),
        "iceberg",
    ),
    "delta": Warehouse("Delta Lake tables", (4, "Loads into Delta Lake at once"), extra="delta"),
}
"""The kinds of tables that a sample DAG loads."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a project is made from. It contains no secret."""

    destination: str
    """The URL of the archive."""
    start: datetime
    """The first hour, aware."""
    connection: Mapping[str, str]
    """The fields of the connection to Ayla, without password and app secret: ``login``, ``host``, and the extra's."""
    warehouse: str = DEFAULT_WAREHOUSE
    """One of :data:`WAREHOUSES`, or :data:`NO_WAREHOUSE`."""
    destination_conn_id: str = ""
    """The id of the archive's connection. Empty for the default of the tasks."""

    def as_json(self) -> str:
        """Return the content of :data:`ANSWERS`."""
        document = {
            "destination": self.destination,
            "destination_conn": self.destination_conn_id,
            "warehouse": self.warehouse,
            "start": self.start.isoformat(),
            "connection": dict(self.connection),
        }
        return json.dumps(document, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class Project:
    """
    The files of a project.

    :param folder: where it will be, absolute
    """

    answers: Answers
    folder: Path
    url: DestinationUrl = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", DestinationUrl.parse(self.answers.destination))

    def files(self) -> dict[str, str]:
        """Return each file's text by its path in the project."""
        names = [*_SAMPLES, *([f"ayla_export_to_{self.answers.warehouse}"] if self._warehouse else [])]
        return {
            "README.md": self._readme(),
            ANSWERS: self.answers.as_json(),
            **{f"dags/{name}.py": self._dag(name) for name in names},
            "airflow/pools.json": _json(self._pools()),
            "airflow/variables.json": _json(self._variables()),
            "airflow/connection.json": _json({"ayla_default": self._connection()}),
            "airflow/connection.sh": _CONNECTION_SCRIPT,
            **{f"policies/{name}": text for name, text in policies(self.url, self._tables()).items()},
        }

    @property
    def _warehouse(self) -> Warehouse | None:
        return WAREHOUSES.get(self.answers.warehouse)

    def _tables(self) -> list[DestinationUrl]:
        """Return where lake tables are, if this project decides that."""
        delta = self._variables().get("ayla_delta")
        return [DestinationUrl.parse(delta)] if delta else []

    def _dag(self, name: str) -> str:
        text = (samples() / f"{name}.py").read_text(encoding="utf-8")
        text = text.replace(_SAMPLE_START, f'"{self.answers.start.isoformat()}"')
        if self.answers.warehouse == "duckdb":
            text = text.replace("\nWITH_DUCKDB = False", "\nWITH_DUCKDB = True")
        if self.answers.destination_conn_id:
            conn_id = json.dumps(self.answers.destination_conn_id)
            text = _ARCHIVE_ARGUMENT.sub(rf"\g<0>\n\1\2_conn_id={conn_id},", text)
            # The tables of Delta are beside the archive, in the same store.
            text = text.replace("\nTABLES_CONN_ID = None", f"\nTABLES_CONN_ID = {conn_id}") if self._tables() else text
        return text

    def _pools(self) -> dict[str, Any]:
        pools = {"ayla_export": (8, "Copies of the Ayla export at once")}
        if self._warehouse:
            pools[f"ayla_{self.answers.warehouse}"] = self._warehouse.pool
        return {
            name: {"slots": slots, "description": why, "include_deferred": False}
            for name, (slots, why) in pools.items()
        }

    def _variables(self) -> dict[str, str]:
        variables = {"ayla_export_destination": str(self.url)}
        if self.answers.warehouse == "duckdb":
            variables["ayla_duckdb"] = str(self.folder / "ayla.duckdb")
        if self.answers.warehouse == "bigquery":
            variables["ayla_bigquery_dataset"] = "ayla"
        if self.answers.warehouse == "delta":
            # Beside the archive, which may be a whole bucket.
            variables["ayla_delta"] = f"{self.url}-delta" if self.url.path else f"{self.url}/delta"
        return variables

    def _connection(self) -> dict[str, Any]:
        given = dict(self.answers.connection)
        connection: dict[str, Any] = {"conn_type": "ayla", "login": given.pop("login")}
        if "host" in given:
            connection["host"] = given.pop("host")
        return {**connection, "extra": given}

    def _readme(self) -> str:
        first, second = self.answers.start, self.answers.start + ONE_HOUR
        parts = [
            _README.format(
                version=ayla_provider.__version__,
                destination=self.url,
                tables=f", and loads it into {self._warehouse.name}" if self._warehouse else "",
                first=f"{first:%Y-%m-%d %H:%M} UTC",
                extras=",".join(self._extras()),
                folder=shlex.quote(str(self.folder)),
                store=self._store_step(),
                own=self._own_step(),
            ),
            self._first_hour_step(first, second),
            _README_END,
        ]
        return "\n".join(parts)

    def _extras(self) -> list[str]:
        of_store = {"gs": "google", "s3": "amazon", "s3a": "amazon", "abfs": "azure", "abfss": "azure"}
        extras = [of_store.get(self.url.scheme, ""), self._warehouse.extra if self._warehouse else ""]
        return [extra for extra in dict.fromkeys(extras) if extra] or ["warehouse"]

    def _store_step(self) -> str:
        bucket, names = self.url.bucket, folders(self.url, READABLE)
        if self.url.scheme == "gs":
            readable = " ".join(shlex.quote(name.rstrip("/")) for name in names)
            return _GOOGLE_STEP.format(bucket=bucket, folders=readable)
        if self.url.scheme in ("s3", "s3a"):
            return _AMAZON_STEP.format(bucket=bucket)
        if self.url.scheme in _AZURE:
            return _AZURE_STEP.format(container=bucket, conn_id=self.answers.destination_conn_id)
        return _OTHER_STEP

    def _own_step(self) -> str:
        commands = self._warehouse.commands if self._warehouse else ()
        if not commands:
            return ""
        name = f"dags/ayla_export_to_{self.answers.warehouse}.py"
        return _OWN_STEP.format(name=name, commands="\n".join(commands))

    def _first_hour_step(self, first: datetime, second: datetime) -> str:
        commands = [f"airflow dags test ayla_export_to_bucket {second.isoformat()}"]
        verify = f"python -m ayla_provider verify --since {_plain(first)} --until {_plain(second)}"
        if self.answers.destination_conn_id:
            verify += f" --destination-conn {shlex.quote(self.answers.destination_conn_id)}"
        if self._warehouse:
            conf = shlex.quote(json.dumps({"since": first.isoformat()}))
            commands.append(f"airflow dags test ayla_export_to_{self.answers.warehouse} --conf {conf}")
        if self.answers.warehouse == "duckdb":
            verify += f" --duckdb {shlex.quote(self._variables()['ayla_duckdb'])}"
        return _FIRST_HOUR_STEP.format(commands="\n".join([*commands, verify]), second=f"{second:%H:%M}")


def samples() -> Path:
    """Return the folder of the sample DAGs: in the package, or beside it in a checkout."""
    package = Path(ayla_provider.__file__).parent
    installed = package / "example_dags"
    return installed if installed.is_dir() else package.parent / "dags"


def _plain(time: datetime) -> str:
    """Return a time in UTC for an argument of a command."""
    return f"{time:%Y-%m-%dT%H:%M}"


def _json(document: Any) -> str:
    return json.dumps(document, indent=1) + "\n"


_CONNECTION_SCRIPT = """\
#!/usr/bin/env bash
# Saves the connection ayla_default in Airflow, from connection.json and two secrets. It asks for the secrets, unless
# they are in AYLA_PASSWORD and AYLA_APP_SECRET. They are on no command line, and in a file only until Airflow has read
# it.
set -euo pipefail
cd "$(dirname "$0")"

ask() { # variable, text
  if [ -z "${!1:-}" ]; then
    read -rsp "$2: " "$1"
    echo >&2
  fi
  export "${1?}"
}
ask AYLA_PASSWORD "Password of the Ayla account"
ask AYLA_APP_SECRET "App secret"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 077
python -c '
import json, os, sys
with open("connection.json", encoding="utf-8") as file:
    connections = json.load(file)
connection = connections["ayla_default"]
connection["password"] = os.environ["AYLA_PASSWORD"]
connection["extra"]["app_secret"] = os.environ["AYLA_APP_SECRET"]
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump(connections, file)
' "$folder/connections.json"
unset AYLA_PASSWORD AYLA_APP_SECRET
airflow connections import --overwrite "$folder/connections.json"
"""

_README = """\
# Ayla export

This project copies each hour of the Ayla data export to `{destination}`{tables}. It begins with the hour {first}.

`python -m ayla_provider init` of airflow-provider-ayla {version} made these files. To make them again after an update
of the package, run it again with this folder. It keeps files that differ, unless you add `--overwrite`.

| Path | What it is |
|---|---|
| `dags/` | The DAGs. They are yours: change them. |
| `airflow/` | The pools, the Variables, and the connection without its secrets. |
| `policies/` | Rights and lifecycle rules of the bucket, if it is in a cloud. |
| `answers.json` | What you answered. It contains no secret. |

## 1. Install

On every machine of your Airflow, with [the constraints of your
Airflow](https://airflow.apache.org/docs/apache-airflow/stable/installation/installing-from-pypi.html):

```bash
pip install 'airflow-provider-ayla[{extras}]'
```

## 2. Prepare the archive

{store}

## 3. Set up Airflow

In a new Airflow, first run `airflow db migrate`. `connection.sh` asks for the password and the app secret.

```bash
cd {folder}
airflow pools import airflow/pools.json
airflow variables import airflow/variables.json
bash airflow/connection.sh
python -m ayla_provider check
```

Copy the files of `dags/` into your DAGs folder, or set `AIRFLOW__CORE__DAGS_FOLDER` to this `dags/`.
{own}"""

_OWN_STEP = """
Complete and run this, see the beginning of `{name}`:

```bash
{commands}
```
"""

_FIRST_HOUR_STEP = """\
## 4. Verify the first hour

In Airflow's DAGs, a run is named by the end of its hour: {second} is the first one.

```bash
{commands}
```
"""

_README_END = """\
## 5. Start

Start Airflow, for example with `airflow standalone`. When it has read the DAGs, unpause them:

```bash
airflow dags unpause --yes --treat-dag-id-as-regex '^ayla_'
```

The page *Ayla* in Airflow's navigation shows each hour.

## Next

- Replace `alert` in `dags/ayla_export_freshness.py` with your notifier, and name your warehouse there.
- Choose [which columns the tables have](https://airflow-provider-ayla.github.io/airflow-provider-ayla/privacy/).
- To load hours that are older than a week, trigger the loading DAG with a conf such as
  `{"since": "2025-11-01T00:00:00+00:00"}`.
- [All documents](https://airflow-provider-ayla.github.io/airflow-provider-ayla/)
"""

_OTHER_STEP = """\
The user that runs Airflow's tasks must be able to write there. On disk, make the folder readable only for those who may
read the data: `chmod 700`."""

_GOOGLE_STEP = """\
The worker is the service account of the connection `google_cloud_default`. Without a key in it, that is the account of
Airflow's machines. The bucket needs uniform bucket-level access. `--lifecycle-file` replaces the rules that the bucket
has.

```bash
airflow connections add google_cloud_default --conn-type google_cloud_platform
gcloud iam roles create aylaArchiveWorker --project=YOUR-PROJECT --file=policies/gcs-worker-role.json
gcloud storage buckets add-iam-policy-binding gs://{bucket} \\
    --member=serviceAccount:YOUR-WORKER --role=projects/YOUR-PROJECT/roles/aylaArchiveWorker
gcloud storage buckets update gs://{bucket} --lifecycle-file=policies/gcs-lifecycle.json
for folder in {folders}; do
  gcloud storage managed-folders create "gs://{bucket}/$folder"
  gcloud storage managed-folders set-iam-policy "gs://{bucket}/$folder" policies/gcs-readers.json
done
```

Write your readers into `policies/gcs-readers.json`. They can read copies, manifests, and typed rows, and not the
quarantine. For typed rows alone, use only the folder that ends with `parquet`."""

_AMAZON_STEP = """\
The worker is the role of Airflow's machines. If it is another one, name a connection with `--destination-conn`. The
last command replaces the lifecycle rules that the bucket has.

```bash
aws iam put-role-policy --role-name YOUR-WORKER --policy-name ayla-archive \\
    --policy-document file://policies/s3-worker.json
aws iam put-role-policy --role-name YOUR-READERS --policy-name ayla-archive-read \\
    --policy-document file://policies/s3-readers.json
aws s3api put-bucket-lifecycle-configuration --bucket {bucket} \\
    --lifecycle-configuration file://policies/s3-lifecycle.json
```

Readers can read copies, manifests, and typed rows, and not the quarantine. For typed rows alone, leave only the
resources and prefixes that contain `parquet/`. With a KMS key, the worker also needs `kms:GenerateDataKey` and
`kms:Decrypt` on the key, and readers need `kms:Decrypt`."""

_AZURE_STEP = """\
The worker is the managed identity of Airflow's machines. Write your subscription into the two files of roles. The last
command replaces the lifecycle rules that the account has.

```bash
airflow connections add {conn_id} --conn-type wasb --conn-host https://YOUR-ACCOUNT.blob.core.windows.net
az role definition create --role-definition policies/azure-worker-role.json
az role definition create --role-definition policies/azure-readers-role.json
CONTAINER=/subscriptions/YOUR-SUBSCRIPTION/resourceGroups/YOUR-GROUP/providers/Microsoft.Storage/storageAccounts
CONTAINER=$CONTAINER/YOUR-ACCOUNT/blobServices/default/containers/{container}
az role assignment create --role 'Ayla archive: worker' --assignee YOUR-WORKER --scope "$CONTAINER"
az role assignment create --role 'Ayla archive: reader' --assignee YOUR-READERS --scope "$CONTAINER" \\
    --condition "$(cat policies/azure-readers-condition.txt)" --condition-version 2.0
az storage account management-policy create --account-name YOUR-ACCOUNT --resource-group YOUR-GROUP \\
    --policy @policies/azure-lifecycle.json
```

Readers can list the container, and read copies, manifests, and typed rows, but not the quarantine. For typed rows
alone, leave only the path with `parquet/` in the condition."""

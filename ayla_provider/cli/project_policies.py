"""What the bucket of an archive grants to whom: files for the command lines of Google, Amazon, and Microsoft."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ayla_provider.archive.url import DestinationUrl
from ayla_provider.domain.events import EVENT_TYPES

READABLE = (*(f"event_type={event_type}" for event_type in EVENT_TYPES), "_manifests", "parquet")
"""
What readers need of an archive: copies, manifests, and typed rows.

They don't need the quarantine, the erasure ledger, or what tasks remember.
"""

POLICIES = (
    *(f"gcs-{name}" for name in ("worker-role.json", "readers.json", "lifecycle.json")),
    *(f"s3-{name}" for name in ("worker.json", "readers.json", "lifecycle.json")),
    *(f"azure-{name}" for name in ("worker-role.json", "readers-role.json", "readers-condition.txt", "lifecycle.json")),
)
"""The names of all files about rights and lifecycles."""

_NONCURRENT_DAYS = 30
"""Days that a bucket with versions keeps a replaced object."""

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers"


def policies(url: DestinationUrl, tables: Sequence[DestinationUrl]) -> dict[str, str]:
    """
    Return the files about rights and lifecycle of an archive's bucket: name to text. None for a folder on disk.

    :param tables: where lake tables are, which the worker writes and readers read as well
    """
    if url.scheme not in _MAKERS:
        return {}
    of_bucket = [table for table in tables if (table.scheme, table.bucket) == (url.scheme, url.bucket)]
    return _MAKERS[url.scheme](url, of_bucket)


def folders(url: DestinationUrl, names: Sequence[str] = ("",)) -> list[str]:
    """Return the prefixes of folders in the bucket, each with its final slash; empty for the whole bucket."""
    joined = ("/".join(part for part in (url.path, name) if part) for name in names)
    return [f"{path}/" if path else "" for path in joined]


def _json(document: Any) -> str:
    return json.dumps(document, indent=1) + "\n"


def _google(url: DestinationUrl, tables: Sequence[DestinationUrl]) -> dict[str, str]:
    worker = {
        "title": "Ayla archive: worker",
        "description": "What the tasks of airflow-provider-ayla do with the objects of the archive",
        "stage": "GA",
        # Cloud Storage asks for the right to delete when an object is replaced.
        "includedPermissions": [
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
        ],
    }
    # For each managed folder that people may read.
    readers = {"bindings": [{"role": "roles/storage.objectViewer", "members": ["group:YOUR-READERS@example.com"]}]}
    old: dict[str, Any] = {"daysSinceNoncurrentTime": _NONCURRENT_DAYS}
    if all(prefixes := folders(url) + [prefix for table in tables for prefix in folders(table)]):
        old["matchesPrefix"] = prefixes
    return {
        "gcs-worker-role.json": _json(worker),
        "gcs-readers.json": _json(readers),
        "gcs-lifecycle.json": _json({"rule": [{"action": {"type": "Delete"}, "condition": old}]}),
    }


def _amazon(url: DestinationUrl, tables: Sequence[DestinationUrl]) -> dict[str, str]:
    bucket = f"arn:aws:s3:::{url.bucket}"
    written = folders(url) + [prefix for table in tables for prefix in folders(table)]
    read = folders(url, READABLE) + [prefix for table in tables for prefix in folders(table)]

    def statement(actions: list[str], resources: list[str], **more: Any) -> dict[str, Any]:
        return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}

    worker = [
        # Without a condition: with one, S3 reports a missing object as forbidden. The second one is for listings of the
        # whole archive, which also find the parts of uploads that broke off.
        statement(["s3:ListBucket", "s3:ListBucketMultipartUploads"], [bucket]),
        statement(
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            [f"{bucket}/{prefix}*" for prefix in written],
        ),
    ]
    in_folders = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in read]}}
    readers = [
        statement(["s3:ListBucket"], [bucket], Condition=in_folders),
        statement(["s3:GetObject"], [f"{bucket}/{prefix}*" for prefix in read]),
    ]
    rules = [
        {
            "ID": f"ayla-archive-{number}",
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            "NoncurrentVersionExpiration": {"NoncurrentDays": _NONCURRENT_DAYS},
        }
        for number, prefix in enumerate(written, start=1)
    ]
    return {
        "s3-worker.json": _json({"Version": "2012-10-17", "Statement": worker}),
        "s3-readers.json": _json({"Version": "2012-10-17", "Statement": readers}),
        "s3-lifecycle.json": _json({"Rules": rules}),
    }


def _azure(url: DestinationUrl, tables: Sequence[DestinationUrl]) -> dict[str, str]:
    def role(name: str, description: str, *actions: str) -> str:
        return _json(
            {
                "Name": name,
                "IsCustom": True,
                "Description": description,
                "Actions": [f"{_BLOBS}/read"],
                "NotActions": [],
                "DataActions": [f"{_BLOBS}/blobs/{action}" for action in actions],
                "NotDataActions": [],
                "AssignableScopes": ["/subscriptions/YOUR-SUBSCRIPTION"],
            }
        )

    read = folders(url, READABLE) + [prefix for table in tables for prefix in folders(table)]
    paths = " OR ".join(f"@Resource[{_BLOBS}/blobs:path] StringLike '{prefix}*'" for prefix in read)
    condition = f"((!(ActionMatches{{'{_BLOBS}/blobs/read'}} AND NOT SubOperationMatches{{'Blob.List'}})) OR ({paths}))"
    written = folders(url) + [prefix for table in tables for prefix in folders(table)]
    rule = {
        "enabled": True,
        "name": "ayla-archive",
        "type": "Lifecycle",
        "definition": {
            "filters": {"blobTypes": ["blockBlob"], "prefixMatch": [f"{url.bucket}/{prefix}" for prefix in written]},
            "actions": {"version": {"delete": {"daysAfterCreationGreaterThan": _NONCURRENT_DAYS}}},
        },
    }
    worker = "What the tasks of airflow-provider-ayla do with the blobs of the archive"
    readers = "Who reads the archive of airflow-provider-ayla"
    return {
        "azure-worker-role.json": role("Ayla archive: worker", worker, "read", "write", "delete"),
        "azure-readers-role.json": role("Ayla archive: reader", readers, "read"),
        "azure-readers-condition.txt": condition + "\n",
        "azure-lifecycle.json": _json({"rules": [rule]}),
    }


_MAKERS: dict[str, Callable[[DestinationUrl, Sequence[DestinationUrl]], dict[str, str]]] = {
    "gs": _google,
    "s3": _amazon,
    "s3a": _amazon,
    "abfs": _azure,
    "abfss": _azure,
}

STORES = tuple(_MAKERS)
"""The schemes of the stores that have policies."""

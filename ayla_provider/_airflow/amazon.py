"""What an AWS connection says about an archive's objects."""

from __future__ import annotations

from typing import Any

from ayla_provider.errors import AylaConfigError

_EXTRA_ARGS = (
    "ServerSideEncryption",
    "SSEKMSKeyId",
    "SSEKMSEncryptionContext",
    "BucketKeyEnabled",
    "StorageClass",
    "ACL",
    "Tagging",
    "Metadata",
)
_MUST_BE_RESTORED = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes whose objects can't be read before they have been restored, which takes hours."""


def extra_args_of(conn_id: str | None) -> dict[str, Any]:
    """
    Return the arguments that an AWS connection has for each new object.

    They are where Airflow's S3Hook looks for them: ``service_config.s3.extra_args``.

    :raises AylaConfigError: if S3 doesn't know an argument, or an archive can't work with it
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    extra_args = S3Hook(aws_conn_id=conn_id).service_config.get("extra_args", {})
    unknown = extra_args
    if isinstance(extra_args, dict):
        unknown = sorted(set(extra_args) - set(_EXTRA_ARGS))
    if unknown or not isinstance(extra_args, dict):
        raise AylaConfigError(
            f"connection {conn_id!r}: extra_args of s3 must be an object with some of {', '.join(_EXTRA_ARGS)}; "
            f"found {unknown!r}"
        )
    storage_class = extra_args.get("StorageClass")
    if storage_class in _MUST_BE_RESTORED:
        raise AylaConfigError(
            f"connection {conn_id!r}: objects of the storage class {storage_class} can't be read at once, but "
            "manifests must be. Choose another StorageClass, and let a lifecycle rule of the bucket move old copies."
        )
    return extra_args

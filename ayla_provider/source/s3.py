"""The vendor's bucket in Amazon S3, which held the export before it moved to Cloud Storage."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from ayla_provider.errors import TEMPORARY, AylaAccessDenied, AylaConfigError, AylaTransferError, AylaUnavailable
from ayla_provider.source.bucket import (
    ObjectVersion,
    PassingError,
    SourceObject,
    byte_range,
    check_folders,
    translate_connection_errors,
)
from ayla_provider.transport.deadline import SLOWEST, Deadline, SlowAnswerError, watch_pools
from ayla_provider.transport.network import DEADLINE, MOST_PAGES
from ayla_provider.transport.redaction import from_outside
from ayla_provider.transport.s3_requests import S3Requests

TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer or for its next bytes."""

_KEY_ERRORS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken")
_REGION_ERRORS = ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_TEMPORARY_ERRORS = ("408", "429", "500", "502", "503", "504", "RequestTimeout", "SlowDown", "InternalError")
_CONNECTION_ERRORS = (BotoCoreError, HTTPError, OSError, SlowAnswerError)
_BLOCK = 1024 * 1024


class S3Source:
    """
    A bucket in Amazon S3.

    :param client: boto3's client for S3, with the OEM's keys
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket
        self.url = f"s3://{bucket}"
        self.requests = 0
        # boto3 has no public way to do this. Without it, there are still boto3's timeouts for each read.
        with contextlib.suppress(AttributeError):
            watch_pools(client._endpoint.http_session._pool_classes_by_scheme)
        self._requests = S3Requests(client, "GetObject")

    def objects(
        self, prefix: str, what: str, *, start_offset: str = "", end_offset: str = "", max_results: int | None = None
    ) -> Iterator[SourceObject]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        page_size = min(max_results or 1000, 1000)
        count = 0
        # S3 lists the names after StartAfter, without that name itself; no file in a dated folder has such a name.
        for page in self._pages(what, Prefix=prefix, StartAfter=start_offset, MaxKeys=page_size):
            for entry in page.get("Contents", ()):
                listed = _object(entry, what)
                if end_offset and listed.name >= end_offset:
                    return
                yield listed
                count += 1
                if count == max_results:
                    return

    def folders(self, prefix: str, what: str) -> list[str]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        pages = self._pages(what, Prefix=prefix, Delimiter="/")
        names: set[str] = set()
        for page in pages:
            names.update(str(entry["Prefix"]) for entry in page.get("CommonPrefixes", ()))
            check_folders(len(names), what)
        return sorted(name[len(prefix) : -1] for name in names)

    def children(self, prefix: str, what: str) -> Iterator[SourceObject | str]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        for page in self._pages(what, Prefix=prefix, Delimiter="/"):
            for entry in page.get("Contents", ()):
                yield _object(entry, what)
            for folder in page.get("CommonPrefixes", ()):
                yield str(folder["Prefix"])[:-1]

    def _pages(self, what: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        continuation: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            with _translate_errors(what), Deadline(DEADLINE) as deadline:
                page = self.client.list_objects_v2(Bucket=self.bucket, **arguments, **continuation)
                deadline.check()
            self.requests += 1
            yield page
            if not page.get("IsTruncated"):
                return
            continuation = {"ContinuationToken": page["NextContinuationToken"]}
        raise AylaUnavailable(f"{what} does not end after {MOST_PAGES} pages. {TEMPORARY}")

    def open(self, version: ObjectVersion, what: str, offset: int, end: int | None = None) -> _S3Download:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        arguments = {"Bucket": self.bucket, "Key": version.name, "IfMatch": f'"{version.etag}"'}
        if wanted := byte_range(offset, end):
            arguments["Range"] = wanted
        deadline = Deadline(_BLOCK / SLOWEST)
        with translate_connection_errors(*_CONNECTION_ERRORS), _translate_download_errors(what):
            download = None if wanted else self._whole(version, deadline)
            if download is not None:
                return download
            with deadline.opening():
                self._requests.through_boto(version.name)
                answer = self.client.get_object(**arguments)
                return _S3Download(answer["Body"], _md5_of(answer), deadline)

    def _whole(self, version: ObjectVersion, deadline: Deadline) -> _S3Download | None:
        """
        Begin to read a whole object by a request that doesn't go through boto.

        :returns: None if boto must send it: boto checks content that has no MD5, retries, and has errors with a meaning
        """
        if not self._requests.is_ready or not _is_md5(version.etag):
            return None
        with contextlib.suppress(Exception):
            credentials = self._requests.credentials.get_frozen_credentials()
            headers = {"If-Match": f'"{version.etag}"'}
            answer = self._requests.send(credentials, "GET", version.name, headers, stream=True, deadline=deadline)
            deadline.pause()
            facts = {
                "ETag": answer.headers.get("ETag", ""),
                "ServerSideEncryption": answer.headers.get("x-amz-server-side-encryption", "AES256"),
            }
            if "x-amz-server-side-encryption-customer-algorithm" in answer.headers:
                facts["SSECustomerAlgorithm"] = "AES256"
            md5 = _md5_of(facts)
            if answer.status == 200 and md5:
                return _S3Download(answer, md5, deadline)
            answer.close()
        return None

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        self.client.close()
        self._requests.close()


class _S3Download:
    """
    What arrives of an object.

    :param body: boto's, or an answer; both have ``read()`` and ``close()``
    """

    def __init__(self, body: Any, md5: str | None, deadline: Deadline) -> None:
        self._body = body
        self._deadline = deadline
        self.md5 = md5

    def read(self, size: int) -> bytes:
        with translate_connection_errors(*_CONNECTION_ERRORS), self._deadline.step():
            return cast("bytes", self._body.read(min(size, _BLOCK)))

    def close(self) -> None:
        self._deadline.close()
        self._body.close()


def _md5_of(answer: Mapping[str, Any]) -> str | None:
    """Return the MD5 of the object that an answer brings, None if it doesn't state it."""
    etag = str(answer.get("ETag", "")).strip('"')
    # An ETag is not an MD5 if the object was uploaded in parts, or is encrypted with a key of KMS or the customer.
    other_key = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
    return etag if _is_md5(etag) and not other_key else None


def _is_md5(etag: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", etag) is not None


def _object(entry: Mapping[str, Any], what: str) -> SourceObject:
    try:
        etag, modified = str(entry["ETag"]).strip('"'), entry["LastModified"]
        size = int(entry["Size"])
        # S3 doesn't number generations. This number grows every second, depends on the content within a second, and
        # JSON can represent it exactly.
        generation = int(modified.timestamp()) << 20 | int(etag[:5], 16)
        return SourceObject(str(entry["Key"]), size, None, generation, modified, etag)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise AylaUnavailable(
            f"{what}: Size, ETag or LastModified of {entry.get('Key')!r} is missing or not valid. {TEMPORARY}"
        ) from None


@contextlib.contextmanager
def _translate_download_errors(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code, status = _code(error)
        if code in _TEMPORARY_ERRORS or status >= 500:
            raise PassingError(f"S3 answered {status} {code}") from error
        if code in ("PreconditionFailed", "NoSuchKey", "404"):
            raise AylaTransferError(
                f"{what} vanished or was replaced after it was listed ({code}). The task's next attempt lists the hour "
                "again and copies what exists then."
            ) from None
        raise _refused(what, error) from None


@contextlib.contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _refused(what, error) from None
    except _CONNECTION_ERRORS as error:
        raise AylaUnavailable(
            f"{what}: no answer from S3 ({type(error).__name__}: {from_outside(error)}), also after retries. "
            f"{TEMPORARY}"
        ) from None


def _refused(what: str, error: ClientError) -> AylaAccessDenied | AylaConfigError | AylaUnavailable:
    code, status = _code(error)
    if code in _REGION_ERRORS:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = error.response["Error"].get("Region") or headers.get("x-amz-bucket-region") or "another region"
        region = from_outside(region)
        return AylaConfigError(
            f"{what}: S3 answered {status} {code} because the bucket is in {region}. Set region_name in the "
            "connection's extra to it."
        )
    if code in _KEY_ERRORS:
        return AylaAccessDenied(
            f"{what}: S3 rejects the keys ({status} {code}). Ayla's keys are valid until an OEM Admin requests new "
            "ones: compare the access key ID and the secret in the connection with the dashboard (OEM Profile, Data "
            "Export)."
        )
    if code in ("NoSuchBucket", "404"):
        return AylaAccessDenied(
            f"{what}: the bucket does not exist ({status} {code}). Compare bucket_name in the connection's extra with "
            "the dashboard (OEM Profile, Data Export)."
        )
    if status in (401, 403):
        return AylaAccessDenied(
            f"{what}: S3 denies access ({status} {code}). Check that the keys belong to the bucket: compare both in "
            "the connection with the dashboard (OEM Profile, Data Export)."
        )
    return AylaUnavailable(f"{what}: S3 answered {status} {code}, also after retries. {TEMPORARY}")


def _code(error: ClientError) -> tuple[str, int]:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return from_outside(error.response.get("Error", {}).get("Code", "")), int(status)

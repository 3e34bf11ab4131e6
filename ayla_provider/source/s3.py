"""The vendor's bucket in Amazon S3, where the export lay before it moved to Cloud Storage."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from ayla_provider.errors import TEMPORARY, AylaAccessDenied, AylaConfigError, AylaTransferError, AylaUnavailable
from ayla_provider.source.bucket import MOST_PAGES, PassingError, SourceObject, broken_off, byte_range, describe_file

if TYPE_CHECKING:
    from ayla_provider.domain.paths import ExportFile

_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken")
_REGION = ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_PASSING = ("408", "429", "500", "502", "503", "504", "RequestTimeout", "SlowDown", "InternalError")
_BROKEN = (BotoCoreError, HTTPError, OSError)


class S3Source:
    """
    A bucket in Amazon S3.

    :param client: boto3's, with the OEM's keys
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket
        self.url = f"s3://{bucket}"
        self.requests = 0

    def objects(
        self, prefix: str, what: str, *, start_offset: str = "", end_offset: str = "", max_results: int | None = None
    ) -> Iterator[SourceObject]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        left = max_results
        # The name that is the bound itself isn't listed; no file in a dated folder has such a name.
        for page in self._pages(what, Prefix=prefix, StartAfter=start_offset, MaxKeys=min(left or 1000, 1000)):
            for entry in page.get("Contents", ()):
                one = _object(entry, what)
                if left == 0 or (end_offset and one.name >= end_offset):
                    return
                left = left and left - 1
                yield one
            if left == 0:
                return

    def folders(self, prefix: str, what: str) -> list[str]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        pages = self._pages(what, Prefix=prefix, Delimiter="/")
        names = {str(entry["Prefix"]) for page in pages for entry in page.get("CommonPrefixes", ())}
        return sorted(name[len(prefix) : -1] for name in names)

    def _pages(self, what: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        more: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            with _told(what):
                page = self.client.list_objects_v2(Bucket=self.bucket, **arguments, **more)
            self.requests += 1
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}
        raise AylaUnavailable(f"{what}: there is no end to it after {MOST_PAGES} pages. {TEMPORARY}")

    def open(self, file: ExportFile, offset: int, end: int | None = None) -> _S3Download:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        asked = byte_range(offset, end)
        part = {"Range": asked} if asked else {}
        with broken_off(*_BROKEN), _opened(file):
            return _S3Download(
                self.client.get_object(Bucket=self.bucket, Key=file.name, IfMatch=f'"{file.etag}"', **part)
            )


class _S3Download:
    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._body = answer["Body"]
        etag = str(answer.get("ETag", "")).strip('"')
        # It is none where it was uploaded in parts, or is encrypted with a key of KMS or of the customer's.
        by_key = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
        self.md5: str | None = etag if re.fullmatch("[0-9a-f]{32}", etag) and not by_key else None

    def read(self, size: int) -> bytes:
        with broken_off(*_BROKEN):
            return cast("bytes", self._body.read(size))

    def close(self) -> None:
        self._body.close()


def _object(entry: Mapping[str, Any], what: str) -> SourceObject:
    try:
        etag, modified = str(entry["ETag"]).strip('"'), entry["LastModified"]
        size = int(entry["Size"])
        # S3 has no numbers for generations. This one grows from second to second, differs with the content within
        # one, and is exact in JSON.
        generation = int(modified.timestamp()) << 20 | int(etag[:5], 16)
        return SourceObject(str(entry["Key"]), size, None, generation, modified, etag)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise AylaUnavailable(
            f"{what}: the entry of {entry.get('Key')!r} lacks Size, ETag or LastModified, or has an impossible one. "
            f"{TEMPORARY}"
        ) from None


@contextlib.contextmanager
def _opened(file: ExportFile) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code, status = _code(error)
        if code in _PASSING or status >= 500:
            raise PassingError(f"S3 answered {status} {code}") from error
        what = describe_file(file)
        if code in ("PreconditionFailed", "NoSuchKey", "404"):
            raise AylaTransferError(
                f"{what}: it vanished or was replaced after it was listed ({code}). The task's next try lists the hour "
                "again and takes what stands there then."
            ) from None
        raise _refused(what, error) from None


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _refused(what, error) from None
    except (BotoCoreError, HTTPError, OSError) as error:
        raise AylaUnavailable(
            f"{what}: no answer from S3 ({type(error).__name__}: {error}), also when asked again. {TEMPORARY}"
        ) from None


def _refused(what: str, error: ClientError) -> AylaAccessDenied | AylaConfigError | AylaUnavailable:
    code, status = _code(error)
    if code in _REGION:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        where = error.response["Error"].get("Region") or headers.get("x-amz-bucket-region") or "another region"
        return AylaConfigError(
            f"{what}: S3 answered {status} {code}, since the bucket is in {where}. Set region_name in the connection's "
            "extra to that."
        )
    if code in _KEYS:
        return AylaAccessDenied(
            f"{what}: S3 refuses the keys ({status} {code}). Ayla's keys are good until an OEM Admin asks for new "
            "ones: compare the access key ID and the secret in the connection with the dashboard (OEM Profile, Data "
            "Export)."
        )
    if code in ("NoSuchBucket", "404"):
        return AylaAccessDenied(
            f"{what}: there is no such bucket ({status} {code}). Check bucket_name in the connection's extra against "
            "the dashboard (OEM Profile, Data Export)."
        )
    if status in (401, 403):
        return AylaAccessDenied(
            f"{what}: S3 refuses it ({status} {code}). Do these keys belong to this bucket? Compare both in the "
            "connection with the dashboard (OEM Profile, Data Export)."
        )
    return AylaUnavailable(f"{what}: S3 answered {status} {code}, also when asked again. {TEMPORARY}")


def _code(error: ClientError) -> tuple[str, int]:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(error.response.get("Error", {}).get("Code", "")), int(status)

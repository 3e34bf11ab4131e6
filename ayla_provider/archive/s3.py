"""Amazon S3, and other stores that speak its protocol."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from ayla_provider.archive.async_client import call_within
from ayla_provider.archive.destination import LOCKED, NOT_ALLOWED, NOT_ASKED, Listed, Stored
from ayla_provider.archive.stores import PART, ChangedError, Kept, Upload
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.transport.deadline import SLOWEST, Deadline
from ayla_provider.transport.network import DEADLINE
from ayla_provider.transport.s3_requests import S3Requests

# A store that only speaks S3 may give the HTTP status as the code.
_CHANGED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey")

_FROZEN = 30.0
"""Seconds that credentials are used before boto is asked again. It renews them ten minutes before they expire."""

_CONTINUED = {"ContinuationToken": "NextContinuationToken"}
"""For each argument of a listing's next page, the field of the page before."""

_DIRECT = {"put_object": "PutObject", "upload_part": "UploadPart"}
"""The methods of boto's client that are only asked once; all further requests go without boto."""

_OFFLINE = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes of objects that must be restored before they can be read."""


class S3Store:
    """
    S3, through s3fs's client.

    s3fs's own files aren't used, because they send neither a checksum nor a precondition. AWS refuses content that
    doesn't have the checksum in the request. Other stores may not check, so that the object is verified after the
    upload: by the checksum that the store reports, or else by reading the object back.

    Some stores ignore preconditions. So the first object that is created is written twice, and a store that heeds
    preconditions refuses the second time. Of such a store, the answer to each further creation says all that a look
    before and after it would: that there was no object, and the version and the checksum of the new one. With any other
    store, and whenever an object is replaced or sent in parts, the writer looks.
    """

    checked = False

    def __init__(self, fs: Any, bucket: str, extra_args: Mapping[str, Any]) -> None:
        self._fs = fs
        self.bucket = bucket
        self.extra_args = extra_args
        self.heeds_creation: bool | None = None
        """Whether the store refuses to create an object that exists; None until that was tried."""
        self.trying = Lock()
        self._requests: dict[str, S3Requests] = {}
        """For methods of boto's client that were asked once."""
        self._credentials: tuple[float, Any] = (0, None)
        """Until when they are used, and the credentials."""

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """
        Call a method of boto's S3 client.

        :raises ChangedError: if a conditional request finds another version
        """
        size = len(arguments.get("Body", b""))
        if method in _DIRECT and size:
            direct = self._send_directly(method, **arguments)
            if direct:
                return direct
        try:
            answer: dict[str, Any] = call_within(self._fs.loop, size, self._send, method, **arguments)
        except OSError as error:
            response = getattr(error.__cause__, "response", None) or {}
            code = response.get("Error", {}).get("Code", "")
            conditional = "IfMatch" in arguments or "IfNoneMatch" in arguments
            if conditional and code in _CHANGED:
                raise ChangedError from None
            raise
        return answer

    async def _send(self, method: str, **arguments: Any) -> Any:
        if method in _DIRECT:
            client = await self._fs.get_s3(self.bucket)
            if method not in self._requests or self._requests[method].client is not client:
                self._requests[method] = S3Requests(client, _DIRECT[method])
            self._requests[method].through_boto(arguments["Key"])
        return await self._fs._call_s3(method, Bucket=self.bucket, **arguments)

    def _send_directly(
        self,
        method: str,
        *,
        Key: str,  # noqa: N803 - boto's names
        Body: bytes,  # noqa: N803
        ContentType: str = "",  # noqa: N803
        ChecksumCRC32C: str = "",  # noqa: N803
        PartNumber: int = 0,  # noqa: N803
        UploadId: str = "",  # noqa: N803
        IfMatch: str = "",  # noqa: N803
        IfNoneMatch: str = "",  # noqa: N803
        **_: Any,
    ) -> dict[str, Any] | None:
        """Return the answer to an object, or a part, that went to the store without boto, None if boto must send it."""
        requests = self._requests.get(method)
        if requests is None or not requests.is_ready:
            return None
        headers = {
            "Content-Type": ContentType,
            "x-amz-checksum-crc32c": ChecksumCRC32C,
            "If-Match": IfMatch,
            "If-None-Match": IfNoneMatch,
        }
        stated = {name: value for name, value in headers.items() if value}
        query = {"partNumber": str(PartNumber), "uploadId": UploadId} if UploadId else {}
        with contextlib.closing(Deadline(DEADLINE + len(Body) / SLOWEST)) as deadline:
            try:
                credentials = self._frozen_credentials(requests)
                answer = requests.send(credentials, "PUT", Key, stated, Body, query=query, deadline=deadline)
            except Exception:  # noqa: BLE001 - boto sends it again, with its own retries and errors
                if deadline.expired:
                    # The deadline is that of the object.
                    raise TimeoutError(f"no whole answer within {deadline.seconds:.0f} s") from None
                return None
        if answer.status == 412:
            raise ChangedError
        if answer.status != 200 or "ETag" not in answer.headers:
            return None
        return {"ETag": answer.headers["ETag"], "ChecksumCRC32C": answer.headers.get("x-amz-checksum-crc32c", "")}

    def _frozen_credentials(self, requests: S3Requests) -> Any:
        """Return the client's credentials, which boto renews some minutes before they expire."""
        until, credentials = self._credentials
        if time.monotonic() >= until:
            credentials = call_within(self._fs.loop, 0, _freeze, requests.credentials)
            self._credentials = (time.monotonic() + _FROZEN, credentials)
        return credentials

    def folder(self, key: str) -> list[Stored]:
        prefix = f"{key}/" if key else ""
        pages = self._children(prefix)
        return [_stored(entry) for page in pages for entry in page.get("Contents", []) if entry["Key"] != prefix]

    def folders(self, key: str) -> list[str]:
        pages = self._children(f"{key}/" if key else "")
        return [entry["Prefix"].rstrip("/") for page in pages for entry in page.get("CommonPrefixes", [])]

    def _children(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing of one folder."""
        return self._pages("list_objects_v2", _CONTINUED, prefix, Delimiter="/")

    def tree(self, prefix: str) -> Iterator[Listed]:
        for page in self._pages("list_objects_v2", _CONTINUED, prefix):
            for entry in page.get("Contents", []):
                if not entry["Key"].endswith("/"):
                    offline = entry.get("StorageClass") in _OFFLINE
                    yield Listed(_stored(entry), entry["LastModified"], offline)
        markers = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        for page in self._pages("list_multipart_uploads", markers, prefix):
            for upload in page.get("Uploads", []):
                rest = Stored(upload["Key"], 0, upload["UploadId"], None)
                yield Listed(rest, upload["Initiated"], unfinished=True)

    def _pages(
        self, method: str, markers: Mapping[str, str], prefix: str, **arguments: str
    ) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing. ``markers`` has, for each argument, the field of the page before."""
        more: dict[str, Any] = {}
        while True:
            page = self.call(method, Prefix=prefix, **arguments, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {argument: page[field] for argument, field in markers.items()}

    def find(self, key: str) -> Stored | None:
        try:
            head = self.call("head_object", Key=key, ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None
        # The checksum of a multipart upload can also be one of its parts' checksums, which says nothing to us.
        is_of_whole = head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        crc32c = head.get("ChecksumCRC32C") if is_of_whole else None
        return Stored(key, head["ContentLength"], head["ETag"].strip('"'), crc32c)

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        answer = self.call("get_object", Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=f'"{version}"')
        data: bytes = call_within(self._fs.loop, end - start, answer["Body"].read)
        return data

    def has_earlier_version(self, key: str) -> bool | None:
        # The first page is enough: keys are sorted, and this one is the first that has the prefix.
        page = self.call("list_object_versions", Prefix=key)
        return any(entry["Key"] == key and not entry["IsLatest"] for entry in page.get("Versions", []))

    def upload(self, key: str, size: int, crc32c: str, content_type: str) -> Upload:
        return S3Upload(self, key, size, crc32c, content_type)

    def remove(self, key: str, version: str) -> None:
        # SeaweedFS gives no ETag to what its own catalog writes. An empty one matches nothing.
        condition = {"IfMatch": f'"{version}"'} if version else {}
        self.call("delete_object", Key=key, **condition)

    def remove_for_good(self, key: str, version: str) -> bool:
        head = self.call("head_object", Key=key)
        if head["ETag"].strip('"') != version:
            raise ChangedError
        number = head.get("VersionId")
        if not number:
            # The bucket has no versions.
            self.remove(key, version)
            return True
        # Earlier versions first: without the newest one, the one before it would be the object again.
        kept = list(self._remove_earlier(key, only=key)) or self._remove_version(key, number)
        if kept:
            # Then at least nobody sees the object any more.
            self.remove(key, version)
        return not kept

    def remove_earlier_versions(self, prefix: str) -> Iterator[Kept]:
        return self._remove_earlier(prefix)

    def _remove_earlier(self, prefix: str, only: str = "") -> Iterator[Kept]:
        """
        Remove earlier versions of objects, and yield why others are kept.

        :param only: a key; empty for all that begin with the prefix
        """
        markers = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
        marks: list[tuple[str, str]] = []
        kept: set[str] = set()
        try:
            for page in self._pages("list_object_versions", markers, prefix):
                for entry in page.get("Versions", []):
                    if entry["IsLatest"] or (only and entry["Key"] != only):
                        continue
                    reason = self._remove_version(entry["Key"], entry["VersionId"])
                    if reason:
                        kept.add(entry["Key"])
                        yield reason
                marks += [(entry["Key"], entry["VersionId"]) for entry in page.get("DeleteMarkers", [])]
                if only and any(entry["Key"] > only for entry in page.get("Versions", [])):
                    # Keys are sorted.
                    break
        except OSError as error:
            if not _is_refusal(error):
                raise
            yield Kept(NOT_ASKED, None)
            return
        for key, number in marks:
            # Without its mark, a version that is kept would be the object again.
            if key not in kept and only in ("", key):
                self._remove_version(key, number)

    def _remove_version(self, key: str, number: str) -> Kept | None:
        """Remove a version, and return why it can't be removed."""
        try:
            self.call("delete_object", Key=key, VersionId=number)
        except OSError as error:
            if not _is_refusal(error):
                raise
            return self._why_kept(key, number)
        return None

    def _why_kept(self, key: str, number: str) -> Kept:
        """Return what keeps a version."""
        lock: dict[str, Any] = {}
        with contextlib.suppress(OSError):
            # States the lock only to an account that may see it.
            lock = self.call("head_object", Key=key, VersionId=number)
        until, is_held = lock.get("ObjectLockRetainUntilDate"), lock.get("ObjectLockLegalHoldStatus") == "ON"
        if is_held:
            # Nobody knows when it ends.
            return Kept(LOCKED, None)
        return Kept(LOCKED, until) if until else Kept(NOT_ALLOWED, None)


class S3Upload:
    def __init__(self, store: S3Store, key: str, size: int, crc32c: str, content_type: str) -> None:
        self._store = store
        self._key = key
        self._size = size
        self._in_one_piece = size <= PART
        self._crc32c = crc32c
        self._content_type = content_type
        self._data = b""
        self._created: dict[str, Any] = {}
        self._parts: list[dict[str, Any]] = []

    def part(self, data: bytes) -> None:
        if self._in_one_piece:
            self._data += data
            return
        if not self._created:
            self._created = self._store.call(
                "create_multipart_upload",
                **self._store.extra_args,
                Key=self._key,
                ContentType=self._content_type,
                ChecksumAlgorithm="CRC32C",
                ChecksumType="FULL_OBJECT",
            )
        part = {"PartNumber": len(self._parts) + 1, "ChecksumCRC32C": Crc32c(data).base64}
        answer = self._store.call("upload_part", **self._of_upload(), **part, ChecksumAlgorithm="CRC32C", Body=data)
        self._parts.append(part | {"ETag": answer["ETag"]})

    def is_heeded(self, seen: str | None) -> bool:
        return seen is None and self._in_one_piece and bool(self._store.heeds_creation)

    def finish(self, seen: str | None) -> Stored:
        condition = {"IfMatch": f'"{seen}"'} if seen else {"IfNoneMatch": "*"}
        if not self._in_one_piece:
            answer = self._complete(condition)
        else:
            answer = self._put(condition)
            if seen is None and self._store.heeds_creation is None:
                answer = self._try_again(answer, condition)
        self._created = {}
        stated = answer.get("ChecksumCRC32C") if self._in_one_piece else None
        return Stored(self._key, self._size, str(answer["ETag"]).strip('"'), stated or None)

    def _try_again(self, answer: dict[str, Any], condition: dict[str, str]) -> dict[str, Any]:
        """
        Create an object once more, to see whether the store refuses it.

        :returns: the answer of the store to what it holds now
        """
        # A store whose answer states no checksum is asked after each write anyway.
        if answer.get("ChecksumCRC32C") != self._crc32c or not self._store.trying.acquire(blocking=False):
            return answer
        try:
            answer = self._put(condition)
            self._store.heeds_creation = False
        except ChangedError:
            self._store.heeds_creation = True
        finally:
            self._store.trying.release()
        return answer

    def abort(self) -> None:
        if self._created:
            self._store.call("abort_multipart_upload", **self._of_upload())

    def _put(self, condition: dict[str, str]) -> dict[str, Any]:
        return self._store.call(
            "put_object",
            **self._store.extra_args,
            Key=self._key,
            Body=self._data,
            ContentType=self._content_type,
            ChecksumAlgorithm="CRC32C",
            ChecksumCRC32C=self._crc32c,
            **condition,
        )

    def _complete(self, condition: dict[str, str]) -> dict[str, Any]:
        checksum: dict[str, str] = {}
        # A store that doesn't know checksums of whole objects leaves the type out of its answer, and would refuse one.
        if self._created.get("ChecksumType") == "FULL_OBJECT":
            checksum = {"ChecksumCRC32C": self._crc32c, "ChecksumType": "FULL_OBJECT"}
        return self._store.call(
            "complete_multipart_upload",
            **self._of_upload(),
            MultipartUpload={"Parts": self._parts},
            **checksum,
            **condition,
        )

    def _of_upload(self) -> dict[str, Any]:
        return {"Key": self._key, "UploadId": self._created["UploadId"]}


def _is_refusal(error: OSError) -> bool:
    """Return whether a store answered that it won't, or can't do what it was asked for. Asking again doesn't help."""
    response = getattr(error.__cause__, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return isinstance(error, PermissionError) or status in (400, 403, 405, 501)


def _stored(entry: dict[str, Any]) -> Stored:
    return Stored(entry["Key"], entry["Size"], entry["ETag"].strip('"'), None)


async def _freeze(credentials: Any) -> Any:
    frozen = credentials.get_frozen_credentials()
    return await frozen if inspect.isawaitable(frozen) else frozen

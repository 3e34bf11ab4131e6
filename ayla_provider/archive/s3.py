"""S3, and what speaks its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsspec.asyn import sync

from ayla_provider.archive.stores import PART, ChangedError, Facts, Upload
from ayla_provider.transport.checksum import Crc32c


class S3Store:
    """
    S3, asked through s3fs's client: s3fs's own files state no checksum and no precondition.

    AWS refuses content that hasn't the checksum stated ahead. What a store that only speaks S3 holds is looked at
    after the upload: its own checksum, or the content where it states none.
    """

    checked = False

    def __init__(self, fs: Any, bucket: str, extra_args: Mapping[str, Any]) -> None:
        self._fs = fs
        self.bucket = bucket
        self.extra_args = extra_args

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._fs.call_s3(method, Bucket=self.bucket, **arguments)
        except OSError as error:
            code = (getattr(error.__cause__, "response", None) or {}).get("Error", {}).get("Code", "")
            conditional = "IfMatch" in arguments or "IfNoneMatch" in arguments
            if conditional and code in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey"):
                raise ChangedError from None
            raise
        return answer

    def folder(self, key: str) -> dict[str, Facts]:
        prefix = f"{key}/" if key else ""
        found: dict[str, Facts] = {}
        more: dict[str, Any] = {}
        while True:
            page = self.call("list_objects_v2", Prefix=prefix, Delimiter="/", **more)
            for one in page.get("Contents", []):
                if name := one["Key"].removeprefix(prefix):
                    found[name] = Facts(one["Size"], one["ETag"].strip('"'))
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def find(self, key: str) -> Facts | None:
        try:
            head = self.call("head_object", Key=key, ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None
        whole = head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        return Facts(head["ContentLength"], head["ETag"].strip('"'), head.get("ChecksumCRC32C") if whole else None)

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        answer = self.call("get_object", Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=f'"{version}"')
        data: bytes = sync(self._fs.loop, answer["Body"].read)
        return data

    def upload(self, key: str, size: int, crc32c: str, content_type: str) -> Upload:
        return S3Upload(self, key, size, crc32c, content_type)

    def remove(self, key: str, version: str) -> None:
        self.call("delete_object", Key=key, IfMatch=f'"{version}"')


class S3Upload:
    def __init__(self, store: S3Store, key: str, size: int, crc32c: str, content_type: str) -> None:
        self._store = store
        self._key = key
        self._whole = size <= PART
        self._crc32c = crc32c
        self._content_type = content_type
        self._data = b""
        self._created: dict[str, Any] = {}
        self._parts: list[dict[str, Any]] = []

    def part(self, data: bytes) -> None:
        if self._whole:
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
        algorithm = {"ChecksumAlgorithm": "CRC32C"}
        answer = self._store.call("upload_part", **self._of_upload(), **part, **algorithm, Body=data)
        self._parts.append(part | {"ETag": answer["ETag"]})

    def finish(self, seen: str | None) -> str:
        condition = {"IfMatch": f'"{seen}"'} if seen else {"IfNoneMatch": "*"}
        stated = {"ChecksumCRC32C": self._crc32c}
        if self._whole:
            what = {**self._store.extra_args, "Key": self._key, "Body": self._data, "ContentType": self._content_type}
            answer = self._store.call("put_object", **what, ChecksumAlgorithm="CRC32C", **stated, **condition)
        else:
            # A store that doesn't know checksums of whole objects says so by silence, and would refuse to be told one.
            knows = self._created.get("ChecksumType") == "FULL_OBJECT"
            whole = stated | {"ChecksumType": "FULL_OBJECT"} if knows else {}
            parts = {"MultipartUpload": {"Parts": self._parts}}
            answer = self._store.call("complete_multipart_upload", **self._of_upload(), **parts, **whole, **condition)
        self._created = {}
        return str(answer["ETag"]).strip('"')

    def abort(self) -> None:
        if self._created:
            self._store.call("abort_multipart_upload", **self._of_upload())

    def _of_upload(self) -> dict[str, Any]:
        return {"Key": self._key, "UploadId": self._created["UploadId"]}

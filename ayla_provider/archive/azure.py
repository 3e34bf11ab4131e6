"""Azure Blob Storage."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from fsspec.asyn import sync

from ayla_provider.archive.stores import ChangedError, Facts, KeptError, Upload

# Another writer's commit throws away the blocks of all others.
_CHANGED = ("ConditionNotMet", "BlobAlreadyExists", "BlobNotFound", "InvalidBlockList")
_KEPT = ("BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "LeaseIdMissing")


class AzureStore:
    """
    Azure Blob Storage, asked through adlfs's client: adlfs's own files complete what was broken off.

    Each block's MD5 is stated, and Azure refuses a block that hasn't it; a blob is a list of such blocks.
    """

    checked = True

    def __init__(self, fs: Any, container: str) -> None:
        self._fs = fs
        self._container = container
        # Each request, with its headers, would stand in the task's log.
        requests = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
        if requests.level == logging.NOTSET:
            requests.setLevel(logging.WARNING)

    def call(self, method: str, key: str, **arguments: Any) -> Any:
        from azure.core.exceptions import HttpResponseError

        client = self._fs.service_client.get_blob_client(self._container, key)
        try:
            return sync(self._fs.loop, getattr(client, method), **arguments)
        except HttpResponseError as error:
            raise self._told(error, conditional="match_condition" in arguments) from None

    @staticmethod
    def _told(error: Any, conditional: bool) -> Exception:
        code = getattr(error, "error_code", None) or ""
        code = str(getattr(code, "value", code))
        told = str(error.message).splitlines()[0] if error.message else code
        if conditional and code in _CHANGED:
            return ChangedError()
        if code in _KEPT:
            return KeptError(f"{code}: {told}")
        if error.status_code == 404:
            return FileNotFoundError(f"{code}: {told}")
        return PermissionError(f"{code}: {told}") if error.status_code == 403 else OSError(f"{code}: {told}")

    def folder(self, key: str) -> dict[str, Facts]:
        from azure.core.exceptions import HttpResponseError

        prefix = f"{key}/" if key else ""

        async def walk() -> dict[str, Facts]:
            container = self._fs.service_client.get_container_client(self._container)
            found = {}
            async for one in container.walk_blobs(name_starts_with=prefix, include=["metadata"], delimiter="/"):
                # Folders come too: as prefixes, and from hierarchical accounts as blobs of their own.
                if not hasattr(one, "size") or "hdi_isfolder" in (one.metadata or {}):
                    continue
                if name := one.name.removeprefix(prefix):
                    found[name] = Facts(one.size, one.etag.strip('"'))
            return found

        try:
            found: dict[str, Facts] = sync(self._fs.loop, walk)
        except HttpResponseError as error:
            raise self._told(error, conditional=False) from None
        return found

    def find(self, key: str) -> Facts | None:
        try:
            properties = self.call("get_blob_properties", key)
        except FileNotFoundError:
            return None
        return Facts(properties.size, properties.etag.strip('"'))

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        stream = self.call("download_blob", key, offset=start, length=end - start, **self.only_if(version))
        data: bytes = sync(self._fs.loop, stream.readall)
        return data

    def upload(self, key: str, size: int, crc32c: str, content_type: str) -> Upload:
        return AzureUpload(self, key, content_type)

    def remove(self, key: str, version: str) -> None:
        self.call("delete_blob", key, **self.only_if(version))

    @staticmethod
    def only_if(version: str | None) -> dict[str, Any]:
        from azure.core import MatchConditions

        if version is None:
            return {"match_condition": MatchConditions.IfMissing}
        return {"etag": f'"{version}"', "match_condition": MatchConditions.IfNotModified}


class AzureUpload:
    def __init__(self, store: AzureStore, key: str, content_type: str) -> None:
        self._store = store
        self._key = key
        self._content_type = content_type
        self._blocks: list[str] = []

    def part(self, data: bytes) -> None:
        block = uuid.uuid4().hex
        self._store.call("stage_block", self._key, block_id=block, data=data, length=len(data), validate_content=True)
        self._blocks.append(block)

    def finish(self, seen: str | None) -> str:
        from azure.storage.blob import BlobBlock, ContentSettings

        answer = self._store.call(
            "commit_block_list",
            self._key,
            block_list=[BlobBlock(block) for block in self._blocks],
            content_settings=ContentSettings(content_type=self._content_type),
            validate_content=True,
            **self._store.only_if(seen),
        )
        return str(answer["etag"]).strip('"')

    def abort(self) -> None:
        """Do nothing: blocks that are in no blob don't show, and Azure removes them after a week."""

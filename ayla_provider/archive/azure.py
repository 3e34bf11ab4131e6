"""Azure Blob Storage."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ayla_provider.archive.async_client import call_within
from ayla_provider.archive.destination import Listed, Stored, first_answer
from ayla_provider.archive.stores import PART, ChangedError, KeptError, Upload

# InvalidBlockList: another writer's commit discards the blocks of all others.
_CHANGED = ("ConditionNotMet", "BlobAlreadyExists", "BlobNotFound", "InvalidBlockList")
_KEPT = ("BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "LeaseIdMissing")


class AzureStore:
    """
    Azure Blob Storage, through adlfs's client.

    adlfs's own files aren't used, because they also commit an upload that was interrupted. A blob, or
    each block of a large one, is sent with its MD5, and Azure refuses it with another one.
    """

    checked = True

    def __init__(self, fs: Any, container: str) -> None:
        self._fs = fs
        self._container = container
        # By default, Azure's client logs each request with its headers.
        requests = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
        if requests.level == logging.NOTSET:
            requests.setLevel(logging.WARNING)

    def call(self, method: str, key: str, **arguments: Any) -> Any:
        """Call a method of the blob client. Errors are those of :class:`ObjectStore`, or the standard library's."""
        from azure.core.exceptions import HttpResponseError

        client = self._fs.service_client.get_blob_client(self._container, key)
        try:
            return call_within(self._fs.loop, arguments.get("length", 0), getattr(client, method), **arguments)
        except HttpResponseError as error:
            raise _translated(error, conditional="match_condition" in arguments) from None

    def folder(self, key: str) -> list[Stored]:
        prefix = f"{key}/" if key else ""

        async def walk() -> list[Stored]:
            blobs = self._listing().walk_blobs(name_starts_with=prefix, include=["metadata"], delimiter="/")
            return [_stored(blob.name, blob) async for blob in blobs if _is_object(blob) and blob.name != prefix]

        listed: list[Stored] = self._list(walk)
        return listed

    def tree(self, prefix: str) -> Iterator[Listed]:
        async def page_after(token: str | None) -> tuple[list[Listed], str | None]:
            pages = self._listing().list_blobs(name_starts_with=prefix, include=["metadata"]).by_page(token)
            async for page in pages:
                listed = [_listed(blob) async for blob in page if _is_object(blob)]
                return listed, pages.continuation_token
            return [], None

        token: str | None = None
        while True:
            page, token = self._list(page_after, token)
            yield from page
            if not token:
                return

    def _listing(self) -> Any:
        return self._fs.service_client.get_container_client(self._container)

    def _list(self, method: Any, *arguments: Any) -> Any:
        from azure.core.exceptions import HttpResponseError

        try:
            return call_within(self._fs.loop, 0, method, *arguments)
        except HttpResponseError as error:
            raise _translated(error, conditional=False) from None

    def find(self, key: str) -> Stored | None:
        try:
            properties = self.call("get_blob_properties", key)
        except FileNotFoundError:
            return None
        return _stored(key, properties)

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        stream = self.call("download_blob", key, offset=start, length=end - start, **self.only_if(version))
        data: bytes = call_within(self._fs.loop, end - start, stream.readall)
        return data

    def has_earlier_version(self, key: str) -> bool | None:
        return first_answer([lambda: self._has_version(key), lambda: self._has_deleted(key)])

    def _has_version(self, key: str) -> bool:
        return any(blob.version_id and not blob.is_current_version for blob in self._first_page(key, "versions"))

    def _has_deleted(self, key: str) -> bool:
        return any(blob.deleted for blob in self._first_page(key, "deleted"))

    def _first_page(self, key: str, include: str) -> list[Any]:
        """Return what a listing has of a key. Keys are sorted, and this one is the first that has the prefix."""

        async def first_page() -> list[Any]:
            blobs = self._listing().list_blobs(name_starts_with=key, include=[include])
            async for page in blobs.by_page():
                return [blob async for blob in page if blob.name == key]
            return []

        page: list[Any] = self._list(first_page)
        return page

    def upload(self, key: str, size: int, crc32c: str, content_type: str) -> Upload:
        return AzureUpload(self, Stored(key, size, "", crc32c), content_type)

    def remove(self, key: str, version: str) -> None:
        self.call("delete_blob", key, **self.only_if(version))

    @staticmethod
    def only_if(version: str | None) -> dict[str, Any]:
        """Return the arguments of a call that must find a version, or no blob if it is None."""
        from azure.core import MatchConditions

        if version is None:
            return {"match_condition": MatchConditions.IfMissing}
        return {"etag": f'"{version}"', "match_condition": MatchConditions.IfNotModified}


class AzureUpload:
    """
    A small object is one request, a larger one a request for each block and one for the list of blocks.

    Azure heeds preconditions, and its answer to a small object states the MD5 of what it stored. So nobody needs to
    look before or after. The answer to a list of blocks doesn't say what the blob holds, so the writer looks.
    """

    def __init__(self, store: AzureStore, expected: Stored, content_type: str) -> None:
        self._store = store
        self._expected = expected
        self._content_type = content_type
        self._in_one_piece = expected.size <= PART
        self._data = b""
        self._blocks: list[str] = []

    def part(self, data: bytes) -> None:
        if self._in_one_piece:
            self._data += data
            return
        block = uuid.uuid4().hex
        self._call("stage_block", block_id=block, data=data, length=len(data))
        self._blocks.append(block)

    def is_heeded(self, seen: str | None) -> bool:
        return self._in_one_piece

    def finish(self, seen: str | None) -> Stored:
        from azure.storage.blob import BlobBlock, ContentSettings

        said = {"content_settings": ContentSettings(content_type=self._content_type), **self._store.only_if(seen)}
        if self._in_one_piece:
            # What it overwrites, the precondition says.
            answer = self._call("upload_blob", data=self._data, length=len(self._data), overwrite=True, **said)
            # Azure's client has compared it.
            is_proven = bool(answer.get("content_md5"))
        else:
            is_proven = False
            answer = self._call("commit_block_list", block_list=[BlobBlock(block) for block in self._blocks], **said)
        if not answer["etag"]:
            raise OSError("the answer to the upload names no version")
        crc32c = self._expected.crc32c if is_proven else None
        return replace(self._expected, version=str(answer["etag"]).strip('"'), crc32c=crc32c)

    def _call(self, method: str, **arguments: Any) -> Any:
        return self._store.call(method, self._expected.path, validate_content=True, **arguments)

    def abort(self) -> None:
        """Do nothing. Blocks that belong to no blob are invisible, and Azure removes them after a week."""


def _stored(key: str, properties: Any) -> Stored:
    return Stored(key, properties.size, properties.etag.strip('"'), None)


def _listed(blob: Any) -> Listed:
    return Listed(_stored(blob.name, blob), blob.last_modified, str(blob.blob_tier).endswith("Archive"))


def _is_object(blob: Any) -> bool:
    """
    Return whether an entry is an object and not a folder.

    A listing has folders as prefixes; hierarchical accounts also as blobs.
    """
    return hasattr(blob, "size") and "hdi_isfolder" not in (blob.metadata or {})


def _translated(error: Any, *, conditional: bool) -> Exception:
    """Return what an error of Azure's client means to an archive."""
    code = getattr(error, "error_code", None) or ""
    code = str(getattr(code, "value", code))
    message = str(error.message).splitlines()[0] if error.message else code
    text = f"{code}: {message}"
    if conditional and code in _CHANGED:
        return ChangedError()
    if code in _KEPT:
        return KeptError(text)
    if error.status_code == 404:
        return FileNotFoundError(text)
    if error.status_code == 403:
        return PermissionError(text)
    return OSError(text)

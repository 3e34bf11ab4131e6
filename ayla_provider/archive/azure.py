"""Azure Blob Storage."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, urlencode

from ayla_provider.archive.async_client import call_within
from ayla_provider.archive.destination import (
    LOCKED,
    NOT_ALLOWED,
    NOT_ASKED,
    SOFT_DELETED,
    Listed,
    Stored,
    first_answer,
)
from ayla_provider.archive.stores import PART, ChangedError, Kept, KeptError, Upload
from ayla_provider.transport.deadline import SLOWEST, Deadline
from ayla_provider.transport.http import Hosts
from ayla_provider.transport.network import DEADLINE, Network

_TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer or for its next bytes."""

# InvalidBlockList: another writer's commit discards the blocks of all others.
_CHANGED = ("ConditionNotMet", "BlobAlreadyExists", "BlobNotFound", "InvalidBlockList")
_KEPT = ("BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "LeaseIdMissing")


class RefusedError(OSError):
    """The account answered that it won't, or can't do what it was asked for. Asking again doesn't help."""


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
        self._hosts = Hosts(Network())
        # By default, Azure's client logs each request with its headers.
        requests = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
        if requests.level == logging.NOTSET:
            requests.setLevel(logging.WARNING)

    def call(self, method: str, key: str, *, of: Mapping[str, str] | None = None, **arguments: Any) -> Any:
        """
        Call a method of the blob client. Errors are those of :class:`ObjectStore`, or the standard library's.

        :param of: ``version_id`` or ``snapshot``, to name an earlier version
        """
        from azure.core.exceptions import HttpResponseError

        client = self._fs.service_client.get_blob_client(self._container, key, **(of or {}))
        try:
            return call_within(self._fs.loop, arguments.get("length", 0), getattr(client, method), **arguments)
        except HttpResponseError as error:
            raise _translated(error, conditional="match_condition" in arguments) from None

    def put(self, key: str, data: bytes, content_type: str, seen: str | None) -> dict[str, Any] | None:
        """
        Send a small blob, in a fraction of the CPU that ``upload_blob`` takes.

        :returns: ``etag`` and ``content_md5`` of the answer; None if ``upload_blob`` must send the blob again, because
            the answer isn't clear: it has the retries, and the errors
        """
        precondition = {"If-Match": f'"{seen}"'} if seen else {"If-None-Match": "*"}
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-blob-content-type": content_type, **precondition}
        answer = self._put_directly(key, "", headers, data)
        return {"etag": answer.get("ETag"), "content_md5": answer.get("Content-MD5")} if answer else None

    def stage(self, key: str, block: str, data: bytes) -> bool:
        """Send a block. Return whether it is there for sure; if not, ``stage_block`` must send it again."""
        query = {"comp": "block", "blockid": b64encode(block.encode()).decode()}
        return self._put_directly(key, urlencode(query), {}, data) is not None

    def _put_directly(self, key: str, query: str, headers: dict[str, str], data: bytes) -> Mapping[str, str] | None:
        """Send content with its MD5, and return the headers of the answer; None if it isn't a clear success."""
        account, path = self._fs.service_client, f"{self._container}/{key}"
        said, url = _request(account, path, query, headers, data)
        answer: Mapping[str, str] | None = None
        with contextlib.closing(Deadline(DEADLINE + len(data) / SLOWEST)) as deadline:
            try:
                signed = _signed(account, url, said)
                if signed is None:
                    # Who signs, or the way there, is the client's own.
                    answer = call_within(self._fs.loop, len(data), _put, account, url, said, data)
                else:
                    answer = self._sent(url, signed, data, deadline)
            except TimeoutError:
                # The deadline is that of the object.
                raise
            except Exception:  # noqa: BLE001 - Azure's client raises an error that says what to do
                if deadline.expired:
                    raise TimeoutError(f"no whole answer within {deadline.seconds:.0f} s") from None
        if answer is None or answer.get("Content-MD5", said["Content-MD5"]) != said["Content-MD5"]:
            return None
        return answer

    def _sent(self, url: str, headers: dict[str, str], data: bytes, deadline: Deadline) -> Mapping[str, str] | None:
        """Send a signed request, and return the headers of the answer; None if it isn't a plain success."""
        answer = self._hosts.request("PUT", url, data, headers, _TIMEOUT, deadline=deadline)
        return answer.headers if answer.status == 201 else None

    def folder(self, key: str) -> list[Stored]:
        prefix = f"{key}/" if key else ""

        async def walk() -> list[Stored]:
            blobs = self._listing().walk_blobs(name_starts_with=prefix, include=["metadata"], delimiter="/")
            return [_stored(blob.name, blob) async for blob in blobs if _is_object(blob) and blob.name != prefix]

        listed: list[Stored] = self._list(walk)
        return listed

    def folders(self, key: str) -> list[str]:
        async def walk() -> list[str]:
            blobs = self._listing().walk_blobs(name_starts_with=f"{key}/" if key else "", delimiter="/")
            # Folders alone end with a slash: those that have blobs, and the marks of folders.
            return [blob.name.rstrip("/") async for blob in blobs if blob.name.endswith("/")]

        names: list[str] = self._list(walk)
        return [name for name in names if name != key]

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

    def remove_for_good(self, key: str, version: str) -> bool:
        # With versions, the account keeps one. Nobody can remove a blob and its version in one step.
        self.remove(key, version)
        return False

    def remove_earlier_versions(self, prefix: str) -> Iterator[Kept]:
        for include, which in (("versions", "version_id"), ("snapshots", "snapshot")):
            for blob in self._earlier(prefix, include):
                number = getattr(blob, which) if blob else None
                if blob is None:
                    yield Kept(NOT_ASKED, None)
                elif number and not blob.is_current_version:
                    kept = self._remove_version(blob.name, {which: number})
                    if kept:
                        yield kept
        for blob in self._earlier(prefix, "deleted"):
            if blob is None:
                yield Kept(NOT_ASKED, None)
            elif blob.deleted:
                days = blob.remaining_retention_days
                yield Kept(SOFT_DELETED, None if days is None else datetime.now(UTC) + timedelta(days=days + 1))

    def _earlier(self, prefix: str, include: str) -> Iterator[Any]:
        """Yield the blobs of a listing with what an account keeps; None if the account refuses it."""

        async def page_after(token: str | None) -> tuple[list[Any], str | None]:
            pages = self._listing().list_blobs(name_starts_with=prefix, include=[include]).by_page(token)
            async for page in pages:
                return [blob async for blob in page], pages.continuation_token
            return [], None

        token: str | None = None
        while True:
            try:
                page, token = self._list(page_after, token)
            except (PermissionError, RefusedError):
                yield None
                return
            yield from page
            if not token:
                return

    def _remove_version(self, key: str, which: dict[str, str]) -> Kept | None:
        """Remove a version or a snapshot, and return why it can't be removed."""
        try:
            self.call("delete_blob", key, of=which)
        except FileNotFoundError:
            return None
        except KeptError:
            return Kept(LOCKED, None)
        except (PermissionError, RefusedError):
            return Kept(NOT_ALLOWED, None)
        return None

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
        if not self._store.stage(self._expected.path, block, data):
            self._call("stage_block", block_id=block, data=data, length=len(data))
        self._blocks.append(block)

    def is_heeded(self, seen: str | None) -> bool:
        return self._in_one_piece

    def finish(self, seen: str | None) -> Stored:
        from azure.storage.blob import BlobBlock, ContentSettings

        said = {"content_settings": ContentSettings(content_type=self._content_type), **self._store.only_if(seen)}
        if self._in_one_piece:
            answer = self._store.put(self._expected.path, self._data, self._content_type, seen)
            if answer is None:
                # What it overwrites, the precondition says.
                answer = self._call("upload_blob", data=self._data, length=len(self._data), overwrite=True, **said)
            # It has been compared.
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


def _request(client: Any, path: str, query: str, headers: Mapping[str, str], data: bytes) -> tuple[dict[str, str], str]:
    """
    Return the headers and the URL of a request that stores content.

    :param client: Azure's, of the account
    :param path: container and key
    :param query: encoded
    :param headers: those of this request alone
    """
    said = {
        **headers,
        "x-ms-version": client.api_version,
        "x-ms-date": formatdate(usegmt=True),
        "Content-Type": "application/octet-stream",
        "Content-Length": str(len(data)),
        "Content-MD5": b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
    }
    address, _, token = client.url.partition("?")
    url = f"{address.rstrip('/')}/{quote(path, safe='~/')}"
    query = "&".join(part for part in (query, token) if part)
    return said, f"{url}?{query}" if query else url


def _signed(client: Any, url: str, headers: dict[str, str]) -> dict[str, str] | None:
    """
    Return the headers of a request with what the client signs it with.

    :returns: None if the client must send it: it has a way of its own to the account, or signs with a token that it
        gets from there
    """
    from azure.core.pipeline import PipelineContext, PipelineRequest
    from azure.core.pipeline.transport import HttpRequest
    from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy

    # There is no public way to these.
    connections, policy = client._pipeline._transport.connection_config, client._credential_policy
    has_own_way = connections.verify is not True or connections.cert or client._config.proxy_policy.proxies
    if has_own_way or not (policy is None or isinstance(policy, SharedKeyCredentialPolicy)):
        return None
    request = HttpRequest("PUT", url, headers=headers)
    if policy is not None:
        policy.on_request(PipelineRequest(request, PipelineContext(None)))  # type: ignore[no-untyped-call]
    signed = dict(request.headers)
    # The connection adds the length.
    del signed["Content-Length"]
    return signed


async def _put(client: Any, url: str, headers: dict[str, str], data: bytes) -> Mapping[str, str] | None:
    """Send a request as the client does, and return the headers of the answer; None if it isn't a plain success."""
    from azure.core.pipeline import AsyncPipeline
    from azure.core.pipeline.transport import HttpRequest

    request = HttpRequest("PUT", url, headers=headers)
    request.set_bytes_body(data)
    # There is no public way to these. The others of the client's policies retry, log and translate.
    policies = [client._config.proxy_policy, client._config.user_agent_policy, client._credential_policy]
    pipeline: Any = AsyncPipeline(client._pipeline._transport, [policy for policy in policies if policy])
    answer = (await pipeline.run(request)).http_response
    return answer.headers if answer.status_code == 201 else None


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
    if error.status_code in (400, 405, 409, 501):
        return RefusedError(text)
    return OSError(text)

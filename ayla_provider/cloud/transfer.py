"""One file from the vendor's bucket to the destination: streamed, resumed, verified."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import BinaryIO, cast
from urllib.parse import quote

import requests
from google.auth.exceptions import GoogleAuthError
from urllib3.exceptions import HTTPError

from ayla_provider.cloud.checksum import Crc32c, Lines
from ayla_provider.cloud.destination import CHUNK, Destination, Stored
from ayla_provider.cloud.session import authorized_session
from ayla_provider.cloud.storage import ExportStore, describe_file
from ayla_provider.domain.layout import ExportFile
from ayla_provider.errors import (
    PASSES,
    AylaAccessDenied,
    AylaConflictError,
    AylaTransferError,
    AylaUnavailable,
)

log = logging.getLogger(__name__)

_TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for the next bytes."""

_TRIES_WITHOUT_PROGRESS = 6

_BACKOFF = 0.5
"""Seconds from which the waits between them double."""

_PASSING = (401, 408, 429, 500, 502, 503, 504)


class CorruptedError(AylaTransferError):
    """What arrived isn't what the listing states."""


class ExportReader:
    """
    A stream over one generation of one object, which continues where it was broken off.

    It keeps a running checksum over all that it hands out, across interruptions, and raises before the last byte
    if the whole isn't what the listing states: whoever reads it can't complete a wrong copy. (google-cloud-storage's
    own check covers whole downloads alone, not resumed ones.)

    :param stop: when set, the next read raises
    :param on_bytes: called with the number of bytes of each block
    """

    def __init__(
        self,
        session: requests.Session,
        url: str,
        file: ExportFile,
        stop: threading.Event,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._session = session
        self._url = url
        self._file = file
        self._stop = stop
        self._on_bytes = on_bytes
        self._response: requests.Response | None = None
        self._offset = 0
        self._checksum = Crc32c()
        self._lines = Lines()

    def tell(self) -> int:
        """Return how many bytes were handed out."""
        return self._offset

    @property
    def lines(self) -> int | None:
        """How many lines the whole has; None before all of it was handed out."""
        return self._lines.count if self._offset == self._file.size else None

    def read(self, size: int = -1) -> bytes:
        """
        Return up to ``size`` bytes, fewer only at the end.

        :raises AylaTransferError: if the object vanished, changed, or isn't what the listing states
        :raises AylaUnavailable: if it can't be continued
        """
        left = self._file.size - self._offset
        wanted = left if size < 0 else min(size, left)
        blocks = []
        while wanted:
            block = self._block(min(wanted, CHUNK))
            self._checksum.update(block)
            self._lines.update(block)
            self._offset += len(block)
            self._on_bytes(len(block))
            wanted -= len(block)
            blocks.append(block)
        if self._offset == self._file.size:
            self.close()
            self._verify()
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def close(self) -> None:
        """Free the connection."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _verify(self) -> None:
        found = self._checksum.base64
        if found != self._file.crc32c:
            raise CorruptedError(
                f"{describe_file(self._file)}: the bytes that arrived have crc32c {found}, the listing states "
                f"{self._file.crc32c}; nothing was stored. If it happens again, report it to Ayla support."
            )

    def _block(self, size: int) -> bytes:
        problem = ""
        for attempt in range(_TRIES_WITHOUT_PROGRESS):
            if self._stop.is_set():
                raise AylaTransferError(
                    f"{describe_file(self._file)}: stopped at byte {self._offset}, since the task was ended; nothing "
                    "of it was stored. The next try does what is left; clear the task if it has none."
                )
            if attempt:
                delay = min(_BACKOFF * 2**attempt, 20.0) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads, protects nothing
                log.info("%s: %s at byte %d, continuing in %.1f s", self._file.name, problem, self._offset, delay)
                self._stop.wait(delay)
            try:
                if self._response is None:
                    self._response = self._open()
                block = self._response.raw.read(size, decode_content=False)
                if block:
                    return cast("bytes", block)
                problem = "the answer ended early"
            except (requests.RequestException, HTTPError, OSError, GoogleAuthError) as error:
                problem = f"{type(error).__name__}: {error}"[:200]
            except _PassingError as passing:
                problem = str(passing)
            self.close()
        raise AylaUnavailable(
            f"{describe_file(self._file)}: the download stopped at byte {self._offset} of {self._file.size} and can't "
            f"be continued ({problem}, {_TRIES_WITHOUT_PROGRESS} tries). This usually passes: the task's retries will "
            "try again."
        )

    def _open(self) -> requests.Response:
        # Accept-Encoding: gzip keeps Cloud Storage from unpacking what is stored packed: the checksum is of that.
        headers = {"Accept-Encoding": "gzip"}
        if self._offset:
            headers["Range"] = f"bytes={self._offset}-"
        response = self._session.get(
            self._url,
            params={"alt": "media", "generation": str(self._file.generation)},
            headers=headers,
            stream=True,
            timeout=_TIMEOUT,
        )
        try:
            self._check(response)
        except BaseException:
            response.close()
            raise
        return response

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        if status == 206 and self._offset:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {self._offset}-"):
                raise _PassingError("the answer starts at another byte than asked for")
            return
        if status == 200:
            # The whole object again, from a server without ranges: pass over what is known.
            known = self._offset
            while known:
                passed = response.raw.read(min(CHUNK, known), decode_content=False)
                if not passed:
                    raise _PassingError("the answer ended early")
                known -= len(passed)
            return
        if status in _PASSING:
            raise _PassingError(f"Cloud Storage answered {status} {response.reason}")
        what = describe_file(self._file)
        if status == 404:
            raise AylaTransferError(
                f"{what}: generation {self._file.generation} vanished or was replaced after it was listed. The task's "
                "next try lists the hour again and takes what stands there then."
            )
        if status == 403:
            raise AylaAccessDenied(
                f"{what}: Cloud Storage refuses the download (403). Ayla's token reads below <oem_id>/ alone: check "
                "oem_id and bucket in the connection."
            )
        raise AylaUnavailable(f"{what}: Cloud Storage answered {status} {response.reason} to the download. {PASSES}")


class _PassingError(Exception):
    """An answer that may be better next time."""


class Transfer:
    """
    Copies files between two credentials. Thread-safe.

    :param stop: when set, copies in progress end with an error
    :param on_bytes: called with the number of bytes of each block, from many threads
    """

    def __init__(
        self,
        store: ExportStore,
        destination: Destination,
        stop: threading.Event,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._base = f"{store.endpoint}/download/storage/v1/b/{quote(store.bucket, safe='')}/o/"
        self._session = authorized_session(store.credentials, store.network)
        self._destination = destination
        self._stop = stop
        self._on_bytes = on_bytes

    def copy(self, file: ExportFile, path: str, replaces: Stored | None) -> tuple[Stored, int | None]:
        """
        Copy a file as a whole or not at all; a copy that arrives corrupted is tried once more.

        Returns what stands there now, and how many lines it has; None if somebody else put it there meanwhile.

        :param path: relative to the destination
        :param replaces: what stands there, None if nothing
        :raises AylaError: naming the file
        """
        try:
            return self._once(file, path, replaces)
        except CorruptedError as error:
            log.warning("%s Trying once more.", error)
            return self._once(file, path, replaces)

    def _once(self, file: ExportFile, path: str, replaces: Stored | None) -> tuple[Stored, int | None]:
        reader = ExportReader(self._session, self._base + quote(file.name, safe=""), file, self._stop, self._on_bytes)
        try:
            stored = self._destination.write(
                path,
                cast("BinaryIO", reader),
                size=file.size,
                crc32c=file.crc32c,
                replaces=replaces,
                content_type="text/csv",
            )
            return stored, reader.lines
        except AylaConflictError:
            # Also the answer to a write that went through, but whose answer got lost and which was then repeated.
            standing = self._destination.folder(path.rpartition("/")[0]).get(path)
            if standing and self.holds(standing, file):
                return standing, reader.lines
            raise
        finally:
            reader.close()

    def holds(self, standing: Stored, file: ExportFile) -> bool:
        """Whether what stands in the destination has a file's content."""
        return standing.size == file.size and self._destination.crc32c(standing) == file.crc32c

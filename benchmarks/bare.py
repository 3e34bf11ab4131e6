"""The same copy without any library: the limit of the loopback interface and the benchmark's server."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote, urlsplit

from benchmarks.store import READ_TOKEN, SOURCE, TARGET, WRITE_TOKEN

_BLOCK = 1024 * 1024
_AT_ONCE = 4 * 1024 * 1024


class _Client:
    """One connection, which sends one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> _Client:
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=4 * _BLOCK))

    def send(self, method: str, path: str, token: str, length: int = 0, more: str = "") -> None:
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Length: {length}\r\n{more}\r\n".encode()
        )

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> dict[str, str]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n"))}

    async def block(self, left: int) -> bytes:
        return await self._reader.read(min(left, _BLOCK))

    async def body(self) -> bytes:
        return await self._reader.readexactly(int((await self.head())["content-length"]))


async def _names(url: str) -> list[str]:
    client, names, token = await _Client.open(url), list[str](), "0"
    while token:
        client.send("GET", f"/storage/v1/b/{SOURCE}/o?pageToken={token}", READ_TOKEN)
        page = json.loads(await client.body())
        names += [item["name"] for item in page["items"]]
        token = page.get("nextPageToken")
    return names


async def _copy(source: _Client, target: _Client, name: str) -> None:
    source.send("GET", f"/storage/v1/b/{SOURCE}/o/{quote(name, safe='')}?alt=media", READ_TOKEN)
    size = left = int((await source.head())["content-length"])
    upload = f"/upload/storage/v1/b/{TARGET}/o?uploadType="
    metadata = json.dumps({"name": f"ayla/{name}"}).encode()
    end = b""
    if size <= _AT_ONCE:
        start = b"--x\r\n\r\n" + metadata + b"\r\n--x\r\n\r\n"
        end = b"\r\n--x--\r\n"
        more = "Content-Type: multipart/related; boundary=x\r\n"
        target.send("POST", upload + "multipart", WRITE_TOKEN, len(start) + size + len(end), more)
        await target.write(start)
    else:
        target.send("POST", upload + "resumable", WRITE_TOKEN, len(metadata))
        await target.write(metadata)
        answer = await target.head()
        await target.block(int(answer["content-length"]))
        session = urlsplit(answer["location"].partition("//")[2])
        target.send(
            "PUT", f"/upload?{session.query}", WRITE_TOKEN, size, f"Content-Range: bytes 0-{size - 1}/{size}\r\n"
        )
    while left:
        block = await source.block(left)
        left -= len(block)
        await target.write(block)
    await target.write(end)
    await target.body()


async def copy(url: str, workers: int) -> int:
    """Copy all objects of the source, and return their number."""
    names = await _names(url)
    waiting = iter(names)

    async def work() -> None:
        source, target = await _Client.open(url), await _Client.open(url)
        for name in waiting:
            await _copy(source, target, name)

    await asyncio.gather(*(work() for _ in range(workers)))
    return len(names)

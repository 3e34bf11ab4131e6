"""
The buckets of an export and of an archive that is years old, in the protocols of Cloud Storage and of S3.

Each hour of each event type has a file in the export, and a file and a manifest in the archive. The manifests are made
when they are read. Nothing can be written.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote
from xml.sax.saxutils import escape

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import manifest_path, parse_manifest_path, partitioned_path
from ayla_provider.transport.checksum import Crc32c
from benchmarks.store import OEM, SOURCE, TARGET, Connection, Store

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
END = datetime(2026, 11, 1, 12, tzinfo=UTC)
"""The end of the newest hour, which has landed."""

PREFIX = "ayla"
"""Of the archive in its bucket."""

_FILE = "datapoints.csv"
_CONTENT = b"x\r\n"
_CRC32C = Crc32c(_CONTENT).base64
_PAGE = 1000
_HOUR = re.compile(r"(\d{4}-\d\d-\d\d)(?: |/hour=)(\d\d)")


def made_manifest(hour: ExportHour) -> Manifest:
    """Return the manifest of an hour of one file."""
    copy = partitioned_path(hour.event_type, hour.start, FolderStyle.SPACE, _FILE)
    entry = ManifestFile(_source(hour), 1, len(_CONTENT), _CRC32C, _created(hour.start).isoformat(), copy)
    return Manifest(hour, HourState.LANDED, 1, (entry,), (hour.end + ONE_HOUR).isoformat(), {})


def hours_of_archive(hours: int) -> Iterator[ExportHour]:
    """Yield so many newest hours of each event type."""
    for event_type in EVENT_TYPES:
        for number in range(1, hours + 1):
            yield ExportHour(event_type, END - number * ONE_HOUR)


def _source(hour: ExportHour) -> str:
    return f"{OEM}/{EVENT_FOLDERS[hour.event_type]}/{hour.start:%Y-%m-%d %H:%M:%S}/{_FILE}"


def _created(start: datetime) -> datetime:
    return min(start + timedelta(minutes=80), NOW - timedelta(minutes=20))


def page(
    names: Sequence[str], prefix: str, delimiter: str, first: str, end: str, limit: int
) -> tuple[list[str], list[str], str]:
    """
    Return a page of a listing: names, common prefixes, and the first name of the next page.

    :param names: sorted
    :param first: earlier names are left out
    :param end: this name and later ones are left out; empty for no such bound
    """
    at = bisect_left(names, max(prefix, first))
    found: list[str] = []
    folders: list[str] = []

    def is_listed() -> bool:
        return at < len(names) and names[at].startswith(prefix) and not (end and names[at] >= end)

    while is_listed() and len(found) + len(folders) < limit:
        head, separator, _ = names[at][len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if separator:
            folders.append(f"{prefix}{head}{delimiter}")
            # Behind all names with this prefix.
            at = bisect_left(names, f"{prefix}{head}{chr(ord(delimiter) + 1)}", at)
        else:
            found.append(names[at])
            at += 1
    return found, folders, names[at] if is_listed() else ""


class AgedStore(Store):
    """
    What the buckets hold.

    :param hours: how many hours each event type has
    """

    def __init__(self, hours: int) -> None:
        super().__init__("", 0, 0, 0)
        source: list[str] = []
        target: list[str] = []
        for hour in hours_of_archive(hours):
            source.append(_source(hour))
            copy = partitioned_path(hour.event_type, hour.start, FolderStyle.SPACE, _FILE)
            target += [f"{PREFIX}/{copy}", f"{PREFIX}/{manifest_path(hour)}"]
        self.keys = {SOURCE: sorted(source), TARGET: sorted(target)}

    def content(self, name: str) -> bytes | None:
        """Return the content of an object of the archive, None if it doesn't exist."""
        names = self.keys[TARGET]
        at = bisect_left(names, name)
        if at == len(names) or names[at] != name:
            return None
        hour = parse_manifest_path(name.removeprefix(f"{PREFIX}/"))
        return made_manifest(hour).dumps().encode() if hour else _CONTENT

    def size_of(self, name: str) -> int:
        """Return the size of an object, as a listing states it."""
        return len(self.content(name) or b"") if "/_manifests/" in name else len(_CONTENT)

    def listing(self, bucket: str, query: dict[str, str]) -> dict[str, object]:
        """Return a page of a listing of Cloud Storage."""
        first = query.get("pageToken") or query.get("startOffset", "")
        limit = min(int(query.get("maxResults", _PAGE)), _PAGE)
        delimiter, end = query.get("delimiter", ""), query.get("endOffset", "")
        names, folders, token = page(self.keys[bucket], query.get("prefix", ""), delimiter, first, end, limit)
        answer: dict[str, object] = {"kind": "storage#objects", "items": [self._item(bucket, name) for name in names]}
        if folders:
            answer["prefixes"] = folders
        if token:
            answer["nextPageToken"] = token
        return answer

    def _item(self, bucket: str, name: str) -> dict[str, str]:
        found = _HOUR.search(name)
        start = datetime.fromisoformat(f"{found[1]}T{found[2]}:00+00:00") if found else END
        facts = {"timeCreated": f"{_created(start):%Y-%m-%dT%H:%M:%SZ}", "crc32c": _CRC32C}
        return self.resource(bucket, name, self.size_of(name)) | facts

    def xml(self, query: dict[str, str]) -> bytes:
        """Return a page of a listing of S3."""
        first = query.get("continuation-token", "")
        limit = min(int(query.get("max-keys", _PAGE)), _PAGE)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        names, folders, token = page(self.keys[TARGET], prefix, delimiter, first, "", limit)
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-11-01T12:20:00.000Z</LastModified>"
            f"<ETag>&quot;1&quot;</ETag><Size>{self.size_of(name)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for name in names
        )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        more = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
        truncated = "true" if token else "false"
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{TARGET}</Name><IsTruncated>{truncated}</IsTruncated>{contents}{prefixes}{more}</ListBucketResult>"
        ).encode()


class AgedConnection(Connection):
    """One connection of a client of either protocol."""

    def __init__(self, store: AgedStore) -> None:
        super().__init__(store)
        self._aged = store

    def _route(self, method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> Callable[[bytes], None]:
        media = re.fullmatch(rf"/download/storage/v1/b/{TARGET}/o/(.*)", path)
        if media:
            return self._download(self._aged.content(unquote(media[1])))
        if not path.startswith(f"/{TARGET}"):
            return super()._route(method, path, query, headers)
        name = unquote(path.removeprefix(f"/{TARGET}").lstrip("/"))
        if not name:
            content = self._aged.xml(query)
            self._answer = lambda: self._send(200, content, {"x-amz-request-id": "1"})
            return lambda data: None
        return self._object_of_s3(method, self._aged.content(name))

    def _download(self, content: bytes | None) -> Callable[[bytes], None]:
        if content is None:
            return self._say(404, {"error": {"code": 404, "message": "none"}})
        facts = {"x-goog-hash": f"crc32c={Crc32c(content).base64}", "x-goog-generation": "1"}
        self._answer = lambda: self._send(200, content, facts)
        return lambda data: None

    def _object_of_s3(self, method: str, content: bytes | None) -> Callable[[bytes], None]:
        status = 404 if content is None else 200
        body = content or b""
        facts = {"ETag": '"1"', "Last-Modified": "Sun, 01 Nov 2026 12:20:00 GMT"}

        def answer() -> None:
            if method != "HEAD":
                self._send(status, body, facts)
                return
            lines = "".join(f"{name}: {value}\r\n" for name, value in facts.items())
            self._transport.write(f"HTTP/1.1 {status} .\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode())
            self._go_on()

        self._answer = answer
        return lambda data: None


async def serve(hours: int) -> None:
    """Print the URL when the server is ready, and serve until the process ends."""
    store = AgedStore(hours)
    server = await asyncio.get_running_loop().create_server(lambda: AgedConnection(store), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    store.url = f"http://{host}:{port}"
    print(store.url, flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve buckets of some age."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, required=True, help="of each event type")
    asyncio.run(serve(parser.parse_args().hours))


if __name__ == "__main__":
    sys.exit(main())

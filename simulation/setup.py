"""The parts that outlive every process: the vendor's cloud and the customer's archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.paths import ERASURES, TYPED_RECEIPTS, TYPED_ROWS
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import BytesContent
from simulation.stream import StreamParameters
from simulation.worker import Place

ROWS = 12
"""The approximate number of rows in an hour of datapoints. Files are small, because there are thousands."""

PREFIX = "ayla/archive"
STREAM_PREFIX = "ayla/stream"

_BEYOND = 6 * ONE_HOUR
"""How long the export continues after the last hour: later files distinguish an empty hour from a late one."""


class Setup:
    """
    A local cloud that can restart, and a destination: a bucket or a folder.

    :param home: an empty folder
    :param seed: the seed of the export; with an odd seed the archive is in the customer's bucket, else on disk
    :param start: the first hour of the export
    :param end: the end of the last hour to copy
    :param port: the vendor's port; 0 chooses a free one
    :param lake: the format of the lake tables; empty if there are none
    """

    def __init__(self, home: Path, seed: int, start: datetime, end: datetime, port: int = 0, lake: str = "") -> None:
        self.home = home
        self.in_bucket = seed % 2 == 1
        self.folder = home / "archive"
        self.stream_folder = home / "stream"
        self.requests = 0
        """The number of requests that the vendor answered, and that it no longer lists."""
        self.cloud = LocalCloud(port=port, start=start, end=end + _BEYOND, now=start, seed=seed, rows=ROWS)
        self.cloud.start()
        self._key = self.cloud.service_account_key()
        self.lake = lake
        """The format of the lake tables; empty if there are none."""
        self.stream = StreamParameters(seed, self.cloud.oem_id, ROWS, start, end)

    @property
    def port(self) -> int:
        """The port that the vendor listens on."""
        return int(self.cloud.url.rpartition(":")[2])

    @property
    def place(self) -> Place:
        """Everything that a worker needs to know."""
        cloud = self.cloud
        return Place(
            home=self.home,
            ayla=cloud.ayla_connection(),
            url=f"gs://{cloud.customer.name}/{PREFIX}" if self.in_bucket else f"file://{self.folder}",
            key=self._key,
            lake=self.lake,
            stream=self.stream,
            stream_url=(
                f"gs://{cloud.customer.name}/{STREAM_PREFIX}" if self.in_bucket else f"file://{self.stream_folder}"
            ),
        )

    @property
    def database(self) -> Path:
        """The DuckDB file with the tables. Only one process at a time can open it."""
        return self.place.database

    def restart(self) -> None:
        """Restart the vendor. Objects survive; connections, tokens and faults don't."""
        with self.cloud.not_listening():
            self.cloud.revoke("access", "session", "storage", "customer")
            self.cloud.faults.clear()
        self.forget_requests()

    def forget_requests(self) -> None:
        """Count the requests so far, and free their memory."""
        self.requests += len(self.cloud.requests)
        self.cloud.requests.clear()

    def archive(self, since: datetime | None = None) -> dict[str, bytes]:
        """
        Return the contents of the archive, by path, read without the provider. Typed rows are among them.

        :param since: only what is of this day or a later one; None for everything
        """
        return self._contents(self.folder, PREFIX, since)

    def stream_archive(self) -> dict[str, bytes]:
        """Return the contents of the stream's archive, as :meth:`archive` does."""
        return self._contents(self.stream_folder, STREAM_PREFIX)

    def erasures(self) -> set[str]:
        """Return the paths of the entries of both erasure ledgers, each with the name of its archive."""
        archives = (("export", self.folder, PREFIX), ("stream", self.stream_folder, STREAM_PREFIX))
        found: set[str] = set()
        for name, folder, prefix in archives:
            if not self.in_bucket:
                found |= {f"{name} {path.name}" for path in (folder / ERASURES).glob("*")}
                continue
            start = f"{prefix}/{ERASURES}/"
            with self.cloud.customer.lock:
                names = self.cloud.customer.names
                found |= {f"{name} {path.removeprefix(start)}" for path in names if path.startswith(start)}
        return found

    def _contents(self, folder: Path, prefix: str, since: datetime | None = None) -> dict[str, bytes]:
        if not self.in_bucket:
            return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder, since)}
        bucket = self.cloud.customer
        start = f"{prefix}/"
        names = [name for name in bucket.names if name.startswith(start) and _is_since(name, since)]
        objects = {name.removeprefix(f"{prefix}/"): bucket.live(name) for name in names}
        contents = {path: stored.content for path, stored in objects.items() if stored}
        return {path: b"".join(content.chunks(0, content.size)) for path, content in contents.items()}

    def receipts(self) -> int:
        """Return the number of receipts of typed rows."""
        path = f"{TYPED_ROWS}/{TYPED_RECEIPTS}"
        if not self.in_bucket:
            return sum(1 for _ in (self.folder / path).rglob("*.json"))
        bucket = self.cloud.customer
        with bucket.lock:
            return sum(name.startswith(f"{PREFIX}/{path}/") for name in bucket.names)

    def damage(self, path: str, data: bytes | None) -> None:
        """Replace an object of the archive without the provider; None removes it."""
        if not self.in_bucket:
            file = self.folder / path
            file.unlink() if data is None else file.write_bytes(data)
        elif data is None:
            self.cloud.customer.delete(f"{PREFIX}/{path}")
        else:
            self.cloud.customer.replace(f"{PREFIX}/{path}", BytesContent(data))

    def close(self) -> None:
        """Stop the vendor."""
        self.cloud.stop()


def _files(folder: Path, since: datetime | None) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        if since:
            # Folders of earlier days aren't even listed.
            folders[:] = [name for name in folders if not name.startswith("date=") or _is_since(f"/{name}", since)]
        yield from (Path(root) / name for name in names if _is_since(f"{root}/", since))


def _is_since(path: str, since: datetime | None) -> bool:
    """Return whether a path is of a day or of a later one."""
    if since is None:
        return True
    day = path.partition("/date=")[2][:10]
    return day >= f"{since:%Y-%m-%d}"

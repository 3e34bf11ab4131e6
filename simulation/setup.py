"""What outlives every process: the vendor's cloud, and the place of the customer's archive."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.local_cloud import LocalCloud
from simulation.worker import Place

ROWS = 12
"""About how many rows an hour of datapoints has: the files are small, since there are thousands."""

PREFIX = "ayla/archive"

_BEYOND = 6 * ONE_HOUR
"""The export goes on after the last hour that is wanted, since later files report an empty hour from a late one."""


class Setup:
    """
    A local cloud that can be stopped and started again, and a destination: a bucket or a folder.

    :param home: an empty folder
    :param seed: of the export; an odd one has its archive in the customer's bucket, an even one on disk
    :param start: the first hour of the export
    :param end: the end of the last one that is wanted
    :param port: the vendor's; 0 chooses a free one
    """

    def __init__(self, home: Path, seed: int, start: datetime, end: datetime, port: int = 0) -> None:
        self.home = home
        self.in_bucket = seed % 2 == 1
        self.folder = home / "archive"
        self.refusals = 0
        """Sign-ins that the vendor refused before its last restart."""
        self.requests = 0
        """Those that it answered before."""
        self.cloud = LocalCloud(
            port=port, start=start, end=end + _BEYOND, now=start, seed=seed, rows=ROWS, data=home / "vendor"
        )
        self.cloud.start()

    @property
    def port(self) -> int:
        """Where the vendor listens."""
        return int(self.cloud.url.rpartition(":")[2])

    @property
    def place(self) -> Place:
        """What a worker is told of all this."""
        cloud = self.cloud
        return Place(
            home=self.home,
            ayla=cloud.ayla_connection(),
            url=f"gs://{cloud.customer.name}/{PREFIX}" if self.in_bucket else f"file://{self.folder}",
            key=cloud.service_account_key(),
        )

    def restart(self) -> None:
        """Stop the vendor and start it again: connections, tokens and faults are gone, objects aren't."""
        old = self.cloud
        self.refusals += old.refusals
        self.requests += len(old.requests)
        old.stop()
        self.cloud = LocalCloud(port=self.port, now=old.clock.now(), data=self.home / "vendor")
        self.cloud.start()

    def archive(self) -> dict[str, bytes]:
        """Return all that stands in the archive, by path, seen without the provider."""
        if not self.in_bucket:
            files = [path for path in self.folder.rglob("*") if path.is_file()]
            return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}
        bucket = self.cloud.customer
        found = {name.removeprefix(f"{PREFIX}/"): bucket.live(name) for name in bucket.names}
        return {path: b"".join(one.content.chunks(0, one.content.size)) for path, one in found.items() if one}

    def close(self) -> None:
        """Stop the vendor."""
        self.cloud.stop()

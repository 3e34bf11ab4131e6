"""A process that is killed at any one of its steps, while it repairs an hour or verifies an archive."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from multiprocessing import util
from pathlib import Path
from typing import Any

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.destination import Listed, Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.hour import ExportHour
from ayla_provider.errors import AylaLostError
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from ayla_provider.source.gcs import GcsSource
from ayla_provider.source.guard import SignInGuard
from ayla_provider.source.settings import AylaSettings
from simulation.worker import _make_waits_short
from tests.support.client import NOW

# multiprocessing makes its folder once. Here, that isn't yet one of the folders that pytest removes.
util.get_temp_dir()

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.mortal"])

LOST = 3
"""The exit status of a repair that ends with ``AylaLostError``."""


class MortalDestination(FileDestination):
    """
    A folder on disk, whose process ends with SIGKILL before one of its steps.

    :param lives: the number of steps before that
    """

    def __init__(self, root: Path, lives: int) -> None:
        super().__init__(root)
        self.lives = lives

    def step(self) -> None:
        """Do the next step, or end."""
        if not self.lives:
            os.kill(os.getpid(), signal.SIGKILL)
        self.lives -= 1

    def tree(self, prefix: str) -> Iterator[Listed]:
        self.step()
        return super().tree(prefix)

    def folder(self, path: str) -> dict[str, Stored]:
        self.step()
        return super().folder(path)

    def crc32c(self, stored: Stored) -> str:
        self.step()
        return super().crc32c(stored)

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        self.step()
        return super().read(path)

    def blocks(self, path: str) -> Iterator[bytes]:
        self.step()
        return super().blocks(path)

    def has_earlier_version(self, path: str) -> bool | None:
        self.step()
        return super().has_earlier_version(path)

    def write(self, *arguments: Any, **more: Any) -> Stored:
        self.step()
        return super().write(*arguments, **more)


def repair(
    root: Path, home: Path, connection: dict[str, Any], hour: ExportHour, untrusted: Sequence[str], lives: int
) -> None:
    """Repair an hour, as the main function of a process."""
    _make_waits_short(home)
    settings = AylaSettings.from_fields(**connection)
    provider = TokenProvider(settings, SignInGuard("ayla_test", settings.fingerprint))
    source = GcsSource(provider.credentials(), settings.bucket, endpoint=settings.storage_endpoint)
    export = Export(source, f"{settings.oem_id}/", now=lambda: NOW)
    destination = MortalDestination(root, lives)
    fsync = os.fsync

    def written(handle: int) -> None:
        fsync(handle)
        # The content is on the disk, and hasn't its name yet.
        destination.step()

    os.fsync = written
    try:
        Archive(destination, max_workers=1).take_in(
            export, [hour], ArrivalRule(), written_by={"run_id": "repair"}, untrusted=untrusted
        )
    except AylaLostError:
        os._exit(LOST)
    os._exit(0)


def verify(root: Path, scope: Scope, now: datetime, lives: int) -> None:
    """Verify an archive by listing and by reading all of it, as the main function of a process."""
    verification = Verification(MortalDestination(root, lives), scope, now=now, read_every=timedelta(days=1))
    for _ in verification.findings():
        pass
    os._exit(0)


def run_process(target: Callable[..., None], *arguments: object) -> int | None:
    """Run a main function in a process of its own, and return its exit status; negative if a signal ended it."""
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    process.join(300)
    return process.exitcode

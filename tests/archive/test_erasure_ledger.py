"""Commits ask the erasure ledger as late as they must, and as seldom as they may."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.erasures import Erasures
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import write_json
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import ERASURES
from ayla_provider.errors import AylaConflictError

HOUR = datetime(2026, 11, 1, 7, tzinfo=UTC)
KEYS = ErasureKeys.parse("a-key-of-sixteen-characters", "x")


class SlowLedger(FileDestination):
    """A folder in which a listing of the ledger waits until it may go on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listings = 0
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)
        self.is_slow = False

    def folder(self, path: str) -> dict[str, Stored]:
        found = super().folder(path)
        if path == ERASURES and self.is_slow:
            self.listings += 1
            self.begun.release()
            assert self.may_end.acquire(timeout=60)
        return found


def test_commits_share_a_listing_of_the_ledger_only_if_it_began_after_their_files_were_there(tmp_path: Path) -> None:
    """An erasure that begins while hours are committed is never missed by one whose files came later."""
    archive = SlowLedger(tmp_path)
    hours = [ExportHour(EventType("datapoint"), HOUR + timedelta(hours=number)) for number in range(6)]
    ledger = Erasures(archive, lambda: KEYS)
    assert [ledger.matcher(hour) for hour in hours] == [None] * 6
    archive.is_slow = True
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(ledger.refuse_change, hours[:1])
        assert archive.begun.acquire(timeout=60)
        # While the first listing, which found nothing, is on its way: an erasure begins. Then other hours are there.
        wanted = ErasureRequest({"dsn": "LC000X000000007"}, None, hours[-1].end, hours[-1].end)
        entry = wanted.entry(KEYS, hours[-1].end, {})
        write_json(archive, entry.path, entry.dumps(), None)
        later = [pool.submit(ledger.refuse_change, [hour]) for hour in hours[1:]]
        for _ in range(len(hours)):
            archive.may_end.release()
        assert first.result() is None
        for each in later:
            with pytest.raises(AylaConflictError, match="an erasure began while the hour was read"):
                each.result()
    assert 2 <= archive.listings <= len(hours)

"""A customer's archive of a stream: files of every record once, manifests of hours, and the position in the stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.stream_drain import Drain
from ayla_provider.archive.stream_report import StreamReport, read_position
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.stream import MOST_BYTES, MOST_RECORDS, StreamPosition
from ayla_provider.stream.base import Stream

__all__ = ["StreamArchive", "StreamReport", "read_position"]


class StreamArchive:
    """
    A customer's archive of a stream, in a destination of its own.

    :param erasure_keys: returns the keys of the erasure ledger. It is called only if an erasure touches an hour
    """

    def __init__(self, destination: Destination, *, erasure_keys: Callable[[], ErasureKeys] | None = None) -> None:
        self.destination = destination
        self._erasure_keys = erasure_keys
        self._stop = threading.Event()
        self.report: StreamReport | None = None
        """What the last run did, also if it failed; None before the first one."""

    def stop(self) -> None:
        """Stop a run that is in another thread. What was committed stays; the next run goes on from there."""
        self._stop.set()

    def position(self) -> StreamPosition | None:
        """
        Return how far the stream was read; None before the first run.

        :raises AylaDestinationError: if the position can't be read
        """
        return read_position(self.destination)[0]

    def drain(
        self,
        stream: Stream,
        now: datetime,
        *,
        written_by: Mapping[str, str],
        oem_id: str = "",
        max_records: int = MOST_RECORDS,
        max_bytes: int = MOST_BYTES,
        accept_loss: bool = False,
    ) -> StreamReport:
        """
        Bring what arrived before now into the archive, from where the last run ended.

        Files and position are committed together, batch by batch. A run that ends at any moment loses nothing, and
        leaves nothing twice. Of two runs at once, one ends with an error.

        :param now: when the run began: aware
        :param written_by: for the manifests, see :class:`~ayla_provider.domain.manifest.Manifest`
        :param oem_id: the OEM that all records must state; empty for the one that the first record states
        :param max_records: a batch ends with the page that exceeds it
        :param max_bytes: a batch ends with the page that exceeds it
        :param accept_loss: whether to acknowledge all gaps, also those that this run finds, and to go on if the stream
            was created again or ends before the position
        :raises AylaConfigError: if the destination is of something else, or a record is of another OEM
        :raises AylaStreamLossError: if records expired before they were read; all others are committed
        :raises AylaStreamResetError: if the stream isn't the one that was read before
        :raises AylaConflictError: if another run drains the stream into this destination
        :raises AylaUnavailable: if the stream gives no valid answer
        """
        started = time.monotonic()
        run = Drain(
            self.destination,
            stream,
            now,
            written_by,
            accept_loss=accept_loss,
            stop=self._stop,
            erasure_keys=self._erasure_keys,
        )
        self.report = run.report
        try:
            run.begin(oem_id)
            run.read_all(max_records, max_bytes)
            run.end()
        finally:
            run.report.seconds = time.monotonic() - started
        return run.report

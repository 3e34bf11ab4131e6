"""What of a stream was read, from the position in the stream's archive."""

from __future__ import annotations

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.archive.stream_report import read_position
from ayla_provider.domain.completeness import StreamCoverage
from ayla_provider.domain.paths import STREAM_POSITION
from ayla_provider.errors import AylaConfigError


def read_coverage(archive: Destination) -> StreamCoverage:
    """
    Return what of a stream was read.

    :param archive: the destination of the stream's records
    :raises AylaConfigError: if no stream was read into this archive
    :raises AylaDestinationError: if the position can't be read
    """
    position, _ = read_position(archive)
    if position is None:
        raise AylaConfigError(
            f"{url_of(archive, STREAM_POSITION)} doesn't exist: no stream was read into this archive. Correct its URL."
        )
    return StreamCoverage(
        # Nothing is proven before the first shard was read.
        started_at=position.since if position.shards else None,
        event_types=frozenset(position.event_types),
        gaps=tuple(known.gap for known in position.gaps),
    )

"""What every stream must do: say what shards it has, and read one from a position on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from ayla_provider.domain.stream import Page, Shard, ShardPosition, StreamState


class Stream(Protocol):
    """A stream of records in shards. It is read by several threads at once, each shard by one of them."""

    url: str
    """Names the stream, without a secret: ``kinesis://eu-west-1/name`` or ``eventhubs://namespace/hub``."""

    def state(self) -> StreamState:
        """
        Return the shards and the retention of the stream.

        :raises AylaConfigError: if the stream doesn't exist
        :raises AylaAccessDenied: if the credentials may not read it; the message names the rights
        :raises AylaUnavailable: if the service gives no valid answer, after the client's retries
        """

    def read(self, shard: Shard, position: ShardPosition, until: datetime, state: StreamState) -> Iterator[Page]:
        """
        Yield the records of a shard after a position, in the order of their numbers, each once.

        It ends at the end of the shard, and at the first record that arrived at ``until`` or later. It keeps within
        the service's limits, waits when the service throttles, and never yields a number that isn't greater than
        ``position.after``. A caller may stop at any page.

        The first page states a gap if records may have expired unread. Without proof that none has, that is so if
        nothing was read for as long as the stream keeps records. Then the oldest records that are left follow.

        :param shard: from ``state``
        :param until: aware, UTC: a bounded "now"
        :raises AylaStreamResetError: if the position is ahead of the shard
        :raises AylaAccessDenied: see :meth:`state`
        :raises AylaUnavailable: see :meth:`state`; also if the service stops answering
        """

    def close(self) -> None:
        """Close connections."""

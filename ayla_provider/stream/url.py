"""A stream's URL, as DAGs name it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qsl, unquote, urlsplit

from ayla_provider.errors import AylaConfigError

DEFAULT_GROUP = "$Default"

_EXPECTED = (
    "expected kinesis://stream, eventhubs://hub, eventhubs://hub/consumer-group, or with the hub's retention "
    "eventhubs://hub?retention_hours=168"
)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_GROUP = re.compile(r"\$?[A-Za-z0-9_.-]{1,50}")
_MOST_HOURS = 90 * 24
"""The longest retention of an Event Hub."""


@dataclass(frozen=True, slots=True)
class StreamUrl:
    """The parts of a stream's URL."""

    scheme: str
    """``kinesis`` or ``eventhubs``."""
    name: str
    """The stream or the hub."""
    group: str = DEFAULT_GROUP
    """The consumer group of an Event Hub."""
    retention: timedelta = timedelta(days=1)
    """How long an Event Hub keeps events, which it doesn't say. A Kinesis stream says it."""

    @classmethod
    def parse(cls, url: object) -> StreamUrl:
        """
        Take a URL apart. Blanks around it don't count.

        :raises AylaConfigError: if it is malformed, or has credentials in it
        """
        if not isinstance(url, str):
            raise AylaConfigError(f"stream {url!r}: {_EXPECTED}")
        text = url.strip()
        if "@" in text or "SharedAccess" in text or "Endpoint=" in text:
            # The message doesn't quote the URL, which can contain a key.
            raise AylaConfigError(f"stream: credentials belong in an Airflow connection, not in the URL; {_EXPECTED}")
        try:
            parts = urlsplit(text, allow_fragments=False)
        except ValueError:
            raise AylaConfigError(f"stream {url!r}: {_EXPECTED}") from None
        is_hub = parts.scheme == "eventhubs"
        group = unquote(parts.path.strip("/")) or DEFAULT_GROUP
        is_known = is_hub or (parts.scheme == "kinesis" and not parts.path.strip("/") and not parts.query)
        if not is_known or not _NAME.fullmatch(parts.netloc) or not _GROUP.fullmatch(group):
            raise AylaConfigError(f"stream {url!r}: {_EXPECTED}")
        return cls(parts.scheme, parts.netloc, group, _retention(url, parts.query))


def _retention(url: str, query: str) -> timedelta:
    options = dict(parse_qsl(query, keep_blank_values=True))
    hours = options.pop("retention_hours", "24")
    if options or not re.fullmatch("[0-9]{1,4}", hours) or not 1 <= int(hours) <= _MOST_HOURS:
        raise AylaConfigError(f"stream {url!r}: {_EXPECTED}, of 1 to {_MOST_HOURS} hours")
    return timedelta(hours=int(hours))

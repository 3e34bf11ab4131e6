"""Faults on demand: the n-th matching request fails in a chosen way."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field, fields
from typing import Any

STEPS = ("sign_in", "refresh", "sign_out", "acs", "token", "list", "metadata", "download", "upload", "delete", "bucket")
"""The purposes of requests. ``bucket`` reads a bucket's metadata, ``token`` requests one of the customer's tokens."""

KINDS = ("slow", "drip", "refused", "cut", "cut_request", "corrupt", "truncate", "bomb", "endless")
"""The kinds of faults other than an HTTP status."""


@dataclass
class Fault:
    """
    A fault, and the requests that it applies to.

    With a status, ``refused`` or ``bomb``, the server doesn't process the request. ``drip``, ``endless``, ``cut``,
    ``corrupt`` and ``truncate`` apply to the answer, after the server has processed the request: a cut upload is
    stored, but its client doesn't know it. For an upload, ``corrupt`` flips a byte of the received content.
    ``cut_request`` applies to the body of a request: a resumable upload keeps the whole multiples of 256 KiB received
    before, as Google's does. Any other upload keeps nothing.

    :param kind: an HTTP status such as 503, or ``slow`` (answer after ``delay``), ``drip`` (the bytes of the answer's
        body come one by one, ``delay`` apart), ``bomb`` (a small gzip body unpacks to ``size`` opening brackets of
        JSON), ``endless`` (the answer's body never ends; a listing has another page after each), ``refused`` (the
        connection is reset without an answer), ``cut`` (the connection ends after ``after_bytes`` of the answer's
        body), ``cut_request`` (the connection is reset after ``after_bytes`` of the request's body, or at its end),
        ``corrupt`` (the byte at ``after_bytes`` is changed; lengths and checksums stay), ``truncate`` (the body ends
        after ``after_bytes``, and its stated length agrees)
    :param step: one of :data:`STEPS`; None means any
    :param match: text or a regular expression to find in the decoded path and query
    :param method: an HTTP method; None means any
    :param nth: the number of the first matching request that fails, counted from 1
    :param times: the number of requests that fail from there on; None means all
    :param delay: for ``slow`` and ``drip``, in seconds
    :param after_bytes: for ``cut``, ``cut_request``, ``corrupt`` and ``truncate``
    :param size: the bytes of ``bomb``, unpacked
    :param retry_after: the header ``Retry-After`` of a status, in seconds
    :param body: the body of a status; None means an error in the format of the service
    :param content_type: the media type of that body
    """

    kind: int | str
    step: str | None = None
    match: str = ""
    method: str | None = None
    nth: int = 1
    times: int | None = 1
    delay: float = 1.0
    after_bytes: int = 0
    size: int = 64 * 1024 * 1024
    retry_after: int | None = None
    body: str | None = None
    content_type: str = "text/plain"
    seen: int = field(default=0)
    """The number of requests that matched."""
    fired: int = field(default=0)
    """The number of requests that failed."""

    def __post_init__(self) -> None:
        if isinstance(self.kind, str) and self.kind.isdigit():
            self.kind = int(self.kind)
        if isinstance(self.kind, str) and self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}: expected an HTTP status or one of {', '.join(KINDS)}")
        if self.step is not None and self.step not in STEPS:
            raise ValueError(f"step {self.step!r}: expected one of {', '.join(STEPS)}")
        if self.kind == 429 and self.retry_after is None:
            self.retry_after = 1

    def matches(self, step: str, method: str, text: str) -> bool:
        """Return whether the fault applies to a request."""
        if self.step not in (None, step) or self.method not in (None, method):
            return False
        return self.match in text or re.search(self.match, text) is not None


_FIELDS = tuple(one.name for one in fields(Fault) if one.name not in ("seen", "fired"))


class Faults:
    """The active faults. They are tried in order, and at most one applies to a request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, kind: Fault | int | str, **details: Any) -> Fault:
        """Add a fault: ``add(Fault(...))``, or ``add(503, step="download", nth=2)``."""
        unknown = details.keys() - _FIELDS
        if unknown:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}: expected some of {', '.join(_FIELDS)}")
        fault = kind if isinstance(kind, Fault) else Fault(kind, **details)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def all(self) -> list[Fault]:
        """Return the faults, with their counters."""
        with self._lock:
            return list(self._faults)

    def next(self, step: str, method: str, text: str) -> Fault | None:
        """Count a request, and return the fault that applies to it, if any."""
        chosen = None
        with self._lock:
            for fault in self._faults:
                if not fault.matches(step, method, text):
                    continue
                fault.seen += 1
                due = fault.seen >= fault.nth and (fault.times is None or fault.fired < fault.times)
                if due and chosen is None:
                    chosen = fault
                    fault.fired += 1
        return chosen

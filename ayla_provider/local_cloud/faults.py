"""Faults on demand: the n-th request that matches fails in the way that was asked for."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any

STEPS = ("sign_in", "refresh", "sign_out", "acs", "token", "list", "metadata", "download", "upload", "delete", "bucket")
"""What a request can be for. ``bucket`` asks for a bucket itself, ``token`` for one of the customer's tokens."""

KINDS = ("slow", "refused", "cut", "cut_request", "corrupt", "truncate")
"""What can go wrong, other than a status."""


@dataclass
class Fault:
    """
    What is to happen to which requests.

    A status is answered without doing what was asked for, and ``refused`` does nothing either. ``cut``, ``corrupt``
    and ``truncate`` befall the answer, after it was done: a cut upload is stored, and its client doesn't know. For an
    upload, ``corrupt`` flips a byte of what arrives, so that it differs from what was sent. ``cut_request`` befalls
    the body of a request on its way: a resumable upload keeps the whole multiples of 256 KiB that came before, as
    Google's does; of anything else nothing stays.

    :param kind: an HTTP status such as 503, or ``slow`` (answer after ``delay``), ``refused`` (the connection is reset
        without an answer), ``cut`` (the connection ends after ``after_bytes`` of the answer's body), ``cut_request``
        (the connection is reset after ``after_bytes`` of the request's body, or at its end), ``corrupt`` (the byte at
        ``after_bytes`` is flipped; lengths and checksums stay), ``truncate`` (the body ends after ``after_bytes``,
        and its stated length agrees)
    :param step: one of :data:`STEPS`; None means any
    :param match: text that is found in the decoded path and query, or a regular expression that matches there
    :param method: an HTTP method; None means any
    :param nth: the first of the matching requests to fail, counted from 1
    :param times: how many fail from there on; None means all
    :param delay: in seconds, for ``slow``
    :param after_bytes: for ``cut``, ``cut_request``, ``corrupt`` and ``truncate``
    :param retry_after: the header ``Retry-After`` in seconds, for a status
    :param body: the body of a status; None means one in the form of the service that answers
    :param content_type: of that body
    """

    kind: int | str
    step: str | None = None
    match: str = ""
    method: str | None = None
    nth: int = 1
    times: int | None = 1
    delay: float = 1.0
    after_bytes: int = 0
    retry_after: int | None = None
    body: str | None = None
    content_type: str = "text/plain"
    seen: int = field(default=0)
    """How many requests have matched."""
    fired: int = field(default=0)
    """How many of them failed."""

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
        """Whether a request is of the kind that this fault is about."""
        if self.step not in (None, step) or self.method not in (None, method):
            return False
        return self.match in text or re.search(self.match, text) is not None


class Faults:
    """The faults that were asked for. They are tried in order, and one request meets one of them at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, kind: Fault | int | str, **details: Any) -> Fault:
        """Ask for a fault: ``add(Fault(...))``, or ``add(503, step="download", nth=2)``."""
        fault = kind if isinstance(kind, Fault) else Fault(kind, **details)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def all(self) -> list[Fault]:
        """Return the faults, with what has become of them."""
        with self._lock:
            return list(self._faults)

    def next(self, step: str, method: str, text: str) -> Fault | None:
        """Count a request, and return the fault that it is to meet, if any."""
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

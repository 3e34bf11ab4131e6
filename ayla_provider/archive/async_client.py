"""Calls of the stores' asynchronous clients, which only know timeouts for each read, within a deadline."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fsspec.asyn import sync
from fsspec.exceptions import FSTimeoutError

from ayla_provider.transport.deadline import SLOWEST
from ayla_provider.transport.network import DEADLINE


def call_within(
    loop: Any, size: int, method: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, **named: Any
) -> Any:
    """
    Call a method of a client, and wait for its result.

    :param loop: the client's event loop, which runs in another thread
    :param size: the bytes that the call sends or receives, apart from a small answer
    :raises TimeoutError: if it takes too long; the call is canceled
    """
    seconds = DEADLINE + size / SLOWEST
    try:
        return sync(loop, method, *arguments, timeout=seconds, **named)
    except FSTimeoutError:
        raise TimeoutError(f"no whole answer within {seconds:.0f} s") from None

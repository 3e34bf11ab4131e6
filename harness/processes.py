"""Find and end every process of a program that starts many, some in groups and sessions of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping

import psutil

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, OSError)


def processes_with(variable: str, value: str) -> set[psutil.Process]:
    """
    Return the living processes, other than this one, whose environment holds a variable with just this value.

    Children inherit it, whatever group, session or parent they end up with. Processes whose environment the system
    doesn't show to this user, so those of other users, are left out.
    """
    return {each for each in psutil.process_iter() if each.pid != os.getpid() and _has(each, variable, value)}


def end_processes_with(variable: str, value: str, *, grace: float) -> set[psutil.Process]:
    """
    End the processes that :func:`processes_with` finds, and their children: asked first, then killed.

    Also when it is interrupted while it waits, by a second Ctrl-C, it kills what is left before it raises.

    :param grace: seconds between SIGTERM and SIGKILL
    :returns: the processes that outlived even that; normally none
    """
    # The children are noted now: one that was started with an environment of its own can't be found as an orphan.
    seen = _with_children(processes_with(variable, value))
    try:
        _signal(seen, signal.SIGTERM)
        _wait_until_gone(variable, value, seen, grace)
    finally:
        # Twice: a process may have forked between the look and the kill.
        for _ in range(2):
            seen |= _with_children(processes_with(variable, value))
            _signal({each for each in seen if _lives(each)}, signal.SIGKILL)
            left = _wait_until_gone(variable, value, seen, 5)
    return left


def _has(process: psutil.Process, variable: str, value: str) -> bool:
    try:
        return process.environ().get(variable) == value and _lives(process)
    except _GONE:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        # What has ended, and was not yet collected by its parent, is no more than an entry in a table.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False


def _with_children(processes: set[psutil.Process]) -> set[psutil.Process]:
    family = set(processes)
    for process in processes:
        with contextlib.suppress(*_GONE):
            family.update(process.children(recursive=True))
    return family


def _signal(processes: set[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(*_GONE):
            process.send_signal(number)


def _wait_until_gone(variable: str, value: str, seen: set[psutil.Process], timeout: float) -> set[psutil.Process]:
    deadline = time.monotonic() + timeout
    while True:
        left = {each for each in seen if _lives(each)} | processes_with(variable, value)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Return different TCP ports that nothing listens on now; they are held together while they are chosen."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def port_is_free(port: int) -> bool:
    """Return whether a server could listen on a TCP port of this machine."""
    with socket.socket() as attempt:
        # As servers do, so that connections of an earlier server that linger in TIME_WAIT don't count.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """
    Turn SIGTERM and SIGHUP into SystemExit for a while, so that ``finally`` and ``with`` clean up.

    Handlers that somebody else has set are left alone, and outside the main thread nothing is changed.
    """
    changed: dict[signal.Signals, signal.Handlers] = {}
    with contextlib.suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _exit)
                changed[number] = signal.SIG_DFL
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            for number, handler in changed.items():
                signal.signal(number, handler)


def _exit(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Return a copy of an environment without what would make one Airflow behave like another.

    Settings, connections and variables of the user's own Airflow go; so does what pytest sets, because Airflow logs
    differently when it sees it.
    """
    unwanted = ("AIRFLOW_", "_AIRFLOW_", "PYTEST_")
    return {name: value for name, value in environment.items() if not name.startswith(unwanted)}

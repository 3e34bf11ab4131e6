"""Find and end all processes of a program that starts many, some in their own groups and sessions."""

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
    Return the living processes, except this one, whose environment has a variable with this value.

    Child processes inherit it, even in another group or session, or with another parent. Processes of other users are
    left out, because the system doesn't show their environment.
    """
    return {
        process for process in psutil.process_iter() if process.pid != os.getpid() and _has(process, variable, value)
    }


def end_processes_with(variable: str, value: str, *, grace: float) -> set[psutil.Process]:
    """
    End the processes that :func:`processes_with` finds, and their children, with SIGTERM and then SIGKILL.

    If a second Ctrl-C interrupts the wait, it kills the remaining processes before it raises.

    :param grace: seconds between SIGTERM and SIGKILL
    :returns: the processes that survive SIGKILL; normally none
    """
    # Collect the children now. An orphan with another environment can't be found later.
    seen = _with_children(processes_with(variable, value))
    try:
        _signal(seen, signal.SIGTERM)
        _wait_until_gone(variable, value, seen, grace)
    finally:
        # Twice, because a process may fork between the search and the kill.
        for _ in range(2):
            seen |= _with_children(processes_with(variable, value))
            _signal({process for process in seen if _lives(process)}, signal.SIGKILL)
            left = _wait_until_gone(variable, value, seen, 60)
    return left


def _has(process: psutil.Process, variable: str, value: str) -> bool:
    try:
        return process.environ().get(variable) == value and _lives(process)
    except _GONE:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        # A zombie has ended, but its parent hasn't collected its status yet.
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
        left = {process for process in seen if _lives(process)} | processes_with(variable, value)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Return different free TCP ports. All of them stay open until the last one is chosen."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("", 0))
        return [int(opened.getsockname()[1]) for opened in sockets]


def port_is_free(port: int) -> bool:
    """Return whether a server can listen on a TCP port of this machine."""
    with socket.socket() as attempt:
        # Like servers, so that connections of an earlier server in TIME_WAIT don't count.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """
    Turn SIGTERM and SIGHUP into SystemExit as long as the context lasts, so that ``finally`` and ``with`` clean up.

    It doesn't replace handlers that other code has set, and does nothing outside the main thread.
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
    Return a copy of an environment without variables that change Airflow's behaviour.

    It removes settings, connections and Variables of the user's own Airflow. It also removes pytest's variables,
    because Airflow logs differently if they exist.
    """
    unwanted = ("AIRFLOW_", "_AIRFLOW_", "PYTEST_")
    return {name: value for name, value in environment.items() if not name.startswith(unwanted)}

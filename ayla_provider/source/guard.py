"""
Keeps an account from being locked.

Five refused sign-ins in a row lock an Ayla account for everybody for 30 minutes (Ayla's user service). Every Airflow
task is a process of its own, and dozens start in the same second; so before a sign-in all of them agree, through a
small record that they share, on whether these credentials were refused, are known to be good, or are being tried.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from ayla_provider.errors import AylaSignInRefused, AylaUnavailable

log = logging.getLogger(__name__)

LOCKOUT = timedelta(minutes=30)
"""How long Ayla locks an account, and how long a refusal is remembered."""

_TRUST = timedelta(minutes=10)
"""How long after a good sign-in others sign in with the same credentials without being careful."""

_TRIAL = timedelta(seconds=90)
"""How long a sign-in that somebody announced is waited for before it counts as abandoned."""

_SETTLE = 2.0
"""Seconds between announcing a trial and believing that nobody else did: longer than a write takes to be seen."""

T = TypeVar("T")


class Memory(Protocol):
    """One small text that all processes and machines share, such as an Airflow Variable."""

    def read(self) -> str | None:
        """Return the text, None if there is none yet."""

    def write(self, text: str) -> None:
        """Replace the text."""


class MachineMemory:
    """A file that the processes of this user on this machine share: for where there is nothing wider."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _file(self) -> Path:
        return _folder() / f"{self._name}.json"

    def read(self) -> str | None:
        """Return the text, None if there is none yet."""
        return self._file.read_text() if self._file.exists() else None

    def write(self, text: str) -> None:
        """Replace the text."""
        _folder().mkdir(mode=0o700, exist_ok=True)
        self._file.touch(mode=0o600)
        self._file.write_text(text)


@dataclass(frozen=True, slots=True)
class _Record:
    """What is known of a sign-in. ``fingerprint`` recognises the credentials without holding them."""

    connection: str
    fingerprint: str
    outcome: str
    at: str
    reason: str = ""
    by: str = ""

    @property
    def age(self) -> timedelta:
        return datetime.now(UTC) - datetime.fromisoformat(self.at)


class SignInGuard:
    """
    Lets one process try credentials that nobody has tried yet, and the others wait for what comes of it.

    On one machine a file lock takes care of the order. Across machines there is only the shared record, which has no
    atomic update; so the one who tries announces it, waits until every other announcement must have become visible,
    and tries only if its own still stands (Fischer's mutual exclusion).

    :param conn_id: the connection's id, shown to people
    :param fingerprint: see :attr:`ayla_provider.source.settings.AylaSettings.fingerprint`
    """

    def __init__(self, conn_id: str, fingerprint: str, memory: Memory | None = None) -> None:
        self.conn_id = conn_id
        self.fingerprint = fingerprint
        self._memories: list[Memory] = [MachineMemory(fingerprint)]
        """From the widest on; what the first can't keep, the next does."""
        if memory:
            self._memories.insert(0, memory)
        self._own: _Record | None = None
        """What this process knows of itself, for when every memory fails."""
        self._is_kept = False
        """Whether a memory has taken it; where a person then deletes it there, it is to be forgotten."""

    def sign_in(self, attempt: Callable[[], T]) -> T:
        """
        Return what the attempt returns, unless these credentials are known to be refused.

        :param attempt: signs in once and gets what it signs in for, so that no other process on this machine signs
            in between (which can end the session); raises AylaSignInRefused if refused
        :raises AylaSignInRefused: if it was refused now, or before by anybody who shares the memory
        :raises AylaUnavailable: if others kept trying for too long
        """
        self.check()
        with _machine_lock(self.fingerprint):
            trial = self._announce()
            try:
                result = attempt()
            except AylaSignInRefused as error:
                self._write("refused", reason=str(error))
                raise
            except BaseException:
                if trial:
                    self._write("unknown")
                raise
            if trial:
                self._write("accepted")
            return result

    def check(self) -> None:
        """
        Raise if these credentials were refused within the last half hour.

        :raises AylaSignInRefused: saying when and why, and until when it is remembered
        """
        self._refuse(self._read())

    def _announce(self) -> bool:
        """Return whether this sign-in is a trial, after making sure that it is the only one."""
        deadline = time.monotonic() + 2 * _TRIAL.total_seconds()
        while time.monotonic() < deadline:
            record = self._read()
            self._refuse(record)
            if record and record.outcome == "accepted" and record.age < _TRUST:
                return False
            if record and record.outcome == "trying" and record.age < _TRIAL:
                time.sleep(random.uniform(0.3, 0.9))  # noqa: S311 - spreads processes, protects nothing
                continue
            mine = secrets.token_hex(8)
            if not self._write("trying", by=mine):
                return True
            time.sleep(_SETTLE)
            record = self._read()
            if record is None or record.by == mine:
                return True
        raise AylaUnavailable(
            f"connection {self.conn_id!r}: other tasks have been trying to sign in with the same credentials for "
            f"{2 * _TRIAL.total_seconds():.0f} s without an outcome. Ayla's user service answers slowly or not at all: "
            "look into their logs."
        )

    def _refuse(self, record: _Record | None) -> None:
        if record and record.outcome == "refused" and record.age < LOCKOUT:
            until = datetime.fromisoformat(record.at) + LOCKOUT
            raise AylaSignInRefused(
                f"{record.reason} That was at {record.at[:19]} UTC; it isn't tried again before "
                f"{until:%H:%M:%S} UTC or until the connection's credentials are changed, since five refusals in a row "
                "lock the account for everybody."
            )

    def _read(self) -> _Record | None:
        """Return the newest record that anybody has of these credentials."""
        known = []
        believe_own = not self._is_kept
        for memory in self._memories:
            try:
                text = memory.read()
                record = _Record(**json.loads(text)) if text else None
                # A record of other credentials, or without a proper time, is no knowledge.
                if record and record.fingerprint == self.fingerprint and record.age:
                    known.append(record)
            except Exception as error:  # noqa: BLE001 - whatever a store raises, a sign-in must stay possible
                log.warning("The record of sign-ins can't be read (%s).", type(error).__name__)
                believe_own = True
        if self._own and believe_own:
            known.append(self._own)
        return min(known, key=lambda record: record.age, default=None)

    def _write(self, outcome: str, *, reason: str = "", by: str = "") -> bool:
        """Return whether other machines can see it."""
        record = _Record(self.conn_id, self.fingerprint, outcome, datetime.now(UTC).isoformat(), reason, by)
        self._own, self._is_kept = record, False
        for memory in self._memories:
            try:
                memory.write(json.dumps(asdict(record)))
            except Exception as error:  # noqa: BLE001 - as above
                log.warning("The record of sign-ins can't be written (%s).", type(error).__name__)
            else:
                self._is_kept = True
                return memory is not self._memories[-1]
        return False


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"ayla_provider-{os.getuid()}"


@contextlib.contextmanager
def _machine_lock(name: str) -> Iterator[None]:
    """Hold a lock that the processes of this user on this machine share; the system frees it when a process dies."""
    try:
        import fcntl
    except ImportError:  # not on Windows, where Airflow doesn't run either
        yield
        return
    try:
        _folder().mkdir(mode=0o700, exist_ok=True)
        handle = os.open(_folder() / f"{name}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        log.warning("No lock file (%s: %s); going on without it.", error.strerror, error.filename)
        yield
        return
    try:
        deadline = time.monotonic() + 3 * _TRIAL.total_seconds()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AylaUnavailable(
                        "another task on this machine has been signing in for too long. Ayla's user service answers "
                        "slowly or not at all: look into the other tasks' logs."
                    ) from None
                time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - as above
        yield
    finally:
        os.close(handle)
